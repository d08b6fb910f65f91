"""Encoded corpora larger than memory: token ids in Parquet files, and batches of them, a block in memory at a time."""

import json
import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.fingerprint import Hasher
from torch.utils.data import Dataset as TorchDataset

from .batches import COUNTS, EpochSampler, LengthBucketSampler, encoded_columns
from .corpora import CorpusReport
from .errors import no_sentence
from .kept_on_disk import INDEX, cache_folder, kept_folder
from .streaming import Source, all_of, holds_words
from .tokenizer_pair import TokenizerPair

GROUP_ROWS = 4_096
BLOCK_ROWS = 8 * GROUP_ROWS
FORMAT = 2  # of the folders of token ids; another one is made anew
TOKENS = pa.list_(pa.int32())


def token_store(
    sources: Sequence[Source],
    tokenizer: Any,
    max_length: int,
    max_samples: int | None = None,
    workers: int = 1,
    folder: Path | None = None,
) -> "TokenStore":
    """The token ids of a corpus, from the cache or else made now, in memory that does not grow with it.

    Args:
        tokenizer: one, or a `TokenizerPair`.
        max_length: cut sentences at so many tokens, ends counted.
        max_samples: read only the first so many lines.
        workers: processes that share out the sources.
        folder: of the cache; by default beside that of `datasets`.

    Raises:
        CorpusError: when a source cannot be read, or none holds a sentence, or there is no writing to the cache.
    """
    folder = cache_folder() if folder is None else folder
    key = Hasher.hash(
        [
            FORMAT,
            *[[source.identity, source.text_column, source.label_column, source.no_header] for source in sources],
            max_length,
            max_samples,
            *[one.backend_tokenizer.to_str() for one in tokenizers_of(tokenizer)],
        ]
    )

    def make(partial_folder: Path) -> dict:
        return {"report": asdict(_tokenise(sources, tokenizer, max_length, max_samples, workers, partial_folder))}

    kept_folder(folder / key, "token ids", make, pq.read_metadata)
    return TokenStore(folder / key)


def tokenizers_of(tokenizer: Any) -> list:
    """Both of a pair, or the one."""
    return [tokenizer.encoder, tokenizer.decoder] if isinstance(tokenizer, TokenizerPair) else [tokenizer]


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
        raise no_sentence(all_of(sources), total.lines)
    return total


def _write_shard(source: Source, path: Path, tokenizer: Any, max_length: int, limit: int | None = None) -> CorpusReport:
    report = CorpusReport()
    names = ["input_ids", "labels"][: len(tokenizers_of(tokenizer))]
    waiting: dict[str, list[list[int]]] = {name: [] for name in names}
    with pq.ParquetWriter(path, pa.schema(dict.fromkeys(names, TOKENS)), compression="zstd") as writer:
        for lines in source.lines():
            if limit is not None:
                lines = lines[: limit - report.lines]
            texts = list(filter(holds_words, lines))
            report.lines += len(lines)
            report.empty += len(lines) - len(texts)
            if texts:
                encoded = encoded_columns(texts, tokenizer, max_length)
                for name in COUNTS:
                    setattr(report, name, getattr(report, name) + sum(encoded[name]))
                report.tokens += sum(encoded["length"]) - len(texts)
                for name, rows in waiting.items():
                    rows += encoded[name]
            while len(waiting["input_ids"]) >= GROUP_ROWS:
                _write_group(writer, waiting)
            if report.lines == limit:
                break
        if waiting["input_ids"]:
            _write_group(writer, waiting)
    return report


def _write_group(writer: pq.ParquetWriter, waiting: dict[str, list[list[int]]]) -> None:
    """Write the first rows of each column, at most `GROUP_ROWS`, and forget them."""
    group = {name: pa.array(rows[:GROUP_ROWS], TOKENS) for name, rows in waiting.items()}
    writer.write_table(pa.table(group), row_group_size=GROUP_ROWS)
    for rows in waiting.values():
        del rows[:GROUP_ROWS]


class TokenStore(TorchDataset):
    """Encoded sentences in a folder of Parquet files, of which a few groups of rows are in memory at a time.

    Rows are numbered through the files in their order. `report` says what became of the lines of the corpus. A row has
    `input_ids`, and of a `TokenizerPair` also `labels`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.report = CorpusReport(**json.loads((folder / INDEX).read_text(encoding="utf-8"))["report"])
        self._groups: list[tuple[str, int]] = []
        self.column_names: list[str] = []
        sizes = []
        for path in sorted(folder.glob("*.parquet")):
            metadata = pq.read_metadata(path)
            self.column_names = metadata.schema.to_arrow_schema().names
            self._groups += [(path.name, group) for group in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self._at_hand: OrderedDict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = OrderedDict()
        self._rows_at_hand = 0

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows_of(self, group: int) -> range:
        """The numbers of the rows of a group."""
        return range(int(self.starts[group]), int(self.starts[group + 1]))

    def lengths_of(self, group: int) -> np.ndarray:
        """The tokens that the decoder has of each row of a group, ends counted."""
        columns = self._group(group)
        return np.diff(columns["labels"][1]) + 1 if "labels" in columns else np.diff(columns["input_ids"][1])

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
        sentences = []
        for row, group in zip(rows, np.searchsorted(self.starts, rows, side="right") - 1, strict=True):
            index = row - self.starts[group]
            sentences.append(
                {
                    name: values[offsets[index] : offsets[index + 1]].tolist()
                    for name, (values, offsets) in self._group(int(group)).items()
                }
            )
        return sentences

    def select(self, rows: Sequence[int]) -> Dataset:
        """Some rows, in memory, with their `length`."""
        found = self.__getitems__(rows)
        columns = {name: [row[name] for row in found] for name in self.column_names}
        beside = 1 if "labels" in columns else 0
        return Dataset.from_dict(columns | {"length": [len(ids) + beside for ids in columns[self.column_names[-1]]]})

    def _group(self, number: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each column the token ids of a group one after the other, and where each row starts and the last ends."""
        if number not in self._at_hand:
            name, group = self._groups[number]
            with pq.ParquetFile(self.folder / name) as file:
                table = file.read_row_group(group).combine_chunks()
            lists = {name: table.column(name).chunk(0) for name in self.column_names}
            self._at_hand[number] = {
                name: (rows.values.to_numpy(), rows.offsets.to_numpy()) for name, rows in lists.items()
            }
            self._rows_at_hand += len(table)
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
