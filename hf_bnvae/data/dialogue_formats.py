"""Dialogues as people have them: files and rows of many layouts as rows with `turns`."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, dropwhile
from pathlib import Path

from .corpora import check_file, read_table
from .errors import CorpusError
from .readers import builder_of, ending, named_as, plain_file
from .rows import CONVERSATION_COLUMNS, TURN_FIELDS

DEFAULT_TURN_SEPARATOR = "__eou__"
ENDINGS = (".jsonl", ".json", ".tsv", ".csv", ".parquet", ".arrow", ".txt")
TEXT_FIELDS = ("text", "content", "value", "utterance")
SPEAKER_FIELDS = ("speaker", "role", "from")
UTTERANCE_COLUMNS = ("text", "utterance", "message", "content", "line")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "speaker_idx", "role", "author", "user")
INSTRUCTIONS = ("system", "developer")
NUMBERED = re.compile(r"(\d+) (.*)")
PERSONA = re.compile(r"(your|partner's) persona:")
SILENCE = "__SILENCE__"

Located = tuple[str, object]
"""A row, and the source and the place in it for errors."""


@dataclass
class DialogueLayout:
    """How the dialogues of a source are laid out, and what was left out of them on the way.

    Args:
        context_column, response_column: of a table of one response a row: names, or numbers from 0.
        turn_separator: between the turns of a context, or of a line of plain text.
        conversation_column, utterance_column, speaker_column: of a table of one utterance a row; by default what they
            usually are called.
        no_header: the first line of csv and tsv files is data.
        skip_empty_turns: leave out turns that hold nothing, and dialogues of fewer than two others, and count them;
            otherwise they are errors.
    """

    context_column: str = "context"
    response_column: str = "response"
    turn_separator: str = DEFAULT_TURN_SEPARATOR
    conversation_column: str | None = None
    utterance_column: str | None = None
    speaker_column: str | None = None
    no_header: bool = False
    skip_empty_turns: bool = False

    def pair_columns(self, names: list[str]) -> tuple[str, str] | None:
        """The columns of the context and the response, or of a prompt and its completion; None where they are not."""
        context, response = (_column(names, name) for name in (self.context_column, self.response_column))
        if response is not None and (context is not None or self.context_column == "context"):
            return context or self.context_column, response
        usual = (self.context_column, self.response_column) == ("context", "response")
        if usual and {"prompt", "completion"} <= set(names):
            return "prompt", "completion"
        return ("0", "1") if usual and self.no_header and names == ["0", "1"] else None

    def utterance_columns(self, names: list[str]) -> tuple[str, str, str | None] | None:
        """The columns of a conversation's id, an utterance and its speaker; None where they are not."""
        wanted = (
            (self.conversation_column, CONVERSATION_COLUMNS),
            (self.utterance_column, UTTERANCE_COLUMNS),
            (self.speaker_column, SPEAKER_COLUMNS),
        )
        columns = []
        for name, usual in wanted:
            column = next((name for name in usual if name in names), None) if name is None else _column(names, name)
            if name is not None and column is None:
                raise CorpusError(f"there is no column {name!r}: the columns are {', '.join(names)}")
            columns.append(column)
        conversation, utterance, speaker = columns
        return None if conversation is None or utterance is None else (conversation, utterance, speaker)


def _column(names: list[str], wanted: str) -> str | None:
    if wanted in names:
        return wanted
    return names[int(wanted)] if wanted.isdecimal() and int(wanted) < len(names) else None


# Files


def read_rows(path: Path, layout: DialogueLayout) -> Iterator[Located]:
    """The rows of a file, each with its place: objects or lists of JSON, rows of a table, dialogues of plain text.

    Raises:
        CorpusError: when the file cannot be read, naming the line.
    """
    if path.is_dir() or ending(path) not in (".jsonl", ".json", ".txt"):
        table = read_table(path, layout.no_header)
        return ((f"{path}, row {number}", row) for number, row in enumerate(table, start=1))
    plain = plain_file(path)
    with named_as(path, plain):
        if builder_of(plain) == "text":
            check_file(plain)
            return iter(list(_plain_dialogues(path, plain, layout)))
        return chain.from_iterable([_json_rows(path, plain)])


