"""Train a plain VAE and a BN-VAE of the same size for the same number of steps, and show which one uses its latent.

python run_scripts/demo.py --output_dir runs/demo
"""

from hf_bnvae.cli.demo import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
