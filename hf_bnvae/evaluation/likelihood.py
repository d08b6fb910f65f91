"""The importance-weighted likelihood: how probable a sentence is, whatever z it came from."""

import math
import os
from collections.abc import Iterable, Mapping
from operator import itemgetter

import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ..models.noise import keyed_noise
from ..models.objectives import IGNORED
from ..models.token_loss import logit_bytes, product_dtype
from .inference import perplexity
from .model_protocols import SampledModel

DEFAULT_NUM_SAMPLES = 500
MEMORY_SHARE = 8
MOST_MEMORY_ON_A_CPU = 320 << 20


@torch.no_grad()
def nll(
    model: SampledModel,
    batches: Iterable[Mapping[str, torch.Tensor]],
    num_samples: int = DEFAULT_NUM_SAMPLES,
    seed: int = 0,
    memory_bytes: int | None = None,
    progress: bool = False,
    shared: bool = False,
    each: list[torch.Tensor] | None = None,
) -> dict[str, float]:
    """The importance-weighted bound −log (1/K) Σ_k p(x, z_k)/q(z_k|x) (Burda et al. 2016).

    The encoder runs once a sentence; sentences and samples go through the decoder together, as many at a time as
    `memory_bytes` of activations allow.

    Args:
        model: a text VAE with its decoder.
        batches: of a collator; sentences of like length together save time.
        num_samples: K.
        seed: of the noise, which is keyed by sentence.
        memory_bytes: what activations may take, weights and input not counted; by default an eighth of the memory
            that is free, and on a CPU, where more does not make it faster, 320 MiB at most.
        progress: show a progress bar over batches.
        shared: the batches are this process's share, and the result is that of all shares together.
        each: a list that gets the bound of each sentence of each batch, `(batch,)` on the CPU.

    Returns:
        `nll` in nats per sentence and `ppl` = exp(total nll / total tokens), the end symbol counted.
    """
    if model.config.latent_size == 0:
        num_samples = 1  # a language model: the bound is exact
    if memory_bytes is None:
        memory_bytes = _memory_budget(model.device)
    was_training = model.training
    model.eval()
    losses, tokens = [], 0
    for batch in tqdm(batches, desc=f"NLL, {num_samples} samples", disable=not progress):
        losses.append(sentence_nll(model, batch, num_samples=num_samples, seed=seed, memory_bytes=memory_bytes))
        tokens += int((batch["labels"] != IGNORED).sum())
    model.train(was_training)
    if each is not None:
        each += [loss.cpu() for loss in losses]
    sentences = sum(map(len, losses))
    total = torch.cat(losses).cpu().double().sum().item() if losses else 0.0
    if shared:
        totals, all_tokens, all_sentences = zip(*gather_object([(total, tokens, sentences)]), strict=True)
        total, tokens, sentences = sum(totals), sum(all_tokens), sum(all_sentences)
    if not sentences:
        raise ValueError("no batches to evaluate")
    return {"nll": total / sentences, "ppl": perplexity(total, tokens)}


def sentence_nll(
    model: SampledModel, batch: Mapping[str, torch.Tensor], num_samples: int, seed: int, memory_bytes: int
) -> torch.Tensor:
    """The bound of each sentence of one batch, `(batch,)` nats. A batch on the CPU lets a GPU run without a stop."""
    labels = batch["labels"]
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    posterior = model.infer(**batch)
    keys = model.noise_keys(**batch)
    rows = _rows_within(memory_bytes, model, labels.size(1))
    sentences_at_once = max(1, rows // num_samples)
    samples_at_once = max(1, min(num_samples, rows // min(sentences_at_once, len(labels))))
    bounds = []
    for first in range(0, len(labels), sentences_at_once):
        part = slice(first, first + sentences_at_once)
        chosen = posterior.map(itemgetter(part))
        log_weights = []
        for start in range(0, num_samples, samples_at_once):
            samples = range(start, min(num_samples, start + samples_at_once))
            latents = chosen.rsample(noise=keyed_noise(keys[part], samples, chosen.mean.size(1), seed))
            losses = sampled_losses(model, labels[part], chosen.conditions(latents))
            log_weights.append(chosen.log_prior(latents) - chosen.log_prob(latents) - losses)
        bounds.append(math.log(num_samples) - torch.cat(log_weights, 1).logsumexp(1))
    return torch.cat(bounds)


def sampled_losses(model: SampledModel, labels: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
    """−log p(x|z) of `(batch, length)` labels at `(batch, samples, any)` conditions: `(batch, samples)` nats.

    Labels that are on the CPU spare a wait for the device that the model is on.
    """
    batch, samples, _ = conditions.shape
    lengths = (labels != IGNORED).sum(1).tolist()
    labels = labels.to(conditions.device)
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels)
    outputs, _ = model.decoder_states(decoder_input_ids.repeat_interleave(samples, 0), conditions.flatten(0, 1))
    outputs = outputs.unflatten(0, (batch, samples))
    dtype = product_dtype(outputs)
    losses = outputs.new_zeros(batch, samples, dtype=torch.float32)
    for sentence, length in enumerate(lengths):
        words_of_all = outputs[sentence, :, :length].to(dtype, memory_format=torch.contiguous_format).flatten(0, 1)
        targets = labels[sentence, :length].repeat(samples)
        losses[sentence] = model.decoder.token_losses(words_of_all, targets).view(samples, length).sum(1)
    return losses


def _memory_budget(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // MEMORY_SHARE
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not said on this system
        return MOST_MEMORY_ON_A_CPU
    return min(MOST_MEMORY_ON_A_CPU, free // MEMORY_SHARE)


def _rows_within(memory_bytes: int, model: SampledModel, length: int) -> int:
    return max(1, (memory_bytes - logit_bytes(model.device)) // (model.decoder.bytes_per_token * length))
