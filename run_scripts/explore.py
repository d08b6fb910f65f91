"""Look inside a trained text VAE: a report as one HTML file, or a page to play with it in the browser.

    python run_scripts/explore.py report out --text_file test.tsv
    python run_scripts/explore.py serve out --compare other_out

The report needs no network and no server. It holds a map of the sentences, what each latent dimension knows,
traversals, interpolations, arithmetic with labels, and whether the posterior has collapsed. The page is served on this
machine alone, unless --host says otherwise; without a folder it shows the two models of `make demo`.
"""

from hf_bnvae.cli.explore import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
