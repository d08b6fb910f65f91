"""The posterior p(z|x) of a model with a scalar latent, on a grid: what its inference network should say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from ..models.distributions import log_standard_normal
from ..models.labels import words_to_predict
from .likelihood import sampled_losses
from .model_protocols import SampledModel

GRID_REACH = 5.0
GRID_POINTS = 51
ROWS_AT_ONCE = 4096


@dataclass
class GridPosterior:
    """p(z|x) of every sentence, discretised: `(sentences,)` each, float64, on the CPU.

    Args:
        mean: E[z|x].
        deviation: the standard deviation of z given x.
        kl: KL(p(z|x) ‖ p(z)) in nats; its mean over sentences that the model itself says is the mutual information
            I(x; z).
        nll: −log p(x) in nats, exact but for the grid.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    kl: torch.Tensor
    nll: torch.Tensor


@torch.no_grad()
def grid_posterior(
    model: SampledModel,
    batches: Iterable[Mapping[str, torch.Tensor]],
    points: int = GRID_POINTS,
    reach: float = GRID_REACH,
) -> GridPosterior:
    """p(z|x) ∝ p(x|z) p(z) of a model's decoder, with z on a grid and a standard normal p(z).

    Args:
        model: a text VAE with one latent dimension.
        batches: with `labels`, of a collator.
        points: of the grid, evenly spaced from −`reach` to `reach`; to be no further apart than the narrowest
            posterior is wide.

    Raises:
        ValueError: for a model with more latent dimensions.
    """
    if model.config.latent_size != 1:
        raise ValueError(f"a grid needs a scalar latent, and this model has {model.config.latent_size} dimensions")
    was_training = model.training
    model.eval()
    grid = torch.linspace(-reach, reach, points)
    latents = grid.to(model.device).view(1, -1, 1)
    losses = [
        sampled_losses(model, part, latents.expand(len(part), -1, 1)).cpu()
        for batch in batches
        for part in words_to_predict(batch["labels"], model.config).split(max(1, ROWS_AT_ONCE // points))
    ]
    model.train(was_training)
    return discretised_posterior(-torch.cat(losses), grid)


def discretised_posterior(log_likelihood: torch.Tensor, grid: torch.Tensor) -> GridPosterior:
    """p(z|x) under a standard normal p(z), of log p(x|z) in nats, `(sentences, points)`, at an evenly spaced grid
    `(points,)`."""
    grid = grid.double()
    log_prior = log_standard_normal(grid.unsqueeze(1)).log_softmax(0)
    log_joint = log_likelihood.double() + log_prior
    log_evidence = log_joint.logsumexp(1)
    log_posterior = log_joint - log_evidence.unsqueeze(1)
    weights = log_posterior.exp()
    mean = weights @ grid
    variance = (weights * (grid - mean.unsqueeze(1)) ** 2).sum(1)
    kl = (weights * (log_posterior - log_prior)).sum(1)
    return GridPosterior(mean, variance.sqrt(), kl, -log_evidence)
