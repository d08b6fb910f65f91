"""Gaussian noise that depends on a sentence, not on its position in a batch or on the process."""

import math

import torch

MASK_63 = (1 << 63) - 1
# fp32 holds every (n + ½) / 2²³ exactly; with one bit more the largest rounds to 1, and its normal to ∞
UNIFORM_BITS = 23
HIDING = 1 << 50  # numbers of noise that no latent draws
HIDDEN_WORD = -1
"""The token in the place of a hidden word, for a decoder that has a vector of its own for it."""


def sentence_keys(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """A 64-bit key of each sentence's tokens `(batch, length)`: `(batch,)`. Padding, on either side, does not count."""
    positions = attention_mask.long().cumsum(1) - 1
    return (scrambled(positions) * (input_ids.long() + 1) * attention_mask.long()).sum(1)


def state_keys(states: torch.Tensor) -> torch.Tensor:
    """A 64-bit key of the bits of each state `(batch, width)` of an encoder: `(batch,)`."""
    bits = states.float().view(torch.int32)
    return sentence_keys(bits, torch.ones_like(bits))


def keyed_noise(keys: torch.Tensor, samples: range, latent_size: int, seed: int | torch.Tensor = 0) -> torch.Tensor:
    """Standard normal noise `(batch, len(samples), latent_size)`, a function of key, sample, dimension and seed alone.

    So an estimate does not change when the sentences come in another order, in other batches or on other processes.
    """
    numbers = torch.arange(samples.start * latent_size, samples.stop * latent_size, device=keys.device)
    seeded = scrambled(keys + scrambled(torch.as_tensor(seed, device=keys.device)))
    bits = scrambled(seeded.unsqueeze(1) + numbers)
    return _normal(bits).unflatten(1, (len(samples), latent_size))


def with_hidden_words(input_ids: torch.Tensor, config, seed: int | torch.Tensor | None = None) -> torch.Tensor:
    """Replace a share of the `(batch, length)` token ids that the decoder reads in training by `hidden_word(config)`.

    The share is `config.word_dropout`; the start symbol and padding are never hidden. With a seed, which words are
    hidden is a function of it, of the sentence and of the position alone.
    """
    if config.word_dropout == 0:
        return input_ids
    words = input_ids != config.pad_token_id
    if seed is None:
        uniform = torch.rand(input_ids.shape, device=input_ids.device)
    else:
        keys = sentence_keys(input_ids, words)
        numbers = HIDING + torch.arange(input_ids.size(1), device=input_ids.device)
        seeded = scrambled(keys + scrambled(torch.as_tensor(seed, device=keys.device)))
        uniform = _uniform(scrambled(seeded.unsqueeze(1) + numbers))
    hidden = words & (input_ids != config.bos_token_id) & (uniform < config.word_dropout)
    return input_ids.masked_fill(hidden, hidden_word(config))


def hidden_word(config):
    """The token that a decoder reads in the place of a hidden word: the unknown word, or one that no text has."""
    return HIDDEN_WORD if getattr(config, "decoder", None) == "pretrained" else config.unk_token_id


def _uniform(bits: torch.Tensor) -> torch.Tensor:
    """The highest bits of int64 numbers as a uniform in (0, 1)."""
    return (((bits >> (64 - UNIFORM_BITS)) & ((1 << UNIFORM_BITS) - 1)).float() + 0.5) / (1 << UNIFORM_BITS)


def _normal(bits: torch.Tensor) -> torch.Tensor:
    """The highest bits of int64 numbers as a standard normal."""
    return math.sqrt(2) * torch.erfinv(2 * _uniform(bits) - 1)  # ndtri has no kernel on Apple's GPUs


def scrambled(values: torch.Tensor) -> torch.Tensor:
    """The finaliser of the SplitMix64 generator on int64, which wraps around."""
    values = values + -7046029254386353131
    values = (values ^ _shifted(values, 30)) * -4658895280553007687
    values = (values ^ _shifted(values, 27)) * -7723592293110705685
    return values ^ _shifted(values, 31)


def _shifted(values: torch.Tensor, bits: int) -> torch.Tensor:
    return (values >> bits) & (MASK_63 >> (bits - 1))
