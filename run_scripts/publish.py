"""Publish the folder of a finished run on the Hugging Face Hub.

    hf auth login
    python run_scripts/publish.py out --repo_id USER/NAME

The token is the one of `hf auth login`, or of HF_TOKEN. A model card that nobody changed by hand gets the name of the
repository; where there is none, one is written. What the Hub holds already is not sent again: run the command
once more after an interruption, or when the model card has changed.
"""

import argparse
from pathlib import Path

from script_utils import UsageError, run_main

from hf_bnvae.hub import name_repository, publish
from hf_bnvae.hub.publishing import files_to_publish


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", help="the --output_dir of a finished run")
    parser.add_argument("--repo_id", required=True, help="USER/NAME; made where there is none")
    parser.add_argument("--private", action="store_true", help="make it private")
    parser.add_argument("--revision", help="a branch, made where there is none; by default main")
    parser.add_argument("--commit_message", help="what the commit says")
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        # Their names only: a value may be a token.
        names = [text.partition("=")[0] for text in unknown if text.startswith("-")]
        raise UsageError(f"unknown flags: {' '.join(names)}; the token comes from HF_TOKEN or `hf auth login`")
    files_to_publish(Path(args.folder))
    if not name_repository(args.folder, args.repo_id):
        print(f"The model card was changed by hand and stays as it is; does it load {args.repo_id}?")
    published = publish(
        args.folder, args.repo_id, args.private or None, revision=args.revision, commit_message=args.commit_message
    )
    print(f"Published: {published}")


if __name__ == "__main__":
    run_main(main)
