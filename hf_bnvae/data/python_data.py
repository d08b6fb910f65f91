"""Data that a program has at hand: `datasets`' and plain Python's shapes, as splits and as encoded rows."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa
from datasets import Dataset, IterableDataset
from datasets.arrow_dataset import Column
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset

from .errors import CorpusError, first_line
from .rows import CONVERSATION_COLUMNS, TURN_FIELDS, USUAL_TEXT_COLUMNS
from .splits import SPLIT_NAMES, USUAL, SplitChoice

EXAMPLES_AT_ONCE = 1_000
USUAL_COLUMNS = (*USUAL_TEXT_COLUMNS, *TURN_FIELDS, *CONVERSATION_COLUMNS, "context", "prompt")
"""A dict with one of these keys holds columns; any other holds splits."""


def splits_at_hand(
    data: Any,
    choice: SplitChoice = USUAL,
    most: Mapping[str, int | None] | None = None,
    read: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """The splits of data at hand, under our names.

    Args:
        data: rows in any shape that `as_rows` takes, which are the training split; a dict of columns; or a
            `DatasetDict`, an `IterableDatasetDict` or a dict of rows by split.
        choice: what the splits are called.
        most: read at most so many rows of each split that may have no end.
        read: what makes the rows of a split of its data, its name and so many; by default `as_rows`.

    Raises:
        CorpusError: when there is neither train nor test, or a split is no data.
    """
    most, read = most or {}, read or as_rows
    if not holds_splits(data):
        return {"train": read(data, "the data", most.get("train"))}
    chosen = {}
    for split in SPLIT_NAMES:
        name = next((name for name in choice.names_of(split) if name in data), None)
        if name is not None:
            chosen[split] = read(data[name], f"the split {name}", most.get(split))
    if "train" not in chosen and "test" not in chosen:
        raise CorpusError(f"the data has neither train nor test, only {', '.join(map(str, data)) or 'no split'}")
    return chosen


def holds_splits(data: Any) -> bool:
    """Whether data at hand are rows by split, and not rows or columns."""
    return isinstance(data, Mapping) and not any(column in data for column in USUAL_COLUMNS)


def as_rows(rows: Any, name: str = "the data", most: int | None = None) -> Dataset | IterableDataset:
    """A data set of the library datasets, of texts, of dialogues or of rows.

    Args:
        rows: a data set, which is given back; what pandas holds; a dict of columns; or any other iterable of strings,
            of lists of turns or of dicts: a list, a `datasets.Column`, an array, a generator. The first row that is
            not None says which; a text may be None, or NaN in a table.
        name: what errors call them.
        most: read at most so many rows of what has no length, such as a generator.

    Raises:
        CorpusError: they are nothing of the kind, or a row is not what the others are.
    """
    if isinstance(rows, Dataset | IterableDataset):
        return rows
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns"):
        with suppress(pa.ArrowException, TypeError):
            return Dataset.from_pandas(rows, preserve_index=False)
        rows = {column: rows[column] for column in rows.columns}
    if isinstance(rows, Mapping):
        return _table({column: _listed(values) for column, values in rows.items()}, name)
    _check_iterable(rows, name)
    listed = _listed(rows, None if isinstance(rows, Sized) else most)
    first = next((row for row in listed if row is not None), None)
    if isinstance(first, Mapping):
        columns = dict.fromkeys(column for row in _of_kind(Mapping, "a dict", listed, name) for column in row)
        return _table({column: [row.get(column) for row in listed] for column in columns}, name)
    if isinstance(first, list | tuple):
        return Dataset.from_dict({"turns": _of_kind(list | tuple, "a list", listed, name)})
    texts = [None if isinstance(row, float) and row != row else row for row in listed]
    return Dataset.from_dict({"text": _of_kind(str | None, "text", texts, name)})


def plain_rows(rows: Any, name: str = "the data", most: int | None = None) -> list | Dataset | IterableDataset:
    """Rows of any kind as plain Python holds them, so that each may have fields and types of its own.

    Args:
        rows: what `as_rows` takes, of which a data set is given back. NaN is None.
        name, most: as of `as_rows`.

    Raises:
        CorpusError: they are nothing of the kind, or columns of unlike lengths.
    """
    if isinstance(rows, Dataset | IterableDataset):
        return rows
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns"):
        rows = rows.to_dict("records")
    elif isinstance(rows, Mapping):
        columns = {column: _listed(values) for column, values in rows.items()}
        _check_lengths(columns, name)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    _check_iterable(rows, name)
    return [_as_python(row) for row in _listed(rows, None if isinstance(rows, Sized) else most)]


def _table(columns: Mapping[Any, list], name: str) -> Dataset:
    """Columns as a data set; one of words beside numbers holds words.

    Raises:
        CorpusError: they are of unlike lengths, or one cannot be told what it holds.
    """
    _check_lengths(columns, name)
    try:
        return Dataset.from_dict({column: _of_words(values) for column, values in columns.items()})
    except (pa.ArrowException, TypeError) as error:
        for column, values in columns.items():
            if not isinstance(column, str):
                raise CorpusError(f"{name}: a column is called {column!r}: give it a word for a name") from error
            kinds = sorted({type(value).__name__ for value in values if value is not None})
            if len(kinds) > 1:
                raise CorpusError(
                    f"{name}, column {column}: it holds values of several kinds ({', '.join(kinds)}): make them of one"
                ) from error
        raise CorpusError(f"{name} cannot be made a table: {first_line(error)}") from error


def _of_words(values: list) -> list:
    """Values of which some are strings and others numbers as strings; None, and NaN among strings, is None."""
    if not {str} < {type(value) for value in values} <= {str, int, float, bool, type(None)}:
        return values
    return [None if value is None or value != value else str(value) for value in values]


def _check_lengths(columns: Mapping[Any, list], name: str) -> None:
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise CorpusError(f"{name}: the columns have unlike numbers of rows, {lengths}: give each as many")


def _as_python(value: Any) -> Any:
    """A value with the lists, dicts and numbers of Python in it, and None in the place of NaN."""
    value = _plain(value)
    if isinstance(value, list | tuple):
        return [_as_python(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _as_python(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value


def _check_iterable(rows: Any, name: str) -> None:
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes):
        raise CorpusError(
            f"{name} must be a list of strings, or a Dataset, an IterableDataset or a DatasetDict of the library "
            f"datasets, got {type(rows).__name__}"
        )


def _listed(rows: Any, most: int | None = None) -> list:
    """At most so many rows as plain Python holds them, pandas' NA as None; those of a set in one order always."""
    if isinstance(rows, set | frozenset):
        rows = sorted(rows, key=str)
    if isinstance(rows, Column):
        rows = rows[:]  # at once: row by row takes a hundred times as long
    rows = islice(rows.tolist() if hasattr(rows, "tolist") else rows, most)
    return [None if row is pd.NA else row for row in rows]


