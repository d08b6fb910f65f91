"""Pretrained networks as the encoder and the decoder of a text VAE."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from .base_weights import UNREAD
from .encoders import encoder_class
from .layers import networks_without_weights

COUNT_FROM_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Architectures whose first token has the position behind that of their padding symbol."""


class FromPretrainedPartsMixin:
    """A whole model with its encoder in `model` that is made of pretrained networks."""

    config_class: Any

    @classmethod
    def from_encoder_decoder_pretrained(
        cls, encoder: str | None = None, decoder: str | None = None, dtype: torch.dtype = torch.float32, **config
    ) -> Any:
        """A text VAE on a pretrained encoder, a pretrained decoder or both; what is new in it starts small.

        Args:
            encoder: the name or the folder of a model that `AutoModel` loads; None for an LSTM.
            decoder: the name or the folder of a model that `AutoModelForCausalLM` loads; None for an LSTM.
            dtype: of all weights.
            config: fields of `BnVaeConfig`. The special tokens of a pretrained decoder are its configuration's unless
                they are given.

        Raises:
            ValueError: neither is given, or a decoder is no causal language model.
        """
        parts, fields = pretrained_parts(encoder, decoder, dtype)
        with networks_without_weights(*parts):
            model: Any = cls(cls.config_class(**{**fields, **config}))  # type: ignore[call-arg]
        torch.nn.Module.to(model, dtype)
        if encoder is not None:
            model.model.encoder = parts["encoder"]
        if decoder is not None:
            model.decoder.take(parts["decoder"])
        return model.eval()


def pretrained_parts(
    encoder: str | None, decoder: str | None, dtype: torch.dtype
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The networks by `encoder` and `decoder`, and the fields of a `BnVaeConfig` that they decide.

    Args:
        encoder, decoder: names or folders; None for none.
        dtype: of their weights.

    Raises:
        ValueError: neither is given, the decoder is no causal language model, or weights cannot be read or lack some.
    """
    if encoder is None and decoder is None:
        raise ValueError("name a pretrained encoder, a pretrained decoder or both")
    parts: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    if encoder is not None:
        kind = encoder_class(AutoConfig.from_pretrained(encoder))
        parts["encoder"] = network_with_weights(kind, "encoder", encoder, dtype)
        fields |= {"encoder": "pretrained", "encoder_config": parts["encoder"].config}
    if decoder is not None:
        refuse_no_language_model(AutoConfig.from_pretrained(decoder), decoder)
        parts["decoder"] = network_with_weights(AutoModelForCausalLM, "decoder", decoder, dtype)
        fields |= {"decoder": "pretrained", "decoder_config": parts["decoder"].config}
        fields |= special_tokens(parts["decoder"].config.get_text_config())
    return parts, fields


def network_with_weights(kind: Any, part: str, name: str, dtype: torch.dtype) -> Any:
    """The network of a part, all of whose weights are there.

    Raises:
        ValueError: they cannot be read, or are not those of such a network.
    """
    try:
        network, loaded = kind.from_pretrained(
            name, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except Exception as error:  # safetensors has a kind of its own
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{part} {name}: its weights cannot be read ({reason})") from error
    others = sorted(key for key, *_ in loaded["mismatched_keys"])
    if others:
        raise ValueError(f"{part} {name}: its weights have other sizes than its config.json says, {others[0]} for one")
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith(UNREAD))
    if missing:
        raise ValueError(
            f"{part} {name}: it lacks weights of a {network.config.model_type} model, {missing[0]} for one: name a "
            "folder with all of them"
        )
    return network


def pretrained_parameters(model: Any) -> list[torch.nn.Parameter]:
    """The weights and the adapters of the pretrained networks of a text VAE; empty without such a network."""
    parts = (getattr(getattr(model, "model", None), "encoder", None), getattr(model.decoder, "lm", None))
    return [parameter for part in parts if part is not None for parameter in part.parameters()]


def refuse_no_language_model(config, name: str) -> None:
    """Refuse the configuration of a model that cannot be a decoder; `name` is what the error calls it."""
    reads_both_ways = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder or reads_both_ways:
        raise ValueError(f"decoder {name} is a {config.model_type} model, which is no causal language model")


def positions_of(config) -> int | None:
    """How many tokens a network with such a configuration has positions for; None where these have no end."""
    sizes = config.get_text_config()
    positions = getattr(sizes, "max_position_embeddings", None)
    if positions is None or sizes.model_type not in COUNT_FROM_PADDING:
        return positions
    return positions - sizes.pad_token_id - 1


def longest_text(config, max_length: int) -> int:
    """`max_length`, or fewer tokens where a network with such a configuration (None for none) has no more positions."""
    positions = None if config is None else positions_of(config)
    return max_length if positions is None else min(max_length, positions)


def special_tokens(source) -> dict[str, Any]:
    """The special tokens of what a decoder writes, of its tokenizer or its configuration, as fields of a `BnVaeConfig`.

    Without a start symbol a text begins as at the end of the one before, and without padding the end fills up.
    """
    end = source.eos_token_id
    first_end = end[0] if isinstance(end, list) else end
    tokens = {name: getattr(source, name, None) for name in ("bos_token_id", "pad_token_id", "unk_token_id")}
    return {name: first_end if token is None else token for name, token in tokens.items()} | {"eos_token_id": end}
