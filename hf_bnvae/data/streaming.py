"""Corpora larger than memory as streams of lines, a shard at a time. `tokens_on_disk.py` keeps what they become."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import escape
from itertools import chain, islice
from math import ceil
from pathlib import Path

from datasets import IterableDataset, load_dataset, load_dataset_builder
from datasets.fingerprint import Hasher

from .corpora import BUILT_IN, load_built_in, text_and_label_columns, unreadable
from .delimited import refuse_labelled_lines, table_options, warn_of_a_header
from .errors import CorpusError, first_line, no_sentence
from .python_data import splits_at_hand
from .readers import (
    builder_of,
    file_identity,
    find_splits,
    holds_files,
    is_saved,
    load_saved,
    load_saved_rows,
    matching_files,
    named_as,
    plain_file,
    refuse_address,
    refuse_file,
    refuse_scalars,
)
from .rows import as_texts
from .splits import SplitChoice

LINES_AT_ONCE = 1_000
TOKENIZER_SENTENCES = 1_000_000
SOURCES_AT_ONCE = 16  # open files, or connections, while a tokenizer is built


@dataclass(frozen=True)
class Source:
    """One shard of a corpus: a file, a shard of a data set on the Hub, or lines at hand.

    Args:
        name: what errors call it.
        identity: another text when the content is another.
        content: of the three.
    """

    name: str
    identity: str
    content: Path | IterableDataset | tuple[str, ...]
    text_column: str | None = None
    label_column: str | None = None
    no_header: bool = False

    def lines(self) -> Iterator[list[str]]:
        """The texts, empty ones as well, some at a time.

        Raises:
            CorpusError: when the source cannot be read, or is a file that changed since it was named.
        """
        with named_as(Path(self.name), self.content if isinstance(self.content, Path) else Path(self.name)):
            yield from self._lines()

    def _lines(self) -> Iterator[list[str]]:
        try:
            if isinstance(self.content, Path) and builder_of(self.content) == "text":
                with self.content.open(encoding="utf-8-sig") as file:
                    for number in range(sys.maxsize):
                        some = [line.rstrip("\n") for line in islice(file, LINES_AT_ONCE)]
                        if number == 0:
                            refuse_labelled_lines(self.content, some)
                        if not some:
                            break
                        yield some
            elif isinstance(self.content, tuple):
                for start in range(0, len(self.content), LINES_AT_ONCE):
                    yield list(self.content[start : start + LINES_AT_ONCE])
            else:
                for number, rows in enumerate(self._rows().iter(LINES_AT_ONCE)):
                    text, _ = text_and_label_columns(list(rows), self.name, self.text_column, self.label_column)
                    if number == 0 and isinstance(self.content, Path):
                        warn_of_a_header(self.content, list(rows), text, self.text_column)
                    yield as_texts(rows[text], self.name, text, first=number * LINES_AT_ONCE + 1)
            if isinstance(self.content, Path) and file_identity(self.content) != self.identity:
                raise CorpusError(f"{self.name} changed while it was read: start again when it is whole")
        except CorpusError:
            raise
        except Exception as error:  # many kinds, of several libraries
            if isinstance(self.content, Path):
                raise unreadable(self.content, error) from error
            raise CorpusError(f"{self.name} could not be read: {first_line(error.__cause__ or error)}") from error

    def _rows(self) -> IterableDataset:
        if not isinstance(self.content, Path):
            return self.content
        builder = builder_of(self.content)
        options = table_options(self.content, self.no_header, self.text_column) if builder == "csv" else {}
        if builder == "json":
            refuse_scalars(self.content)
        name = escape(str(self.content.resolve()))
        return load_dataset(builder, data_files=name, split="train", streaming=True, **options)


def training_sources(
    dataset_name: str | None = None,
    train_file: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    no_header: bool = False,
    **split_choice,
) -> list[Source]:
    """The shards of a training split, by the flags of `load_corpus`.

    Raises:
        CorpusError: when there is no such data.
    """
    choice = SplitChoice(**split_choice)
    folder = Path(train_file or dataset_name or "")
    if is_saved(folder):
        return _saved_sources(folder, train_file is None, text_column, label_column, choice)
    if train_file is not None or (dataset_name is not None and holds_files(folder, choice)):
        paths = matching_files(train_file) if train_file else find_splits(folder, choice=choice).get("train", [])
        if not paths:
            raise CorpusError(f"{dataset_name} has no training split: pass `train_file`")
        plain = [plain_file(path) for path in paths if builder_of(path)]
        return [
            Source(str(path), file_identity(content), content, text_column, label_column, no_header)
            for path, content in zip(paths, plain, strict=True)
        ]
    if dataset_name is None:
        raise CorpusError("no data: pass `dataset_name`, or `train_file` and its companions")
    refuse_address(dataset_name)
    refuse_file(dataset_name)
    if dataset_name in BUILT_IN:
        texts = tuple(load_built_in(dataset_name)["train"]["text"][:])
        return [Source(dataset_name, Hasher.hash(texts), texts)]
    try:
        builder = load_dataset_builder(dataset_name, choice.dataset_config_name)
        rows = builder.as_streaming_dataset(split=choice.names_of("train")[0])
        identity = f"{dataset_name} {choice.train_split} {builder.config_id} {builder.hash}"
        shards = [rows.shard(rows.num_shards, number) for number in range(rows.num_shards)]
        return [
            Source(f"{dataset_name} (train)", f"{identity} {number}", shard, text_column, label_column)
            for number, shard in enumerate(shards)
        ]
    except Exception as error:  # many kinds, of several libraries
        raise CorpusError(f"the Hub dataset {dataset_name!r} could not be streamed: {first_line(error)}") from error


def _saved_sources(
    folder: Path, all_splits: bool, text_column: str | None, label_column: str | None, choice: SplitChoice
) -> list[Source]:
    """The shards of a training split that `save_to_disk` wrote, alone or with others."""
    saved = load_saved(folder) if all_splits else load_saved_rows(folder)
    rows = splits_at_hand(saved, choice).get("train")
    if rows is None:
        raise CorpusError(f"{folder} has no training split: pass `train_file`")
    count = max(1, len(rows.cache_files))
    shards = rows.to_iterable_dataset(num_shards=count)
    return [
        Source(
            f"{folder} (train)",
            f"{folder} {rows._fingerprint} {number}",
            shards.shard(count, number),
            text_column,
            label_column,
        )
        for number in range(count)
    ]


def first_texts(
    sources: Sequence[Source], max_samples: int | None = None, count: int = TOKENIZER_SENTENCES
) -> Iterator[str]:
    """At most `count` sentences: what a tokenizer is built from in bounded memory.

    Args:
        max_samples: of the first so many lines; otherwise some of each source in turn.

    Raises:
        CorpusError: when a source cannot be read, or none holds a sentence.
    """
    lines = sentences = 0
    for some in _in_turn(sources) if max_samples is None else _first_lines(sources, max_samples):
        kept = list(islice(filter(holds_words, some), count - sentences))
        yield from kept
        lines += len(some)
        sentences += len(kept)
        if sentences == count:
            return
    if not sentences:
        raise no_sentence(all_of(sources), lines)


def _in_turn(sources: Sequence[Source]) -> Iterator[list[str]]:
    """Some lines of each source in turn, of few sources at a time, which are evenly spaced."""
    stride = ceil(len(sources) / SOURCES_AT_ONCE)
    waiting = iter([source for start in range(stride) for source in sources[start::stride]])
    turns = [source.lines() for source in islice(waiting, SOURCES_AT_ONCE)]
    while turns:
        for lines in list(turns):
            some = next(lines, None)
            if some is not None:
                yield some
            else:
                turns.remove(lines)
                turns += [source.lines() for source in islice(waiting, 1)]


def _first_lines(sources: Sequence[Source], count: int) -> Iterator[list[str]]:
    for some in chain.from_iterable(source.lines() for source in sources):
        yield some[:count]
        count -= len(some)
        if count <= 0:
            return


def all_of(sources: Sequence[Source]) -> str:
    """What an error calls several sources."""
    return sources[0].name + (f" (with {len(sources) - 1:,} other shards)" if len(sources) > 1 else "")


def holds_words(text: str) -> bool:
    """Whether a line is a sentence."""
    return bool(text) and not text.isspace()
