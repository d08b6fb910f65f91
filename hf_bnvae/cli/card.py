"""Write the model card of a finished run once more, from what its folder holds.

hf-bnvae card out
hf-bnvae card out --repo_id USER/NAME
hf-bnvae card docs/results/ptb/bn_vae_fast --output model_cards/ptb_bn_vae.md
"""

import argparse

from ..hub import write_card
from ..runs.checks import check_output_file
from .errors import flags_named
from .program import program_name
from .run import run


@flags_named()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=program_name(), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", help="of the run: config.json, all_results.json, run.json, trainer_state.json")
    parser.add_argument("--repo_id", help="where the model is on the Hub, USER/NAME")
    parser.add_argument("--output", help="the card; by default README.md in the folder")
    args = parser.parse_args(argv)
    check_output_file(args.output, "--output")
    print(write_card(args.folder, args.repo_id, args.output))


if __name__ == "__main__":
    run(main)
