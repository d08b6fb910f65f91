"""From files, folders and names to `datasets.DatasetDict`s of sentences."""

import errno
import json
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from glob import escape
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    Value,
    concatenate_datasets,
    config,
    load_dataset,
)
from datasets.exceptions import DatasetNotFoundError
from datasets.features.features import FeatureType
from datasets.fingerprint import Hasher

from .delimited import refuse_labelled_lines, table_options, warn_of_a_header
from .errors import CorpusError, first_line, no_sentence
from .pydocs import pydocs_labels, pydocs_splits
from .python_data import read_at_hand
from .readers import (
    BINARY,
    builder_of,
    file_identity,
    find_splits,
    holds_files,
    is_saved,
    load_saved,
    load_saved_rows,
    matching_files,
    named_as,
    no_object,
    plain_file,
    refuse_address,
    refuse_file,
    refuse_scalars,
)
from .rows import USUAL_TEXT_COLUMNS, as_labels, as_texts, class_names
from .splits import SPLIT_NAMES, USUAL, SplitChoice
from .toy_sentences import toy_sentences

BUILT_IN = ("pydocs", "toy_sentences")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
NOTHING = Value("null")
PRINTABLE = re.compile(r"(large_)?string|u?int|float|bool")
"""The types of columns of which each value can be written as text."""
NO_ROWS = re.compile("corresponds to no data|BatchSize must be greater than 0")
"""What the builders of `datasets` say of a file without rows."""
USUAL_LABEL_COLUMNS = ("label", "labels")


