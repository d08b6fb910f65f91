"""Encoders: from a batch of sentences to the one state of each that a posterior reads.

An encoder is a class without a state of its own. It names its layers, which the model holds under these names, so that
the keys of a checkpoint do not depend on how the code is cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from .layers import network_of, to_the_left, words_read

ENCODER_INPUTS = ("input_ids", "attention_mask", "encoder_states")
"""The names of the tensors of a batch that an encoder reads."""


@dataclass
class EncoderOutput:
    """The states that an encoder computes of a batch.

    Args:
        embedded: the word vectors, `(batch, length, embedding_size)`; None where states of sentences were given.
        states: `(batch, length, width)`; None there too.
        last: the state of each sentence, `(batch, width)`.
    """

    embedded: torch.Tensor | None
    states: torch.Tensor | None
    last: torch.Tensor


class Encoder:
    """The methods that a model calls on an encoder."""

    reads: tuple[str, ...] = ()
    """The fields of a configuration that only some encoders read, and this one does."""

    @staticmethod
    def get_embedding(model: Any) -> nn.Module:
        """The layer of word vectors."""
        return model.embedding

    @staticmethod
    def set_embedding(model: Any, value: nn.Module) -> None:
        """Put another layer of word vectors in its place."""
        model.embedding = value

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
                attention_mask = words_read(input_ids, model.config.encoder_padding)
            embedded = model.embedding(to_the_left(input_ids, attention_mask))
        elif attention_mask is None:
            embedded, attention_mask = inputs_embeds, torch.ones(inputs_embeds.shape[:2], device=inputs_embeds.device)
        else:
            embedded = to_the_left(inputs_embeds, attention_mask)
        states, _ = model.lstm(embedded)
        return EncoderOutput(embedded, states, pooled(states, attention_mask.long(), "last"))


class PretrainedEncoder(Encoder):
    """Any `AutoModel`, or the encoder of an encoder-decoder such as T5; the state of a sentence is pooled.

    That of a sentence without a token is zero: a tokenizer that adds no ends makes none of an empty text.
    """

    reads = ("encoder_pooling", "encoder_normalised")

    @staticmethod
    def get_embedding(model):
        return model.encoder.get_input_embeddings()

    @staticmethod
    def set_embedding(model, value):
        model.encoder.set_input_embeddings(value)

    @staticmethod
    def width(config):
        return config.encoder_config.get_text_config().hidden_size

    @staticmethod
    def layers(config):
        return {"encoder": network_of("encoder", encoder_class(config.encoder_config), config.encoder_config)}

    @staticmethod
    def encode(model, input_ids, attention_mask, inputs_embeds):
        given = input_ids if inputs_embeds is None else inputs_embeds
        if attention_mask is not None:
            attention_mask = attention_mask.long()
        elif input_ids is not None:
            attention_mask = words_read(input_ids, model.config.encoder_padding).long()
        else:
            attention_mask = torch.ones(given.shape[:2], dtype=torch.long, device=given.device)
        given, attention_mask = to_the_left(given, attention_mask), to_the_left(attention_mask, attention_mask)
        name = "input_ids" if inputs_embeds is None else "inputs_embeds"
        states = model.encoder(**{name: given}, attention_mask=attention_mask).last_hidden_state
        last = pooled(states, attention_mask, model.config.encoder_pooling)
        last = last.masked_fill(attention_mask.sum(1, keepdim=True) == 0, 0.0)
        if model.config.encoder_normalised:
            last = F.normalize(last, dim=-1)
        embedded = PretrainedEncoder.get_embedding(model)(given) if inputs_embeds is None else given
        return EncoderOutput(embedded, states, last)


def encoder_class(config) -> Any:
    """The Auto class that makes an encoder of a configuration; of an encoder-decoder such as T5 the first half."""
    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def pooled(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One state of each sentence, `(batch, width)`, of `(batch, length, width)` with the padding behind the words.

    Args:
        pooling: `"mean"` of the words, `"cls"` for the first, `"last"` for the last word.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(states.size(0), device=states.device), (mask.sum(1) - 1).clamp(min=0)]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


class GivenStates(Encoder):
    """No encoder: the states of sentences are given, such as embeddings that were computed before."""

    reads = ("encoder_hidden_size",)

    @staticmethod
    def get_embedding(model):
        raise NotImplementedError("a model of given states has no word vectors to read")

    @staticmethod
    def width(config):
        return config.encoder_hidden_size

    @staticmethod
    def layers(config):
        return {}

    @staticmethod
    def encode(model, input_ids, attention_mask, inputs_embeds):
        raise ValueError("this model has no encoder of tokens: give it encoder_states, the embeddings of sentences")


ENCODERS: dict[str, type[Encoder]] = {
    "lstm": LstmEncoder,
    "pretrained": PretrainedEncoder,
    "given": GivenStates,
}
POOLINGS = ("mean", "cls", "last")
