"""What one row of a corpus may hold: a text, and a label."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from datasets import ClassLabel
from datasets.features.features import FeatureType
from transformers.utils import logging

from .errors import CorpusError

USUAL_TEXT_COLUMNS = ("text", "sentence")
TURN_FIELDS = ("turns", "dialog", "dialogue", "utterances", "messages", "conversations", "conversation")
CONVERSATION_COLUMNS = ("dialogue_id", "dialog_id", "conversation_id", "conv_id")
MOST_DIGITS = 1_000  # Python makes no number of many more
UNLABELLED = ("-", "-1")
logger = logging.get_logger(__name__)


def as_text(value: object, where: str) -> str:
    """A row's text: a string as it is, a list of words joined by spaces, a number or a date as Python prints it.

    Where a file's reader takes a column for numbers or dates, their spelling in the file (`2.50`) is lost before.
    Nothing (None, or a NaN of a table) is an empty text.

    Args:
        where: the source and the row, for errors.

    Raises:
        CorpusError: for anything else, whose printed form would be trained on.
    """
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        if any(" " in word.strip() for word in value):
            raise CorpusError(f"{where}: a list of {len(value):,} texts in one row; write one text a row")
        return " ".join(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == datetime.min.time() else value.isoformat(" ")
    if isinstance(value, date | int | float) and not isinstance(value, bool):
        return str(value)
    holds = "objects" if isinstance(value, list) else f"{type(value).__name__}"
    raise CorpusError(f"{where}: must be text, got {'a list of ' if isinstance(value, list) else ''}{holds}")


def as_texts(values: Iterable[object], source: str, column: str, first: int = 1) -> list[str]:
    """`as_text` of a column.

    Args:
        first: the number of the first row.
    """
    return [
        value if isinstance(value, str) else as_text(value, f"{source}, row {row}, {column}")
        for row, value in enumerate(values, start=first)
    ]


def class_names(values: list, feature: FeatureType) -> list:
    """The names of the classes in a column of `ClassLabel`, whose numbers another split may give to others.

    Names that are all whole numbers are given as such. None and -1 stay, which say that there is no label; so do the
    values of any other column.
    """
    if not isinstance(feature, ClassLabel):
        return values
    names = [int(name) for name in feature.names] if all(map(_is_plain, feature.names)) else feature.names
    return [names[value] if value in range(len(names)) else value for value in values]


def as_labels(values: Sequence[object], source: str) -> list:
    """Labels of one kind: whole numbers where all of them are such, in digits or not, and else text.

    Labels of several kinds (`"pos"` beside 1), with zeros in front (`"001"`, which is not `"01"`), or of more digits
    than 64 bits hold, are text, whatever the format of the file; None stays. What usually says that there is no label
    is a class like any other, and a warning says so.
    """
    values = list(values)
    strings = [value if value is None or isinstance(value, str) else str(value) for value in values]
    present = [text for text in strings if text is not None]
    unlabelled = sorted({text for text in present if text.strip() in UNLABELLED})
    if unlabelled and len(set(present)) > len(unlabelled):
        count = sum(text in unlabelled for text in present)
        logger.warning(
            f"{source}: {count:,} of {len(strings):,} rows have the label {' or '.join(unlabelled)}, which counts as a "
            "class: take these rows out if it says that there is none."
        )
    kinds = {type(value) for value in values if value is not None}
    if kinds == {str} and len(present) == len(values):
        if not all(map(_is_plain, present)):
            return values
        numbers = [int(text) for text in present]
        return numbers if all(map(_fits, numbers)) else values
    alike = len(kinds) <= 1 or kinds <= {int, float}
    return values if alike and all(_fits(value) for value in values if isinstance(value, int)) else strings


def is_whole(text: str) -> bool:
    """Whether a text is a whole number."""
    return text.strip().removeprefix("-").isdecimal()


def _is_plain(text: str) -> bool:
    """Whether a text is a whole number as Python prints it, so that the number is no other text's."""
    return is_whole(text) and len(text) <= MOST_DIGITS and str(int(text)) == text.strip()


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63
