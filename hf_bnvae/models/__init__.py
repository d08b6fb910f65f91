"""What travels with a checkpoint: configurations, models, posteriors, decoders, objectives."""

from typing import TYPE_CHECKING

from .configuration_bncvae import BnCvaeConfig
from .configuration_bnvae import BnVaeConfig
from .configuration_lstm_lm import LstmLMConfig
from .lazy_names import names_when_needed

if TYPE_CHECKING:
    from .modeling_bncvae import BnCvaeForConditionalGeneration, BnCvaeModel
    from .modeling_bnvae import BnVaeForConditionalGeneration, BnVaeForSequenceClassification, BnVaeModel
    from .modeling_lstm_lm import LstmLMForCausalLM

_IMPORTED_WHEN_NEEDED = {
    "BnCvaeForConditionalGeneration": "modeling_bncvae",
    "BnCvaeModel": "modeling_bncvae",
    "BnVaeForConditionalGeneration": "modeling_bnvae",
    "BnVaeForSequenceClassification": "modeling_bnvae",
    "BnVaeModel": "modeling_bnvae",
    "LstmLMForCausalLM": "modeling_lstm_lm",
}

__getattr__ = names_when_needed(__name__, _IMPORTED_WHEN_NEEDED)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "BnCvaeConfig",
    "BnCvaeForConditionalGeneration",
    "BnCvaeModel",
    "BnVaeConfig",
    "BnVaeForConditionalGeneration",
    "BnVaeForSequenceClassification",
    "BnVaeModel",
    "LstmLMConfig",
    "LstmLMForCausalLM",
]
