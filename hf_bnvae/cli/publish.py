"""Publish the folder of a finished run on the Hugging Face Hub.

    hf auth login
    hf-bnvae publish out --repo_id USER/NAME
    hf-bnvae publish out --repo_id USER/NAME --space

The token is the one of `hf auth login`, or of HF_TOKEN. A model card that nobody changed by hand gets the name of the
repository; where there is none, one is written. What the Hub holds already is not sent again: run the command
once more after an interruption, or when the model card has changed. With --space the page of `hf-bnvae explore serve`
goes there as a Space in the place of the model card and the model; --space_dir writes the Space's folder and publishes
nothing.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..data import load_corpus
from ..data.batches import evenly_spaced
from ..hub import name_repository, publish, publish_space, write_space
from ..hub.cards import CARD_NAME, PICTURE_NAME
from ..hub.publishing import files_to_publish
from ..runs.checks import check_output_folder
from .errors import UsageError, flags_named
from .flags import add_columns
from .program import program_name
from .run import run

MAP_SENTENCES = 500


@flags_named()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", help="the --output_dir of a finished run")
    parser.add_argument("--repo_id", help="USER/NAME; made where there is none")
    parser.add_argument("--private", action="store_true", help="make it private")
    parser.add_argument("--revision", help="a branch, made where there is none; by default main")
    parser.add_argument("--commit_message", help="what the commit says")
    parser.add_argument("--space", action="store_true", help="publish a page to play with the model, as a Space")
    parser.add_argument("--space_dir", help="write the Space there, and publish nothing")
    parser.add_argument("--compare", help="the folder of another run for the Space to show beside it")
    parser.add_argument(
        "--text_file", help="sentences for the Space's map, which go there; by default the model's own samples"
    )
    add_columns(parser)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        # Their names only: a value may be a token.
        names = [text.partition("=")[0] for text in unknown if text.startswith("-")] or unknown
        raise UsageError(f"unknown flags: {' '.join(names)}; the token comes from HF_TOKEN or `hf auth login`")
    if args.repo_id is None and args.space_dir is None:
        raise UsageError("name the repository on the Hub: add --repo_id USER/NAME")
    if args.space or args.space_dir:
        make_space(args)
        return
    for name in ("compare", "text_file", "text_column"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name} is for a Space: add --space, or leave it out")
    files_to_publish(Path(args.folder))
    with put_back_on_failure(*(Path(args.folder) / name for name in (CARD_NAME, PICTURE_NAME))):
        if not name_repository(args.folder, args.repo_id, args.revision):
            print(f"The model card was changed by hand and stays as it is; does it load {args.repo_id}?")
        published = publish(
            args.folder, args.repo_id, args.private or None, revision=args.revision, commit_message=args.commit_message
        )
    print(f"Published: {published}")


@contextmanager
def put_back_on_failure(*files: Path) -> Iterator[None]:
    """Leave files as they were when what is done here fails."""
    before = {path: path.read_bytes() if path.is_file() else None for path in files}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        raise


def make_space(args) -> None:
    if args.revision is not None:
        raise UsageError("a Space runs its main branch: leave out --revision")
    if args.space_dir is not None:
        check_output_folder(args.space_dir, "--space_dir")
    folders = [args.folder, *([args.compare] if args.compare else [])]
    rows = text_rows(args) if args.text_file else []
    sentences = [rows[index] for index in evenly_spaced(MAP_SENTENCES, len(rows))]
    if args.space_dir is not None:
        print(f"python {write_space(folders, args.space_dir, Path(args.folder).resolve().name, sentences) / 'app.py'}")
        return
    published = publish_space(
        folders, args.repo_id, sentences, args.private or None, commit_message=args.commit_message
    )
    print(f"Published: {published}")


def text_rows(args) -> list[str]:
    """The sentences of `--text_file`."""
    corpus = load_corpus(files={"test": args.text_file}, text_column=args.text_column, no_header=args.no_header)
    return corpus.splits["test"]["text"][:]


if __name__ == "__main__":
    run(main)