def _json_rows(path: Path, plain: Path) -> Iterator[Located]:
    array = _array(plain)
    if array == []:
        raise CorpusError(f"{path} holds no rows")
    if array is not None:
        yield from ((f"{path}, dialogue {number}", row) for number, row in enumerate(array, start=1))
        return
    empty = True
    with plain.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                text = line.decode("utf-8-sig")
                if not text.strip():
                    continue
                row = json.loads(text)
            except UnicodeDecodeError:
                raise CorpusError(f"{where}: not UTF-8; convert the file to UTF-8") from None
            except json.JSONDecodeError as error:
                raise CorpusError(f"{where}: no JSON ({error.msg} at column {error.colno})") from None
            except RecursionError:
                raise CorpusError(f"{where}: no JSON of a dialogue (nested too deeply)") from None
            empty = False
            yield where, row
    if empty:
        raise CorpusError(f"{path} is empty")


def _array(path: Path) -> list | None:
    """The dialogues of a file that is one JSON array of them; None for one of JSON lines, or of neither."""
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
        if not first.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
            return None
        several = next((True for line in file if line.strip()), False)
    try:
        if several:
            try:
                json.loads(first)
                return None  # its lines are arrays
            except ValueError:
                pass
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return None if content and isinstance(content[0], str) else content


def _plain_dialogues(path: Path, plain: Path, layout: DialogueLayout) -> Iterator[Located]:
    with plain.open(encoding="utf-8-sig") as file:
        lines = [(number, line.strip("\n\r")) for number, line in enumerate(file, start=1) if line.strip()]
    if lines and all(NUMBERED.match(line) for _, line in lines):
        yield from _numbered(path, lines)
    elif lines and layout.turn_separator in lines[0][1]:
        for number, line in lines:
            yield f"{path}, line {number}", {"turns": split_turns(line, layout.turn_separator)}
    else:
        raise CorpusError(
            f"{path}: plain text says nothing of turns, unless {layout.turn_separator} stands between them or its "
            "lines are numbered as PersonaChat's are: use jsonl, tsv, csv or parquet"
        )


def _numbered(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Located]:
    """Episodes of numbered lines, `3 what one says<TAB>what the other answers`, each of which begins at 1."""
    where, left_out = "", 0
    turns: list[dict] = []
    for number, line in lines:
        count, content = NUMBERED.match(line).groups()  # type: ignore[union-attr]
        if count == "1" and (turns or left_out):
            yield where, {"turns": turns, "left_out": left_out}
            turns, left_out = [], 0
        if count == "1":
            where = f"{path}, line {number}"
        if PERSONA.match(content):
            left_out += 1
            continue
        said, _, rest = content.partition("\t")
        answers = [answer for answer in rest.partition("\t")[0].split("|") if answer.strip()]
        if said.strip() == SILENCE:
            left_out += 1
        else:
            turns.append({"speaker": "A", "text": said})
        if answers:
            turns.append({"speaker": "B", "text": answers[0], "references": answers[1:]})
    yield where, {"turns": turns, "left_out": left_out}


# Rows


def split_turns(text: str, separator: str) -> list[str]:
    """The turns between separators, of which one may stand at the end."""
    turns = text.split(separator)
    if len(turns) > 1 and not turns[-1].strip():
        turns.pop()
    return [turn.strip() for turn in turns]


def with_turns(row: object) -> object:
    """A row whose turns stand under another name, or are strings, in the one layout of ours.

    `left_out` then counts the instructions before a chat, which nobody says. What is no such row is given back as it
    is.
    """
    if isinstance(row, list) and row and all(isinstance(turn, str | Mapping | None) for turn in row):
        row = {"turns": row}
    if not isinstance(row, Mapping):
        return row
    name = next((name for name in TURN_FIELDS if isinstance(row.get(name), list | Mapping)), None)
    if name is None:
        return row
    turns = as_turns(row[name])
    said = list(dropwhile(_instructs, turns))
    number = next((row[key] for key in (*CONVERSATION_COLUMNS, "id") if row.get(key) is not None), None)
    left_out = row.get("left_out", 0) if isinstance(row.get("left_out", 0), int) else 0
    return {**row, "turns": said, "dialogue_id": number, "left_out": left_out + len(turns) - len(said)}


