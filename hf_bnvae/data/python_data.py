"""Data that a program has at hand: `datasets`' and plain Python's shapes, as splits and as encoded rows."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from datasets import Dataset, IterableDataset
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset as TorchIterableDataset

from .errors import CorpusError, first_line
from .splits import SPLIT_NAMES, USUAL, SplitChoice

EXAMPLES_AT_ONCE = 1_000


def splits_at_hand(data: Any, choice: SplitChoice = USUAL) -> dict[str, Dataset | IterableDataset]:
    """The splits of data at hand, under our names.

    Args:
        data: a `Dataset` or an `IterableDataset`, which is the training split, or a `DatasetDict`, an
            `IterableDatasetDict` or a dict of them by split.
        choice: what the splits are called.

    Raises:
        CorpusError: when there is neither train nor test, or a split is no data set.
    """
    if not isinstance(data, Mapping):
        return {"train": data}
    chosen = {}
    for split in SPLIT_NAMES:
        name = next((name for name in choice.names_of(split) if name in data), None)
        if name is not None:
            if not isinstance(data[name], Dataset | IterableDataset):
                raise CorpusError(
                    f"the split {name} is a {type(data[name]).__name__}: give a Dataset or an IterableDataset of "
                    "the library datasets, which Dataset.from_list and Dataset.from_dict make"
                )
            chosen[split] = data[name]
    if "train" not in chosen and "test" not in chosen:
        raise CorpusError(f"the data has neither train nor test, only {', '.join(map(str, data)) or 'no split'}")
    return chosen


def read_at_hand(
    data: Any, splits: Collection[str], max_samples: Mapping[str, int | None], choice: SplitChoice = USUAL
) -> dict[str, Dataset]:
    """Those of the `splits` that data at hand has, in memory, the first `max_samples` rows of each.

    Raises:
        CorpusError: as `splits_at_hand` and `in_memory` do.
    """
    if not isinstance(data, Dataset | IterableDataset | Mapping):
        raise CorpusError(
            f"a {type(data).__name__} is no data set: give a Dataset, an IterableDataset or a DatasetDict of the "
            "library datasets, which Dataset.from_list and Dataset.from_dict make"
        )
    chosen = {split: rows for split, rows in splits_at_hand(data, choice).items() if split in splits}
    return {split: in_memory(rows, max_samples.get(split), f"the data ({split})") for split, rows in chosen.items()}


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
        data = Dataset.from_list([{key: _plain(value) for key, value in row.items()} for row in data])
    if not isinstance(data, Dataset | IterableDataset):
        return data
    data = in_memory(data, most if isinstance(data, IterableDataset) else None, name)
    if not {"input_ids", "encoder_states"} & set(data.column_names):
        raise CorpusError(
            f"{name} has the columns {', '.join(data.column_names)} and no input_ids: encode its texts by "
            "hf_bnvae.data.encode_corpus, or by a tokenizer that puts its start and its end around each"
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
