"""Configuration of the language model."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig

from .checkpoints import CheckpointConfig
from .configuration_checks import check_range, check_ties, check_word_dropout, take_nested_configs


@strict
class LstmLMConfig(CheckpointConfig):
    """Sizes of a language model: the text VAE's decoder alone, a single-layer LSTM or a pretrained one.

    The fields are `BnVaeConfig`'s. With a `decoder_config` the decoder is the `AutoModelForCausalLM` of it.
    """

    model_type = "lstm_lm"
    AUTO_CLASSES = {
        "AutoConfig": "configuration_lstm_lm.LstmLMConfig",
        "AutoModelForCausalLM": "modeling_lstm_lm.LstmLMForCausalLM",
    }
    sub_configs = {"decoder_config": AutoConfig}

    vocab_size: int = 20_000
    embedding_size: int = 512
    hidden_size: int = 1024
    decoder_config: Any = None
    decoder_lora: dict[str, Any] | None = None
    decoder_base: dict[str, str | None] | None = None
    embedding_dropout: float | int = 0.5
    output_dropout: float | int = 0.5
    locked_dropout: bool = False
    word_dropout: float | int = 0.0
    initializer_range: float | int = 0.01
    embedding_initializer_range: float | int = 0.1
    forget_bias: float | int = 0.0
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    unk_token_id: int | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = True

    latent_size = 0
    soft_prompt_length = 0
    latent_memory_length = 0
    kl_weight = 0.0
    kl_lower_bound = None
    normalises_batches = False

    def __post_init__(self, **kwargs):
        take_nested_configs(self)
        super().__post_init__(**kwargs)

    def get_text_config(self, decoder=None, encoder=None):
        return self  # Transformers would take the name in `decoder` for a nested configuration

    @property
    def decoder(self) -> str:
        """The name of the decoder in `decoders.DECODERS`."""
        return "lstm" if self.decoder_config is None else "pretrained"

    @property
    def decoder_start_token_id(self) -> int | None:
        """The start symbol, behind which a decoder begins everywhere in Transformers."""
        return self.bos_token_id

    def validate_sizes(self):
        check_range(self, 1, None, "vocab_size", "embedding_size", "hidden_size")

    def validate_numbers(self):
        check_range(self, 0, 1, "embedding_dropout", "output_dropout", "word_dropout")

    def validate_combinations(self):
        check_word_dropout(self)
        check_ties(self)


__all__ = ["LstmLMConfig"]
