"""Publish the folder of a finished run on the Hugging Face Hub.

    hf auth login
    python run_scripts/publish.py out --repo_id USER/NAME
    python run_scripts/publish.py out --repo_id USER/NAME --space

The token is the one of `hf auth login`, or of HF_TOKEN. A model card that nobody changed by hand gets the name of the
repository; where there is none, one is written. What the Hub holds already is not sent again: run the command
once more after an interruption, or when the model card has changed. With --space the page of explore.py goes there as
a Space in the place of the model card and the model; --space_dir writes the Space's folder and publishes nothing.
"""

from hf_bnvae.cli.publish import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
