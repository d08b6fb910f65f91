"""Finished runs of several methods side by side: tables, a csv file, and the pictures of their training."""

import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..training.checkpoints import read_json
from .pictures import in_our_style, save, subplots

COMPARED_METRICS = ("nll", "ppl", "word_ppl", "elbo", "rec", "kl", "mi", "au", "use", "reconstruction_bleu")
HEADS = {"ppl": "PPL per token", "word_ppl": "PPL per word", "reconstruction_bleu": "BLEU"}
BETTER: dict[str, Callable] = {
    "nll": min,
    "ppl": min,
    "word_ppl": min,
    "elbo": min,
    "mi": max,
    "au": max,
    "use": max,
    "reconstruction_bleu": max,
}
DYNAMICS = {"mi": "MI", "kl": "KL", "agg_kl": "KL(q(z) ‖ p(z))", "kl_prior": "KL(p(z|x) ‖ N(0, I))"}
COLUMN_WIDTH = 3.3
ROW_HEIGHT = 1.87
OFF_THE_SCALE = 60
FAR_FROM_THE_BEST = 1.2
LINES = ("-", "--", "-.", ":")
MARKERS = "osv^D*PX<>hd8"


@dataclass(frozen=True)
class Run:
    """One finished training.

    Args:
        method: what was trained, as the user wrote it.
        seed: of the run.
        results: the numbers of the split that was evaluated, by metric; nats per sentence on that split.
        seconds: training time until the best model, evaluations left out.
        history: the evaluations during training, each with its `step`.
    """

    method: str
    seed: int
    results: dict[str, float]
    seconds: float
    history: list[dict[str, float]]


class RunError(ValueError):
    """A run that cannot be read: one sentence that names the file and the remedy."""


def read_run(folder: Path, method: str, seed: int, pretraining_seconds: float = 0.0) -> Run:
    """Read `all_results.json` and `trainer_state.json` of a finished run.

    Args:
        pretraining_seconds: the time of the training that this one started from.

    Raises:
        RunError: one of the files is missing or broken.
    """
    results = _read(folder / "all_results.json", "train_seconds_without_evaluation")
    state = _read(folder / "trainer_state.json", "log_history")
    split = "test" if "test_nll" in results or "test_elbo" in results else "eval"
    history = [line for line in state["log_history"] if "train_seconds" in line]
    best = [line["train_seconds"] for line in history if line["step"] == state.get("best_global_step")]
    seconds = best[0] if best else results["train_seconds_without_evaluation"]
    return Run(
        method,
        seed,
        {metric: results[f"{split}_{metric}"] for metric in COMPARED_METRICS if f"{split}_{metric}" in results},
        pretraining_seconds + seconds,
        history,
    )


def _read(path: Path, needed: str) -> dict:
    content = read_json(path)
    if not isinstance(content, dict) or needed not in content:
        raise RunError(
            f"{path} is missing or broken: remove all_results.json from its folder and run the same command again"
        )
    return content