@dataclass
class CorpusReport:
    """What became of the lines of one split.

    Args:
        lines: examples read.
        empty: examples left out because they hold nothing but white space.
        truncated: examples cut at `max_length` tokens.
        tokens: tokens kept, the end symbol counted and the start symbol not.
        unknown: of those, words that the tokenizer does not know.
        symbols: start, end, padding and other special symbols that stood in the texts and were left out.
    """

    lines: int = 0
    empty: int = 0
    truncated: int = 0
    tokens: int = 0
    unknown: int = 0
    symbols: int = 0

    def __add__(self, other: "CorpusReport") -> "CorpusReport":
        return CorpusReport(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    @property
    def unknown_share(self) -> float:
        """The share of the words that are unknown, end symbols not counted."""
        words = self.tokens - (self.lines - self.empty)
        return self.unknown / words if words else 0.0

    def __str__(self) -> str:
        kept = self.lines - self.empty
        parts = [f"{kept:,} sentences, {self.tokens:,} tokens"]
        if self.empty:
            parts.append(f"{self.empty:,} of {self.lines:,} lines empty and left out")
        if self.truncated:
            parts.append(f"{self.truncated:,} over-long and cut")
        if self.unknown:
            parts.append(f"{self.unknown_share:.1%} of the words unknown")
        if self.symbols:
            parts.append(f"{self.symbols:,} special symbols in the texts left out")
        return "; ".join(parts)


@dataclass(frozen=True)
class Origin:
    """Where the sentences of a split stood in what they were read from.

    Args:
        split: the split that this is; `train` also for a validation split that was put aside from it.
        rows: the number from 0 of the row of each sentence. The rows of empty texts are missing.
        total: how many rows there are; None where no more were read than `max_samples` asks for.
    """

    split: str
    rows: np.ndarray
    total: int | None


@dataclass
class Corpus:
    """Sentences by split (`train`, `validation`, `test`), in a column `text` and, where there are any, `label`."""

    splits: DatasetDict
    reports: dict[str, CorpusReport] = field(default_factory=dict)
    name: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    """What else is to be known of a split."""
    sources: dict[str, str] = field(default_factory=dict)
    """What errors call each split."""
    origins: dict[str, Origin] = field(default_factory=dict)
    """Where the sentences of each split come from, for what is stored beside the texts."""


def load_corpus(
    dataset_name: str | Dataset | IterableDataset | Mapping | None = None,
    files: dict[str, str | None] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    max_samples: dict[str, int | None] | None = None,
    splits: Collection[str] = tuple(SPLIT_NAMES),
    no_header: bool = False,
    **split_choice,
) -> Corpus:
    """Read a corpus.

    Args:
        dataset_name: `"pydocs"` or `"toy_sentences"` (built in), a local folder that holds `train`, `valid` or
            `validation`, and `test` files (or shards of them, such as `train-00000-of-00004.parquet`), or the id of a
            dataset on the Hub; or the data itself: rows in any shape that `python_data.as_rows` takes, which are the
            training split, or a dict of them by split, or a dict of columns.
        files: a path, or a pattern of paths such as `shards/*.txt`, for each of `train`, `validation`, `test` (txt,
            tsv, csv, jsonl, parquet); they win over the splits of `dataset_name`.
        text_column, label_column: a column's name, or its number from 0. By default `text` or `sentence` (or the only
            column there is), and `label` where there is one.
        max_samples: keep at most the first so many examples of a split. No more of a stream is read than they take.
        splits: the ones to read. Without `train` the others may be absent too, and are streamed from the Hub.
        no_header: the first line of csv and tsv files is data, and their columns have numbers from 0.
        split_choice: see `splits.SplitChoice`.

    Raises:
        CorpusError: for input that cannot be read, in one sentence.
    """
    paths = {split: path for split, path in (files or {}).items() if path is not None and split in splits}
    choice = SplitChoice(**split_choice)
    max_samples = max_samples or {}
    name = dataset_name if isinstance(dataset_name, str | None) else "the data"
    loaded = _load_splits(dataset_name, splits, max_samples, no_header, text_column, choice)
    loaded.update({split: read_tables(matching_files(path), no_header, text_column) for split, path in paths.items()})
    if not loaded and "train" in splits:
        raise CorpusError("no data: pass `dataset_name`, or `train_file` and its companions")
    if dataset_name is None:
        choice.refuse_names("a file")
    sources = {split: (split, np.arange(len(rows))) for split, rows in loaded.items()}
    totals = {
        split: None if split not in paths and choice.rows_for(split, max_samples.get(split)) == len(rows) else len(rows)
        for split, rows in loaded.items()
    }
    aside = choice.put_aside(loaded, len(loaded["train"])) if "train" in loaded else None
    if aside is not None:
        loaded["train"], loaded["validation"] = (loaded["train"].select(rows) for rows in aside)
        sources |= {
            split: ("train", np.array(rows)) for split, rows in zip(("train", "validation"), aside, strict=True)
        }

    trained_on = (files or {}).get("train")
    corpus = Corpus(DatasetDict(), name=trained_on or name or next(iter(paths.values()), ""))
    for split, dataset in loaded.items():
        source_split, numbers = sources[split]
        source = str(paths[split]) if split in paths else f"{paths.get(source_split, name)} ({split})"
        limit = max_samples.get(split)
        if limit is not None:
            dataset = dataset.select(range(min(limit, len(dataset))))
        corpus.splits[split], kept = _sentences(dataset, source, text_column, label_column)
        corpus.reports[split] = CorpusReport(lines=len(dataset), empty=len(dataset) - len(kept))
        corpus.sources[split] = source
        corpus.origins[split] = Origin(source_split, numbers[kept], totals[source_split])
    if aside is not None:
        corpus.notes["validation"] = choice.note
    return corpus


def _load_splits(
    dataset_name: str | Dataset | IterableDataset | Mapping | None,
    splits: Collection[str],
    max_samples: dict[str, int | None],
    no_header: bool,
    text_column: str | None,
    choice: SplitChoice,
) -> dict[str, Dataset]:
    """The splits of a named corpus, or of data at hand, as they are."""
    if dataset_name is None:
        return {}
    if not isinstance(dataset_name, str):
        return read_at_hand(dataset_name, splits, max_samples, choice)
    name = dataset_name
    if name in BUILT_IN:
        choice.refuse_names(name)
        return {split: dataset for split, dataset in load_built_in(name).items() if split in splits}
    refuse_address(name)
    refuse_file(name)
    folder = Path(name)
    if is_saved(folder):
        return read_at_hand(load_saved(folder), splits, max_samples, choice)
    if holds_files(folder, choice):
        files = {split: paths for split, paths in find_splits(folder, choice=choice).items() if split in splits}
        return {split: read_tables(paths, no_header, text_column) for split, paths in files.items()}
    streaming = "train" not in splits
    theirs = hub_splits(name, BUILT_IN, streaming, choice)
    if not streaming:
        return theirs
    try:
        return {
            split: Dataset.from_list(list(rows.take(max_samples.get(split) or sys.maxsize)), features=rows.features)
            for split, rows in theirs.items()
            if split in splits
        }
    except Exception as error:  # many kinds, of several libraries
        raise CorpusError(f"the Hub dataset {name!r} could not be loaded: {first_line(error)}") from error


def _sentences(
    dataset: Dataset, source: str, text_column: str | None, label_column: str | None
) -> tuple[Dataset, list[int]]:
    """What a split holds besides empty texts, as columns `text` and `label`, and the numbers of its rows."""
    texts, labels = _texts_and_labels(dataset, source, text_column, label_column)
    kept = [row for row, text in enumerate(texts) if text and not text.isspace()]
    if not kept:
        raise no_sentence(source, len(dataset))
    columns = {"text": [texts[row] for row in kept]}
    if labels is not None:
        columns["label"] = as_labels([labels[row] for row in kept], source)
    return Dataset.from_dict(columns), kept


def load_built_in(name: str) -> dict[str, Dataset]:
    """The splits of a corpus that needs no download."""
    assert name in BUILT_IN
    if name == "toy_sentences":
        return {
            split: Dataset.from_dict(
                {"text": [item.sentence() for item in drawn], "label": [item.activity for item in drawn]}
            )
            for split, drawn in toy_sentences().items()
        }
    return {
        split: Dataset.from_dict({"text": sentences, "label": pydocs_labels(sentences)})
        for split, sentences in pydocs_splits().items()
    }


def hub_splits(
    name: str, built_in: tuple[str, ...], streaming: bool = False, choice: SplitChoice = USUAL
) -> dict[str, Dataset]:
    """The splits of a dataset on the Hub, under our names; `built_in` is what the name could have been as well."""
    try:
        theirs = dict(load_dataset(name, choice.dataset_config_name, streaming=streaming))
        for split in map(choice.named, SPLIT_NAMES):
            if split is not None and split not in theirs:
                theirs[split] = load_dataset(name, choice.dataset_config_name, split=split, streaming=streaming)
    except DatasetNotFoundError as error:
        raise CorpusError(
            f"`dataset_name` {name!r} is no built-in corpus ({', '.join(built_in)}), no local folder, and no dataset "
            "that the Hub knows or lets you read"
        ) from error
    except Exception as error:  # many kinds, of several libraries
        raise CorpusError(f"the Hub dataset {name!r} could not be loaded: {first_line(error)}") from error
    present = {split: next((stem for stem in choice.names_of(split) if stem in theirs), None) for split in SPLIT_NAMES}
    if present["train"] is None and present["test"] is None:
        raise CorpusError(f"the Hub dataset {name!r} has neither train nor test, only {', '.join(theirs)}")
    return {split: theirs[stem] for split, stem in present.items() if stem is not None}


def read_tables(paths: list[Path], no_header: bool = False, text_column: str | None = None) -> Dataset:
    """Files as they are, one after the other. A column of numbers in one and of strings in another is text.

    Raises:
        CorpusError: when one cannot be read, or they have not the same columns.
    """
    tables = [read_table(path, no_header, text_column) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if table.column_names != tables[0].column_names:
            raise CorpusError(
                f"{path} has the columns {', '.join(table.column_names)}, and {paths[0]} has "
                f"{', '.join(tables[0].column_names)}: give all shards the same"
            )
    if len(tables) == 1:
        return tables[0]
    columns = {
        column: _common_type(column, {path: table.features[column] for path, table in zip(paths, tables, strict=True)})
        for column in tables[0].column_names
    }
    features = Features(columns)
    return concatenate_datasets(
        [table if table.features == features else table.cast(features, keep_in_memory=True) for table in tables]
    )


def _common_type(column: str, types: dict[Path, FeatureType]) -> FeatureType:
    """The type that holds a column of several files.

    Raises:
        CorpusError: when there is none, naming two of the files.
    """
    known = {path: kind for path, kind in types.items() if kind != NOTHING}
    first, *others = known or types
    other = next((path for path in others if types[path] != types[first]), None)
    if other is None:
        return types[first]
    kinds = list(known.values())
    if not any(isinstance(kind, ClassLabel) for kind in kinds):
        schemas = [Features({column: kind}).arrow_schema.remove_metadata() for kind in kinds]
        try:
            return Features.from_arrow_schema(pa.unify_schemas(schemas, promote_options="permissive"))[column]
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            if all(isinstance(kind, Value) and PRINTABLE.match(kind.dtype) for kind in kinds):
                return Value("string")
    raise CorpusError(
        f"the column {column} is of the type {types[other]} in {other} and of {types[first]} in {first}: give all "
        "shards the same"
    )


def read_table(path: Path, no_header: bool = False, text_column: str | None = None) -> Dataset:
    """A file as it is, with the columns that it has.

    Args:
        path: a file, which may be compressed, or a folder that `save_to_disk` wrote.

    Raises:
        CorpusError: when it cannot be read.
    """
    if path.is_dir():
        return load_saved_rows(path)
    plain = plain_file(path)
    with named_as(path, plain):
        return _read_plain(plain, no_header, text_column)


def _read_plain(path: Path, no_header: bool, text_column: str | None) -> Dataset:
    builder = check_file(path)
    if builder == "text":
        with path.open(encoding="utf-8-sig") as file:
            lines = [line.rstrip("\n") for line in file]
        refuse_labelled_lines(path, lines)
        return Dataset.from_dict({"text": lines})
    options = table_options(path, no_header, text_column) if builder == "csv" else {}
    if builder == "json":
        refuse_scalars(path)
    try:
        # The cache goes by names of configurations; this one is another when the file was written again.
        name = f"file-{Hasher.hash(file_identity(path))}"
        return load_dataset(builder, name, data_files=escape(str(path.resolve())), split="train", **options)
    except Exception as error:  # the builders raise many kinds, and wrap them in one another
        rows = _mixed_rows(path)
        if rows is not None:
            return rows
        raise unreadable(path, error) from error


def _mixed_rows(path: Path) -> Dataset | None:
    """A jsonl file of objects with labels of several kinds, which Arrow refuses; None for what is no such file."""
    if path.suffix.lower() != ".jsonl":
        return None
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = [json.loads(line) for line in file if not line.isspace()]
        columns = {name: [row.get(name) for row in rows] for name in rows[0]}
        return Dataset.from_dict({name: _of_one_kind(values) for name, values in columns.items()})
    except (ValueError, TypeError, AttributeError, IndexError, pa.ArrowException):
        return None


def _of_one_kind(values: list) -> list:
    """Strings and numbers of one column, all as strings where they are mixed."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and kinds <= {str, int, float, bool}:
        return [None if value is None else str(value) for value in values]
    return values


def unreadable(path: Path, error: Exception) -> CorpusError:
    """What is wrong with a file that a builder could not read, with the line where that can be found.

    Where it is the cache of `datasets` that could not be written, that is said, and the file is not blamed.
    """
    cause: BaseException | None = error
    while cause is not None:
        of_the_file = getattr(cause, "filename", None) in (str(path), str(path.resolve()))
        if isinstance(cause, OSError) and cause.errno in UNWRITABLE and not of_the_file:
            return CorpusError(
                f"the cache in {config.HF_DATASETS_CACHE} cannot be written ({cause.strerror}): free some space, or "
                "set HF_DATASETS_CACHE to a folder that can"
            )
        if NO_ROWS.search(str(cause)):
            return no_sentence(str(path), 0)
        cause = cause.__cause__ or cause.__context__
    try:
        check_file(path)
    except CorpusError as fault:
        return fault
    number, is_json = _line_that_is_no_object(path) if path.suffix.lower() == ".jsonl" else (None, False)
    if number is not None and is_json:
        return no_object(path, number)
    where = f"{path}, line {number}:" if number else f"{path}"
    return CorpusError(f"{where} could not be read as {path.suffix[1:]}: {first_line(error.__cause__ or error)}")


def check_file(path: Path) -> str:
    """The builder of `datasets` that reads a file, which is looked through for what is not UTF-8.

    Raises:
        CorpusError: when the file cannot be read.
    """
    builder = builder_of(path)
    if builder not in BINARY:
        _check_utf8(path)
    return builder


def _check_utf8(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                raise CorpusError(f"{path}, line {number}: not UTF-8; convert the file to UTF-8") from None


def _line_that_is_no_object(path: Path) -> tuple[int | None, bool]:
    """The number of the first line that is no object of JSON, and whether it is JSON at all."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if not isinstance(json.loads(line.strip() or b"{}"), dict):
                    return number, True
            except ValueError:
                return number, False
    return None, False


def _texts_and_labels(
    dataset: Dataset, source: str, text_column: str | None, label_column: str | None
) -> tuple[list[str], list | None]:
    text, label = text_and_label_columns(dataset.column_names, source, text_column, label_column)
    warn_of_a_header(Path(source), dataset.column_names, text, text_column)
    labels = None if label is None else class_names(dataset[label][:], dataset.features[label])
    return as_texts(dataset[text][:], source, text), labels


def text_and_label_columns(
    names: list[str], source: str, text_column: str | None = None, label_column: str | None = None
) -> tuple[str, str | None]:
    """Which of the columns of a source are the text and, where there is one, the label.

    Raises:
        CorpusError: when the flags name none of them, or it is not clear.
    """
    text = _find_column(names, text_column, USUAL_TEXT_COLUMNS, source, "`text_column`")
    label = _find_column(names, label_column, USUAL_LABEL_COLUMNS, source, "`label_column`")
    if text is None:
        others = [name for name in names if name != label]
        if len(others) != 1:
            raise CorpusError(f"{source} has the columns {', '.join(names)}: say which is the text by `text_column`")
        text = others[0]
    return text, label


def _find_column(names: list[str], wanted: str | None, usual: tuple[str, ...], source: str, called: str) -> str | None:
    if wanted is None:
        return next((name for name in usual if name in names), None)
    if wanted in names:
        return wanted
    if wanted.isdecimal() and int(wanted) < len(names):
        return names[int(wanted)]
    raise CorpusError(f"{source} has no column {wanted!r} ({called}): its columns are {', '.join(names)}")
