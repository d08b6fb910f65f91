"""The methods of a comparison, each as one text: what is trained, with which values, and what before it."""

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import ParameterError
from ..methods import METHODS

SET_FOR_EACH_RUN = (
    "method",
    "seed",
    "output_dir",
    "pretrained_encoder",
    "reset_decoder",
    "resume_from_checkpoint",
)
"""Parameters that a comparison sets for each run itself."""

MOST_BYTES = 255
"""In the name of a folder, on the usual file systems."""


@dataclass(frozen=True)
class Entry:
    """One method of a comparison.

    Args:
        text: as the user wrote it.
        parameters: those of its training that are its own, with their values as text; the first is `method`.
        first: what it is pretrained on, if anything.
    """

    text: str
    parameters: tuple[tuple[str, str], ...]
    first: "Entry | None" = None

    def folder(self, output_dir: Path, seed: int) -> Path:
        """Where its run with a seed stands in the folder of the comparison."""
        refused = r'[\\/:*?"<>|]' if sys.platform == "win32" else "/"
        return output_dir / "runs" / re.sub(refused, "_", self.text) / f"seed_{seed}"


def parse_method(text: str, methods: Collection[str] = METHODS.keys()) -> Entry:
    """A method as the user wrote it.

    Args:
        text: NAME, NAME:PARAMETER=VALUE:PARAMETER=VALUE, or FIRST+THEN, where both are such texts and THEN starts from
            the encoder of FIRST.
        methods: the names that NAME may be, by default those of models of sentences.

    Raises:
        ParameterError: for a method that is not there, or a parameter without a value or of the comparison's own, and a
            text that is too long to name a folder.
    """
    text = text.strip()
    pieces = re.split(f"[+](?=(?:{'|'.join(methods)})(?:$|[:+]))", text)
    first, then = "+".join(pieces[:-1]), pieces[-1]
    name, *settings = then.split(":")
    if name not in methods:
        raise ParameterError(f"`methods`: no method {name!r} in {text!r}: choose from {', '.join(methods)}")
    parameters = [("method", name)]
    for setting in settings:
        parameter, equals, value = setting.partition("=")
        if not (parameter and equals and value):
            raise ParameterError(f"`methods`: {setting!r} in {text!r} must be PARAMETER=VALUE")
        if parameter in SET_FOR_EACH_RUN:
            raise ParameterError(
                f"`methods`: {parameter} in {text!r}: a comparison sets this parameter for each run itself"
            )
        refuse_publishing(parameter)
        parameters.append((parameter, value))
    if len(text.encode()) > MOST_BYTES:
        raise ParameterError(
            f"`methods`: {text[:40]}... is too long to name a folder, which takes {MOST_BYTES} bytes: give what all "
            "methods share as flags of the comparison"
        )
    return Entry(text, tuple(parameters), parse_method(first, methods) if first else None)


def refuse_publishing(parameter: str) -> None:
    """Refuse a parameter that would send the models of a comparison to the Hub.

    Raises:
        ParameterError: for such a parameter.
    """
    if parameter == "push_to_hub" or parameter.startswith("hub_"):
        raise ParameterError(
            f"`{parameter}`: a comparison publishes no model; `hf-bnvae publish` does, from the folder of a run"
        )
