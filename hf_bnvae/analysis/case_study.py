"""A case study: contexts, what people said, and what models say, side by side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data import Dialogue, Turn
from ..visible import visible

CONTEXT_SHOWN = 4


@dataclass(frozen=True)
class Case:
    """A context with the response that a person gave."""

    context: tuple[Turn, ...]
    response: Turn
    topic: str | None = None

    @classmethod
    def of(cls, dialogue: Dialogue, turn: int) -> "Case":
        """The turn of that number with what came before it."""
        return cls(dialogue.turns[:turn], dialogue.turns[turn], dialogue.topic)

    def last_turns(self, count: int) -> "Case":
        """The same with the last turns of its context alone."""
        return replace(self, context=self.context[-count:])


def write_case_study(path: Path, cases: Sequence[Case], responses: dict[str, list[list[str]]]) -> None:
    """Write cases with each model's responses in the form of the paper's Table 6.

    Args:
        responses: by the name of a model, the responses to each case.
    """
    lines = ["# Responses side by side", ""]
    for number, case in enumerate(cases):
        lines += [f"## {number + 1}" + (f". {escaped_markdown(case.topic)}" if case.topic else ""), ""]
        shown = case.context[-CONTEXT_SHOWN:]
        if len(shown) < len(case.context):
            lines += [f"*{len(case.context) - len(shown)} turns before these*", ""]
        lines += [f"- **{escaped_markdown(turn.speaker)}**: {escaped_markdown(turn.text)}" for turn in shown]
        act = f" ({escaped_markdown(case.response.dialogue_act)})" if case.response.dialogue_act else ""
        lines += [
            "",
            f"Target{act}: **{escaped_markdown(case.response.speaker)}**: {escaped_markdown(case.response.text)}",
            "",
        ]
        lines.append("| | " + " | ".join(map(escaped_markdown, responses)) + " |")
        lines.append("|---" * (len(responses) + 1) + "|")
        for rank, texts in enumerate(zip(*(rows[number] for rows in responses.values()), strict=True), start=1):
            lines.append(f"| {rank} | " + " | ".join(map(escaped_markdown, texts)) + " |")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def escaped_markdown(text: str) -> str:
    """Text on one line that stays text in Markdown, also inside a table, and on a page that sets formulas.

    An address in it is no link, and nothing in it turns the reading direction.
    """
    text = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\`*_[]|#~$":
        text = text.replace(sign, "\\" + sign)
    return re.sub(r"(?i)\b(https?|ftp|mailto):|\b(www)\.|(?<=\w)@(?=\w)", _no_link, text)


def _no_link(match: re.Match) -> str:
    """The sign by which Markdown knows an address, as an entity."""
    sign = match[0][-1]
    return f"{match[0][:-1]}&#{ord(sign)};"
