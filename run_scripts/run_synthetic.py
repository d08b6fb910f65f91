"""The synthetic study of the paper's appendix A.1: does the inference network keep up with the model's posterior?

    python run_scripts/run_synthetic.py --output_dir runs/synthetic
    python run_scripts/run_synthetic.py --output_dir runs/synthetic --gammas 0.1 1 --batch_sizes 32 128 --max_steps 800

Draws sequences from an LSTM with a scalar latent, trains a plain VAE and BN-VAEs at several γ and batch sizes on them,
and draws where the model's posterior and the inference network put validation sequences: `figure1.png` and
`animation.gif` during training (the VAE and the largest γ), `figure2.png` at the end of every run; `report.md` says the
rest, and `all_results.json` holds its numbers.
"""

from hf_bnvae.cli.run import run
from hf_bnvae.cli.synthetic import main

if __name__ == "__main__":
    run(main)
