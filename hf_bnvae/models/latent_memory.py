"""A memory of z among the keys and values that the layers of a pretrained decoder attend to."""

import math
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers import initialization as init

ATTENTION = {"full_attention", "sliding_attention"}


DEFAULT_LENGTH = 8


def _other_layers(sizes: Any) -> list[str] | None:
    """The kinds of layers that do not keep the keys and values of each token; None where every layer does."""
    others = sorted(set(getattr(sizes, "layer_types", None) or ()) - ATTENTION)
    attends = hasattr(sizes, "num_attention_heads") and not getattr(sizes, "kv_lora_rank", None)
    return None if attends and not others else others


def take_lengths(config) -> None:
    """What a configuration leaves open of how z enters: a memory where the decoder takes one, else a soft prompt."""
    is_pretrained = config.decoder == "pretrained" and config.decoder_config is not None
    if config.latent_memory_length is None:
        takes = is_pretrained and config.soft_prompt_length is None
        takes = takes and _other_layers(config.decoder_config.get_text_config()) is None
        config.latent_memory_length = DEFAULT_LENGTH if takes else 0
    if config.soft_prompt_length is None:
        config.soft_prompt_length = DEFAULT_LENGTH if is_pretrained and not config.latent_memory_length else 0


def check_attends(sizes: Any) -> None:
    """Refuse a decoder with a layer that does not keep the keys and values of each token."""
    others = _other_layers(sizes)
    if others is not None:
        kinds = f" ({', '.join(others)})" if others else ""
        raise ValueError(
            f"latent_memory_length wants a decoder all of whose layers keep keys and values, and {sizes.model_type} "
            f"has others{kinds}: use soft_prompt_length"
        )


class LatentMemory(nn.Module):
    """Keys and values that a linear map of z puts in front of those of the tokens, in every layer (Li et al. 2020).

    Unlike a soft prompt the network computes nothing at their positions. They start as what words in front of a text
    leave, so that a training starts near the pretrained model, and what z adds at a tenth of that.

    Args:
        latent_size: of z.
        length: keys in each head.
        sizes: the configuration of the decoder's text model.
    """

    def __init__(self, latent_size: int, length: int, sizes: Any):
        super().__init__()
        heads = getattr(sizes, "num_key_value_heads", None) or sizes.num_attention_heads
        width = getattr(sizes, "head_dim", None) or sizes.hidden_size // sizes.num_attention_heads
        self.config = sizes
        self.shape = (sizes.num_hidden_layers, 2, heads, length, width)
        self.weight = nn.Parameter(torch.empty(*self.shape[:2], heads * length * width, latent_size))
        self.start = nn.Parameter(torch.empty(self.weight.shape[:-1]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.normal_(self.start, std=0.02)
        init.normal_(self.weight, std=0.1 * 0.02 / math.sqrt(self.weight.size(-1)))

    def start_as(self, lm: Any, words: torch.Tensor) -> None:
        """Start as what some of these `(words, embedding_size)` leave in each layer of `lm`."""
        length = self.shape[3]
        with torch.no_grad():
            some = words[torch.linspace(0, len(words) - 1, length + 2).long()[1:-1]]
            cache: Any = DynamicCache()  # of whole layers, also of those with a sliding window
            lm(inputs_embeds=some[None], past_key_values=cache, use_cache=True)
            if any(layer.keys.shape[1:] != self.shape[2:] for layer in cache.layers):
                raise ValueError(
                    f"latent_memory_length: {self.config.model_type} keeps keys of another shape than its "
                    "configuration says: use soft_prompt_length"
                )
            for layer, start, weight in zip(cache.layers, self.start, self.weight, strict=True):
                for left, kept, part in zip((layer.keys, layer.values), start, weight, strict=True):
                    kept.copy_(left.flatten())
                    part.normal_(std=0.1 * float(kept.std()) / math.sqrt(part.size(-1)))

    def forward(self, latents: torch.Tensor) -> DynamicCache:
        """`(batch, latent_size)` to a cache that the tokens are read after."""
        layers, kinds, heads, length, width = self.shape
        flat = self.start.flatten() + latents @ self.weight.reshape(-1, latents.size(-1)).T
        memory = flat.view(latents.size(0), layers, kinds, heads, length, width).unbind(1)
        cache = DynamicCache(config=self.config)
        for layer, pair in enumerate(memory):
            cache.update(pair[:, 0], pair[:, 1], layer)
        return cache
