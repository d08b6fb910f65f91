"""One self-contained HTML page about a latent space: the map, the dimensions, what directions mean, the verdict."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ..models.interpolation import interpolate_latents
from .latent_space import (
    OTHER,
    Dimension,
    LatentSpace,
    decode_rows,
    dimensions,
    examples,
    label_direction,
    label_plane,
    nearest_others,
    on_support,
    principal_plane,
    quantiles,
    traversal_values,
    traverse,
    umap_layout,
    verdict,
)

TEMPLATE = Path(__file__).with_name("latent_space.html")
MOST_TRAVERSED = 16
NEIGHBOURS = 5
EXAMPLES = 3
STEPS = 7
STRENGTHS = (0.0, 1.0, 2.0)
DIGITS = 5


def write_report(
    space: LatentSpace, path: Path, name: str, notes: Sequence[str] = (), seed: int = 0, max_new_tokens: int = 48
) -> None:
    """Write the page. It asks nothing of the network, and every sentence on it is text, whatever it spells.

    Args:
        name: of the model, for the head of the page.
        notes: sentences about how it was made.
        seed: of the UMAP layout.
        max_new_tokens: the most that a decoded text has.
    """
    content = report_content(space, name, notes, seed, max_new_tokens)
    # Inside a script nothing is markup but "</", and "<!--".
    data = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE.read_text(encoding="utf-8").replace("{{data}}", data), encoding="utf-8")


def report_content(space: LatentSpace, name: str, notes: Sequence[str], seed: int, max_new_tokens: int) -> dict:
    """Everything on the page, as JSON has it: numbers rounded, and None for one that is not finite."""
    ranked = sorted(dimensions(space), key=lambda one: -one.strength)
    options = {"max_new_tokens": max_new_tokens}
    prior, aggregated = quantiles(space)
    collapsed, sentence = verdict(space)
    return _rounded(
        {
            "name": name,
            "verdict": sentence,
            "collapsed": collapsed,
            "metrics": space.metrics,
            "posterior": space.pipeline.model.config.posterior,
            "texts": space.texts,
            "lengths": space.lengths.tolist(),
            "labels": space.labels,
            "label_kinds": space.label_kinds,
            "maps": _maps(space, seed),
            "neighbours": nearest_others(space, NEIGHBOURS),
            "dimensions": [asdict(one) | {"quantiles": aggregated[one.number].tolist()} for one in ranked],
            "prior_quantiles": prior.tolist(),
            "traversals": _traversals(space, ranked, options),
            "interpolations": _interpolations(space, options),
            "arithmetic": _arithmetic(space, options),
            "notes": [*notes, *_missing(space)],
        }
    )


def _maps(space: LatentSpace, seed: int) -> list[dict]:
    plane = principal_plane(space.means)
    points = plane(space.means)
    first, second = (
        f"{deviation:.2f} ({share:.0%} of the variance)"
        for deviation, share in zip(
            (points.std(0, correction=0) / space.unit).tolist(), plane.shares.tolist(), strict=True
        )
    )
    maps = [
        {
            "name": "PCA",
            "note": f"The two principal components of the posterior means, with deviations {first} and {second} where "
            "the prior has 1, in which the axes are numbered.",
            "points": points.tolist(),
            # At least the prior's deviation to each side: a collapsed posterior is to look like one.
            "least": space.unit,
        }
    ]
    labelled = label_plane(space)
    if labelled is not None:
        note = "The plane in which the means of the labels lie furthest apart, which the model did not choose."
        maps.append({"name": "Labels", "note": note, "points": labelled(space.means).tolist(), "least": space.unit})
    layout = umap_layout(space.means, seed)
    if layout is not None:
        note = "UMAP of the posterior means: near is near, but distances and directions mean nothing."
        maps.append({"name": "UMAP", "note": note, "points": layout.tolist(), "least": 0})
    return maps


def _traversals(space: LatentSpace, ranked: Sequence[Dimension], options: dict) -> dict:
    (index,) = examples(space, 1)
    values = traversal_values()
    numbers = [one.number for one in ranked[:MOST_TRAVERSED]]
    texts = traverse(space, space.means[index], numbers, values, **options)
    return {
        "place": index,
        "values": values.tolist(),
        "texts": [{"number": number, "texts": row} for number, row in zip(numbers, texts, strict=True)],
    }


def _interpolations(space: LatentSpace, options: dict) -> list[dict]:
    chosen = examples(space, 2 * EXAMPLES)
    # From the shorter half to the longer: the ends of a path should differ.
    pairs = list(zip(chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :], strict=False))
    paths = [interpolate_latents(space.means[a], space.means[b], STEPS) for a, b in pairs]
    rows = decode_rows(space, paths, **options)
    return [{"from": a, "to": b, "texts": texts} for (a, b), texts in zip(pairs, rows, strict=True)]


def _arithmetic(space: LatentSpace, options: dict) -> dict | None:
    """Sentences of one of the two most common labels moved towards the other; of numbers, from the lower one."""
    kinds = sorted([label for label in space.label_kinds if label != OTHER][:2], key=_as_number)
    if len(kinds) < 2:
        return None
    away_from, towards = kinds
    direction = torch.outer(torch.tensor(STRENGTHS), label_direction(space, towards, away_from))
    indices = examples(space, EXAMPLES, away_from)
    rows = decode_rows(space, [on_support(space, space.means[index] + direction) for index in indices], **options)
    return {
        "towards": towards,
        "away_from": away_from,
        "strengths": STRENGTHS,
        "rows": [{"place": index, "texts": texts} for index, texts in zip(indices, rows, strict=True)],
    }


def _as_number(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label


def _missing(space: LatentSpace) -> list[str]:
    """What the page leaves out, and why."""
    said = []
    if space.gaussian is None:
        said.append(
            "A von Mises-Fisher posterior has one concentration in the place of variances, and its KL is a constant: "
            "there is no KL, information or bound of a single dimension, and dimensions are ranked by their variance."
        )
    if space.labels is None:
        said.append("These sentences have no labels, so the map is coloured by length and there is no arithmetic.")
    elif len(space.label_kinds) < 2:
        said.append("All sentences have the same label, so there is no arithmetic.")
    if space.unknown:
        said.append(f"{space.unknown:.1%} of the words are unknown to the model.")
    if space.cut:
        said.append(f"{space.cut:,} sentences were cut at {space.pipeline.max_length} tokens.")
    return said


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value
