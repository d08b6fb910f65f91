"""One pass over a split, and what follows from it: reconstruction, KL, mutual information, active units."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import torch

from ..models.objectives import IGNORED, token_nll
from ..models.posteriors import DiagonalGaussian
from .noise import keyed_noise, sentence_keys

ACTIVE_UNIT_THRESHOLD = 0.01
PAIRS_AT_ONCE = 1 << 24


@dataclass
class Inference:
    """What a model says of every sentence of a split, on the CPU. Rows are sentences, losses are in nats.

    Args:
        mean, logvar: parameters of q(z|x), `(sentences, latent_size)`.
        latents: one sample of q(z|x) each, `(sentences, latent_size)`.
        kl: KL(q(z|x) ‖ p(z)), `(sentences,)`.
        log_posterior: log q(z|x) at `latents`, `(sentences,)`.
        reconstruction: −log p(x|z) at `latents`, `(sentences,)`.
    """

    mean: torch.Tensor
    logvar: torch.Tensor
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
    rows: list[Inference] = []
    for batch in batches:
        batch = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask", "labels")}
        posterior = model.model.infer(batch["input_ids"], batch["attention_mask"])
        keys = sentence_keys(batch["input_ids"], batch["attention_mask"])
        noise = keyed_noise(keys, range(1), posterior.mean.size(1), seed)
        latents = posterior.rsample(noise=noise)
        losses = sentence_losses(model, batch["labels"], latents.squeeze(1))
        row = Inference(
            mean=posterior.mean,
            logvar=posterior.logvar,
            latents=latents.squeeze(1),
            kl=posterior.kl().sum(-1),
            log_posterior=posterior.log_prob(latents).squeeze(1),
            reconstruction=losses,
        )
        rows.append(Inference(**{field.name: getattr(row, field.name).cpu() for field in fields(row)}))
    model.train(was_training)
    if not rows:
        raise ValueError("no batches to evaluate")
    return Inference(
        **{field.name: torch.cat([getattr(row, field.name) for row in rows]) for field in fields(Inference)}
    )


def sentence_losses(model, labels: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """−log p(x|z) of `(batch, length)` labels at `(batch, latent_size)` latents: `(batch,)` nats."""
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels)
    outputs, _ = model.decoder(decoder_input_ids, latents)
    words = labels != IGNORED
    losses = torch.zeros(labels.shape, device=labels.device)
    losses[words] = token_nll(model.decoder.logits(outputs[words]), labels[words])
    return losses.sum(1)


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
    """Active units (Burda et al. 2016): latent dimensions with Cov_x(E_q[z_i]) above 0.01."""
    return int((inference.mean.double().var(0, correction=0) > ACTIVE_UNIT_THRESHOLD).sum())


def mi(inference: Inference) -> float:
    """Mutual information I_q(x; z) = KL − KL(q(z) ‖ p(z)) (Eq. 13), nats; at most log N for N sentences.

    By Monte Carlo, with one z per sentence, as the mean of log q(z|x) − log q(z): the prior cancels from Eq. 13, and
    both logarithms are taken at the same z, so that their noise cancels too. A collapsed posterior has exactly 0.
    """
    log_aggregate = aggregate_log_prob(DiagonalGaussian(inference.mean, inference.logvar), inference.latents)
    return float((inference.log_posterior.double() - log_aggregate).mean())


def agg_kl(inference: Inference) -> float:
    """KL(q(z) ‖ p(z)) of the aggregated posterior in nats, as KL − MI: Eq. 13 read the other way."""
    return kl(inference) - mi(inference)


def aggregate_log_prob(posteriors: DiagonalGaussian, latents: torch.Tensor) -> torch.Tensor:
    """log (1/N) Σ_j q(z_i | x_j) in nats for every row of `latents`: `(rows,)`, float64.

    The quadratic form is opened up, so that all pairs cost one matrix product.
    """
    mean, logvar, latents = posteriors.mean.double(), posteriors.logvar.double(), latents.double()
    centre = mean.mean(0)
    mean, latents = mean - centre, latents - centre
    precision = (-logvar).exp()
    weights = torch.cat([-0.5 * precision, mean * precision], 1).T
    constants = -0.5 * (mean**2 * precision + logvar + math.log(2 * math.pi)).sum(1) - math.log(len(mean))
    rows_at_once = max(1, PAIRS_AT_ONCE // len(mean))
    return torch.cat(
        [(torch.cat([chunk**2, chunk], 1) @ weights + constants).logsumexp(1) for chunk in latents.split(rows_at_once)]
    )


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
