"""A memory of z among the keys and values that the layers of a pretrained decoder attend to."""

import math
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers import initialization as init

ATTENTION = {"full_attention", "sliding_attention"}


def check_attends(sizes: Any) -> None:
    """Refuse a decoder with a layer that does not keep the keys and values of each token."""
    others = set(getattr(sizes, "layer_types", None) or ()) - ATTENTION
    if others or getattr(sizes, "kv_lora_rank", None) or not hasattr(sizes, "num_attention_heads"):
        kinds = f" ({', '.join(sorted(others))})" if others else ""
        raise ValueError(
            f"latent_memory_length wants a decoder all of whose layers keep keys and values, and {sizes.model_type} "
            f"has others{kinds}: use soft_prompt_length"
        )


class LatentMemory(nn.Module):
    """Keys and values that a linear map of z puts in front of those of the tokens, in every layer (Li et al. 2020).

    Unlike a soft prompt they are no positions that the network computes. They start as large as the decoder's own.

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
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.normal_(self.weight, std=0.02 / math.sqrt(self.weight.size(-1)))

    def start_as(self, lm: Any, words: torch.Tensor) -> None:
        """Start as large as the keys and values of these `(words, embedding_size)` in each layer of `lm`."""
        with torch.no_grad():
            cache = lm(inputs_embeds=words[None, :64], use_cache=True).past_key_values
            for layer, weight in zip(cache.layers, self.weight, strict=True):
                for found, part in zip((layer.keys, layer.values), weight, strict=True):
                    part.normal_(std=float(found.float().std()) / math.sqrt(part.size(-1)))

    def forward(self, latents: torch.Tensor) -> DynamicCache:
        """`(batch, latent_size)` to a cache that the tokens are read after."""
        layers, kinds, heads, length, width = self.shape
        flat = latents @ self.weight.reshape(-1, latents.size(-1)).T
        memory = flat.view(latents.size(0), layers, kinds, heads, length, width).unbind(1)
        cache = DynamicCache(config=self.config)
        for layer, pair in enumerate(memory):
            cache.update(pair[:, 0], pair[:, 1], layer)
        return cache
