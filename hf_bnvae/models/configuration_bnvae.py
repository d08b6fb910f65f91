"""Configuration of the LSTM text VAE."""

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

POSTERIOR_NAMES = ("gaussian", "batch_norm")
DECODER_NAMES = ("lstm",)


@strict
class BnVaeConfig(PreTrainedConfig):
    r"""Sizes and choices of a text VAE with an LSTM encoder and an autoregressive decoder.

    The defaults are the sizes that the BN-VAE paper uses for Yahoo and Yelp reviews.

    Args:
        vocab_size: number of tokens, specials included.
        embedding_size: width of the word vectors; encoder and decoder have separate ones.
        hidden_size: width of both LSTMs.
        latent_size: number n of latent dimensions.
        posterior: `"gaussian"` (diagonal Gaussian) or `"batch_norm"` (the same with a batch-normalised mean, Eq. 5).
        gamma: the frozen scale γ of the batch-normalised mean; the KL is then at least n·γ²/2 in expectation (Eq. 6).
        decoder: `"lstm"`.
        kl_weight: the weight of the KL in the training loss (the β of β-VAE); the evaluation never uses it.
        embedding_dropout: dropout on the decoder's input word vectors.
        output_dropout: dropout on the decoder's LSTM outputs.
        tie_word_embeddings: the output layer shares the decoder's word vectors; where `embedding_size` differs from
            `hidden_size` a linear map to `embedding_size` stands in front of it.
        initializer_range: weights start uniform in ± this.
        embedding_initializer_range: word vectors start uniform in ± this.

    Raises:
        ValueError (inside huggingface_hub's validation error): naming the field and what it must be.
    """

    model_type = "bnvae"

    vocab_size: int = 20_000
    embedding_size: int = 512
    hidden_size: int = 1024
    latent_size: int = 32
    posterior: str = "batch_norm"
    gamma: float | int = 0.7
    decoder: str = "lstm"
    kl_weight: float | int = 1.0
    embedding_dropout: float | int = 0.5
    output_dropout: float | int = 0.5
    initializer_range: float | int = 0.01
    embedding_initializer_range: float | int = 0.1
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = None
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = False
    use_cache: bool = True

    def __post_init__(self, **kwargs):
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.bos_token_id
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        for name in ("vocab_size", "embedding_size", "hidden_size", "latent_size"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def validate_choices(self):
        for name, choices in (("posterior", POSTERIOR_NAMES), ("decoder", DECODER_NAMES)):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")

    def validate_numbers(self):
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ValueError(f"gamma must be a finite number above 0, got {self.gamma}")
        if not (math.isfinite(self.kl_weight) and self.kl_weight >= 0):
            raise ValueError(f"kl_weight must be a finite number of at least 0, got {self.kl_weight}")
        for name in ("embedding_dropout", "output_dropout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {value}")

    def get_text_config(self, decoder=None, encoder=None):
        # Transformers would take the string in `decoder` for a nested configuration.
        return self

    @property
    def kl_lower_bound(self) -> float | None:
        """The bound n·γ²/2 of Eq. 6 at β = 0, in nats per sentence; None where the posterior has none."""
        return self.latent_size * self.gamma**2 / 2 if self.posterior == "batch_norm" else None


__all__ = ["BnVaeConfig"]
