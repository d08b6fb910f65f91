"""The aggregated posterior q(z) = E_x q(z|x), as a training batch shows it."""

import torch

from .normalisation import sum_over_processes

SMALLEST_VARIANCE = 1e-12


def total_correlation(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """How far the dimensions of q(z) are from independent, in nats: ¼ Σ_{i≠j} ρ_ij².

    ρ is the correlation of z_i and z_j over the batch, of all processes together under `torch.distributed`: means
    covary, and the variance of z_i is that of its mean plus the mean of σ_i². The sum is −½ log det ρ to second order,
    the total correlation of the Gaussian with the moments of q(z). What N independent sentences correlate by chance is
    taken off, so that independent dimensions have 0 in expectation at any N; single batches may lie below.

    Args:
        mean, variance: μ and σ² of Gaussian posteriors, `(batch, latent_size)`.
    """
    with torch.autocast(mean.device.type, enabled=False):
        mean, variance = mean.float(), variance.float()
        size = mean.size(1)
        sums = sum_over_processes(torch.cat([mean.sum(0), variance.sum(0), mean.new_full((1,), mean.size(0))]))
        count = sums[-1]
        centred = mean - sums[:size] / count
        covariance = sum_over_processes(centred.T @ centred) / count
        spread = covariance.diagonal()
        scale = (spread + sums[size:-1] / count).clamp(min=SMALLEST_VARIANCE)
        squares = covariance.square() / (scale.unsqueeze(1) * scale)
        share = spread / scale  # of the variance of z_i, that of its mean
        by_chance = (share.sum().square() - share.square().sum()) / (count - 1).clamp(min=1)
        return (squares.sum() - squares.diagonal().sum() - by_chance) / 4
