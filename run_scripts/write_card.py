"""Write the model card of a finished run once more, from what its folder holds.

python run_scripts/write_card.py out
python run_scripts/write_card.py out --repo_id USER/NAME
python run_scripts/write_card.py docs/results/ptb/bn_vae_fast --output model_cards/ptb_bn_vae.md
"""

from hf_bnvae.cli.card import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
