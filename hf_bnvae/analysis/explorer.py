"""What a page on a trained text VAE shows: a checkpoint behind it, and what that makes of what a visitor asks."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..models.interpolation import interpolate_latents
from ..pipelines import TextVaePipeline
from .latent_space import (
    LatentSpace,
    Projection,
    dimensions,
    label_plane,
    nearest,
    on_support,
    principal_plane,
    read_latent_space,
    verdict,
)

MOST_CHARACTERS = 500
MOST_SAMPLES = 10
MOST_STEPS = 11
MOST_SPREAD = 2.0
MOST_TEMPERATURE = 1.5
MOST_SEED = 1000
SLIDERS = 6
REACH = 4.0
NEAREST = 3
OWN_SENTENCES = 200
MAX_NEW_TOKENS = 48
MAP_WIDTH, MAP_HEIGHT, MAP_EDGE = 480, 320, 12
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
OTHER_COLOUR = "#8a8f99"


class PageError(ValueError):
    """What a visitor of the page asked for and cannot have, or a page that cannot be made: one sentence."""


@dataclass(frozen=True)
class Explorer:
    """One checkpoint behind the page, and what it makes of what a visitor asks.

    Args:
        name: of the model, for its column.
        space: the sentences on its map.
        plane: the plane of the map.
        strongest: the dimensions that have a slider, the one with most information first.
        reach: how far a slider goes from 0, in units of the prior's standard deviation.
    """

    name: str
    space: LatentSpace
    plane: Projection
    strongest: list[int]
    reach: float

    @classmethod
    def of(
        cls, pipeline: TextVaePipeline, name: str, texts: Sequence[str] = (), labels: Sequence[Any] | None = None
    ) -> "Explorer":
        """An explorer with those sentences on its map; without any, with what the model says to draws of its prior."""
        if not texts:
            texts = pipeline.sample(OWN_SENTENCES, seed=0, do_sample=True, max_new_tokens=MAX_NEW_TOKENS)
        space = read_latent_space(pipeline, texts, labels)
        ranked = sorted(dimensions(space), key=lambda one: -one.strength)[:SLIDERS]
        strongest = [one.number for one in ranked]
        farthest = float(space.means[:, strongest].abs().max()) / space.unit
        plane = label_plane(space) or principal_plane(space.means)
        return cls(name, space, plane, strongest, max(REACH, float(int(farthest) + 1)))

    @property
    def verdict(self) -> str:
        """Whether the posterior has collapsed, in one sentence."""
        return verdict(self.space)[1]

    def encode(self, text: str) -> torch.Tensor:
        """The posterior mean of a sentence, `(latent_size,)`.

        Raises:
            PageError: for a sentence without a word, or one that is too long.
        """
        if not isinstance(text, str) or not text.strip():
            raise PageError("Type a sentence first.")
        if len(text) > MOST_CHARACTERS:
            raise PageError(f"That is too long: a sentence may have {MOST_CHARACTERS} characters here.")
        return self.space.pipeline.encode(" ".join(text.split()))[0]

    def decode(self, points: torch.Tensor, **generation_options) -> list[str]:
        """Texts of `(n, latent_size)` points."""
        return self.space.pipeline.decode(
            on_support(self.space, points), max_new_tokens=MAX_NEW_TOKENS, **generation_options
        )

    def reconstruct(self, text: str) -> tuple[str, list[float], str]:
        """The reconstruction of a sentence, its strongest dimensions as far as sliders go, and its place on the map."""
        latent = self.encode(text)
        shown = (latent[self.strongest] / self.space.unit).clamp(-self.reach, self.reach)
        values = [round(value, 2) for value in shown.tolist()]
        return self.decode(latent.unsqueeze(0))[0], values, self.map(latent)

    def move(self, text: str, values: Sequence[float]) -> tuple[str, str]:
        """What the decoder says to a sentence whose strongest dimensions have other values, and the map with both."""
        latent = self.encode(text)
        moved = latent.clone()
        for number, value in zip(self.strongest, values, strict=True):
            moved[number] = bounded(value, -self.reach, self.reach) * self.space.unit
        moved = on_support(self.space, moved.unsqueeze(0))
        return self.decode(moved)[0], self.map(latent, moved[0])

    def interpolate(self, a: str, b: str, steps: int) -> list[str]:
        """Texts along the arc from one sentence to another, both ends included."""
        steps = int(bounded(steps, 2, MOST_STEPS))
        return self.decode(interpolate_latents(self.encode(a), self.encode(b), steps))

    def sample(self, count: int, spread: float, temperature: float, seed: int) -> list[str]:
        """Texts of draws of the prior.

        Args:
            spread: what the draws are multiplied by; 1 is the prior.
            temperature: of the words; 0 takes the likeliest word each time.
        """
        count, seed = int(bounded(count, 1, MOST_SAMPLES)), int(bounded(seed, 0, MOST_SEED))
        generator = torch.Generator().manual_seed(seed)
        draws = self.space.pipeline.sample_prior(count, generator)
        points = draws * bounded(spread, 0, MOST_SPREAD)
        temperature = bounded(temperature, 0, MOST_TEMPERATURE)
        if temperature == 0:
            return self.decode(points)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.decode(points, do_sample=True, temperature=temperature)

    def neighbours(self, text: str) -> list[str]:
        """The sentences of the map that are nearest to one, each of them once."""
        texts = self.space.texts
        ranked = nearest(self.space, self.encode(text), len(texts))
        return list(dict.fromkeys(texts[index] for index, _ in ranked))[:NEAREST]

    def map(self, latent: torch.Tensor | None = None, moved: torch.Tensor | None = None) -> str:
        """An SVG of the sentences, with a cross where a latent is and a ring where it was moved to."""
        sentences = self.plane(self.space.means)
        # At least the prior's deviation to each side: a collapsed posterior is to look like one.
        low = sentences.min(0).values.clamp(max=-self.space.unit)
        high = sentences.max(0).values.clamp(min=self.space.unit)
        room = torch.tensor([MAP_WIDTH - 2 * MAP_EDGE, MAP_HEIGHT - 2 * MAP_EDGE])

        def shown(points: torch.Tensor) -> list[list[float]]:
            share = ((self.plane(points) - low) / (high - low)).clamp(0, 1)
            share[:, 1] = 1 - share[:, 1]
            return (MAP_EDGE + share * room).tolist()

        marks = [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{escaped_html(text)}</title></circle>'
            for (x, y), colour, text in zip(shown(self.space.means), self._colours(), self.space.texts, strict=True)
        ]
        if latent is not None:
            ((x, y),) = shown(latent.unsqueeze(0))
            arms = f"M{x - 8:.1f} {y:.1f}h16M{x:.1f} {y - 8:.1f}v16"
            marks.append(f'<path class="cross" d="{arms}"><title>the sentence</title></path>')
        if moved is not None:
            ((x, y),) = shown(moved.unsqueeze(0))
            marks.append(f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="7"><title>moved</title></circle>')
        return (
            f'<svg class="map" viewBox="0 0 {MAP_WIDTH} {MAP_HEIGHT}" role="img" aria-label="Map of the sentences">'
            + "".join(marks)
            + "</svg>"
        )

    def _colours(self) -> list[str]:
        """By label where there are two or more."""
        kinds = self.space.label_kinds
        if self.space.labels is None or len(kinds) < 2:
            return [COLOURS[0]] * len(self.space.texts)
        colours = dict(zip(kinds, COLOURS, strict=False))
        return [colours.get(label, OTHER_COLOUR) for label in self.space.labels]


def bounded(value: Any, low: float, high: float) -> float:
    """A number between two others.

    Raises:
        PageError: for anything else.
    """
    if not isinstance(value, int | float) or not low <= value <= high:
        raise PageError(f"A number from {low:g} to {high:g} belongs there.")
    return value


def escaped_html(text: str) -> str:
    """Text that stays text in HTML, and in the templates that Gradio makes of it."""
    return html.escape(text).replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;")


def lines(texts: Sequence[str]) -> str:
    """Texts as a numbered list."""
    return '<ol class="texts">' + "".join(f"<li>{escaped_html(text) or '(nothing)'}</li>" for text in texts) + "</ol>"
