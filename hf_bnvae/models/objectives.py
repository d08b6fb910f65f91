"""The training objective: every term of every loss, in nats per sentence."""

import torch

IGNORED = -100
FREE_BITS_MODES = ("dim", "sum")


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
