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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.fingerprint import Hasher
from torch.utils.data import Dataset as TorchDataset
from transformers import PreTrainedTokenizerBase

from .batches import EpochSampler, LengthBucketSampler
from .corpora import CorpusReport
from .encoded_texts import encode_counted
from .kept_on_disk import INDEX, cache_folder, kept_folder
from .streaming import Source, holds_words, no_sentence

GROUP_ROWS = 4_096
BLOCK_ROWS = 8 * GROUP_ROWS
FORMAT = 2  # of the folders of token ids; another one is made anew
SCHEMA = pa.schema({"input_ids": pa.list_(pa.int32())})


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
    folder = cache_folder() if folder is None else folder
    key = Hasher.hash(
        [
            FORMAT,
            *[[source.identity, source.text_column, source.label_column, source.no_header] for source in sources],
            max_length,
            max_samples,
            tokenizer.backend_tokenizer.to_str(),
        ]
    )

    def make(partial_folder: Path) -> dict:
        return {"report": asdict(_tokenise(sources, tokenizer, max_length, max_samples, workers, partial_folder))}

    kept_folder(folder / key, "token ids", make, pq.read_metadata)
    return TokenStore(folder / key)


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
        raise no_sentence(sources, total.lines)
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
            texts = list(filter(holds_words, lines))
            report.lines += len(lines)
            report.empty += len(lines) - len(texts)
            if texts:
                encoded = encode_counted(texts, tokenizer, max_length)
                report.truncated += sum(encoded.truncated)
                report.unknown += sum(encoded.unknown)
                report.symbols += sum(encoded.symbols)
                report.tokens += sum(map(len, encoded.input_ids)) - len(encoded.input_ids)
                waiting += encoded.input_ids
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
        sentences = []
        for row, group in zip(rows, np.searchsorted(self.starts, rows, side="right") - 1, strict=True):
            values, offsets = self._group(int(group))
            index = row - self.starts[group]
            sentences.append({"input_ids": values[offsets[index] : offsets[index + 1]].tolist()})
        return sentences

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
