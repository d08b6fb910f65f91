"""Write the model card of a finished run once more, from what its folder holds.

python run_scripts/write_card.py out
python run_scripts/write_card.py out --repo_id USER/NAME
python run_scripts/write_card.py docs/results/ptb/bn_vae_fast --output model_cards/ptb_bn_vae.md
"""

import argparse

from script_utils import check_output_file, run_main

from hf_bnvae.hub import write_card


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", help="of the run: config.json, all_results.json, run.json, trainer_state.json")
    parser.add_argument("--repo_id", help="where the model is on the Hub, USER/NAME")
    parser.add_argument("--output", help="the card; by default README.md in the folder")
    args = parser.parse_args(argv)
    check_output_file(args.output, "--output")
    print(write_card(args.folder, args.repo_id, args.output))


if __name__ == "__main__":
    run_main(main)
