"""Look inside a trained text VAE: a report as one HTML file, or a page to play with it in the browser.

    hf-bnvae explore report out --text_file test.tsv
    hf-bnvae explore serve out --compare other_out

The report needs no network and no server. It holds a map of the sentences, what each latent dimension knows,
traversals, interpolations, arithmetic with labels, and whether the posterior has collapsed. The page is served on this
machine alone, unless --host says otherwise; without a folder it shows the BN-VAE and the plain VAE of `hf-bnvae demo`.
"""

import argparse
import sys
from pathlib import Path

from accelerate import PartialState

from ..analysis import read_latent_space, verdict, write_report
from ..analysis.explorer import Explorer, PageError
from ..analysis.page import build_page, check_servable, serve
from ..data import load_corpus, load_tokenizer
from ..data.batches import evenly_spaced
from ..data.corpora import BUILT_IN
from ..hub.run_record import RECORD_NAME, command_line
from ..models import BnCvaeConfig, BnVaeConfig, BnVaeForConditionalGeneration, LstmLMConfig
from ..pipelines import TextVaePipeline
from ..runs.checks import check_least, check_seeds
from ..runs.loading import load_config, load_model
from ..training.checkpoints import read_json
from .errors import UsageError, flags_named, with_flags
from .flags import add_columns
from .program import called_as, program_name
from .run import is_full_disk, run

KINDS = {BnVaeConfig: None, LstmLMConfig: "which has no latent", BnCvaeConfig: "whose latents depend on a dialogue"}
DEFAULT_CORPUS = "pydocs"
DEMO = ("runs/demo/bn_vae", "runs/demo/vae")
MOST_SENTENCES = 20_000
LAST_PORT = 65_535
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@flags_named()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="report or serve")
    add_report(commands)
    add_serve(commands)
    args = parser.parse_args(argv)
    args.made_by = command_line(called_as("explore", argv), sys.argv[1:] if argv is None else argv)
    check_least(args, max_samples=1, max_length=3)
    if args.max_samples > MOST_SENTENCES:
        raise UsageError(f"--max_samples must be at most {MOST_SENTENCES}, got {args.max_samples}: a map shows no more")
    try:
        args.run(args)
    except PageError as error:
        raise UsageError(with_flags(str(error))) from error


def add_report(commands) -> None:
    parser = commands.add_parser("report", help="write one HTML file about a checkpoint", allow_abbrev=False)
    parser.set_defaults(run=report)
    parser.add_argument("folder", help="the --output_dir of a finished run, or a Hub id")
    add_texts(parser, max_samples=2000)
    parser.add_argument("--output_file", help="by default latent_space.html in the folder")
    parser.add_argument("--seed", type=int, default=1, help="of the latents drawn and of the UMAP layout")
    parser.add_argument("--max_new_tokens", type=int, default=48, help="the most that a decoded text has")


def add_serve(commands) -> None:
    parser = commands.add_parser("serve", help="a page in the browser on one or two checkpoints", allow_abbrev=False)
    parser.set_defaults(run=serve_page)
    parser.add_argument(
        "folder", nargs="?", help="the --output_dir of a finished run, or a Hub id; by default the demo's"
    )
    parser.add_argument("--compare", help="another one to show beside it")
    add_texts(parser, max_samples=500)
    parser.add_argument("--host", default="127.0.0.1", help="the address to serve at; 0.0.0.0 is for everybody")
    parser.add_argument("--port", type=int, help="by default the first free one from 7860")


def add_texts(parser: argparse.ArgumentParser, max_samples: int) -> None:
    parser.add_argument(
        "--text_file",
        help="txt, tsv, csv, jsonl or parquet; by default the test split of the built-in corpus of the training",
    )
    add_columns(parser)
    parser.add_argument("--label_column", help="name of the label column, or its number from 0")
    parser.add_argument("--max_samples", type=int, default=max_samples, help="look at so many sentences at most")
    parser.add_argument("--max_length", type=int, default=256, help="cut sentences at so many tokens")


