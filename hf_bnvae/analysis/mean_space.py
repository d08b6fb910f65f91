"""The plane of two means (He et al. 2019): where a model's own posterior puts each sentence, and where q(z|x) does.

On the diagonal the inference network says what the model means. On the horizontal axis it says nothing, while the model
tells sentences apart; at the origin the model does not tell them apart either.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

from ..evaluation import grid_posterior, infer
from .pictures import in_our_style, save, subplots

REACH = 3.5
TICKS = (-2, 0, 2)
PANEL = 1.15
COLOURS = {"cmap": "viridis", "vmin": -2.0, "vmax": 2.0}
FRAME_MILLISECONDS = 400
LAST_FRAME_REPEATS = 5


@dataclass(frozen=True)
class MeanSpace:
    """Sentences on that plane at a step of training.

    Args:
        step: optimiser steps taken.
        model_mean: E[z] of p(z|x), `(sentences,)`.
        inference_mean: E[z] of q(z|x), `(sentences,)`.
        model_kl: KL(p(z|x) ‖ p(z)) in nats, averaged over the sentences: 0 where the model has collapsed.
    """

    step: int
    model_mean: np.ndarray
    inference_mean: np.ndarray
    model_kl: float

    def statistics(self) -> dict[str, float]:
        """How wide the points spread in both directions, and how near to the diagonal.

        `slope` is that of inference mean over model mean by least squares, `diagonal_distance` the root mean square of
        their difference. Where one of the means is the same for all sentences, correlation and slope are 0.
        """
        model, inference = self.model_mean, self.inference_mean
        deviations = float(model.std()), float(inference.std())
        covariance = float(((model - model.mean()) * (inference - inference.mean())).mean())
        return {
            "correlation": covariance / (deviations[0] * deviations[1]) if min(deviations) > 0 else 0.0,
            "slope": covariance / deviations[0] ** 2 if deviations[0] > 0 else 0.0,
            "model_mean_deviation": deviations[0],
            "inference_mean_deviation": deviations[1],
            "diagonal_distance": float(np.sqrt(((inference - model) ** 2).mean())),
            "model_kl": self.model_kl,
        }


def mean_space(model, batches: Iterable[Mapping[str, torch.Tensor]], step: int) -> MeanSpace:
    """Both means of sentences under a text VAE with one latent dimension.

    Args:
        batches: of a collator; the encoder's normalisation statistics are taken as they are.
    """
    batches = list(batches)
    posterior = grid_posterior(model, batches)
    inference = infer(model, batches).posterior.mean[:, 0].double()
    return MeanSpace(step, posterior.mean.numpy(), inference.numpy(), float(posterior.kl.mean()))


class MeanSpaceCallback(TrainerCallback):
    """Looks at the plane at chosen steps of a training, each time with fresh normalisation statistics.

    The trainer's stopwatch leaves out the time that this takes.

    Args:
        trainer: a `VaeTrainer`, which the callback is then added to.
        batches: the sentences to show.
        steps: when; 0 is before the first.

    Attributes:
        spaces: what it saw, in order.
    """

    def __init__(self, trainer, batches: Iterable[Mapping[str, torch.Tensor]], steps: Iterable[int]):
        self.trainer = trainer
        self.batches = list(batches)
        self.steps = set(steps)
        self.spaces: list[MeanSpace] = []

    def on_train_begin(self, args, state, control, **kwargs):
        self._look(state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        self._look(state.global_step)

    def _look(self, step: int) -> None:
        if step in self.steps:
            self.trainer.refresh_statistics()
            with self.trainer.stopwatch.stopped():
                self.spaces.append(mean_space(self.trainer.model, self.batches, step))


def draw_training(trainings: Mapping[str, Sequence[MeanSpace]], latents: np.ndarray, path: Path) -> None:
    """The paper's Figure 1: a row for each training, a column for each step.

    Args:
        trainings: by the title of the row, the same steps in each.
        latents: the z that each sentence was drawn from, for its colour.
    """
    columns = [f"step {space.step:,}" for space in next(iter(trainings.values()))]
    _draw_grid([*trainings.values()], [*trainings], columns, latents, path)


def draw_sweep(sweep: Mapping[str, Mapping[int, MeanSpace]], latents: np.ndarray, path: Path) -> None:
    """The paper's Figure 2: a row for each method or γ, a column for each batch size.

    Args:
        sweep: by the title of the row and the batch size, the same ones in each.
        latents: the z that each sentence was drawn from, for its colour.
    """
    columns = [f"batch size {size}" for size in next(iter(sweep.values()))]
    _draw_grid([[*row.values()] for row in sweep.values()], [*sweep], columns, latents, path, correlations=True)


@in_our_style
def animate_training(trainings: Mapping[str, Sequence[MeanSpace]], latents: np.ndarray, path: Path) -> None:
    """The trainings side by side as a gif, a frame for each step."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    figure, axes = subplots(1, len(trainings), (2.2 * len(trainings), 2.6))
    dots = []
    for axis, (title, spaces) in zip(axes[0], trainings.items(), strict=True):
        dots.append(_draw_panel(axis, spaces[0], latents, size=5))
        axis.set(title=title, xlabel="model posterior mean")
    axes[0, 0].set_ylabel("inference mean")
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    heading = figure.suptitle("")
    count = len(next(iter(trainings.values())))

    def show(frame: int) -> list:
        for dot, spaces in zip(dots, trainings.values(), strict=True):
            dot.set_offsets(np.stack([spaces[frame].model_mean, spaces[frame].inference_mean], 1))
        heading.set_text(f"step {spaces[frame].step:,}")
        return [*dots, heading]

    frames = [*range(count), *[count - 1] * LAST_FRAME_REPEATS]
    animation = FuncAnimation(figure, show, frames=frames)
    animation.save(path, writer=PillowWriter(fps=1000 // FRAME_MILLISECONDS), dpi=110)


@in_our_style
def _draw_grid(
    rows: Sequence[Sequence[MeanSpace]],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    latents: np.ndarray,
    path: Path,
    correlations: bool = False,
) -> None:
    size = (PANEL * len(column_titles) + 1.3, PANEL * len(rows) + 0.5)
    figure, axes = subplots(len(rows), len(column_titles), size, layout="constrained", sharex=True, sharey=True)
    for row, spaces, title in zip(axes, rows, row_titles, strict=True):
        for axis, space in zip(row, spaces, strict=True):
            dots = _draw_panel(axis, space, latents, size=1.5)
            if correlations:
                correlation = space.statistics()["correlation"]
                axis.text(0.05, 0.95, f"r = {correlation:.2f}", transform=axis.transAxes, va="top", fontsize=6)
        row[0].set_ylabel(title)
    for axis, title in zip(axes[0], column_titles, strict=True):
        axis.set_title(title, fontsize=7)
    figure.supxlabel("model posterior mean", fontsize=8)
    figure.supylabel("inference mean", fontsize=8)
    label = "z that the sequence was drawn from"
    figure.colorbar(
        dots, ax=axes, label=label, shrink=0.8, pad=0.01, aspect=12 * len(rows), extend="both", extendfrac=0.03
    )
    save(figure, path)


def _draw_panel(axis, space: MeanSpace, latents: np.ndarray, size: float):
    """The points, over the horizontal axis and the diagonal."""
    axis.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    axis.axline((0, 0), slope=1, color="0.6", linewidth=0.6, linestyle="--", zorder=0)
    axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=TICKS, yticks=TICKS, aspect="equal")
    return axis.scatter(space.model_mean, space.inference_mean, s=size, c=latents, linewidths=0, **COLOURS)
