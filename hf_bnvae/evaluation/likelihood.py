"""The importance-weighted likelihood: how probable a sentence is, whatever z it came from."""

import math
import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from operator import itemgetter

import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ..models.distributions import LatentDistribution
from ..models.labels import words_to_predict
from ..models.noise import keyed_noise
from ..models.objectives import IGNORED
from ..models.token_loss import logit_bytes, product_dtype
from .inference import perplexity
from .model_protocols import SampledModel

DEFAULT_NUM_SAMPLES = 500
FEWEST_SAMPLES = 16  # of fewer the spread of the weights is too little known to stop
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
    tolerance: float | None = None,
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
        tolerance: stop the samples of a sentence, after 16 or more, where the standard error of its bound is below so
            many nats. None takes all K.

    Returns:
        `nll` in nats per sentence and `ppl` = exp(total nll / total tokens) per token of the decoder, the end symbol
        counted; with a tolerance also `nll_samples_used`, the mean over sentences.

    Raises:
        ValueError: there are no batches, or the tolerance is no number of at least 0.
    """
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0 nats, got {tolerance}")
    if model.config.latent_size == 0:
        num_samples = 1  # a language model: the bound is exact
    if memory_bytes is None:
        memory_bytes = _memory_budget(model.device)
    was_training = model.training
    model.eval()
    losses, tokens, used = [], 0, 0
    for batch in tqdm(batches, desc=f"NLL, {num_samples} samples", disable=not progress):
        batch = {**batch, "labels": words_to_predict(batch["labels"], model.config)}
        bounds, samples = sentence_nll(model, batch, num_samples, seed, memory_bytes, tolerance)
        losses.append(bounds)
        used += samples
        tokens += int((batch["labels"] != IGNORED).sum())
    model.train(was_training)
    if each is not None:
        each += [loss.cpu() for loss in losses]
    sentences = sum(map(len, losses))
    total = torch.cat(losses).cpu().double().sum().item() if losses else 0.0
    if shared:
        shares = gather_object([(total, tokens, sentences, used)])
        total, tokens, sentences, used = map(sum, zip(*shares, strict=True))
    if not sentences:
        raise ValueError("no batches to evaluate")
    found = {"nll": total / sentences, "ppl": perplexity(total, tokens)}
    return found if tolerance is None else found | {"nll_samples_used": used / sentences}


def sentence_nll(
    model: SampledModel,
    batch: Mapping[str, torch.Tensor],
    num_samples: int,
    seed: int,
    memory_bytes: int,
    tolerance: float | None = None,
) -> tuple[torch.Tensor, int]:
    """The bound of each sentence of one batch, `(batch,)` nats, and how many samples they took together.

    Without a tolerance a batch on the CPU lets a GPU run without a stop.
    """
    labels = batch["labels"]
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    posterior = model.infer(**batch)
    keys = model.noise_keys(**batch)
    rows = _rows_within(memory_bytes, model, labels.size(1))
    if tolerance is None:
        sums = _log_sums(model, labels, posterior, keys, range(num_samples), seed, rows)
        return math.log(num_samples) - sums[0], num_samples * len(labels)
    going_on, sums, used = torch.arange(len(labels)), torch.tensor(-torch.inf, device=model.device), 0
    ended = []
    for first, stop in pairwise([0, *_stops(num_samples)]):
        sums = torch.logaddexp(sums, _log_sums(model, labels, posterior, keys, range(first, stop), seed, rows))
        used += (stop - first) * len(labels)
        ends = (standard_error(sums, stop) < tolerance) | (stop == num_samples)
        ended.append((going_on[ends.cpu()], math.log(stop) - sums[0, ends]))
        more = ~ends
        going_on, labels = going_on[more.cpu()], labels[more.cpu()]
        posterior, keys, sums = posterior.map(itemgetter(more)), keys[more], sums[:, more]
        if not len(labels):
            break
    numbers, bounds = map(torch.cat, zip(*ended, strict=True))
    return bounds[numbers.argsort().to(bounds.device)], used


def standard_error(log_sums: torch.Tensor, count: int) -> torch.Tensor:
    """Of the logarithm of a mean of weights by the delta method, `(batch,)`: their deviation over √count and the mean.

    Args:
        log_sums: log Σ w and log Σ w², `(2, batch)`.
        count: of the weights, 2 or more.
    """
    share = (log_sums[1] - 2 * log_sums[0]).exp()
    return ((share - 1 / count) * count / (count - 1)).clamp(min=0).sqrt()


def _stops(num_samples: int) -> list[int]:
    """After how many samples a sentence may stop, whatever batch it is in: 16, 24, 32, 48, ... and all."""
    doubled = [FEWEST_SAMPLES << power for power in range(num_samples.bit_length())]
    return [*(stop for some in doubled for stop in (some, some * 3 // 2) if stop < num_samples), num_samples]


def _log_sums(
    model: SampledModel,
    labels: torch.Tensor,
    posterior: LatentDistribution,
    keys: torch.Tensor,
    samples: range,
    seed: int,
    rows: int,
) -> torch.Tensor:
    """log Σ w and log Σ w² of the weights w = p(x, z)/q(z|x) at some samples, `(2, batch)`; `rows` at a time."""
    sentences_at_once = max(1, rows // len(samples))
    samples_at_once = max(1, min(len(samples), rows // min(sentences_at_once, len(labels))))
    sums = []
    for first in range(0, len(labels), sentences_at_once):
        part = slice(first, first + sentences_at_once)
        chosen = posterior.map(itemgetter(part))
        log_weights = []
        for start in range(samples.start, samples.stop, samples_at_once):
            some = range(start, min(samples.stop, start + samples_at_once))
            latents = chosen.rsample(noise=keyed_noise(keys[part], some, chosen.mean.size(1), seed))
            losses = sampled_losses(model, labels[part], chosen.conditions(latents))
            log_weights.append(chosen.log_prior(latents) - chosen.log_prob(latents) - losses)
        together = torch.cat(log_weights, 1)
        sums.append(torch.stack([together.logsumexp(1), (2 * together).logsumexp(1)]))
    return torch.cat(sums, 1)


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
