"""The aggregated posterior q(z) = E_x q(z|x), as a training batch shows it."""

import torch

from .normalisation import sum_over_processes

SMALLEST_VARIANCE = 1e-12


def total_correlation(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """What the correlations between dimensions add to KL(q(z) ‖ p(z)), in nats: ¼ Σ_{i≠j} ρ_ij².

    ρ is the correlation of z_i and z_j over the batch, of all processes together under `torch.distributed`: means
    covary, and the variance of z_i is that of its mean plus the mean of σ_i². The sum is −½ log det ρ to second order,
    the total correlation of the Gaussian with the moments of q(z). What N sentences with independent means correlate by
    chance is taken off, so that these have 0 in expectation at any N; single batches may lie below.

    Its gradient turns the means and neither shrinks them nor widens σ²: that would lower ρ too, by a collapse.

    Args:
        mean, variance: μ and σ² of Gaussian posteriors, `(batch, latent_size)`.
    """
    with torch.autocast(mean.device.type, enabled=False):
        mean, variance = mean.float(), variance.detach().float()
        size = mean.size(1)
        sums = sum_over_processes(torch.cat([mean.sum(0), variance.sum(0), mean.new_full((1,), mean.size(0))]))
        count = sums[-1]
        centred = mean - sums[:size] / count
        covariance = sum_over_processes(centred.T @ centred) / count
        spread = covariance.diagonal().clamp(min=SMALLEST_VARIANCE)
        squares = covariance.square() / (spread.unsqueeze(1) * spread)
        share = covariance.diagonal().detach()  # of the variance of z_i, that of its mean
        share = share / (share + sums[size:-1].detach() / count).clamp(min=SMALLEST_VARIANCE)
        terms = (squares - 1 / (count - 1).clamp(min=1)) * (share.unsqueeze(1) * share)
        return (terms.sum() - terms.diagonal().sum()) / 4
