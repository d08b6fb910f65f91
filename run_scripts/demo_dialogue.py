"""Train the three dialogue models on the built-in small talk, and show what their latents are good for.

python run_scripts/demo_dialogue.py --output_dir runs/demo_dialogue
"""

from hf_bnvae.cli.demo_dialogue import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
