"""Reports on the data, and the files of a finished run."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from transformers.utils import logging

from ..data.unknown_words import warn_of_unknown_words, warn_of_whole_lines
from ..hub import write_card
from ..hub.run_record import RECORD_NAME, hardware, versions, without_secrets, write_json

BUILT_IN_LICENSES = {
    "pydocs": "PSF-2.0, of Python and its documentation",
    "toy_dialogues": "Apache-2.0",
    "toy_sentences": "Apache-2.0",
}

PREFIXES = {"validation": "eval"}
"""What stands in front of the results of a split, where it is not the name of the split."""

STARTS = ("pretrained_encoder", "encoder_name_or_path", "decoder_name_or_path")
"""The arguments that name models whose weights a run starts from."""

logger = logging.get_logger(__name__)


def log_reports(reports: Mapping, kind: str = "") -> None:
    """Say what became of each split, and warn where the tokenizer knows little of it.

    Args:
        kind: of the tokenizer, where it was built from the training data.
    """
    for split, report in reports.items():
        logger.warning(f"{split}: {report}")
        warn_of_unknown_words(split, report.unknown_share)
    if "train" in reports and hasattr(reports["train"], "lines"):
        train = reports["train"]
        warn_of_whole_lines("train", train.lines - train.empty, train.tokens, kind)


def of_split(split: str, metrics: Mapping) -> dict:
    """Results under the names that they have in `all_results.json`: with their split in front."""
    return {f"{PREFIXES.get(split, split)}_{name}": value for name, value in metrics.items()}


def unknown_shares(reports: Mapping) -> dict[str, float]:
    """`<split>_unknown_share` of every split: the share of its words that the tokenizer does not know."""
    return {f"{PREFIXES.get(split, split)}_unknown_share": report.unknown_share for split, report in reports.items()}


def write_run(command: str | None, corpus, arguments: tuple, examples: dict, pushed: bool) -> None:
    """Write `run.json` and the model card of a finished run, whose `all_results.json` is written.

    Args:
        command: of the run, as a shell reads it; None where there was none.
        arguments: of the data, the model, the card and the training.
        examples: what the model writes.
        pushed: whether the run is to be published, so that the card loads the model from there.
    """
    data, model_args, card, args = arguments
    record = {
        "command": command,
        "method": model_args.method,
        "license": card.license,
        "language": card.language,
        "base_model": [
            name for argument in STARTS if (name := _hub_id(getattr(model_args, argument, None))) is not None
        ],
        "data": {
            "name": Path(corpus.name).resolve().name if Path(corpus.name).exists() else without_secrets(corpus.name),
            "hub_id": None if data.train_file else _hub_id(data.dataset_name, BUILT_IN_LICENSES),
            "license": card.data_license or (None if data.train_file else BUILT_IN_LICENSES.get(data.dataset_name)),
            "splits": {
                split: "; ".join([str(report), *([corpus.notes[split]] if split in corpus.notes else [])])
                for split, report in corpus.reports.items()
            },
        },
        "versions": versions(),
        "hardware": hardware(args),
        "examples": examples,
    }
    write_json(Path(args.output_dir) / RECORD_NAME, record)
    repo_id, revision = (args.hub_model_id, args.hub_revision) if pushed else (None, None)
    write_card(args.output_dir, repo_id, revision=revision)


def _hub_id(name: str | None, built_in: Mapping = MappingProxyType({})) -> str | None:
    """A name that was loaded from the Hub: one that is neither built in nor a local path."""
    return None if name is None or name in built_in or Path(name).exists() else name
