"""The report of a synthetic study: a table of its runs, and sentences that are made of its numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean

from ..evaluation.collapse import ZERO_KL

COLUMNS = {
    "test_elbo": ("ELBO", ".2f"),
    "test_rec": ("rec", ".2f"),
    "test_kl": ("KL", ".3f"),
    "test_mi": ("MI", ".3f"),
    "test_au": ("AU", ".0f"),
    "model_kl": ("model KL", ".3f"),
    "model_mean_deviation": ("deviation of model means", ".3f"),
    "inference_mean_deviation": ("deviation of inference means", ".3f"),
    "correlation": ("correlation", ".2f"),
    "slope": ("slope", ".2f"),
    "diagonal_distance": ("distance from the diagonal", ".2f"),
    "seconds": ("seconds", ".0f"),
}

TRENDS = {
    "inference_mean_deviation": "the deviation of the inference means",
    "model_mean_deviation": "that of the model posterior's means",
    "correlation": "the correlation of the two",
    "model_kl": "the model KL",
}


@dataclass(frozen=True)
class Setting:
    """What a run of the study trains: a BN-VAE with its γ, or without one the plain VAE."""

    gamma: float | None
    batch_size: int

    @property
    def title(self) -> str:
        return "VAE" if self.gamma is None else f"BN-VAE (γ = {self.gamma:g})"


@dataclass(frozen=True)
class StudyRun:
    """A finished run.

    Args:
        results: the metrics of the test split, `test_...`, those of `MeanSpace.statistics`, and the `seconds` of its
            training.
    """

    setting: Setting
    results: dict[str, float]

    def record(self) -> dict:
        """What `all_results.json` holds of it."""
        return {"method": "vae" if self.setting.gamma is None else "bn_vae", **asdict(self.setting), **self.results}


def study_report(
    runs: Sequence[StudyRun], data: dict[str, float], command: str | None, steps: int, seconds: float
) -> str:
    """The whole report in Markdown.

    Args:
        data: the size of the corpus and what the true posterior says of it: `train_sequences`, `points`,
            `true_information`, `true_deviation`, `true_correlation`.
        command: what called for the study, where there was one.
        steps: of each run.
        seconds: of the whole study.
    """
    paragraphs = [
        "# Synthetic study",
        *([f"`{command}`"] if command is not None else []),
        f"{len(runs)} runs of {steps:,} steps on {data['train_sequences']:,} sequences, in {seconds:.0f} seconds.",
        f"By the generator's own posterior a sequence says {data['true_information']:.2f} nats of the z that it was "
        f"drawn from (mean over {data['points']} validation sequences); that posterior's deviation is "
        f"{data['true_deviation']:.2f}, and its mean correlates with z by {data['true_correlation']:.3f}.",
        "![both means during training](figure1.png)",
        "![both means at the end, by γ and batch size](figure2.png)",
        study_table(runs),
        "ELBO, rec, KL and MI (nats per sequence) and AU are of the test split, what follows of the points in the "
        "pictures: the model KL is KL(p(z|x) ‖ p(z)) in nats, the slope that of the inference mean over the model "
        "posterior's mean, the distance the root mean square of their difference. Seconds are of training alone.",
        "## What the numbers say",
        "\n".join(f"- {sentence}" for sentence in study_sentences(runs)),
    ]
    return "\n\n".join(paragraphs) + "\n"


def study_table(runs: Sequence[StudyRun]) -> str:
    """A row for each run."""
    titles = [title for title, _ in COLUMNS.values()]
    lines = ["| method | batch size | " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) + 1)]
    for run in runs:
        cells = [format(run.results[name], form) for name, (_, form) in COLUMNS.items()]
        lines.append(f"| {run.setting.title} | {run.setting.batch_size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def study_sentences(runs: Sequence[StudyRun]) -> list[str]:
    """How each method ends, what a larger γ and the batch size do, and what it costs; the plain VAE among the runs."""
    methods: dict[float | None, list[StudyRun]] = {}
    for run in runs:
        methods.setdefault(run.setting.gamma, []).append(run)
    gammas = sorted(gamma for gamma in methods if gamma is not None)
    sentences = [_end(group) for group in methods.values()]
    if len(gammas) > 1:
        sentences += [_trend(TRENDS[name], [_mean(methods[gamma], name) for gamma in gammas]) for name in TRENDS]
    if len(runs) > len(methods):
        sentences += [_batch_sizes(methods[gamma]) for gamma in (gammas[-1], None)]
    bounds = ", ".join(f"{group[0].setting.title} {_mean(group, 'test_elbo'):.2f}" for group in methods.values())
    return [*sentences, f"ELBO in nats per sequence, mean over batch sizes: {bounds}."]


def _end(group: Sequence[StudyRun]) -> str:
    collapsed = sum(run.results["test_kl"] < ZERO_KL for run in group)
    return (
        f"{group[0].setting.title}: {collapsed} of {len(group)} runs end with a KL below {ZERO_KL} nats "
        f"({_range(group, 'test_kl')}); the inference means deviate by {_range(group, 'inference_mean_deviation')}, "
        f"the model posterior's by {_range(group, 'model_mean_deviation')}."
    )


def _trend(meaning: str, values: Sequence[float]) -> str:
    rises = all(after > before for before, after in pairwise(values))
    said = "rises with every larger γ" if rises else "does not rise with every larger γ"
    shown = ", ".join(f"{value:.2f}" for value in values)
    return f"Mean over batch sizes: {meaning} {said} ({shown})."


def _batch_sizes(group: Sequence[StudyRun]) -> str:
    sizes = ", ".join(str(run.setting.batch_size) for run in group)
    return (
        f"{group[0].setting.title} at batch sizes {sizes}: the model posterior's means deviate by "
        f"{_list(group, 'model_mean_deviation')}, the inference means by {_list(group, 'inference_mean_deviation')}; "
        f"their correlation is {_list(group, 'correlation')}."
    )


def _list(group: Sequence[StudyRun], name: str) -> str:
    return ", ".join(f"{run.results[name]:.2f}" for run in group)


def _range(group: Sequence[StudyRun], name: str) -> str:
    values = [run.results[name] for run in group]
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _mean(group: Sequence[StudyRun], name: str) -> float:
    return fmean(run.results[name] for run in group)
