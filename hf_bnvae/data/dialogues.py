"""From files, tables and names to dialogues: who said what, and which turns are responses to learn."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from datasets import Dataset, IterableDataset

from .corpora import hub_splits
from .dialogue_formats import (
    DEFAULT_TURN_SEPARATOR,
    ENDINGS,
    DialogueLayout,
    Located,
    as_turns,
    grouped,
    read_rows,
    split_turns,
    whole_dialogues,
    with_turns,
)
from .errors import CorpusError
from .python_data import plain_rows, splits_at_hand
from .readers import find_splits, holds_files, is_saved, load_saved, matching_files, refuse_address, refuse_file
from .splits import SplitChoice
from .toy_dialogues import toy_dialogues

BUILT_IN_DIALOGUES = ("toy_dialogues",)


@dataclass(frozen=True)
class Turn:
    """One utterance.

    Args:
        speaker: who says it; any name.
        text: what is said.
        dialogue_act: what kind of utterance it is, where that is known; shown and not learnt.
        references: other utterances that would have done as well here; responses are evaluated against them.
    """

    speaker: str
    text: str
    dialogue_act: str | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """Turns in their order; every one from `first_response` on is a response to those before it."""

    turns: tuple[Turn, ...]
    topic: str | None = None
    dialogue_id: str | None = None
    first_response: int = 1


@dataclass
class DialogueReport:
    """What became of the dialogues of one split.

    Args:
        dialogues, turns, responses: how many there are.
        truncated_turns: turns cut at `max_utterance_length` tokens.
        truncated_contexts: responses whose context was cut to its last `context_turns` turns.
        tokens: tokens of the responses, the end symbol counted and the start symbol not.
        words: tokens of all turns, their ends not counted, and
        unknown: those of them that the tokenizer does not know.
        symbols: special symbols that stood in the texts and were left out.
        empty_turns: turns that held nothing and were skipped, and
        short_dialogues: dialogues that were left out because fewer than two turns remained, or no response.
        left_out: instructions to a system, lines of a persona and silences, which are no turns.
        unseen_topics: dialogues on topics that a model which reads topics has not learnt, and reads as none.
    """

    dialogues: int = 0
    turns: int = 0
    responses: int = 0
    truncated_turns: int = 0
    truncated_contexts: int = 0
    tokens: int = 0
    words: int = 0
    unknown: int = 0
    symbols: int = 0
    empty_turns: int = 0
    short_dialogues: int = 0
    left_out: int = 0
    unseen_topics: int = 0

    @property
    def unknown_share(self) -> float:
        """The share of the words that are unknown."""
        return self.unknown / self.words if self.words else 0.0

    def __str__(self) -> str:
        parts = [f"{self.dialogues:,} dialogues, {self.responses:,} responses, {self.tokens:,} tokens in them"]
        if self.truncated_turns:
            parts.append(f"{self.truncated_turns:,} of {self.turns:,} turns over-long and cut")
        if self.truncated_contexts:
            parts.append(f"{self.truncated_contexts:,} contexts cut to their last turns")
        if self.unknown:
            parts.append(f"{self.unknown_share:.1%} of the words unknown")
        if self.symbols:
            parts.append(f"{self.symbols:,} special symbols in the texts left out")
        if self.unseen_topics:
            parts.append(f"{self.unseen_topics:,} dialogues on topics that the model has not learnt")
        if self.empty_turns:
            parts.append(f"{self.empty_turns:,} empty turns skipped")
        if self.short_dialogues:
            parts.append(f"{self.short_dialogues:,} dialogues without two turns left out")
        if self.left_out:
            parts.append(f"{self.left_out:,} instructions, persona lines or silences left out")
        return "; ".join(parts)


@dataclass
class DialogueCorpus:
    """Dialogues by split: `train`, `validation`, `test`."""

    splits: dict[str, list[Dialogue]]
    reports: dict[str, DialogueReport] = field(default_factory=dict)
    name: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    """What else is to be known of a split."""

    def responses(self, split: str) -> list[tuple[Dialogue, int]]:
        """Every response of a split, in its order: its dialogue, and which turn of it."""
        return [
            (dialogue, turn)
            for dialogue in self.splits[split]
            for turn in range(dialogue.first_response, len(dialogue.turns))
        ]


def load_dialogues(
    dataset_name: str | Dataset | IterableDataset | Mapping | None = None,
    files: dict[str, str | None] | None = None,
    context_column: str = "context",
    response_column: str = "response",
    turn_separator: str = DEFAULT_TURN_SEPARATOR,
    max_dialogues: dict[str, int | None] | None = None,
    **options,
) -> DialogueCorpus:
    """Read dialogues.

    A jsonl file holds one dialogue a line, `{"dialogue_id", "topic", "turns": [{"speaker", "text", "dialogue_act",
    "references"}]}`, of which `turns` with `speaker` and `text` are needed; every turn after the first is a response.
    The turns may be strings, and stand under `dialog`, `dialogue`, `messages` (with `role` and `content`) or
    `conversations` (with `from` and `value`); the file may also be one JSON array. Plain text holds one dialogue a line
    with separators between its turns, or PersonaChat's numbered lines. A table (tsv, csv, parquet, or a data set on the
    Hub without such a column) holds one response a row, and in another column its context, whose turns stand between
    separators, and whose speakers take turns; or one utterance a row, with the id of its conversation.

    Args:
        dataset_name: `"toy_dialogues"` (built in), a local folder that holds `train`, `valid` or `validation`, and
            `test` files, or the id of a dataset on the Hub; or the data itself, see `load_corpus`.
        files: a path, or a pattern of paths, for each of `train`, `validation`, `test`; they win over the splits of
            `dataset_name`.
        context_column, response_column, turn_separator, options: see `dialogue_formats.DialogueLayout` and
            `splits.SplitChoice`.
        max_dialogues: keep at most the first so many dialogues, or rows of a table, of a split.

    `validation_split_percentage` puts whole dialogues aside. Rows of pairs are of one dialogue where they have the same
    conversation's id, or, without one, where the context of a row begins with that of the row before or goes on behind
    its response.

    Raises:
        CorpusError: for input that cannot be read, naming the file, the line and the field.
    """
    choice = SplitChoice.taken_from(options)
    how = DialogueLayout(context_column, response_column, turn_separator, **options)
    name = (dataset_name or "") if isinstance(dataset_name, str | None) else "the data"
    given = {split: file for split, file in (files or {}).items() if file}
    corpus = DialogueCorpus({}, name=given.get("train") or name or next(iter(given.values()), ""))
    sources = _named_rows(dataset_name, how, choice, max_dialogues or {})
    for split, file in given.items():
        sources[split] = chain.from_iterable(_of_file(path, how) for path in matching_files(file))
    if not sources:
        raise CorpusError("no data: pass `dataset_name`, or `train_file` and its companions")
    if dataset_name is None:
        choice.refuse_names("a file")
    if choice.validation_split_percentage is not None and "train" in sources:
        rows = list(sources["train"])
        whole = whole_dialogues([row for _, row in rows], how)
        aside = choice.put_aside(sources, len(whole), "dialogue")
        sources["train"], sources["validation"] = (
            [rows[row] for row in sorted(chain.from_iterable(whole[number] for number in part))] for part in aside or ()
        )
        corpus.notes["validation"] = choice.note
    for split, dialogues in sources.items():
        report = DialogueReport()
        limit = (max_dialogues or {}).get(split)
        corpus.splits[split] = list(islice(_parsed(dialogues, how, report), limit))
        if not corpus.splits[split]:
            raise CorpusError(f"{given.get(split, name)} ({split}) holds no dialogue of two turns")
        report.dialogues = len(corpus.splits[split])
        report.turns = sum(len(dialogue.turns) for dialogue in corpus.splits[split])
        report.responses = report.turns - sum(dialogue.first_response for dialogue in corpus.splits[split])
        corpus.reports[split] = report
    return corpus


def _named_rows(
    data, layout: DialogueLayout, choice: SplitChoice, most: Mapping[str, int | None]
) -> dict[str, Iterable[Located]]:
    """The rows of each split of what has a name, or is at hand; of a stream that is cut in two, as many as that takes.

    Args:
        most: dialogues of a split that are kept at most.
    """
    if data is None:
        return {}
    if isinstance(data, str) and data in BUILT_IN_DIALOGUES:
        choice.refuse_names(data)
        return {split: ((f"toy_dialogues, {split}", row) for row in rows) for split, rows in toy_dialogues().items()}
    if isinstance(data, str) and is_saved(Path(data)):
        data = load_saved(Path(data))
    if isinstance(data, str) and holds_files(Path(data), choice):
        files = find_splits(Path(data), ENDINGS, choice)
        return {split: chain.from_iterable(_of_file(path, layout) for path in paths) for split, paths in files.items()}
    if isinstance(data, str):
        refuse_address(data)
        refuse_file(data)
        source, splits = f"the Hub dataset {data}", hub_splits(data, BUILT_IN_DIALOGUES, choice=choice)
    else:
        source, splits = "the data", splits_at_hand(data, choice, read=plain_rows)
    located: dict[str, Iterable[Located]] = {
        split: _in_one_layout(_of_table(rows, f"{source} ({split})"), layout) for split, rows in splits.items()
    }
    if choice.validation_split_percentage is not None and isinstance(splits.get("train"), IterableDataset):
        located["train"] = islice(located["train"], choice.rows_for("train", most.get("train")))
    return located


def _of_table(rows: list | Dataset | IterableDataset, source: str) -> Iterator[Located]:
    for number, row in enumerate(rows if isinstance(rows, list) else rows.with_format(None), start=1):
        yield f"{source}, row {number}", row


def _of_file(path: Path, layout: DialogueLayout) -> Iterator[Located]:
    return _in_one_layout(read_rows(path, layout), layout)


def _in_one_layout(rows: Iterator[Located], layout: DialogueLayout) -> Iterator[Located]:
    """Rows of whole dialogues, or of pairs: the first row says whether there is one utterance in each."""
    first = next(rows, None)
    if first is None:
        return
    where, row = first
    rows = chain([first], rows)
    names = list(row) if isinstance(row, Mapping) else None
    if names and "turns" not in with_turns(row) and layout.pair_columns(names) is None:  # type: ignore[operator]
        columns = layout.utterance_columns(names)
        if columns is not None:
            rows = grouped(rows, columns)
        elif ", row " in where:
            source = where.rpartition(", row ")[0]
            column, argument = next(
                (column, argument)
                for column, argument in (
                    (layout.context_column, "`context_column`"),
                    (layout.response_column, "`response_column`"),
                )
                if column not in names
            )
            raise CorpusError(
                f"{source} has no column {column!r} ({argument}), none of turns and none of a conversation's id: its "
                f"columns are {', '.join(names)}"
            )
    yield from rows


def _parsed(rows: Iterable[Located], layout: DialogueLayout, report: DialogueReport) -> Iterator[Dialogue]:
    for where, row in rows:
        dialogue = _from_row(row, where, layout, report)
        if dialogue is not None:
            yield dialogue


def _from_row(row: object, where: str, layout: DialogueLayout, report: DialogueReport) -> Dialogue | None:
    """A dialogue from a row of any layout; None where it is skipped, which the report counts."""
    row = with_turns(row)
    columns = layout.pair_columns(list(row)) if isinstance(row, Mapping) and "turns" not in row else None
    first_response = 1
    if columns is not None and isinstance(row, Mapping):
        row = _pair(row, where, columns, layout)
        first_response = -1
    if isinstance(row, Mapping) and isinstance(row.get("turns"), list):
        report.left_out += row.get("left_out", 0)
        if layout.skip_empty_turns:
            turns = [turn for turn in row["turns"] if not _is_empty(turn)]
            report.empty_turns += len(row["turns"]) - len(turns)
            if len(turns) < 2 or (columns is not None and _is_empty(row["turns"][-1])):
                report.short_dialogues += 1
                return None
            row = {**row, "turns": turns}
    dialogue = parse_dialogue(row, where)
    return dialogue if first_response == 1 else replace(dialogue, first_response=len(dialogue.turns) - 1)


def _is_empty(turn: object) -> bool:
    text = turn.get("text") if isinstance(turn, Mapping) else turn
    return text is None or (isinstance(text, str) and not text.strip())


def _pair(row: Mapping, where: str, columns: tuple[str, str], layout: DialogueLayout) -> dict:
    """A context and its response as turns, with errors that name the column."""
    context, response = (row.get(column) for column in columns)
    left_out = 0
    if isinstance(context, list):
        read = with_turns({"turns": context})
        turns, left_out = read["turns"], read["left_out"]  # type: ignore[index]
    else:
        text = "" if context is None else _readable(context, f"{where}, {columns[0]}")
        turns = list(split_turns(text, layout.turn_separator))
    speaker = None
    if isinstance(response, list) and len(response) == 1:
        (said,) = as_turns(response)
        response, speaker = (said.get("text"), said.get("speaker")) if isinstance(said, Mapping) else (said, None)
    said = "" if response is None else _readable(response, f"{where}, {columns[1]}").strip()
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping | None):
            _readable(turn, f"{where}, {columns[0]}, turn {number}")
        if _is_empty(turn) and not layout.skip_empty_turns:
            raise CorpusError(f"{where}, {columns[0]}, turn {number}: empty; take the row out or mend it")
    if not said and not layout.skip_empty_turns:
        raise CorpusError(f"{where}, {columns[1]}: empty; take the row out or mend it")
    count = len(turns) + 1
    turns = [
        turn if isinstance(turn, Mapping) else {"speaker": "AB"[(count - index) % 2], "text": turn}
        for index, turn in enumerate(turns)
    ]
    if speaker is None:
        names = [turn.get("speaker") for turn in turns]
        speaker = next((name for name in names if name not in (None, names[-1])), "B")
    return {
        "turns": [*turns, {"speaker": speaker, "text": said}],
        "topic": row.get("topic"),
        "left_out": left_out,
    }


def parse_dialogue(row: object, where: str) -> Dialogue:
    """A dialogue from what JSON gives; `where` names the file and the line in errors.

    Raises:
        CorpusError: naming the field that is missing or wrong.
    """
    if not isinstance(row, dict):
        raise CorpusError(f"{where}: must be an object with the field turns, got {type(row).__name__}")
    turns = row.get("turns")
    if not isinstance(turns, list):
        raise CorpusError(f"{where}, field turns: {'missing' if turns is None else 'must be a list of turns'}")
    if len(turns) < 2:
        raise CorpusError(f"{where}, field turns: {len(turns)} turn is no dialogue; 2 are needed for a response")
    topic, dialogue_id = row.get("topic"), row.get("dialogue_id")
    return Dialogue(
        tuple(_parse_turn(turn, f"{where}, turn {number}") for number, turn in enumerate(turns, start=1)),
        None if topic is None else str(topic),
        None if dialogue_id is None else str(dialogue_id),
    )


def _parse_turn(turn: object, where: str) -> Turn:
    if not isinstance(turn, dict):
        raise CorpusError(f"{where}: must be an object with the fields speaker and text, got {type(turn).__name__}")
    for name in ("speaker", "text"):
        if turn.get(name) is None:
            raise CorpusError(f"{where}, field {name}: missing")
    speaker, text = turn["speaker"], turn["text"]
    if isinstance(speaker, bool) or not isinstance(speaker, (str, int)) or not str(speaker).strip():
        raise CorpusError(f"{where}, field speaker: {speaker!r} names nobody; give each speaker a name")
    if not _readable(text, f"{where}, field text").strip():
        raise CorpusError(f"{where}, field text: empty; take the turn out")
    references = turn.get("references") or []
    where_references = f"{where}, field references"
    if not isinstance(references, list) or not all(_readable(item, where_references).strip() for item in references):
        raise CorpusError(f"{where_references}: must be a list of strings that are not empty")
    act = turn.get("dialogue_act")
    return Turn(str(speaker), text, None if act is None else str(act), tuple(references))


def _readable(text: object, where: str) -> str:
    if not isinstance(text, str):
        raise CorpusError(f"{where}: must be a string, got {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CorpusError(f"{where}: character {error.start + 1} is half of one; take it out") from None
    return text
