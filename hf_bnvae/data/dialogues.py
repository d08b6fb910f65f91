"""From files, tables and names to dialogues: who said what, and which turns are responses to learn."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, IterableDataset

from .corpora import hub_splits, read_table
from .errors import CorpusError
from .python_data import SPLIT_NAMES, read_at_hand
from .readers import find_splits
from .toy_dialogues import toy_dialogues

BUILT_IN_DIALOGUES = ("toy_dialogues",)
DEFAULT_TURN_SEPARATOR = "__eou__"
ENDINGS = (".jsonl", ".json", ".tsv", ".csv", ".parquet")


@dataclass(frozen=True)
class Turn:
    """One utterance.

    Args:
        speaker: who says it; any name.
        text: what is said.
        dialogue_act: what kind of utterance it is, where that is known; shown and not learnt.
        references: other utterances that would have done as well here, to judge responses by.
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
        return "; ".join(parts)


@dataclass
class DialogueCorpus:
    """Dialogues by split: `train`, `validation`, `test`."""

    splits: dict[str, list[Dialogue]]
    reports: dict[str, DialogueReport] = field(default_factory=dict)
    name: str = ""

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
) -> DialogueCorpus:
    """Read dialogues.

    A jsonl file holds one dialogue a line, `{"dialogue_id", "topic", "turns": [{"speaker", "text", "dialogue_act",
    "references"}]}`, of which `turns` with `speaker` and `text` are needed; every turn after the first is a response.
    A table (tsv, csv, parquet, or a data set on the Hub without a column `turns`) holds one response a row, and in
    another column its context, whose turns stand between separators; their speakers take turns.

    Args:
        dataset_name: `"toy_dialogues"` (built in), a local folder that holds `train`, `valid` or `validation`, and
            `test` files, or the id of a dataset on the Hub; or the data itself, see `load_corpus`.
        files: a path for each of `train`, `validation`, `test`; they win over the splits of `dataset_name`.
        context_column, response_column, turn_separator: of a table.
        max_dialogues: keep at most the first so many dialogues, or rows of a table, of a split.

    Raises:
        CorpusError: for input that cannot be read, naming the file, the line and the field.
    """
    columns = (context_column, response_column)
    corpus = DialogueCorpus({}, name=(dataset_name or "") if isinstance(dataset_name, str | None) else "the data")
    if not isinstance(dataset_name, str | None):
        for split, rows in read_at_hand(dataset_name, tuple(SPLIT_NAMES), max_dialogues or {}).items():
            corpus.splits[split] = list(_from_rows(rows, f"the data ({split})", *columns, turn_separator))
    elif dataset_name in BUILT_IN_DIALOGUES:
        for split, rows in toy_dialogues().items():
            corpus.splits[split] = [parse_dialogue(row, f"toy_dialogues, {split}") for row in rows]
    elif dataset_name is not None and Path(dataset_name).is_dir():
        found = find_splits(Path(dataset_name), ENDINGS)
        for split, paths in found.items():
            corpus.splits[split] = [each for path in paths for each in _read(path, *columns, turn_separator)]
    elif dataset_name is not None:
        for split, rows in hub_splits(dataset_name, BUILT_IN_DIALOGUES).items():
            source = f"the Hub dataset {dataset_name} ({split})"
            corpus.splits[split] = list(_from_rows(rows, source, *columns, turn_separator))
    for split, name in (files or {}).items():
        if name is not None:
            corpus.name = corpus.name or name
            corpus.splits[split] = _read(Path(name), *columns, turn_separator)
    if not corpus.splits:
        raise CorpusError("no data: pass --dataset_name, or --train_file and its companions")
    for split, dialogues in corpus.splits.items():
        limit = (max_dialogues or {}).get(split)
        corpus.splits[split] = dialogues[:limit]
        turns = sum(len(dialogue.turns) for dialogue in corpus.splits[split])
        responses = turns - sum(dialogue.first_response for dialogue in corpus.splits[split])
        corpus.reports[split] = DialogueReport(len(corpus.splits[split]), turns, responses)
    return corpus


def _read(path: Path, context_column: str, response_column: str, separator: str) -> list[Dialogue]:
    if path.suffix.lower() not in (".jsonl", ".json"):
        if path.suffix.lower() == ".txt":
            raise CorpusError(f"{path}: plain text says nothing of turns: use jsonl, tsv, csv or parquet")
        return list(_from_rows(read_table(path), str(path), context_column, response_column, separator))
    if not path.is_file():
        raise CorpusError(f"{path} does not exist")
    dialogues = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                text = line.decode("utf-8-sig")
                if text.isspace():
                    continue
                row = json.loads(text)
            except UnicodeDecodeError:
                raise CorpusError(f"{where}: not UTF-8; convert the file to UTF-8") from None
            except json.JSONDecodeError as error:
                raise CorpusError(f"{where}: no JSON ({error.msg} at column {error.colno})") from None
            except RecursionError:
                raise CorpusError(f"{where}: no JSON of a dialogue (nested too deeply)") from None
            dialogues.append(_from_row(row, where, context_column, response_column, separator))
    if not dialogues:
        raise CorpusError(f"{path} is empty")
    return dialogues


def _from_rows(rows, source: str, context_column: str, response_column: str, separator: str) -> Iterator[Dialogue]:
    for column, flag in ((context_column, "--context_column"), (response_column, "--response_column")):
        if column not in rows.column_names and "turns" not in rows.column_names:
            raise CorpusError(
                f"{source} has no column {column!r} ({flag}) and no column 'turns': its columns are "
                f"{', '.join(rows.column_names)}"
            )
    for number, row in enumerate(rows, start=1):
        yield _from_row(row, f"{source}, row {number}", context_column, response_column, separator)


def _from_row(row: object, where: str, context_column: str, response_column: str, separator: str) -> Dialogue:
    if not isinstance(row, dict) or "turns" in row or response_column not in row:
        return parse_dialogue(row, where)
    context, response = (
        "" if row.get(column) is None else _readable(row[column], f"{where}, {column}")
        for column in (context_column, response_column)
    )
    texts = context.split(separator)
    if len(texts) > 1 and not texts[-1].strip():
        texts.pop()  # a separator at the end of the context
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise CorpusError(f"{where}, {context_column}, turn {number}: empty; take the row out or mend it")
    if not response.strip():
        raise CorpusError(f"{where}, {response_column}: empty; take the row out or mend it")
    texts.append(response)
    turns = [Turn("AB"[(len(texts) - place) % 2], text.strip()) for place, text in enumerate(texts)]
    return Dialogue(tuple(turns), first_response=len(turns) - 1)


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
