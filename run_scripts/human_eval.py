"""Human evaluation of dialogue models: export blind pages for annotators, then score the files that they send back.

    python run_scripts/human_eval.py export --models runs/cvae runs/cvae_bow runs/bn_cvae \
        --dataset_name toy_dialogues --output_dir study
    python run_scripts/human_eval.py score --key study/key.json --answers answers_1.json answers_2.json

Give each annotator one page, `annotator_N.html`; it needs no network and no server. Keep `key.json` to yourself.
"""

from hf_bnvae.cli.human_eval import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