def _of_kind(kind: Any, called: str, rows: list, name: str) -> list:
    """The rows; a CorpusError with the number of the first that is of another kind."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, kind):
            raise CorpusError(f"{name}, row {number}: must be {called}, got {type(row).__name__}")
    return rows


def read_at_hand(
    data: Any, splits: Collection[str], max_samples: Mapping[str, int | None], choice: SplitChoice = USUAL
) -> dict[str, Dataset]:
    """Those of the `splits` that data at hand has, in memory.

    Of each the first `max_samples` rows, and of a stream as many as these take where a validation split is put aside;
    a data set in memory is then whole.

    Raises:
        CorpusError: as `splits_at_hand` and `in_memory` do.
    """
    most = {split: choice.rows_for(split, max_samples.get(split)) for split in SPLIT_NAMES}
    chosen = {split: rows for split, rows in splits_at_hand(data, choice, most).items() if split in splits}
    whole = () if choice.validation_split_percentage is None else (Dataset,)
    return {
        split: in_memory(rows, None if isinstance(rows, whole) else most[split], f"the data ({split})")
        for split, rows in chosen.items()
    }


def in_memory(rows: Dataset | IterableDataset, most: int | None = None, source: str = "the data") -> Dataset:
    """At most the first `most` rows of a data set, which may be a stream, as plain Python holds them.

    Raises:
        CorpusError: when the stream cannot be read, or is empty.
    """
    if isinstance(rows, Dataset):
        rows = rows.with_format(None)
        return rows if most is None or most >= len(rows) else rows.select(range(most))
    try:
        kept = list(rows if most is None else islice(rows, most))
        dataset = Dataset.from_list(kept, features=getattr(rows, "features", None))
    except Exception as error:  # many kinds, of several libraries
        raise CorpusError(f"{source} could not be read: {first_line(error.__cause__ or error)}") from error
    if not kept:
        raise CorpusError(f"{source} holds no rows")
    return dataset


def encoded_rows(data: Any, name: str, most: int | None = None, tokenizer: Any = None) -> Any:
    """Encoded sentences in a shape that `VaeTrainer` draws batches from: with a `length`, and rows by number.

    Rows that were padded already lose their padding: what their `attention_mask` says is none of the text, and without
    one the padding symbols behind the end symbol of `tokenizer`.

    Args:
        data: a `Dataset` or an `IterableDataset` with a column `input_ids`, of which the batches are made; a list of
            such rows, or a `torch` data set of them. Anything else is given back: a `TokenStore` and
            `DialogueResponses` are what is needed.
        name: what errors call it.
        most: at most so many rows of a stream, which may have no end.
        tokenizer: that made the ids, where it is known.

    Raises:
        CorpusError: when it holds no token ids.
    """
    if isinstance(data, TorchIterableDataset) and not isinstance(data, IterableDataset):
        data = list(islice(data, most))
    elif isinstance(data, TorchDataset) and not isinstance(data, Dataset | IterableDataset):
        if hasattr(data, "select"):
            return data
        data = [data[row] for row in range(len(data))]  # type: ignore[arg-type]
    if isinstance(data, Sequence) and not isinstance(data, str):
        other = next((row for row in data if not isinstance(row, Mapping)), None)
        if other is not None:
            raise CorpusError(
                f"{name} holds rows of {type(other).__name__} and no input_ids: give the tokenizer of texts as "
                "`processing_class`"
            )
        data = Dataset.from_list([{key: _plain(value) for key, value in row.items()} for row in data])
    if not isinstance(data, Dataset | IterableDataset):
        return data
    data = in_memory(data, most if isinstance(data, IterableDataset) else None, name)
    if not {"input_ids", "encoder_states"} & set(data.column_names):
        raise CorpusError(
            f"{name} has the columns {', '.join(data.column_names)} and no input_ids: give their tokenizer as "
            "`processing_class`, or encode its texts by hf_bnvae.data.encode_corpus"
        )
    if len(data) == 0:
        raise CorpusError(f"{name} holds no rows")
    data = _without_padding(data, tokenizer)
    if "length" not in data.column_names:
        column = "labels" if "encoder_states" in data.column_names else "input_ids"
        batches = data.select_columns(column).iter(EXAMPLES_AT_ONCE)
        data = data.add_column("length", [len(ids) for batch in batches for ids in batch[column]])
    if (
        "encoder_states" in data.column_names
    ):  # not as lists of Python's numbers, which take most of the time of a batch
        data = data.with_format("numpy", columns=["encoder_states"], output_all_columns=True)
    return data


def _without_padding(data: Dataset, tokenizer: Any) -> Dataset:
    """Encoded rows without the padding that they came with, and without a mask."""
    if "input_ids" not in data.column_names:
        return data
    if "attention_mask" in data.column_names:
        batches = data.select_columns("attention_mask").iter(EXAMPLES_AT_ONCE)
        if not any(0 in mask for batch in batches for mask in batch["attention_mask"]):
            return data.remove_columns("attention_mask")

        def words(rows):
            pairs = zip(rows["input_ids"], rows["attention_mask"], strict=True)
            return {"input_ids": [[number for number, there in zip(*pair, strict=True) if there] for pair in pairs]}

    else:
        padding, end = getattr(tokenizer, "pad_token_id", None), getattr(tokenizer, "eos_token_id", None)
        if "length" in data.column_names or padding is None or padding == end:
            return data
        batches = data.select_columns("input_ids").iter(EXAMPLES_AT_ONCE)
        if not any(ids[-2:] in ([end, padding], [padding] * 2) for batch in batches for ids in batch["input_ids"]):
            return data

        def words(rows):
            return {"input_ids": [_up_to_the_padding(ids, padding, end) for ids in rows["input_ids"]]}

    unwanted = [name for name in ("attention_mask", "length") if name in data.column_names]
    return data.map(words, batched=True, remove_columns=unwanted, keep_in_memory=True, desc="Taking off padding")


def _up_to_the_padding(ids: list[int], padding: int, end: int) -> list[int]:
    """Token ids without the padding behind their end symbol; as they are where it stands behind none."""
    last = next((place for place in range(len(ids) - 1, -1, -1) if ids[place] != padding), -1)
    return ids[: last + 1] if last >= 0 and ids[last] == end else ids


def _plain(value: object) -> object:
    """A tensor or an array as a list."""
    return value.tolist() if hasattr(value, "tolist") else value
