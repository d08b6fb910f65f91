"""Configuration of the LSTM language model."""

from huggingface_hub.dataclasses import strict

from .checkpoints import CheckpointConfig
from .configuration_checks import check_range, check_word_dropout


@strict
class LstmLMConfig(CheckpointConfig):
    """Sizes of a single-layer LSTM language model: the text VAE's decoder alone. The fields are `BnVaeConfig`'s."""

    model_type = "lstm_lm"
    AUTO_CLASSES = {
        "AutoConfig": "configuration_lstm_lm.LstmLMConfig",
        "AutoModelForCausalLM": "modeling_lstm_lm.LstmLMForCausalLM",
    }

    vocab_size: int = 20_000
    embedding_size: int = 512
    hidden_size: int = 1024
    embedding_dropout: float | int = 0.5
    output_dropout: float | int = 0.5
    locked_dropout: bool = False
    word_dropout: float | int = 0.0
    initializer_range: float | int = 0.01
    embedding_initializer_range: float | int = 0.1
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    unk_token_id: int | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = True

    latent_size = 0
    kl_weight = 0.0
    kl_lower_bound = None
    normalises_batches = False

    @property
    def decoder_start_token_id(self) -> int | None:
        return self.bos_token_id

    def validate_sizes(self):
        check_range(self, 1, None, "vocab_size", "embedding_size", "hidden_size")

    def validate_numbers(self):
        check_range(self, 0, 1, "embedding_dropout", "output_dropout", "word_dropout")

    def validate_combinations(self):
        check_word_dropout(self)


__all__ = ["LstmLMConfig"]