def report(args) -> None:
    check_least(args, max_new_tokens=1)
    check_seeds([args.seed], "--seed")
    folder = Path(args.folder)
    path = Path(args.output_file) if args.output_file else (folder if folder.is_dir() else Path()) / "latent_space.html"
    if path.is_dir():
        raise UsageError(f"--output_file {path} is a folder: name a file")
    pipeline = load_pipeline(args.folder, args.max_length)
    texts, labels, notes = read_texts(args)
    space = read_latent_space(pipeline, texts, labels, args.seed)
    notes.append(f"Made by: {args.made_by}")
    name = folder.resolve().name if folder.is_dir() else args.folder
    try:
        write_report(space, path, name, notes, args.seed, args.max_new_tokens)
    except OSError as error:
        if is_full_disk(error):
            raise
        raise UsageError(f"--output_file {path} cannot be written ({error.strerror}): name another") from error
    print(f"{verdict(space)[1]}\n{path} ({path.stat().st_size / 1e6:.1f} MB)")


def load_pipeline(name: str, max_length: int) -> TextVaePipeline:
    """A text VAE with its tokenizer; another kind of model is refused in one sentence."""
    config = load_config(name, name, KINDS)
    if KINDS[type(config)] is not None:
        raise UsageError(f"{name} is a {config.model_type} model, {KINDS[type(config)]}: name a text VAE (bnvae)")
    if config.encoder == "given":
        raise UsageError(f"{name} reads embeddings, and what is shown here are sentences: name a model with an encoder")
    model = load_model(name, "the model", {BnVaeConfig: BnVaeForConditionalGeneration}).to(PartialState().device)
    return TextVaePipeline(model, load_tokenizer(name, "the model"), max_length=max_length)


def read_texts(args) -> tuple[list[str], list | None, list[str]]:
    """The sentences that the flags name, their labels, and what became of them in sentences."""
    built_in = None if args.text_file else trained_on(args.folder or DEMO[0])
    corpus = load_corpus(
        built_in,
        files={"test": args.text_file},
        text_column=args.text_column,
        label_column=args.label_column,
        no_header=args.no_header,
    )
    rows = corpus.splits["test"]
    chosen = rows.select(evenly_spaced(args.max_samples, len(rows)))
    source = Path(args.text_file).name if args.text_file else f"the test split of {built_in}"
    notes = [f"{len(chosen):,} sentences of {source}."]
    if len(chosen) < len(rows):
        notes = [f"{len(chosen):,} of the {len(rows):,} sentences of {source}, spread over it (--max_samples)."]
        print(notes[0])
    return chosen["text"][:], chosen["label"][:] if "label" in chosen.column_names else None, notes


def trained_on(folder: str) -> str:
    """The built-in corpus that a model was trained on, as its run.json says; of others `DEFAULT_CORPUS`."""
    path = Path(folder) / RECORD_NAME
    record = read_json(path)
    data = record.get("data") if isinstance(record, dict) else None
    name = data.get("name") if isinstance(data, dict) else None
    return name if name in BUILT_IN else DEFAULT_CORPUS


def serve_page(args) -> None:
    if args.port is not None and not 1 <= args.port <= LAST_PORT:
        raise UsageError(f"--port must be a number from 1 to {LAST_PORT}, got {args.port}")
    check_servable(args.host, args.port)
    names = [args.folder, args.compare] if args.folder else demo_folders(args.compare)
    pipelines = [(name, load_pipeline(name, args.max_length)) for name in names if name is not None]
    texts, labels, _ = read_texts(args)
    page = build_page([Explorer.of(pipeline, name, texts, labels) for name, pipeline in pipelines])
    if args.host.strip("[]") not in LOOPBACK:
        print(f"Everybody who reaches this machine at {args.host} can use the page.")
    serve(page, args.host, args.port)


def demo_folders(compare: str | None) -> list[str]:
    """The two models of the demo, the one that uses its latent first."""
    folders = [folder for folder in DEMO if (Path(folder) / "config.json").is_file()]
    if not folders:
        raise UsageError("name the folder of a finished run, or train the demo's by `hf-bnvae demo`")
    return [folders[0], compare] if compare else folders


if __name__ == "__main__":
    run(main)
