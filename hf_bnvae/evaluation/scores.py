"""What a decoder takes from the latent of each sentence, in nats."""

from collections.abc import Iterable, Mapping

import torch
from accelerate.utils import gather_object

from ..models.distributions import ConditionalGaussian, LatentDistribution
from ..models.noise import keyed_noise, scrambled
from .inference import Inference, infer
from .model_protocols import EvaluatedModel


def infer_with_use(
    model: EvaluatedModel, batches: Iterable[Mapping[str, torch.Tensor]], seed: int = 0, shared: bool = False
) -> tuple[Inference, Inference]:
    """`infer`, and by a second pass of the decoder the loss of each sentence at another latent than its own.

    For a language model, and for one sentence, there is no such loss.

    Args:
        batches: of a collator, which can be read twice.
        shared: they are this process's share.

    Returns:
        What the model says of the sentences of this process, and of all.
    """
    own = infer(model, batches, seed)
    whole = own.of_all_processes() if shared else own
    if whole.latents.size(1) and len(whole.kl) > 1:
        own.other_reconstruction = with_another_s_latents(model, batches, own, whole, seed)
        if shared:
            whole.other_reconstruction = torch.cat(gather_object([own.other_reconstruction]))
    return own, whole


@torch.no_grad()
def with_another_s_latents(
    model: EvaluatedModel,
    batches: Iterable[Mapping[str, torch.Tensor]],
    own: Inference,
    whole: Inference | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """−log p(x|z) of every sentence at the latent of another one, nats: `(sentences,)`, one decoder pass.

    Less the reconstruction loss at its own latent it is `use`: what the decoder takes from z. Where it ignores z, that
    is 0. Which one is the other depends on the sentences and the seed, not on their order, batches or processes. In a
    CVAE, where a latent belongs to its context, the other is a draw of the prior p(z|x) of the same context.

    Args:
        batches: those that `own` comes from, in the same order.
        own: what the model says of the sentences of `batches`.
        whole: of all sentences among which another is taken; by default the same.

    Raises:
        ValueError: for one sentence, which has no other, and for batches that can be read once only.
    """
    whole = own if whole is None else whole
    if len(whole.kl) < 2:
        raise ValueError("the use of a latent needs two sentences or more")
    if isinstance(own.posterior, ConditionalGaussian):
        noise = keyed_noise(own.keys, range(1, 2), own.latents.size(1), seed)
        others = own.posterior.prior.rsample(noise=noise).squeeze(1)
    else:
        keys, order = scrambled(whole.keys + seed).sort()
        # The first key above a sentence's own: a sentence that comes twice is not its own other.
        positions = torch.searchsorted(keys, scrambled(own.keys + seed), right=True) % len(keys)
        others = whole.latents[order[positions]]
    was_training = model.training
    model.eval()
    losses, start = [], 0
    for batch in batches:
        rows = slice(start, start + len(batch["labels"]))
        start = rows.stop
        posterior = _rows_on(model.device, own.posterior, rows)
        conditions = posterior.conditions(others[rows].to(model.device).unsqueeze(1)).squeeze(1)
        losses.append(model.sentence_losses(batch["labels"].to(model.device), conditions).cpu())
    model.train(was_training)
    if start != len(own.kl):
        raise ValueError(f"the use of {len(own.kl)} latents needs their batches a second time, and got {start} rows")
    return torch.cat(losses)


def _rows_on(device: torch.device, posterior: LatentDistribution, rows: slice) -> LatentDistribution:
    return posterior.map(lambda tensor: tensor[rows].to(device))
