"""Synthetic sequences after He et al. (2019): what an LSTM with random weights says, given a scalar latent."""

from dataclasses import dataclass

import torch
from datasets import Dataset

from .. import models
from .tokenizers import BOS, EOS, SPECIALS

TRAIN_SEQUENCES = 16_000
TRAIN_OVER_OTHERS = 8
WORDS = 1_000
LENGTH = 10
WIDTH = 50
WEIGHT_RANGE = 1.5
EMBEDDING_RANGE = 0.3
SEQUENCES_AT_ONCE = 1_000


@dataclass
class SyntheticCorpus:
    """Sequences with the latents that they were drawn from, and what drew them.

    Args:
        generator: its decoder is the true p(x|z), over the words alone; its encoder means nothing.
        splits: `train`, `validation` and `test` with the columns `input_ids` (ends included), `length` and `latent`.
    """

    generator: "models.BnVaeForConditionalGeneration"
    splits: dict[str, Dataset]


def synthetic_corpus(train_sequences: int = TRAIN_SEQUENCES, seed: int = 1) -> SyntheticCorpus:
    """For each sequence z ~ N(0, 1), and then 10 words out of 1,000 from an LSTM that reads z at every step.

    The LSTM's weights are uniform, on a scale at which a sequence says where its z was: with those that a training
    starts from, the words would hardly depend on it.

    Args:
        train_sequences: validation and test have an eighth of them each.
        seed: of the generator's weights and of all that it says.
    """
    sizes = {"train": train_sequences} | dict.fromkeys(("validation", "test"), train_sequences // TRAIN_OVER_OTHERS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = _generator()
        return SyntheticCorpus(generator, {split: _sequences(generator, size) for split, size in sizes.items()})


def spoken_words(input_ids: torch.Tensor) -> torch.Tensor:
    """The generator's own numbers `(batch, 10)` for the words of `(batch, 12)` token ids."""
    return input_ids[:, 1:-1] - len(SPECIALS)


def _generator() -> "models.BnVaeForConditionalGeneration":
    config = models.BnVaeConfig(
        vocab_size=WORDS,
        embedding_size=WIDTH,
        hidden_size=WIDTH,
        latent_size=1,
        posterior="gaussian",
        embedding_dropout=0.0,
        output_dropout=0.0,
        initializer_range=WEIGHT_RANGE,
        embedding_initializer_range=EMBEDDING_RANGE,
        encoder_initializer_range=WEIGHT_RANGE,
        encoder_embedding_initializer_range=EMBEDDING_RANGE,
        bos_token_id=0,  # a sequence begins as if the first word had been said
        eos_token_id=None,
        pad_token_id=0,
    )
    return models.BnVaeForConditionalGeneration(config).eval()


def _sequences(generator: "models.BnVaeForConditionalGeneration", count: int) -> Dataset:
    latents = torch.randn(count, 1)
    words = [
        generator.decode(part, do_sample=True, top_k=0, max_new_tokens=LENGTH)[:, 1:]
        for part in latents.split(SEQUENCES_AT_ONCE)
    ]
    ids = torch.full((count, LENGTH + 2), SPECIALS.index(EOS))
    ids[:, 0] = SPECIALS.index(BOS)
    ids[:, 1:-1] = torch.cat(words) + len(SPECIALS)
    columns = {"input_ids": ids.tolist(), "length": [LENGTH + 2] * count, "latent": latents[:, 0].tolist()}
    return Dataset.from_dict(columns)
