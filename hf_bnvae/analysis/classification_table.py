"""The numbers of the classification task, as one table and as flat results."""

import statistics
from dataclasses import dataclass

from ..evaluation.classification import ClassificationTask

MAJORITY, BAG_OF_WORDS = "majority", "bow"
ROW_NAMES = {MAJORITY: "most frequent class", BAG_OF_WORDS: "bag of words, logistic regression"}

Scores = dict[str, dict[int, list[dict[str, float]]]]
"""Accuracy and F1 by row, by number of labels, one for each seed."""


@dataclass(frozen=True)
class ClassificationSettings:
    """How the classifiers were trained.

    Args:
        sizes: numbers of labelled sentences.
        seeds: of the samples.
        balanced: whether samples have as many sentences of each class.
        standardise: whether the dimensions of the vectors had variance 1.
        finetune: whether the encoders were trained as well.
    """

    sizes: list[int]
    seeds: list[int]
    balanced: bool
    standardise: bool
    finetune: bool


def flat_results(scores: Scores, task: ClassificationTask, settings: ClassificationSettings) -> dict:
    """Means over seeds, as fractions, and deviations where there are several; with the row's name in the key.

    The only model of a table needs none: `test_accuracy_100`, `test_accuracy_100_std`, `test_f1_100` and, beside them,
    `test_bow_accuracy_100` and `test_majority_accuracy`.
    """
    results = {
        "train_sentences": task.train_sentences,
        "num_classes": task.num_classes,
        f"{task.split}_sentences": len(task.test_texts),
        f"{task.split}_unseen_labels": task.unseen,
        "seeds": settings.seeds,
        **{name: getattr(settings, name) for name in ("balanced", "standardise", "finetune")},
    }
    alone = len(scores) == len(ROW_NAMES) + 1
    for name, by_size in scores.items():
        row = task.split if alone and name not in ROW_NAMES else f"{task.split}_{name}"
        for size, scores_of_size in by_size.items():
            for metric in scores_of_size[0]:
                values = [score[metric] for score in scores_of_size]
                if name == MAJORITY:
                    results[f"{row}_{metric}"] = values[0]
                    continue
                results[f"{row}_{metric}_{size}"] = statistics.mean(values)
                if len(values) > 1:
                    results[f"{row}_{metric}_{size}_std"] = statistics.stdev(values)
    return results


def results_page(scores: Scores, task: ClassificationTask, settings: ClassificationSettings, command: str) -> str:
    """The table of accuracies in percent, and what it stands on."""
    trained = "trained along with the encoder" if settings.finetune else "on the vectors of a frozen encoder"
    seeds = f"seed{'s' if len(settings.seeds) > 1 else ''} {', '.join(map(str, settings.seeds))}"
    lines = [
        "# Classification",
        "",
        f"`{command}`",
        "",
        f"Accuracy in percent of a one-layer linear classifier {trained}, by labelled sentences; "
        f"{len(task.test_texts):,} sentences to evaluate on, {task.num_classes} classes"
        f"{', balanced samples' if settings.balanced else ''}, {seeds}"
        + ("; mean ± standard deviation over seeds." if len(settings.seeds) > 1 else "."),
        "",
        "| | " + " | ".join(f"{size:,}" for size in settings.sizes) + " |",
        "|---|" + "---:|" * len(settings.sizes),
    ]
    for name, by_size in scores.items():
        cells = []
        for scores_of_size in by_size.values():
            values = [100 * score["accuracy"] for score in scores_of_size]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 and name != MAJORITY else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        lines.append(f"| {ROW_NAMES.get(name, name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
