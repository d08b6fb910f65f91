"""Look inside a text VAE: where sentences lie, what each latent dimension holds, and what directions mean.

Example:

    space = read_latent_space(TextVaePipeline.from_pretrained("out"), texts, labels)
    collapsed, sentence = verdict(space)
    strongest = sorted(dimensions(space), key=lambda one: -one.strength)
    traverse(space, space.means[0], [strongest[0].number], traversal_values())
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from ..data.batches import encoded_columns
from ..evaluation.collapse import collapse_verdict
from ..evaluation.inference import (
    ACTIVE_UNIT_THRESHOLD,
    Inference,
    aggregate_log_prob,
    elbo_metrics,
)
from ..evaluation.scores import infer_with_use
from ..evaluation.text_order import TextBatches
from ..models.distributions import DiagonalGaussian
from ..models.normalisation import FixedScaleBatchNorm, kl_lower_bound
from ..models.pretrained_parts import longest_text
from ..pipelines import TextVaePipeline

MOST_LABELS = 20
OTHER = "(other)"
MOST_BINS = 16
FEWEST_SENTENCES = 10
MOST_UNKNOWN = 0.5
ANGLES = 1 << 12
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class LatentSpace:
    """The posteriors that a text VAE gives to sentences. Rows are sentences, in the order of `texts`.

    Args:
        pipeline: the model with its tokenizer.
        texts: the sentences.
        labels: a label each, as text; None where there are none. Of more than 20 different ones the rare are `OTHER`.
        lengths: the tokens of each sentence, the end symbol counted, `(n,)`.
        cut: how many sentences were longer than the pipeline reads and were cut.
        unknown: the share of words (or parts of words) that are not in the model's vocabulary.
        inference: posteriors, one latent of each, and losses in nats.
    """

    pipeline: TextVaePipeline
    texts: list[str]
    labels: list[str] | None
    lengths: torch.Tensor
    cut: int
    unknown: float
    inference: Inference

    @property
    def means(self) -> torch.Tensor:
        """Posterior means, `(n, latent_size)`: what `encode` gives."""
        return self.inference.posterior.mean

    @property
    def gaussian(self) -> DiagonalGaussian | None:
        """The posteriors where they have a variance in each dimension; None on the sphere (vmf)."""
        posterior = self.inference.posterior
        return posterior if isinstance(posterior, DiagonalGaussian) else None

    @property
    def latent_size(self) -> int:
        """Number n of latent dimensions."""
        return self.means.size(1)

    @property
    def unit(self) -> float:
        """The prior's standard deviation in each dimension: 1, and 1/√n on the sphere."""
        return 1.0 if self.gaussian is not None else 1 / math.sqrt(self.latent_size)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """`elbo`, `rec`, `kl`, `mi`, `au`, `agg_kl` and `use` of these sentences, nats per sentence."""
        return elbo_metrics(self.inference)

    @cached_property
    def label_kinds(self) -> list[str]:
        """The different labels, the most common first; none where there are no labels."""
        return [label for label, _ in Counter(self.labels or ()).most_common()]

    def of_label(self, label: str) -> torch.Tensor:
        """Whether each sentence has that label, `(n,)`.

        Raises:
            ValueError: for a label that no sentence has.
        """
        if label not in self.label_kinds:
            known = ", ".join(map(repr, self.label_kinds)) or "none"
            raise ValueError(f"no sentence has the label {label!r}; there are {known}")
        return torch.tensor([one == label for one in self.labels or ()])


def read_latent_space(
    pipeline: TextVaePipeline, texts: Sequence[str], labels: Sequence[Any] | None = None, seed: int = 0
) -> LatentSpace:
    """Run the encoder once and the decoder twice over texts, in batches of near-equal length.

    Args:
        labels: one a text, of any kind that has a name.
        seed: of the latents, which are keyed by sentence: the same sentence always gets the same.

    Raises:
        ValueError: for no texts, or another number of labels than of texts.
    """
    texts = list(texts)
    if not texts:
        raise ValueError("there are no texts to look at")
    if labels is not None and len(labels) != len(texts):
        raise ValueError(f"{len(labels)} labels for {len(texts)} texts")
    max_length = longest_text(getattr(pipeline.model.config, "encoder_config", None), pipeline.max_length)
    rows = encoded_columns(texts, pipeline.tokenizer, max_length)
    batches = TextBatches(
        rows["input_ids"], pipeline.batch_size, pipeline.tokenizer.pad_token_id, labels=rows.get("labels")
    )
    inference, _ = infer_with_use(pipeline.model, batches, seed)
    inference = inference.rows(batches.original_order)
    ends = pipeline.tokenizer.num_special_tokens_to_add()
    unknown = sum(rows["unknown"]) / max(1, sum(len(ids) - ends for ids in rows["input_ids"]))
    cut = sum(rows["truncated"])
    return LatentSpace(pipeline, texts, _common_labels(labels), inference.tokens, cut, unknown, inference)


