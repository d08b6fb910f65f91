"""Train a plain VAE, a BN-VAE and a matched VAE for as many steps each, and show which ones use their latent.

python run_scripts/demo.py --output_dir runs/demo
"""

from hf_bnvae.cli.demo import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
