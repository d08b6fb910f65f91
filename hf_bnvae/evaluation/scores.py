"""What a text VAE says of each sentence by itself, in nats."""

from collections.abc import Iterable, Mapping

import torch


def with_another_s_latents(
    model, batches: Iterable[Mapping[str, torch.Tensor]], latents: torch.Tensor, rows: list[int], seed: int = 0
) -> torch.Tensor:
    """−log p(x|z) of every sentence at the latent of another one, nats: `(sentences,)`, one decoder pass.

    Less the reconstruction loss at its own latent it is `use`: what the decoder takes from z. Where it ignores z, that
    is 0.

    Args:
        batches: of a collator.
        latents: of all sentences, `(sentences, latent_size)`.
        rows: where in `latents` those of the sentences of `batches` stand.
        seed: of the order in which each sentence gets the latent of the next.

    Raises:
        ValueError: for one sentence, which has no other.
    """
    count = len(latents)
    if count < 2:
        raise ValueError("the use of a latent needs two sentences or more")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    next_in_order = torch.empty(count, dtype=torch.long)
    next_in_order[order] = order.roll(-1)
    was_training = model.training
    model.eval()
    losses, start = [], 0
    with torch.no_grad():
        for batch in batches:
            labels = batch["labels"].to(model.device)
            own = torch.tensor(rows[start : start + len(labels)])
            start += len(labels)
            losses.append(model.sentence_losses(labels, latents[next_in_order[own]].to(model.device)).cpu())
    model.train(was_training)
    return torch.cat(losses)
