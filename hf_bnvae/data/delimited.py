"""Tables as text: where their header is, what separates their fields, and what only looks like text."""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from datasets import Features, Value
from transformers.utils import logging

from ..visible import visible
from .errors import CorpusError
from .rows import is_whole

LINES_LOOKED_AT = 1_000
OTHER_DELIMITERS = {";": "semicolons", "|": "bars", "\t": "tabs"}
HEADERLESS_NAMES = ("text", "sentence")

csv.field_size_limit(2**31 - 1)  # what a long of C holds on every system
logger = logging.get_logger(__name__)


def table_options(path: Path, no_header: bool = False, text_column: str | None = None) -> dict:
    """Options for the csv builder: every column a string, and nothing (`NA`, `null`, quotes) read as anything else.

    The first row holds the names of the columns, unless `no_header` says that it is data, or a tsv has one column, or
    two of which the first holds only whole numbers. The one column of a tsv has a name where that is `text`, `sentence`
    or the `text_column`. Columns without names have their numbers from 0.

    Raises:
        CorpusError: for rows of several lengths, and a table whose fields something else separates.
    """
    tabs = path.suffix.lower() == ".tsv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = _fields(path, file) if tabs else csv.reader(file)
        first = next(rows, None)
        if first is None:
            raise CorpusError(f"{path} is empty")
        first_is_blank = CorpusError(f"{path}: its first line is empty: take it out")
        if not first:
            raise first_is_blank
        if not tabs:
            _refuse_other_delimiters(path, first)
        numbered = tabs and len(first) == 2 and is_whole(first[0])
        for number, row in enumerate(rows, start=2):
            if row in ([], [""]):
                continue
            if len(row) != len(first):
                if not "".join(first).strip():
                    raise first_is_blank
                raise CorpusError(
                    f"{path}, row {number}: {len(row)} fields where the first row has {len(first)}; "
                    + ("take stray tabs out" if tabs else "put text that holds commas between double quotes")
                )
            numbered = numbered and is_whole(row[0])
    alone = tabs and len(first) == 1 and first[0] not in (*HEADERLESS_NAMES, text_column)
    named = not (no_header or numbered or alone)
    if named and len(set(first)) < len(first):
        raise CorpusError(f"{path}: two columns have one name; is its first row data (`no_header`)?")
    columns = first
    if numbered:
        columns = ["label", "text"]
    elif alone:
        columns = ["text"]
    elif no_header:
        columns = [str(number) for number in range(len(first))] if len(first) > 1 else ["text"]
    return {
        "sep": "\t" if tabs else ",",
        "quoting": csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        "header": 0 if named else None,
        "names": columns,
        "index_col": False,
        "encoding": "utf-8-sig",
        "features": Features({column: Value("string") for column in columns}),
        "keep_default_na": False,
        "skip_blank_lines": False,
    }


def _fields(path: Path, lines: Iterable[str]) -> Iterator[list[str]]:
    """The fields of each line of a tsv, as they stand there.

    A warning names the first that stands in quotes as pandas and Excel put it there: with doubled quotes in it, or with
    a line break, so that a later line closes it.
    """
    warned, begun = False, None
    for number, line in enumerate(lines, start=1):
        fields = line.rstrip("\r\n").split("\t")
        if not warned and '"' in line:
            closed = begun is not None and fields[0].endswith('"') and fields[0].count('"') % 2 == 1
            warned = closed or any(field[0:1] == field[-1:] == '"' and '""' in field[1:-1] for field in fields)
            if warned:
                logger.warning(
                    f"{path}, line {begun if closed else number}: a field stands in double quotes as pandas and Excel "
                    "write it, and a tsv is read as it stands, with quotes for words and a row for each line: save it "
                    "as csv if they are not part of the text."
                )
            elif line.count('"') % 2 == 1:
                begun = number if fields[-1].startswith('"') else None
        yield fields


def warn_of_a_header(path: Path, names: list[str], text: str, text_column: str | None) -> None:
    """Say that the first line of a table was taken for names where nothing else says that it holds them."""
    if path.suffix.lower() in (".csv", ".tsv") and text not in HEADERLESS_NAMES and text_column != text:
        shown = visible(", ".join(names))
        logger.warning(
            f"{path}: the first line was read as the names of the columns ({shown}); if it is data, add "
            "`no_header` true."
        )


def refuse_labelled_lines(path: Path, lines: Iterable[str]) -> None:
    """Refuse a file of plain text whose lines all begin with a label, which would be each text's first word.

    Raises:
        CorpusError: naming the layout and the remedy.
    """
    some = [line for line in islice(lines, LINES_LOOKED_AT) if line.strip()]
    if len(some) < 2:
        return
    if all(re.match(r"-?\d+\t", line) for line in some):
        raise CorpusError(
            f"{path}: every line begins with a number and a tab, as in label<TAB>text: give the file the ending .tsv"
        )
    if all(re.match(r"__label__\S+\s", line) for line in some):
        raise CorpusError(
            f"{path}: every line begins with a label of fastText (__label__): write label<TAB>text into a .tsv instead"
        )


def _refuse_other_delimiters(path: Path, first: list[str]) -> None:
    if len(first) != 1:
        return
    if re.fullmatch(r"sep=.?", first[0].strip()):
        raise CorpusError(
            f"{path}: its first line {first[0]!r} is a hint for Excel: take it out, and separate by commas"
        )
    for delimiter, name in OTHER_DELIMITERS.items():
        if delimiter in first[0] and " " not in first[0].strip():
            ending = ", or give it the ending .tsv" if delimiter == "\t" else ""
            raise CorpusError(
                f"{path}: its fields are separated by {name} ({delimiter!r}): separate them by commas{ending}"
            )