def _common_labels(labels: Sequence[Any] | None) -> list[str] | None:
    if labels is None:
        return None
    named = ["(none)" if label is None else str(label) for label in labels]
    counts = Counter(named)
    if len(counts) <= MOST_LABELS:
        return named
    kept = {label for label, _ in counts.most_common(MOST_LABELS - 1)}
    return [label if label in kept else OTHER for label in named]


def verdict(space: LatentSpace) -> tuple[bool | None, str]:
    """Whether the posterior has collapsed, by `evaluation.collapse_verdict`, and one sentence on it.

    None where the sentences cannot tell: they are fewer than 10 different ones, or half of their words are unknown to
    the model.
    """
    different = len(set(space.texts))
    if different < FEWEST_SENTENCES:
        return None, (
            f"Too few sentences to tell whether the posterior has collapsed: {different} different, and it takes "
            f"{FEWEST_SENTENCES}."
        )
    if space.unknown > MOST_UNKNOWN:
        return None, (
            f"These sentences cannot tell whether the posterior has collapsed: {space.unknown:.0%} of their words are "
            "unknown to the model."
        )
    metrics = {f"eval_{name}": value for name, value in space.metrics.items()}
    collapsed, signs = collapse_verdict(metrics, space.latent_size, posterior=space.pipeline.model.config.posterior)
    if collapsed:
        return True, f"The posterior has collapsed: {signs}."
    return False, f"The posterior has not collapsed: {signs}."


@dataclass(frozen=True)
class Dimension:
    """One latent dimension over the sentences of a `LatentSpace`; nats per sentence, None where the sphere has no such.

    Args:
        number: from 0.
        variance: Var_x(E_q[z_i]), in units of the prior's variance: what active units are counted by.
        active: whether that is above 0.01.
        posterior_variance: the mean of σ_i².
        kl: KL(q(z_i|x) ‖ p(z_i)), the mean over sentences.
        agg_kl: KL(q(z_i) ‖ p(z_i)) of the aggregated posterior, by Monte Carlo.
        information: I_q(x; z_i) = kl − agg_kl (Eq. 13), at most log n.
        beta, gamma: the mean and the standard deviation of μ_i over the sentences.
        bound: (γ² + β²)/2 of these two: the KL is never under it (Eq. 6).
        promised: the same of the scale and the shift of the model's own batch normalisation, where it has a frozen one.
        with_length, with_label: the information of z_i about the length and the label, by `binned_information`.
    """

    number: int
    variance: float
    active: bool
    posterior_variance: float | None
    kl: float | None
    agg_kl: float | None
    information: float | None
    beta: float
    gamma: float
    bound: float | None
    promised: float | None
    with_length: float
    with_label: float | None

    @property
    def strength(self) -> float:
        """What dimensions are ranked by: the information about the sentence, and on the sphere the variance."""
        return self.variance if self.information is None else self.information


def dimensions(space: LatentSpace) -> list[Dimension]:
    """Every latent dimension, in their order."""
    variance = space.inference.posterior.standardised_expectation.double().var(0, correction=0)
    beta, gamma = space.means.double().mean(0), space.means.double().std(0, correction=0)
    promised = promised_bounds(space)
    groups = None if space.labels is None else [space.label_kinds.index(label) for label in space.labels]
    divergences = None if space.gaussian is None else space.gaussian.kl().double().mean(0)
    rows = []
    for number in range(space.latent_size):
        values = space.inference.latents[:, number]
        kl = None if divergences is None else float(divergences[number])
        agg_kl = None if kl is None else kl - _information_of_dimension(space, number)
        rows.append(
            Dimension(
                number=number,
                variance=float(variance[number]),
                active=bool(variance[number] > ACTIVE_UNIT_THRESHOLD),
                posterior_variance=None
                if space.gaussian is None
                else float(space.gaussian.logvar[:, number].exp().mean()),
                kl=kl,
                agg_kl=agg_kl,
                information=None if kl is None or agg_kl is None else kl - agg_kl,
                beta=float(beta[number]),
                gamma=float(gamma[number]),
                bound=None if kl is None else float(kl_lower_bound(gamma[number], beta[number])),
                promised=None if promised is None else float(promised[number]),
                with_length=binned_information(values, _bins(space.lengths.float())),
                with_label=None if groups is None else binned_information(values, torch.tensor(groups)),
            )
        )
    return rows


