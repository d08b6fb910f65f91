"""One pass over a split, and what follows from it: reconstruction, KL, mutual information, active units."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object

from ..models.distributions import ConditionalGaussian, LatentDistribution
from ..models.labels import words_to_predict
from ..models.noise import keyed_noise
from ..models.objectives import IGNORED
from .model_protocols import EvaluatedModel

ACTIVE_UNIT_THRESHOLD = 0.01
SMALLEST_INFORMATION = 1e-5  # nats; below is what fp32 leaves of nothing
PAIRS_AT_ONCE = 1 << 24
MOST_LATENTS = 10_000  # that are held against all sentences: beyond, time grows with the sentences, not their square
COLUMNS = ("latents", "kl", "log_posterior", "reconstruction", "tokens", "keys")


@dataclass
class Inference:
    """What a model says of every sentence of a split, on the CPU. Rows are sentences, losses are in nats.

    Args:
        posterior: q(z|x) of every sentence.
        latents: one sample of q(z|x) each, `(sentences, latent_size)`.
        kl: KL(q(z|x) ‖ p(z)), `(sentences,)`.
        log_posterior: log q(z|x) at `latents`, `(sentences,)`.
        reconstruction: −log p(x|z) at `latents`, `(sentences,)`.
        tokens: words predicted, the end symbol counted, `(sentences,)`.
        keys: what the noise of each sentence is keyed by, `(sentences,)`.
        auxiliary_losses: other losses of the model by name, `(sentences,)` each.
        other_reconstruction: −log p(x|z) at another latent than its own, `(sentences,)`; see `infer_with_use`.
    """

    posterior: LatentDistribution
    latents: torch.Tensor
    kl: torch.Tensor
    log_posterior: torch.Tensor
    reconstruction: torch.Tensor
    tokens: torch.Tensor
    keys: torch.Tensor
    auxiliary_losses: dict[str, torch.Tensor]
    other_reconstruction: torch.Tensor | None = None

    def of_all_processes(self) -> "Inference":
        """The rows of every process, those of the first one first."""
        parts = gather_object([self])
        first, *others = parts
        return Inference(
            posterior=first.posterior.concatenate([other.posterior for other in others]),
            auxiliary_losses={
                name: torch.cat([part.auxiliary_losses[name] for part in parts]) for name in first.auxiliary_losses
            },
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in COLUMNS},
        )

    def rows(self, which: torch.Tensor) -> "Inference":
        """Some of the rows, or all in another order."""
        other = self.other_reconstruction
        return Inference(
            posterior=self.posterior.map(lambda tensor: tensor[which]),
            auxiliary_losses={name: values[which] for name, values in self.auxiliary_losses.items()},
            other_reconstruction=None if other is None else other[which],
            **{name: getattr(self, name)[which] for name in COLUMNS},
        )


@torch.no_grad()
def infer(model: EvaluatedModel, batches: Iterable[Mapping[str, torch.Tensor]], seed: int = 0) -> Inference:
    """Run encoder and decoder once over `batches` of a collator, in evaluation mode.

    The noise of each sample is keyed by its sentence, so that the result does not depend on the order or size of the
    batches.

    Raises:
        ValueError: there are no batches.
    """
    was_training = model.training
    model.eval()
    posteriors: list[LatentDistribution] = []
    columns: list[tuple[torch.Tensor, ...]] = []
    side: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        batch["labels"] = words_to_predict(batch["labels"], model.config)
        posterior = model.infer(**batch)
        keys = model.noise_keys(**batch)
        noise = keyed_noise(keys, range(1), posterior.mean.size(1), seed)
        latents = posterior.rsample(noise=noise)
        conditions = posterior.conditions(latents).squeeze(1)
        losses = model.sentence_losses(batch["labels"], conditions)
        tokens = (batch["labels"] != IGNORED).sum(1)
        row = (latents.squeeze(1), posterior.kl().sum(-1), posterior.log_prob(latents).squeeze(1), losses, tokens, keys)
        posteriors.append(posterior.map(torch.Tensor.cpu))
        columns.append(tuple(column.cpu() for column in row))
        for name, each in model.auxiliary_losses(batch["labels"], conditions).items():
            side.setdefault(name, []).append(each.cpu())
    model.train(was_training)
    if not posteriors:
        raise ValueError("no batches to evaluate")
    posterior = posteriors[0].concatenate(posteriors[1:])
    values = dict(zip(COLUMNS, map(torch.cat, zip(*columns, strict=True)), strict=True))
    return Inference(posterior, auxiliary_losses={name: torch.cat(losses) for name, losses in side.items()}, **values)


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
    q(z) is that of all sentences; of more than 10,000 the mean is over so many, evenly spread over the order of z_1.
    """
    if inference.latents.size(1) == 0:
        return 0.0
    chosen = torch.arange(len(inference.latents))
    if len(chosen) > MOST_LATENTS:
        chosen = inference.latents[:, 0].argsort()[torch.arange(MOST_LATENTS) * len(chosen) // MOST_LATENTS]
    log_aggregate = aggregate_log_prob(inference.posterior, inference.latents[chosen])
    estimate = float((inference.log_posterior[chosen].double() - log_aggregate).mean())
    return 0.0 if abs(estimate) < SMALLEST_INFORMATION else estimate


def agg_kl(inference: Inference) -> float:
    """KL(q(z) ‖ p(z)) of the aggregated posterior in nats, as KL − MI, which is Eq. 13 solved for it."""
    return kl(inference) - mi(inference)


def use(inference: Inference) -> float:
    """What the decoder takes from z: rec at another sentence's z less rec at its own, nats per sentence.

    0 where it ignores z, whatever KL and MI are.

    Raises:
        ValueError: where there was no second pass of the decoder, see `infer_with_use`.
    """
    if inference.other_reconstruction is None:
        raise ValueError("the use of a latent takes a second pass of the decoder: infer_with_use makes it")
    return float(inference.other_reconstruction.double().mean()) - rec(inference)


def _what_else_is_known(inference: Inference) -> dict[str, float]:
    used = {} if inference.other_reconstruction is None else {"use": use(inference)}
    return used | {name: float(losses.double().mean()) for name, losses in inference.auxiliary_losses.items()}


def aggregate_log_prob(posterior: LatentDistribution, latents: torch.Tensor) -> torch.Tensor:
    """log (1/N) Σ_j q(z_i | x_j) in nats for every row of `latents`: `(rows,)`, float64."""
    sentences = len(posterior.mean)
    chunks = latents.split(max(1, PAIRS_AT_ONCE // sentences))
    sums = []
    for chunk in chunks:
        pairs = posterior.pairwise_log_prob(chunk)
        largest = pairs.amax(1, keepdim=True)
        sums.append(pairs.sub_(largest).exp_().sum(1).log_() + largest.squeeze(1))
    return torch.cat(sums) - math.log(sentences)


def elbo_metrics(inference: Inference) -> dict[str, float]:
    """`elbo`, `rec`, `kl`, `mi`, `au`, `agg_kl` of a split, and where they are known `use` and `bow_loss`.

    All but `au` are in nats per sentence. `use` takes a second pass of the decoder, `bow_loss` a model that has it.

    Raises:
        TypeError: for the posterior of a CVAE.
    """
    if isinstance(inference.posterior, ConditionalGaussian):
        raise TypeError("the prior of a CVAE changes with the context: judge it by dialogue_metrics")
    information = mi(inference)
    return {
        "elbo": elbo(inference),
        "rec": rec(inference),
        "kl": kl(inference),
        "mi": information,
        "au": au(inference),
        "agg_kl": kl(inference) - information,
    } | _what_else_is_known(inference)


def dialogue_metrics(inference: Inference) -> dict[str, float]:
    """`elbo`, `rec`, `kl`, `kl_prior`, `rec_ppl` and, in a model with that loss, `bow_loss`, of a split of dialogues.

    KL is KL(q(z|x,y) ‖ p(z|x)) and kl_prior KL(p(z|x) ‖ N(0, I)), both in nats a response; rec_ppl is exp(total rec /
    total tokens), the convention of Zhao et al. (2017).

    Raises:
        TypeError: for the posterior of another model than a CVAE.
    """
    posterior = inference.posterior
    if not isinstance(posterior, ConditionalGaussian):
        raise TypeError(f"dialogue metrics need the posterior of a CVAE, not a {type(posterior).__name__}")
    metrics = {
        "elbo": elbo(inference),
        "rec": rec(inference),
        "kl": kl(inference),
        "kl_prior": float(posterior.prior.kl().sum(-1).double().mean()),
        "rec_ppl": perplexity(float(inference.reconstruction.double().sum()), int(inference.tokens.sum())),
    }
    return metrics | _what_else_is_known(inference)


def perplexity(total: float, tokens: int) -> float:
    """exp(total nats / total tokens), the end symbol counted; of words where it is given their number."""
    return math.exp(min(total / tokens, 700.0))
