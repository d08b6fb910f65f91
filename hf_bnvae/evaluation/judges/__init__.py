"""Judges of responses and of classifiers as local `evaluate` modules.

`evaluate.load(str(judge_path("response_bleu")))` loads one.
"""

from pathlib import Path

JUDGES = (
    "classification",
    "dialogue_bounds",
    "distinct",
    "response_bleu",
    "response_length",
    "word_vector_similarity",
)


def judge_path(name: str) -> Path:
    """Where the module of a judge lies."""
    if name not in JUDGES:
        raise ValueError(f"no judge {name!r}: there are {', '.join(JUDGES)}")
    return Path(__file__).with_name(f"{name}.py")
