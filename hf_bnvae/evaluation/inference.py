"""One pass over a split, and what follows from it: reconstruction, KL, mutual information, active units."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from ..models.distributions import LatentDistribution
from ..models.noise import keyed_noise, sentence_keys

ACTIVE_UNIT_THRESHOLD = 0.01
PAIRS_AT_ONCE = 1 << 24


@dataclass
class Inference:
    """What a model says of every sentence of a split, on the CPU. Rows are sentences, losses are in nats.

    Args:
        posterior: q(z|x) of every sentence.
        latents: one sample of q(z|x) each, `(sentences, latent_size)`.
        kl: KL(q(z|x) ‖ p(z)), `(sentences,)`.
        log_posterior: log q(z|x) at `latents`, `(sentences,)`.
        reconstruction: −log p(x|z) at `latents`, `(sentences,)`.
    """

    posterior: LatentDistribution
    latents: torch.Tensor
    kl: torch.Tensor
    log_posterior: torch.Tensor
    reconstruction: torch.Tensor


@torch.no_grad()
def infer(model, batches: Iterable[Mapping[str, torch.Tensor]], seed: int = 0) -> Inference:
    """Run encoder and decoder once over `batches` of `input_ids`, `attention_mask` and `labels`, in evaluation mode.

    The noise of each sample is keyed by its sentence, so that the result does not depend on the order or size of the
    batches.
    """
    was_training = model.training
    model.eval()
    posteriors: list[LatentDistribution] = []
    columns: list[tuple[torch.Tensor, ...]] = []
    for batch in batches:
        batch = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask", "labels")}
        posterior = model.infer(batch["input_ids"], batch["attention_mask"])
        keys = sentence_keys(batch["input_ids"], batch["attention_mask"])
        latents = posterior.rsample(noise=keyed_noise(keys, range(1), posterior.mean.size(1), seed))
        losses = model.sentence_losses(batch["labels"], latents.squeeze(1))
        row = (latents.squeeze(1), posterior.kl().sum(-1), posterior.log_prob(latents).squeeze(1), losses)
        posteriors.append(posterior.map(torch.Tensor.cpu))
        columns.append(tuple(column.cpu() for column in row))
    model.train(was_training)
    if not posteriors:
        raise ValueError("no batches to evaluate")
    return Inference(posteriors[0].together(posteriors[1:]), *map(torch.cat, zip(*columns, strict=True)))


def rec(inference: Inference) -> float:
    """−E_q[log p(x|z)], one sample of z, nats per sentence."""
    return float(inference.reconstruction.double().mean())


def kl(inference: Inference) -> float:
    """KL(q(z|x) ‖ p(z)), analytic, nats per sentence."""
    return float(inference.kl.double().mean())


def elbo(inference: Inference) -> float:
    """The negative ELBO at weight 1, rec + KL, nats per sentence."""
    return rec(inference) + kl(inference)


def au(inference: Inference) -> int:
    """Active units (Burda et al. 2016): latent dimensions with Cov_x(E_q[z_i]) above 0.01.

    z_i is taken in units of the prior's standard deviation, which is 1 but on the sphere.
    """
    expectation = inference.posterior.standardised_expectation.double()
    variance = (expectation - expectation.mean(0)).square().mean(0)
    return int((variance > ACTIVE_UNIT_THRESHOLD).sum())


def mi(inference: Inference) -> float:
    """Mutual information I_q(x; z) = KL − KL(q(z) ‖ p(z)) (Eq. 13), nats; at most log N for N sentences.

    By Monte Carlo, with one z per sentence, as the mean of log q(z|x) − log q(z): the prior cancels from Eq. 13, and
    both logarithms are taken at the same z, so that their noise cancels too. A collapsed posterior has exactly 0.
    """
    log_aggregate = aggregate_log_prob(inference.posterior, inference.latents)
    return float((inference.log_posterior.double() - log_aggregate).mean())


def agg_kl(inference: Inference) -> float:
    """KL(q(z) ‖ p(z)) of the aggregated posterior in nats, as KL − MI: Eq. 13 read the other way."""
    return kl(inference) - mi(inference)


def aggregate_log_prob(posterior: LatentDistribution, latents: torch.Tensor) -> torch.Tensor:
    """log (1/N) Σ_j q(z_i | x_j) in nats for every row of `latents`: `(rows,)`, float64."""
    sentences = len(posterior.mean)
    chunks = latents.split(max(1, PAIRS_AT_ONCE // sentences))
    sums = torch.cat([posterior.pairwise_log_prob(chunk).logsumexp(1) for chunk in chunks])
    return sums - math.log(sentences)


def elbo_metrics(inference: Inference) -> dict[str, float]:
    """`elbo`, `rec`, `kl`, `mi`, `au` and `agg_kl` of a split."""
    information = mi(inference)
    return {
        "elbo": elbo(inference),
        "rec": rec(inference),
        "kl": kl(inference),
        "mi": information,
        "au": au(inference),
        "agg_kl": kl(inference) - information,
    }