def _information_of_dimension(space: LatentSpace, number: int) -> float:
    """I_q(x; z_i) as `evaluation.mi` has it of all dimensions."""
    gaussian, latents = space.gaussian, space.inference.latents[:, number, None]
    assert gaussian is not None
    one = DiagonalGaussian(gaussian.mean[:, number, None], gaussian.logvar[:, number, None])
    return float((one.log_prob(latents.unsqueeze(1)).squeeze(1).double() - aggregate_log_prob(one, latents)).mean())


def promised_bounds(space: LatentSpace) -> torch.Tensor | None:
    """(γ² + β²)/2 of each dimension with the frozen γ and the learnt β of the model (Eq. 6), nats, `(latent_size,)`.

    It holds for the mean over the training sentences. None for a posterior that freezes no scale.
    """
    norm = getattr(space.pipeline.model.model.posterior, "mean_norm", None)
    if not isinstance(norm, FixedScaleBatchNorm):
        return None
    return kl_lower_bound(torch.as_tensor(norm.gamma, dtype=torch.double), norm.shift.detach().double().cpu())


def binned_information(values: torch.Tensor, groups: torch.Tensor) -> float:
    """Mutual information of numbers and groups in nats, whatever the form of their dependence.

    The numbers go into ∛n bins (2 to 16) of equal counts. Of the table of bins and groups it is the sum of the
    entropies of the margins less that of the cells, each with the correction of Miller and Madow for small counts,
    without which independent things would share (bins − 1)(groups − 1) / 2n nats; never under 0.

    Args:
        values: `(n,)`.
        groups: `(n,)` whole numbers of at least 0; `_bins` of other numbers.
    """
    table = torch.zeros(MOST_BINS, int(groups.max()) + 1, dtype=torch.float64)
    table.index_put_((_bins(values), groups), torch.ones(len(values), dtype=torch.float64), accumulate=True)
    plug_in = _entropy(table.sum(0)) + _entropy(table.sum(1)) - _entropy(table.flatten())
    return max(0.0, plug_in)


def _entropy(counts: torch.Tensor) -> float:
    """Of the shares of counts, in nats, with Miller and Madow's correction."""
    counts = counts[counts > 0]
    shares = counts / counts.sum()
    return float(-(shares * shares.log()).sum() + (len(counts) - 1) / (2 * counts.sum()))


def _bins(values: torch.Tensor) -> torch.Tensor:
    """The bin of each number, from 0; bins hold equal counts, as far as equal numbers allow."""
    count = min(MOST_BINS, max(2, round(len(values) ** (1 / 3))))
    inner = torch.linspace(0, 1, count + 1, dtype=torch.float64)[1:-1]
    return torch.bucketize(values.double(), values.double().quantile(inner))


@dataclass(frozen=True)
class Projection:
    """A plane through the latent space.

    Args:
        origin: `(latent_size,)`.
        axes: two orthonormal directions, `(2, latent_size)`; the second is 0 where there is but one dimension.
        shares: of the variance along each axis, `(2,)`.
    """

    origin: torch.Tensor
    axes: torch.Tensor
    shares: torch.Tensor

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """`(n, 2)` coordinates of `(n, latent_size)` points."""
        return (points.double() - self.origin) @ self.axes.T


