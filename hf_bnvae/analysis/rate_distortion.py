"""What a rate buys: distortion and use against KL and MI, a line a method over its knob (Alemi et al. 2018)."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from ..methods import METHODS
from .comparison import Run, by_method, style
from .pictures import in_our_style, save, subplots

RATES = {"kl": "KL (nats)", "mi": "mutual information (nats)"}
WORTHS = {"rec": "distortion: rec (nats)", "use": "use of the latent (nats)"}
SIDE = 2.6
OFF_THE_SCALE = 2.0  # times the largest rate of the others


def rate_curves(runs: Sequence[Run], rate: str, worth: str) -> dict[str, list[tuple[float, float]]]:
    """Points (rate, worth) of each method, means over seeds, by rising rate.

    `bn_vae:rate=4` and `bn_vae:rate=8` are points of one method, `bn_vae`; what has no latent, or lacks one of the two
    numbers, has none.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for method, group in by_method(runs).items():
        if all({rate, worth} <= run.results.keys() for run in group) and not _is_language_model(method):
            nats, bought = (statistics.mean(run.results[name] for run in group) for name in (rate, worth))
            curves.setdefault(_family(method), []).append((nats, bought))
    return {family: sorted(points) for family, points in curves.items()}


def _family(method: str) -> str:
    """What was trained, as the user wrote it, without parameters: of FIRST+THEN, without those of either."""
    return re.sub(rf":.*?(?=$|[+](?:{'|'.join(METHODS)})(?:$|[:+]))", "", method)


def _is_language_model(method: str) -> bool:
    """Whether what was trained, as the user wrote it, is a method without a latent."""
    row = METHODS.get(_family(method))
    return row is not None and not row.has_latent


@in_our_style
def draw_rate_distortion(runs: Sequence[Run], path: Path) -> None:
    """Distortion and use over both rates, with the language model's end and the autoencoder's.

    A language model has rate 0: its loss is the distortion of a latent that says nothing, and a latent that costs what
    it saves lies on the dotted line rec + KL = that loss. An autoencoder pays no KL; where that is off the scale, its
    distortion is a line.
    """
    families = list(dict.fromkeys(_family(run.method) for run in runs))
    figure, axes = subplots(2, 2, (2.2 * SIDE, 1.7 * SIDE), sharey="row", sharex="col")
    for row, (worth, worth_label) in zip(axes, WORTHS.items(), strict=True):
        for axis, rate in zip(row, RATES, strict=True):
            curves = rate_curves(runs, rate, worth)
            _draw_ends(axis, runs, curves, rate, worth)
            for family, points in curves.items():
                axis.plot(*zip(*points, strict=True), label=family, **style(families.index(family)))
        row[0].set_ylabel(worth_label)
    for axis, label in zip(axes[-1], RATES.values(), strict=True):
        axis.set_xlabel(label)
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.02),
        ncol=4,
        fontsize=6,
        frameon=False,
    )
    figure.align_ylabels(axes[:, 0])
    save(figure, path)


def _draw_ends(axis, runs: Sequence[Run], curves: dict, rate: str, worth: str) -> None:
    """The language model's end, and the autoencoder's, which leaves `curves` where its rate is off the scale."""
    language = [run.results["rec"] for run in runs if _is_language_model(run.method) and "rec" in run.results]
    others = [point[0] for family, points in curves.items() if family != "ae" for point in points]
    if language and worth == "rec":
        level = statistics.mean(language)
        axis.plot([0], [level], "k*", label="language model")
        if rate == "kl" and others:
            axis.plot([0, max(others)], [level, level - max(others)], "k:", linewidth=0.7, label="rec + KL of the LM")
    if others and curves.get("ae") and curves["ae"][-1][0] > OFF_THE_SCALE * max(others):
        axis.axhline(curves.pop("ae")[-1][1], color="grey", linewidth=0.7, linestyle="--", label="autoencoder")
