"""Look inside a trained text VAE: a report as one HTML file.

    python run_scripts/explore.py report out --text_file test.tsv

The report needs no network and no server. It holds a map of the sentences, what each latent dimension knows,
traversals, interpolations, arithmetic with labels, and whether the posterior has collapsed.
"""

import argparse
import shlex
import sys
from pathlib import Path

from accelerate import PartialState
from script_utils import UsageError, far_apart, load_config, load_model, run_main

from hf_bnvae import BnCvaeConfig, BnVaeConfig, BnVaeForConditionalGeneration, LstmLMConfig, TextVaePipeline
from hf_bnvae.analysis import LatentSpace, read_latent_space, verdict, write_report
from hf_bnvae.data import load_corpus, load_tokenizer

KINDS = {BnVaeConfig: None, LstmLMConfig: "which has no latent", BnCvaeConfig: "whose latents depend on a dialogue"}
BUILT_IN = "pydocs"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="report")
    add_report(commands)
    args = parser.parse_args(argv)
    args.run(args)


def add_report(commands) -> None:
    parser = commands.add_parser("report", help="write one HTML file about a checkpoint", allow_abbrev=False)
    parser.set_defaults(run=report)
    parser.add_argument("folder", help="the --output_dir of a finished run, or a Hub id")
    add_texts(parser, max_samples=2000)
    parser.add_argument("--output_file", help="by default latent_space.html in the folder")
    parser.add_argument("--seed", type=int, default=1, help="of the latents drawn and of the UMAP layout")
    parser.add_argument("--max_new_tokens", type=int, default=48, help="the most that a decoded text has")


def add_texts(parser: argparse.ArgumentParser, max_samples: int) -> None:
    parser.add_argument(
        "--text_file", help="txt, tsv, csv, jsonl or parquet; by default the test split of the built-in corpus"
    )
    parser.add_argument("--text_column", help="name of the text column, or its number from 0")
    parser.add_argument("--label_column", help="name of the label column, or its number from 0")
    parser.add_argument("--max_samples", type=int, default=max_samples, help="look at so many sentences at most")
    parser.add_argument("--max_length", type=int, default=256, help="cut sentences at so many tokens")


def report(args) -> None:
    for name, least in (("max_samples", 1), ("max_length", 3), ("max_new_tokens", 1)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} must be at least {least}, got {getattr(args, name)}")
    folder = Path(args.folder)
    path = Path(args.output_file) if args.output_file else (folder if folder.is_dir() else Path()) / "latent_space.html"
    if path.is_dir():
        raise UsageError(f"--output_file {path} is a folder: name a file")
    pipeline = load_pipeline(args.folder, args.max_length)
    space, notes = read_texts(pipeline, args)
    notes.append(f"Made by: {shlex.join(['python', 'run_scripts/explore.py', *sys.argv[1:]])}")
    write_report(
        space, path, folder.resolve().name if folder.is_dir() else args.folder, notes, args.seed, args.max_new_tokens
    )
    print(f"{verdict(space)[1]}\n{path} ({path.stat().st_size / 1e6:.1f} MB)")


def load_pipeline(name: str, max_length: int) -> TextVaePipeline:
    """A text VAE with its tokenizer; another kind of model is refused in one sentence."""
    config = load_config(name, name, KINDS)
    if KINDS[type(config)] is not None:
        raise UsageError(f"{name} is a {config.model_type} model, {KINDS[type(config)]}: name a text VAE (bnvae)")
    model = load_model(name, "the model", {BnVaeConfig: BnVaeForConditionalGeneration}).to(PartialState().device)
    return TextVaePipeline(model, load_tokenizer(name, "the model"), max_length=max_length)


def read_texts(pipeline: TextVaePipeline, args) -> tuple[LatentSpace, list[str]]:
    """The sentences that the flags name, read by the model, and what became of them in sentences."""
    named = {} if args.text_file else {"dataset_name": BUILT_IN}
    corpus = load_corpus(
        **named, files={"test": args.text_file}, text_column=args.text_column, label_column=args.label_column
    )
    rows = corpus.splits["test"]
    chosen = rows.select(far_apart(args.max_samples, len(rows)))
    source = args.text_file or f"the test split of {BUILT_IN}"
    notes = [f"{len(chosen):,} sentences of {Path(source).name}."]
    if len(chosen) < len(rows):
        notes = [
            f"{len(chosen):,} of the {len(rows):,} sentences of {Path(source).name}, spread over it (--max_samples)."
        ]
        print(notes[0])
    labels = chosen["label"][:] if "label" in chosen.column_names else None
    return read_latent_space(pipeline, chosen["text"][:], labels, args.seed), notes


if __name__ == "__main__":
    run_main(main)
