"""Corpora larger than memory: read once as a stream, kept on disk as token ids, trained on a block at a time."""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from glob import escape
from itertools import chain, islice
from math import ceil
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, IterableDataset, config, load_dataset, load_dataset_builder
from datasets.fingerprint import Hasher
from torch.utils.data import Dataset as TorchDataset
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from .batches import EpochSampler, LengthBucketSampler, encode_counted
from .corpora import (
    BUILT_IN,
    CorpusReport,
    load_built_in,
    text_and_label_columns,
    unreadable,
)
from .delimited import refuse_labelled_lines, table_options, warn_of_a_header
from .errors import CorpusError, first_line
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
)
from .rows import as_texts
from .splits import SplitChoice

LINES_AT_ONCE = 1_000
GROUP_ROWS = 4_096
BLOCK_ROWS = 8 * GROUP_ROWS
TOKENIZER_SENTENCES = 1_000_000
SOURCES_AT_ONCE = 16  # open files, or connections, while a tokenizer is built
INDEX = "index.json"
FORMAT = 2  # of the folders of token ids; another one is made anew
SECONDS_OF_A_DAY = 86_400
SCHEMA = pa.schema({"input_ids": pa.list_(pa.int32())})

logger = logging.get_logger(__name__)


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
        options = table_options(self.content, self.no_header) if builder == "csv" else {}
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
    if dataset_name in BUILT_IN:
        texts = tuple(load_built_in(dataset_name)["train"]["text"])
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
    lines = found = 0
    for some in _in_turn(sources) if max_samples is None else _first_lines(sources, max_samples):
        kept = list(islice(filter(_holds_words, some), count - found))
        yield from kept
        lines += len(some)
        found += len(kept)
        if found == count:
            return
    if not found:
        raise _no_sentence(sources, lines)


def _in_turn(sources: Sequence[Source]) -> Iterator[list[str]]:
    """Some lines of each source in turn, of few sources at a time that lie far apart."""
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


def _no_sentence(sources: Sequence[Source], lines: int) -> CorpusError:
    others = f" (with {len(sources) - 1:,} other shards)" if len(sources) > 1 else ""
    return CorpusError(f"{sources[0].name}{others} holds no sentence: all of its {lines:,} lines are empty")


def token_store(
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    max_samples: int | None = None,
    workers: int = 1,
    folder: Path | None = None,
) -> "TokenStore":
    """The token ids of a corpus, from the cache or else made now, in memory that does not grow with it.

    Args:
        max_length: cut sentences at so many tokens, ends counted.
        max_samples: read only the first so many lines.
        workers: processes that share out the sources.
        folder: of the cache; by default beside that of `datasets`.

    Raises:
        CorpusError: when a source cannot be read, or none holds a sentence, or there is no writing to the cache.
    """
    folder = Path(config.HF_DATASETS_CACHE) / "hf_bnvae" if folder is None else folder
    key = Hasher.hash(
        [
            FORMAT,
            *[[source.identity, source.text_column, source.label_column, source.no_header] for source in sources],
            max_length,
            max_samples,
            tokenizer.backend_tokenizer.to_str(),
        ]
    )
    broken = _fault(folder / key)
    if broken is not None:
        logger.warning(f"The token ids in {folder / key} are not whole ({broken}): they are made anew.")
        shutil.rmtree(folder / key, ignore_errors=True)
    if not (folder / key / INDEX).is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)
            partial_folder = Path(tempfile.mkdtemp(prefix=f"{key}.partial-", dir=folder))
        except OSError as error:
            raise CorpusError(
                f"token ids cannot be kept in {folder} ({error.strerror}): set HF_DATASETS_CACHE to a folder that can"
            ) from error
        try:
            report = _tokenise(sources, tokenizer, max_length, max_samples, workers, partial_folder)
            sizes = {path.name: path.stat().st_size for path in partial_folder.glob("*.parquet")}
            index = json.dumps({"report": asdict(report), "sizes": sizes})
            (partial_folder / INDEX).write_text(index, encoding="utf-8")
            try:
                os.replace(partial_folder, folder / key)
            except OSError:
                if not (folder / key / INDEX).is_file():  # another process was first
                    raise
        finally:
            shutil.rmtree(partial_folder, ignore_errors=True)
    return TokenStore(folder / key)