def _instructs(turn: object) -> bool:
    """Whether a turn of a chat is an instruction by its role; a speaker may have any name."""
    if not isinstance(turn, Mapping):
        return False
    who = turn.get("speaker")
    return who in INSTRUCTIONS and who in (turn.get("role"), turn.get("from"))


def as_turns(turns: list | Mapping) -> list:
    """Turns as objects with `speaker` and `text`; the speakers of strings take turns."""
    if isinstance(turns, Mapping):  # how a table holds a list of objects
        columns = [values for values in turns.values() if isinstance(values, list)]
        turns = [dict(zip(turns, values, strict=False)) for values in zip(*columns, strict=False)]
    if all(isinstance(turn, str | None) for turn in turns):
        return [{"speaker": "AB"[index % 2], "text": text} for index, text in enumerate(turns)]
    return [_renamed(turn) if isinstance(turn, Mapping) else turn for turn in turns]


def _renamed(turn: Mapping) -> dict:
    renamed = dict(turn)
    for ours, names in (("text", TEXT_FIELDS), ("speaker", SPEAKER_FIELDS)):
        name = next((name for name in names if turn.get(name) is not None), None)
        if name is not None:
            renamed[ours] = turn[name]
    return renamed


def grouped(rows: Iterable[Located], columns: tuple[str, str, str | None]) -> Iterator[Located]:
    """Rows of one utterance as rows of whole dialogues: those of one id in their order, wherever they stand.

    A dialogue has the topic of its first row that names one.
    """
    conversation, utterance, speaker = columns
    conversations: dict[str, tuple[str, dict]] = {}
    for where, row in rows:
        if not isinstance(row, Mapping) or row.get(conversation) is None:
            raise CorpusError(f"{where}, field {conversation}: missing")
        name = str(row[conversation])
        _, dialogue = conversations.setdefault(name, (where, {"dialogue_id": name, "topic": None, "turns": []}))
        turns = dialogue["turns"]
        who = "AB"[len(turns) % 2] if speaker is None else row.get(speaker)
        references = row.get("references") or []
        turns.append(
            {
                "role" if speaker == "role" else "speaker": who,
                "text": row.get(utterance),
                "dialogue_act": row.get("dialogue_act") or None,
                "references": [references] if isinstance(references, str) else references,
            }
        )
        dialogue["topic"] = dialogue["topic"] or row.get("topic") or None
    yield from conversations.values()


def whole_dialogues(rows: Sequence[object], layout: DialogueLayout) -> list[list[int]]:
    """The numbers of the rows of each dialogue, of which a table of pairs holds one in several rows.

    Pairs are of one dialogue where they have one conversation's id, or, without an id, where the context of a row
    begins with that of the row before, or with the end of what that row says.
    """
    dialogues: list[list[int]] = []
    by_id: dict[str, list[int]] = {}
    context: list[str] = []
    said: list[str] = []
    for number, row in enumerate(rows):
        columns = None
        if isinstance(row, Mapping) and "turns" not in with_turns(row):  # type: ignore[operator]
            columns = layout.pair_columns(list(row))
        if columns is None or not isinstance(row, Mapping):
            dialogues.append([number])
            continue
        before, spoken = context, said
        context = _texts(row.get(columns[0]), layout)
        said = [*context, *_texts(row.get(columns[1]), layout)]
        names = (layout.conversation_column, *CONVERSATION_COLUMNS)
        name = next((str(row[column]) for column in names if row.get(column) is not None), None)
        if name is None:
            goes_on = bool(before) and context[: len(before)] == before
            if goes_on or any(context[:count] == spoken[-count:] for count in range(1, len(context) + 1)):
                dialogues[-1].append(number)
            else:
                dialogues.append([number])
        elif name in by_id:
            by_id[name].append(number)
        else:
            by_id[name] = [number]
            dialogues.append(by_id[name])
    return dialogues


def _texts(said: object, layout: DialogueLayout) -> list[str]:
    """The texts of a context or of a response."""
    if isinstance(said, str):
        return split_turns(said, layout.turn_separator)
    turns = as_turns(said) if isinstance(said, list) else []
    return [str(turn.get("text") if isinstance(turn, Mapping) else turn).strip() for turn in turns]
