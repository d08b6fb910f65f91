"""Pretrained networks as the encoder and the decoder of a text VAE."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

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
        config = AutoConfig.from_pretrained(decoder)
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
            raise ValueError(f"decoder {decoder} is a {config.model_type} model, which is no causal language model")
        parts["decoder"] = AutoModelForCausalLM.from_pretrained(decoder, dtype=dtype)
        fields |= {"decoder": "pretrained", "decoder_config": parts["decoder"].config}
        fields |= special_tokens(parts["decoder"].config.get_text_config())
    return parts, fields


def special_tokens(config) -> dict[str, Any]:
    """The special tokens of a text VAE whose decoder has a configuration.

    A model without a start symbol begins as at the end of the text before, and one without padding pads with its end.
    """
    end = config.eos_token_id
    first_end = end[0] if isinstance(end, list) else end
    start = first_end if config.bos_token_id is None else config.bos_token_id
    pad = first_end if config.pad_token_id is None else config.pad_token_id
    return {"bos_token_id": start, "eos_token_id": end, "pad_token_id": pad, "unk_token_id": first_end}