def results_table(runs: Sequence[Run]) -> str:
    """Mean (and standard deviation, where there are several seeds) of every metric, the best mean in bold."""
    methods = by_method(runs)
    metrics = [metric for metric in COMPARED_METRICS if any(metric in run.results for run in runs)]
    means = {
        method: {
            metric: statistics.mean(run.results[metric] for run in group)
            for metric in metrics
            if all(metric in run.results for run in group)
        }
        for method, group in methods.items()
    }
    best = {
        metric: choose(row[metric] for row in means.values() if metric in row)
        for metric, choose in BETTER.items()
        if metric in metrics
    }
    lines = [
        "| method | " + " | ".join(HEADS.get(metric, metric.upper()) for metric in metrics) + " |",
        "|---|" + "---:|" * len(metrics),
    ]
    for method, group in methods.items():
        cells = []
        for metric in metrics:
            if metric not in means[method]:
                cells.append("–")
                continue
            mean = means[method][metric]
            spread = statistics.stdev(run.results[metric] for run in group) if len(group) > 1 else None
            text = f"{mean:.1f}" if metric == "au" else f"{round(mean, 2) + 0.0:.2f}"  # no -0.00
            text = f"**{text}**" if mean == best.get(metric) else text
            cells.append(text if spread is None else f"{text} ± {spread:.2f}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_table(runs: Sequence[Run]) -> str:
    """Training time to the best model, and the ratio to that of the plain VAE (or of the first method)."""
    seconds = {method: statistics.mean(run.seconds for run in group) for method, group in by_method(runs).items()}
    reference = "vae" if "vae" in seconds else next(iter(seconds))
    lines = [f"| method | seconds to the best model | over {reference} |", "|---|---:|---:|"]
    lines += [f"| {method} | {taken:.0f} | {taken / seconds[reference]:.2f} |" for method, taken in seconds.items()]
    return "\n".join(lines)


def write_comparison(runs: Sequence[Run], folder: Path, command: str, notes: Sequence[str] = ()) -> None:
    """Write `comparison.md`, `comparison.csv`, and the pictures `dynamics.png` and `tradeoff.png` into a folder.

    Args:
        runs: at least one.
        command: what made them, for the head of the table.
        notes: sentences to stand under it.
    """
    seeds = sorted({run.seed for run in runs})
    parts = [
        "# Comparison",
        f"`{command}`",
        f"Nats per sentence; seed {', '.join(map(str, seeds))}"
        + ("; mean ± standard deviation over seeds." if len(seeds) > 1 else "."),
        results_table(runs),
        "Training time until the model that was kept, evaluations left out:",
        time_table(runs),
        *notes,
    ]
    (folder / "comparison.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    with (folder / "comparison.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["method", "seed", *COMPARED_METRICS, "seconds"], restval="")
        writer.writeheader()
        writer.writerows({"method": r.method, "seed": r.seed, "seconds": r.seconds, **r.results} for r in runs)
    draw_dynamics(runs, folder / "dynamics.png")
    draw_tradeoff(runs, folder / "tradeoff.png")


@in_our_style
def draw_dynamics(runs: Sequence[Run], path: Path) -> None:
    """MI, KL and KL(q(z) ‖ p(z)) on the validation split over the steps of training; the first seed of each method.

    Of a CVAE, which has no one p(z), its two KLs.
    """
    lines = [line for run in runs for line in run.history]
    shown = {metric: label for metric, label in DYNAMICS.items() if all(f"eval_{metric}" in line for line in lines)}
    size = (COLUMN_WIDTH, ROW_HEIGHT * len(shown))
    figure, axes = subplots(len(shown), 1, size, sharex=True)
    axes = axes[:, 0]
    for number, (method, group) in enumerate(by_method(runs).items()):
        history = group[0].history
        for axis, (metric, label) in zip(axes, shown.items(), strict=True):
            points = [(line["step"], line[f"eval_{metric}"]) for line in history]
            axis.plot(*zip(*points, strict=True), label=method, **style(number), markevery=max(1, len(points) // 5))
            axis.set_ylabel(f"{label} (nats)")
    for axis in axes:
        if axis.get_ylim()[1] > OFF_THE_SCALE:
            # An autoencoder's KL is in the hundreds, and would leave the others a line at the bottom.
            axis.set_yscale("symlog", linthresh=10)
        axis.set_ylim(bottom=0)
    figure.align_ylabels(axes)
    axes[-1].set_xlabel("steps")
    handles, labels = axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.55, 0.04), ncol=2, fontsize=6, frameon=False
        )
    save(figure, path)


@in_our_style
def draw_tradeoff(runs: Sequence[Run], path: Path) -> None:
    """NLL against MI, a point a method: what the latent knows, and what it costs.

    A method whose NLL is far above the best is named over the picture, in which it would leave the others a line.
    """
    figure, ((axis,),) = subplots(1, 1, (COLUMN_WIDTH, 2.8))
    points, far = tradeoff_points(runs)
    for number, method in enumerate(by_method(runs)):
        if method in points:
            axis.plot(*points[method], label=method, **style(number) | {"linestyle": "none", "markersize": 5})
    if far:
        axis.set_title(
            "off the scale: " + ", ".join(f"{method} ({nll:.1f})" for method, nll in far.items()), fontsize=6
        )
    axis.set_xlabel("mutual information (nats)")
    axis.set_ylabel("NLL (nats)")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2, fontsize=6, frameon=False)
    save(figure, path)


def tradeoff_points(runs: Sequence[Run]) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Mean MI and NLL of each method that has both, and the NLL of those that are far above the best."""
    points = {
        method: (
            statistics.mean(run.results["mi"] for run in group),
            statistics.mean(run.results["nll"] for run in group),
        )
        for method, group in by_method(runs).items()
        if all({"nll", "mi"} <= run.results.keys() for run in group)
    }
    highest = FAR_FROM_THE_BEST * min((nll for _, nll in points.values()), default=0.0)
    far = {method: nll for method, (_, nll) in points.items() if nll > highest}
    return {method: point for method, point in points.items() if method not in far}, far


def style(number: int) -> dict:
    """How one of several is drawn. They are told apart in grey: by markers, lines and darkness."""
    from matplotlib import colormaps

    return {
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "color": colormaps["viridis"](0.85 * (number * 4 % 11) / 10),
        "markersize": 3,
        "linewidth": 1,
    }


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each method, in the order of their first ones."""
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(run)
    return methods
