"""Which metrics an evaluation gives, among which the best model is chosen by one."""

from collections.abc import Collection
from typing import Any

from ..errors import ParameterError
from .arguments import VaeTrainingArguments

NEEDS = {
    "use": "which takes a latent and at least two sentences to evaluate",
    "bow_loss": "which takes a model with a `bow_weight`",
}
"""What some metrics need, which others do without."""


def check_best_metric(args: VaeTrainingArguments, model: Any, evaluated: Any, parts: Collection[str]) -> None:
    """Refuse to choose the best model by a metric that no evaluation of a training gives.

    Args:
        model: that is trained.
        evaluated: the data set to evaluate on, or several by name; None for none.
        parts: the parts of the loss by their names.

    Raises:
        ParameterError: naming the metric, and those that there are.
    """
    if args.metric_for_best_model is None or evaluated is None or args.eval_strategy == "no":
        return
    sets = evaluated if isinstance(evaluated, dict) else {"": evaluated}
    names = []
    for number, (name, rows) in enumerate(sets.items()):
        has_use = model.config.latent_size > 0 and len(rows) > 1
        lacks = {"use": not has_use, "bow_loss": "bow_loss" not in parts}
        given = [metric for metric in args.METRICS if not lacks.get(metric, False)]
        names += given if number == 0 else []
        names += [f"{name}_{metric}" for metric in given if name]
    wanted = args.metric_for_best_model.removeprefix("eval_")
    if wanted not in names:
        need = next((f", {why}" for metric, why in NEEDS.items() if wanted.endswith(metric)), "")
        raise ParameterError(f"`metric_for_best_model` {wanted} is not computed here{need}: use {', '.join(names)}")
