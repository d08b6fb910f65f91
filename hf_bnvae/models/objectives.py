"""The training objective: every term of every loss, in nats per sentence."""

import torch

from .normalisation import sum_over_processes

IGNORED = -100
FREE_BITS_MODES = ("dim", "sum")
SMALLEST_VARIANCE = 1e-12


def reconstruction_loss(token_losses: torch.Tensor, num_sentences: int) -> torch.Tensor:
    """Token losses summed over each sentence and averaged over sentences."""
    return token_losses.sum() / num_sentences


def kl_objective(kl: torch.Tensor, free_bits: float = 0.0, free_bits_mode: str = "dim") -> torch.Tensor:
    """The KL term of the loss from terms `(batch, latent_size)`: summed over dimensions, averaged over sentences.

    With free bits λ (Kingma et al. 2016) what lies under the threshold costs nothing more and has no gradient, in
    every sentence for itself: Σ_i max(λ/n, KL_i) in the mode `"dim"`, max(λ, KL) in the mode `"sum"`.
    """
    if free_bits > 0 and free_bits_mode == "dim":
        kl = kl.clamp(min=free_bits / kl.size(-1))
    total = kl.sum(-1)
    if free_bits > 0 and free_bits_mode == "sum":
        total = total.clamp(min=free_bits)
    return total.mean()


def total_correlation(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """What correlations between the dimensions of the aggregated posterior q(z) add to its KL: ¼ Σ_{i≠j} ρ_ij² nats.

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


def cvae_divergence(kl: torch.Tensor, kl_prior: torch.Tensor, prior_kl_weight: float) -> torch.Tensor:
    """The KL term of a CVAE: KL(q ‖ p) + weight · KL(p ‖ r), the bound of Eq. 11 at weight 1 and Eq. 10 at weight 0.

    With r = N(0, I) the sum at weight 1 is Eq. 12 with −2 in the place of its −1, and 0 at q = p = r only.
    """
    return kl + prior_kl_weight * kl_prior


def bag_of_words_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """−log probability of every word of `(batch, length)` labels, in any order, under one `(batch, vocab_size)`
    distribution for each row (Zhao et al. 2017): `(batch,)` nats."""
    words = labels != IGNORED
    chosen = logits.float().log_softmax(-1).gather(1, labels.masked_fill(~words, 0))
    return -(chosen * words).sum(1)


def negative_elbo(reconstruction: torch.Tensor, kl: torch.Tensor, kl_weight: float | torch.Tensor) -> torch.Tensor:
    """rec + weight · KL (Eq. 1 with its sign turned, at weight 1)."""
    return reconstruction + kl_weight * kl
