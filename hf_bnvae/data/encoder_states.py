"""States of sentences that were computed before: embeddings from files and arrays, and sentences that carry them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset

from .errors import CorpusError, first_line
from .readers import check_whole
from .shards import Shards, shards_named, with_rows, without_rows

ENDINGS = (".npy", ".parquet")
ROWS_AT_ONCE = 8_192
NUMBERS = "fiu"
"""The kinds of numbers that a row may hold, as NumPy names them."""


class SentenceStates(TorchDataset):
    """Encoded sentences with the state of each, which lies in an array in memory or on disk.

    Args:
        sentences: `length`, and `labels` or `input_ids`. Where there are labels, nothing reads `input_ids`.
        states: `(n, width)` numbers.
        numbers: which row of `states` is that of each sentence; None where they stand in the order of the sentences.
        are_data: whether other states are other data; those of an encoder differ in their last digits by the machine.
    """

    def __init__(
        self,
        sentences: Dataset,
        states: np.ndarray | Shards,
        numbers: np.ndarray | None = None,
        are_data: bool = False,
    ):
        names = sentences.column_names
        self.sentences = sentences.remove_columns("input_ids") if {"labels", "input_ids"} <= set(names) else sentences
        self.states = states
        self.numbers = np.arange(len(sentences)) if numbers is None else np.asarray(numbers)
        self.are_data = are_data
        assert len(self.numbers) == len(sentences)

    @property
    def column_names(self) -> list[str]:
        """Those of a row."""
        return [*self.sentences.column_names, "encoder_states"]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int | str) -> Any:
        """A row, or by its name a column of the sentences."""
        if isinstance(row, str):
            return self.sentences[row]
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        columns = self.sentences[list(rows)] | {"encoder_states": self.states_of(rows)}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    def states_of(self, rows: Sequence[int]) -> np.ndarray:
        """The states of some sentences, `(rows, width)` in fp32."""
        return np.asarray(self.states[self.numbers[rows]], dtype=np.float32)

    def blocks(self) -> Iterator[np.ndarray]:
        """The states of all sentences in their order, some at a time."""
        for start in range(0, len(self), ROWS_AT_ONCE):
            yield self.states_of(range(start, min(start + ROWS_AT_ONCE, len(self))))

    def select(self, rows: Sequence[int]) -> "SentenceStates":
        """Some of the sentences."""
        return SentenceStates(self.sentences.select(rows), self.states, self.numbers[rows], self.are_data)

    def __getstate__(self):
        return self.__dict__ | {"states": without_rows(self.states)}

    def __setstate__(self, state):
        self.__dict__ = state | {"states": with_rows(state["states"])}


class TokenRows(Sequence[list[int]]):
    """The `input_ids` of a data set, row by row; one after the other in an array they take a fraction of the memory."""

    def __init__(self, dataset: Dataset):
        rows = dataset.select_columns("input_ids").with_format("arrow")[:]["input_ids"].combine_chunks()
        self.values = rows.flatten().to_numpy()
        self.ends = np.cumsum(rows.value_lengths().to_numpy())

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row):
        start = self.ends[row - 1] if row else 0
        return self.values[start : self.ends[row]].tolist()


def read_embeddings(source: Any, called: str) -> np.ndarray | Shards:
    """Embeddings, `(n, width)`.

    Args:
        source: the path of an npy file, which stays on disk, or of a parquet file with one column of lists; a folder of
            such files, or a pattern of their names; a list of paths, whose rows come one after the other; or else an
            array, a tensor or nested lists.
        called: the parameter that names it, for errors.

    Raises:
        CorpusError: when it cannot be read, or is no table of numbers.
    """
    paths = [source] if isinstance(source, str | Path) else source
    if isinstance(paths, list | tuple) and paths and all(isinstance(path, str | Path) for path in paths):
        files = [file for path in paths for file in shards_named(str(path), ENDINGS, called)]
        arrays = [_read_file(file, f"{called} {file}") for file in files]
        for file, array in zip(files, arrays, strict=True):
            if array.shape[1] != arrays[0].shape[1]:
                raise CorpusError(
                    f"{called} {file} has {array.shape[1]} numbers in a row and {files[0]} {arrays[0].shape[1]}: give "
                    "embeddings of one model"
                )
        return arrays[0] if len(files) == 1 else Shards(arrays, [str(file) for file in files])
    if isinstance(source, torch.Tensor):
        source = source.detach().float().cpu().numpy()
    try:
        values = np.asarray(source)
    except ValueError as error:
        raise CorpusError(f"{called} has rows of different widths: give each text as many numbers") from error
    return _table_of_numbers(values, called)


def _read_file(path: Path, called: str) -> np.ndarray:
    if path.suffix.lower() not in ENDINGS:
        raise CorpusError(f"{called} has the unknown ending {path.suffix!r}: use {' or '.join(ENDINGS)}")
    check_whole(path)
    return _read_parquet(path, called) if path.suffix.lower() == ".parquet" else _read_npy(path, called)


def _table_of_numbers(values: np.ndarray, called: str) -> np.ndarray:
    if values.ndim != 2 or values.dtype.kind not in NUMBERS or values.shape[1] == 0:
        raise CorpusError(
            f"{called} holds an array of the shape {values.shape} and the type {values.dtype}: give a row of numbers "
            "for each text, (texts, width)"
        )
    return values


def _read_npy(path: Path, called: str) -> np.ndarray:
    with path.open("rb") as file:
        if not file.read(6) == b"\x93NUMPY":
            raise CorpusError(f"{called} is no npy file: write it by numpy.save")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        if "Python objects" in str(error):
            raise CorpusError(
                f"{called} holds pickled objects, which are not loaded: save an array of numbers"
            ) from error
        raise CorpusError(f"{called} could not be read as npy: {first_line(error)}") from error
    return _table_of_numbers(values, called)


def _read_parquet(path: Path, called: str) -> np.ndarray:
    try:
        with pq.ParquetFile(path) as file:
            lists = [item.name for item in file.schema_arrow if _holds_numbers(item.type)]
            if len(lists) != 1:
                raise CorpusError(
                    f"{called} has {'the columns ' + ', '.join(lists) if lists else 'no column'} of lists of numbers: "
                    "leave one, whose lists are the embeddings"
                )
            rows, values = 0, np.empty((0, 0), np.float32)
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=lists):
                column = batch.column(0)
                width = _width(column, rows, values.shape[1] if rows else None, called)
                if rows == 0:
                    values = np.empty((file.metadata.num_rows, width), np.float32)
                values[rows : rows + len(column)] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
                rows += len(column)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{called} could not be read as parquet: {first_line(error)}") from error
    return _table_of_numbers(values, called)


def _holds_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _width(column: pa.Array, before: int, width: int | None, called: str) -> int:
    """How many numbers each list of a column has."""
    lengths = column.value_lengths().to_pylist() if column.null_count else column.value_lengths().to_numpy()
    width = lengths[0] if width is None else width
    wrong = next((row for row, length in enumerate(lengths) if length is None or length != width), None)
    if wrong is not None or width is None:
        given = "nothing" if lengths[wrong or 0] is None else f"{lengths[wrong or 0]} numbers"
        others = "" if width is None else f" and others {width}"
        raise CorpusError(f"{called}, row {before + (wrong or 0) + 1}, holds {given}{others}: give all rows the same")
    return int(width)


def refuse_missing_numbers(values: np.ndarray | Shards, rows: np.ndarray, called: str) -> None:
    """Refuse embeddings with a NaN or an infinity, as fp32, in one of some rows, which are numbered from 0.

    Raises:
        CorpusError: naming the first such row; the first of all has the number 1.
    """
    if values.dtype.kind != "f":
        return
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        with np.errstate(over="ignore"):
            finite = np.isfinite(values[some].astype(np.float32)).all(1)
        if not finite.all():
            row = some[finite.argmin()]
            if isinstance(values, Shards):
                number = int(values.numbers_of(row))
                called, row = f"{called} {values.names[number]}", row - values.start_of(number)
            raise CorpusError(
                f"{called}, row {row + 1}, holds a NaN or an infinity in fp32: leave its text out, "
                "or compute the embedding again"
            )
