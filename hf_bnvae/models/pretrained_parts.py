"""Pretrained networks as the encoder and the decoder of a text VAE."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from .encoders import encoder_class


def pretrained_parts(
    encoder: str | None, decoder: str | None, dtype: torch.dtype
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The networks by `encoder` and `decoder`, and the fields of a `BnVaeConfig` that they decide.

    Args:
        encoder, decoder: names or folders; None for none.
        dtype: of their weights.

    Raises:
        ValueError: neither is given, or the decoder is no causal language model.
    """
    if encoder is None and decoder is None:
        raise ValueError("name a pretrained encoder, a pretrained decoder or both")
    parts: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    if encoder is not None:
        kind = encoder_class(AutoConfig.from_pretrained(encoder))
        parts["encoder"] = kind.from_pretrained(encoder, dtype=dtype)
        fields |= {"encoder": "pretrained", "encoder_config": parts["encoder"].config}
    if decoder is not None:
        refuse_no_language_model(AutoConfig.from_pretrained(decoder), decoder)
        parts["decoder"] = AutoModelForCausalLM.from_pretrained(decoder, dtype=dtype)
        fields |= {"decoder": "pretrained", "decoder_config": parts["decoder"].config}
        fields |= special_tokens(parts["decoder"].config.get_text_config())
    return parts, fields


def pretrained_parameters(model: Any) -> list[torch.nn.Parameter]:
    """The weights and the adapters of the pretrained networks of a text VAE; empty without such a network."""
    parts = (getattr(getattr(model, "model", None), "encoder", None), getattr(model.decoder, "lm", None))
    return [parameter for part in parts if part is not None for parameter in part.parameters()]


def refuse_no_language_model(config, name: str) -> None:
    """Refuse the configuration of a model that cannot be a decoder; `name` is what the error calls it."""
    reads_both_ways = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder or reads_both_ways:
        raise ValueError(f"decoder {name} is a {config.model_type} model, which is no causal language model")


def special_tokens(source) -> dict[str, Any]:
    """The special tokens of what a decoder writes, of its tokenizer or its configuration, as fields of a `BnVaeConfig`.

    Without a start symbol a text begins as at the end of the one before, and without padding the end fills up.
    """
    end = source.eos_token_id
    first_end = end[0] if isinstance(end, list) else end
    tokens = {name: getattr(source, name, None) for name in ("bos_token_id", "pad_token_id", "unk_token_id")}
    return {name: first_end if token is None else token for name, token in tokens.items()} | {"eos_token_id": end}
