"""Encoders: from a batch of sentences to the one state of each that a posterior reads.

An encoder is a class without a state of its own. It names its layers, which the model holds under these names, so that
the keys of a checkpoint do not depend on how the code is cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .layers import to_the_left


@dataclass
class EncoderOutput:
    """What an encoder makes of a batch.

    Args:
        embedded: the word vectors, `(batch, length, embedding_size)`.
        states: `(batch, length, width)`.
        last: the state of each sentence, `(batch, width)`.
    """

    embedded: torch.Tensor
    states: torch.Tensor
    last: torch.Tensor


class Encoder:
    """What a model asks of an encoder."""

    reads: tuple[str, ...] = ()
    """The fields of a configuration that only some encoders read, and this one does."""

    embedding: str
    """The name of the layer of word vectors."""

    @staticmethod
    def width(config) -> int:
        """The width of the state of a sentence."""
        raise NotImplementedError

    @staticmethod
    def layers(config) -> Mapping[str, nn.Module]:
        """New layers by their names in the model."""
        raise NotImplementedError

    @staticmethod
    def encode(
        model: Any,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
    ) -> EncoderOutput:
        """The states of `(batch, length)` token ids, or of word vectors, padded on either side.

        Args:
            model: what holds the layers, and a `config` with `pad_token_id`.
            attention_mask: `(batch, length)`; None for everything but padding.
        """
        raise NotImplementedError


class LstmEncoder(Encoder):
    """Word vectors and a single-layer LSTM; the state of a sentence is that at its last word."""

    reads = ("encoder_embedding_size", "encoder_hidden_size", "encoder_vocab_size")
    embedding = "embedding"

    @staticmethod
    def width(config):
        return config.hidden_size if config.encoder_hidden_size is None else config.encoder_hidden_size

    @staticmethod
    def layers(config):
        words = config.vocab_size if config.encoder_vocab_size is None else config.encoder_vocab_size
        size = config.embedding_size if config.encoder_embedding_size is None else config.encoder_embedding_size
        return {
            "embedding": nn.Embedding(words, size),
            "lstm": nn.LSTM(size, LstmEncoder.width(config), batch_first=True),
        }

    @staticmethod
    def encode(model, input_ids, attention_mask, inputs_embeds):
        if inputs_embeds is None:
            if attention_mask is None:
                attention_mask = input_ids != model.config.pad_token_id
            embedded = model.embedding(to_the_left(input_ids, attention_mask))
        elif attention_mask is None:
            embedded, attention_mask = inputs_embeds, torch.ones(inputs_embeds.shape[:2], device=inputs_embeds.device)
        else:
            embedded = to_the_left(inputs_embeds, attention_mask)
        states, _ = model.lstm(embedded)
        last = (attention_mask.long().sum(-1) - 1).clamp(min=0)
        return EncoderOutput(embedded, states, states[torch.arange(states.size(0), device=states.device), last])


ENCODERS: dict[str, type[Encoder]] = {"lstm": LstmEncoder}
