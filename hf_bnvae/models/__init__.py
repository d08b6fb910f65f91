"""What travels with a checkpoint: configurations, models, posteriors, decoders, objectives."""

from importlib import import_module
from typing import TYPE_CHECKING

from .configuration_bncvae import BnCvaeConfig
from .configuration_bnvae import BnVaeConfig
from .configuration_lstm_lm import LstmLMConfig

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


def __getattr__(name: str):
    if name not in _IMPORTED_WHEN_NEEDED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_IMPORTED_WHEN_NEEDED[name]}", __name__), name)
    globals()[name] = value
    return value


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
