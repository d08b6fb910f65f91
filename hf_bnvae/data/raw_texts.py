"""From data sets of texts to data sets of token ids, for a trainer that is given a tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from .batches import COUNTS, encoded_columns
from .corpora import USUAL_TEXT_COLUMNS
from .errors import CorpusError
from .python_data import in_memory
from .rows import as_texts
from .tokenizer_pair import TokenizerPair
from .tokenizers import check_ends, has_ends, length_limit

MAX_LENGTH = 256
"""Tokens of a text at most, both ends counted, where the tokenizer has no limit of its own."""
FIRST_ROWS = 8

logger = logging.get_logger(__name__)


def with_token_ids(data: Any, tokenizer: PreTrainedTokenizerBase | None, name: str, most: int | None = None) -> Any:
    """Encode the texts of a data set. Data that hold token ids already, or no texts, are given back.

    Args:
        data: a list of strings, or a `Dataset` or an `IterableDataset` with a column `text` or `sentence`, or with one
            column only.
        tokenizer: puts a start and an end around each text, and cuts it at its `model_max_length`; None encodes
            nothing.
        name: what errors call the data.
        most: at most so many rows of a stream.

    Returns:
        A `Dataset` with the columns `input_ids`, `length` and `words`. Texts of nothing but white space are left out.

    Raises:
        CorpusError: it is not clear which column holds the texts, one of them is no text, or the tokenizer puts no ends
            around them.
    """
    if tokenizer is None:
        return data
    if isinstance(data, Sequence) and not isinstance(data, str) and data and isinstance(data[0], str):
        data = Dataset.from_dict({"text": list(data[:])})
    if isinstance(data, IterableDataset):
        data = in_memory(data, most, name)
    if not isinstance(data, Dataset) or {"input_ids", "encoder_states"} & set(data.column_names):
        _warn_of_missing_ends(data, tokenizer, name)
        return data
    check_ends(tokenizer, "processing_class")
    column = _text_column(data.column_names, name)
    texts = [text for text in as_texts(data.with_format(None)[column][:], name, column) if text.strip()]
    columns = encoded_columns(texts, tokenizer, length_limit(tokenizer) or MAX_LENGTH)
    return Dataset.from_dict({name: values for name, values in columns.items() if name not in COUNTS})


def _warn_of_missing_ends(data: Any, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Warn of token ids without their ends, which a language model may be meant to read, in the first rows.

    Of rows with labels the ends are those of the labels, and of a `TokenizerPair` those of its encoder's.
    """
    if isinstance(tokenizer, TokenizerPair) or not isinstance(data, Dataset | Sequence):
        return
    for index in range(min(FIRST_ROWS, len(data))):
        row = data[index]
        if not isinstance(row, Mapping) or "input_ids" not in row or "labels" in row:
            return
        if not has_ends([int(number) for number in row["input_ids"]], tokenizer):
            logger.warning(
                f"{name}, row {index} counted from 0: its input_ids have no start and end symbol around them, so that "
                "its first word is not predicted, or not its end: encode the texts by hf_bnvae.data.load_tokenizer."
            )
            return


def _text_column(names: list[str], source: str) -> str:
    column = next((usual for usual in USUAL_TEXT_COLUMNS if usual in names), names[0] if len(names) == 1 else None)
    if column is None:
        raise CorpusError(f"{source} has the columns {', '.join(names)}: rename the one with the texts to text")
    return column
