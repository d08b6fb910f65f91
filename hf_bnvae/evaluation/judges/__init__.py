"""Judges of responses and of classifiers as local `evaluate` modules.

`evaluate.load(str(judge_path("response_bleu")))` loads one.
"""

import warnings
from pathlib import Path

JUDGES = (
    "classification",
    "dialogue_bounds",
    "distinct",
    "response_bleu",
    "response_length",
    "word_vector_similarity",
)


DEPRECATED = {
    "classification": "hf_bnvae.evaluation.classification_scores, or the modules accuracy and f1 of evaluate",
    "dialogue_bounds": "hf_bnvae.evaluation.dialogue_metrics",
    "response_length": "hf_bnvae.evaluation.responses.average_length",
}
"""The judges that only forward to what a user has already. They go with the next version."""


def judge_path(name: str) -> Path:
    """Where the module of a judge lies."""
    if name not in JUDGES:
        raise ValueError(f"no judge {name!r}: there are {', '.join(JUDGES)}")
    if name in DEPRECATED:
        warnings.warn(
            f"the judge {name} goes with the next version: use {DEPRECATED[name]}", DeprecationWarning, stacklevel=2
        )
    return Path(__file__).with_name(f"{name}.py")