def _fault(folder: Path) -> str | None:
    """What a folder of token ids lacks, in words; None for a whole one, and for none."""
    if not folder.is_dir():
        return None
    try:
        sizes = json.loads((folder / INDEX).read_text(encoding="utf-8"))["sizes"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{INDEX} is missing or cannot be read"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{name} is missing or cut off"
        try:
            pq.read_metadata(path)
        except (OSError, pa.ArrowException):
            return f"{name} cannot be read"
    return None


def _remove_leftovers(folder: Path) -> None:
    """Remove what runs that were killed while they tokenised left here; one that still does wrote there today."""
    for path in folder.glob("*.partial-*"):
        with suppress(OSError):
            if time.time() - max(item.stat().st_mtime for item in (path, *path.iterdir())) > SECONDS_OF_A_DAY:
                shutil.rmtree(path, ignore_errors=True)


def _tokenise(sources, tokenizer, max_length, max_samples, workers, folder) -> CorpusReport:
    write = partial(_write_shard, tokenizer=tokenizer, max_length=max_length)
    paths = [folder / f"{number:05d}.parquet" for number in range(len(sources))]
    total = CorpusReport()
    if max_samples is not None or min(workers, len(sources)) == 1:
        for source, path in zip(sources, paths, strict=True):
            total += write(source, path, limit=None if max_samples is None else max_samples - total.lines)
            if total.lines == max_samples:
                break
    else:
        with ProcessPoolExecutor(min(workers, len(sources)), get_context("spawn")) as pool:
            for report in pool.map(write, sources, paths):
                total += report
    if total.lines == total.empty:
        raise _no_sentence(sources, total.lines)
    return total


def _write_shard(
    source: Source, path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int, limit: int | None = None
) -> CorpusReport:
    report = CorpusReport()
    waiting: list[list[int]] = []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for lines in source.lines():
            if limit is not None:
                lines = lines[: limit - report.lines]
            texts = list(filter(_holds_words, lines))
            report.lines += len(lines)
            report.empty += len(lines) - len(texts)
            if texts:
                found = encode_counted(texts, tokenizer, max_length)
                report.truncated += sum(found.truncated)
                report.unknown += sum(found.unknown)
                report.symbols += sum(found.symbols)
                report.tokens += sum(map(len, found.input_ids)) - len(found.input_ids)
                waiting += found.input_ids
            while len(waiting) >= GROUP_ROWS:
                _write_group(writer, waiting[:GROUP_ROWS])
                del waiting[:GROUP_ROWS]
            if report.lines == limit:
                break
        if waiting:
            _write_group(writer, waiting)
    return report


def _write_group(writer: pq.ParquetWriter, rows: list[list[int]]) -> None:
    writer.write_table(pa.table([pa.array(rows, pa.list_(pa.int32()))], SCHEMA), row_group_size=GROUP_ROWS)


def _holds_words(text: str) -> bool:
    return bool(text) and not text.isspace()


class TokenStore(TorchDataset):
    """Encoded sentences in a folder of Parquet files, of which a few groups of rows are in memory at a time.

    Rows are numbered through the files in their order. `report` says what became of the lines of the corpus.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.report = CorpusReport(**json.loads((folder / INDEX).read_text(encoding="utf-8"))["report"])
        self._groups: list[tuple[str, int]] = []
        sizes = []
        for path in sorted(folder.glob("*.parquet")):
            metadata = pq.read_metadata(path)
            self._groups += [(path.name, group) for group in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self._at_hand: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._rows_at_hand = 0

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows_of(self, group: int) -> range:
        """The numbers of the rows of a group."""
        return range(int(self.starts[group]), int(self.starts[group + 1]))

    def lengths_of(self, group: int) -> np.ndarray:
        """The tokens of each row of a group, ends counted."""
        return np.diff(self._group(group)[1])

    def drawn_groups(self, seed: int | str) -> list[int]:
        """All groups, in an order of the seed."""
        groups = list(range(len(self._groups)))
        random.Random(seed).shuffle(groups)
        return groups

    def drawn_rows(self, seed: int | str, count: int) -> list[int]:
        """At most so many rows, whole groups together, in an order of the seed."""
        return list(islice((row for group in self.drawn_groups(seed) for row in self.rows_of(group)), count))

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, list[int]]]:
        found = []
        for row, group in zip(rows, np.searchsorted(self.starts, rows, side="right") - 1, strict=True):
            values, offsets = self._group(int(group))
            place = row - self.starts[group]
            found.append({"input_ids": values[offsets[place] : offsets[place + 1]].tolist()})
        return found

    def select(self, rows: Sequence[int]) -> Dataset:
        """Some rows, in memory, with their `length`."""
        chosen = [row["input_ids"] for row in self.__getitems__(rows)]
        return Dataset.from_dict({"input_ids": chosen, "length": [len(ids) for ids in chosen]})

    def _group(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The token ids of a group one after the other, and where each row starts, with the end of the last."""
        if number not in self._at_hand:
            name, group = self._groups[number]
            with pq.ParquetFile(self.folder / name) as file:
                rows = file.read_row_group(group, ["input_ids"]).column(0).combine_chunks()
            self._at_hand[number] = rows.values.to_numpy(), rows.offsets.to_numpy()
            self._rows_at_hand += len(rows)
            while self._rows_at_hand > 2 * BLOCK_ROWS:
                dropped, _ = self._at_hand.popitem(last=False)
                self._rows_at_hand -= len(self.rows_of(dropped))
        self._at_hand.move_to_end(number)
        return self._at_hand[number]

    def __getstate__(self):
        return self.__dict__ | {"_at_hand": OrderedDict(), "_rows_at_hand": 0}


class StreamSampler(EpochSampler):
    """Batches of a `TokenStore`: each sentence once an epoch, shuffled and bucketed by length within blocks.

    A block is about `BLOCK_ROWS` sentences, in groups from anywhere in the corpus, drawn once by the seed. An epoch
    takes the blocks in a new order, and each as `LengthBucketSampler` would a corpus of its own.

    Args:
        store: the encoded corpus.
        equal: only sentences of one length together.
        batch_size, seed, num_processes, process_index: see `EpochSampler`.
    """

    def __init__(
        self,
        store: TokenStore,
        batch_size: int,
        equal: bool = False,
        seed: int = 0,
        num_processes: int = 1,
        process_index: int = 0,
    ):
        super().__init__(batch_size, seed, True, num_processes, process_index)
        self.store = store
        self.equal = equal
        self._blocks: list[list[int]] = [[] for _ in range(max(1, len(store) // BLOCK_ROWS))]
        before = 0
        for group in store.drawn_groups(seed):
            self._blocks[before * len(self._blocks) // len(store)].append(group)
            before += len(store.rows_of(group))
        self._num_batches = sum(map(self._batches_of, self._blocks))

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self._blocks)))
        self._generator().shuffle(order)
        for number in order:
            block = self._blocks[number]
            rows = [row for group in block for row in self.store.rows_of(group)]
            sampler = self._sampler(block, f"{self.seed}-{number}")
            sampler.set_epoch(self.epoch)
            for batch in sampler:
                yield [rows[index] for index in batch]

    def _batches_of(self, block: list[int]) -> int:
        if self.equal:
            return len(self._sampler(block))
        return len(self._cuts(sum(len(self.store.rows_of(group)) for group in block))) - 1

    def _sampler(self, block: list[int], seed: int | str = 0) -> LengthBucketSampler:
        lengths = np.concatenate([self.store.lengths_of(group) for group in block]).tolist()
        return LengthBucketSampler(
            lengths,
            self.batch_size,
            self.equal,
            seed,
            num_processes=self.num_processes,
            process_index=self.process_index,
        )