def principal_plane(points: torch.Tensor) -> Projection:
    """The plane of the two principal components of `(n, latent_size)` points; an axis's largest entry is positive."""
    points = points.double()
    origin = points.mean(0)
    covariance = (points - origin).T @ (points - origin) / len(points)
    variances, directions = torch.linalg.eigh(covariance)
    axes = directions.flip(1).T[:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    shares = variances.flip(0)[:2].clamp(min=0) / variances.clamp(min=0).sum().clamp(min=1e-300)
    missing = 2 - len(axes)
    return Projection(origin, F.pad(axes, (0, 0, 0, missing)), F.pad(shares, (0, missing)))


def label_plane(space: LatentSpace) -> Projection | None:
    """The plane in which the means of the labels lie furthest apart; None for fewer than three labels."""
    if len(space.label_kinds) < 3:
        return None
    return principal_plane(torch.stack([space.means[space.of_label(kind)].mean(0) for kind in space.label_kinds]))


def umap_layout(points: torch.Tensor, seed: int = 0) -> torch.Tensor | None:
    """Points `(n, latent_size)` in the plane, `(n, 2)`, by UMAP; None without umap-learn and for fewer than 10."""
    try:
        from umap import UMAP
    except ImportError:
        return None
    if len(points) < 10:
        return None
    neighbours = min(15, len(points) - 1)
    return torch.from_numpy(UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(points.numpy()))


def nearest(space: LatentSpace, point: torch.Tensor, k: int = 5, metric: str = "cosine") -> list[tuple[int, float]]:
    """The k sentences whose posterior means are nearest to a point `(latent_size,)`, with cosine or distance.

    Args:
        metric: `"cosine"`, the highest first, or `"euclidean"`, the smallest distance first.
    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}")
    if metric == "cosine":
        values = F.normalize(space.means, dim=1) @ F.normalize(point, dim=0)
    else:
        values = (space.means - point).norm(dim=1)
    best = values.topk(min(k, len(values)), largest=metric == "cosine")
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def nearest_others(space: LatentSpace, k: int = 5) -> list[list[int]]:
    """For every sentence the indices of the k with the highest cosine, best first; no text comes twice."""
    directions = F.normalize(space.means, dim=1)
    first = {text: index for index, text in reversed(list(enumerate(space.texts)))}
    candidates = torch.tensor(sorted(first.values()))
    own = torch.tensor([first[text] for text in space.texts])
    k = min(k, len(candidates) - 1)
    neighbours: list[list[int]] = []
    for rows in torch.arange(len(own)).split(ROWS_AT_ONCE):
        cosines = directions[rows] @ directions[candidates].T
        cosines[own[rows].unsqueeze(1) == candidates] = -math.inf
        neighbours += candidates[cosines.topk(k, dim=1).indices].tolist()
    return neighbours


def examples(space: LatentSpace, count: int, label: str | None = None) -> list[int]:
    """Indices of at most `count` different sentences (with a label), spread over the half of usual length."""
    wanted = [True] * len(space.texts) if label is None else space.of_label(label).tolist()
    different = {text: index for index, text in enumerate(space.texts) if wanted[index]}
    by_length = sorted(different.values(), key=lambda index: (int(space.lengths[index]), index))
    middle = by_length[len(by_length) // 4 : math.ceil(len(by_length) * 3 / 4)]
    chosen = middle if len(middle) >= count else by_length
    count = min(count, len(chosen))
    return [chosen[number * len(chosen) // count] for number in range(count)]


def traversal_values(steps: int = 7, reach: float = 3.0) -> torch.Tensor:
    """Values from −reach to reach, in units of the prior's standard deviation, `(steps,)`."""
    return torch.linspace(-reach, reach, steps)


def traversal_points(space: LatentSpace, start: torch.Tensor, number: int, values: torch.Tensor) -> torch.Tensor:
    """`start` `(latent_size,)` with one dimension at each of the values: `(steps, latent_size)`."""
    points = start.repeat(len(values), 1)
    points[:, number] = values * space.unit
    return on_support(space, points)


def traverse(
    space: LatentSpace, start: torch.Tensor, numbers: Sequence[int], values: torch.Tensor, **generation_options
) -> list[list[str]]:
    """What the decoder says along each dimension, the others as in `start` `(latent_size,)`: texts by its values."""
    return decode_rows(
        space, [traversal_points(space, start, number, values) for number in numbers], **generation_options
    )


def decode_rows(space: LatentSpace, rows: Sequence[torch.Tensor], **generation_options) -> list[list[str]]:
    """Texts of several sets of points `(any, latent_size)`, all of them decoded together."""
    texts = iter(space.pipeline.decode(torch.cat(list(rows)), **generation_options) if rows else [])
    return [[next(texts) for _ in row] for row in rows]


def label_direction(space: LatentSpace, towards: str, away_from: str) -> torch.Tensor:
    """The mean of one label's posterior means minus that of another's, `(latent_size,)`."""
    return space.means[space.of_label(towards)].mean(0) - space.means[space.of_label(away_from)].mean(0)


def on_support(space: LatentSpace, points: torch.Tensor) -> torch.Tensor:
    """`(n, latent_size)` points as the decoder knows them: as they are, or on the sphere (vmf)."""
    return points if space.gaussian is not None else F.normalize(points, dim=1)


def quantiles(space: LatentSpace, count: int = 41) -> tuple[torch.Tensor, torch.Tensor]:
    """The aggregated posterior against the prior, in units of the prior's standard deviation.

    Returns:
        Quantiles of p(z_i), `(count,)`, the same in every dimension, and those of q(z_i), one latent of each sentence,
        `(latent_size, count)`, at the probabilities (k + ½) / count.
    """
    probabilities = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    ours = (space.inference.latents.double() / space.unit).quantile(probabilities, dim=0).T
    if space.gaussian is not None:
        return torch.special.ndtri(probabilities), ours
    # A coordinate of the uniform distribution on the sphere is cos θ, where θ has the density sinⁿ⁻²θ.
    angles = torch.linspace(math.pi, 0, ANGLES + 1, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(angles.sin().clamp(min=0) ** (space.latent_size - 2), dx=1)
    indices = torch.searchsorted(mass / mass[-1], probabilities).clamp(max=ANGLES - 1)
    return angles[indices + 1].cos() / space.unit, ours
