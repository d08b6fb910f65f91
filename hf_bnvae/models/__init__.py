"""What travels with a checkpoint: configurations, models, posteriors, decoders, objectives."""

from .configuration_bncvae import BnCvaeConfig
from .configuration_bnvae import BnVaeConfig
from .configuration_lstm_lm import LstmLMConfig
from .modeling_bncvae import BnCvaeForConditionalGeneration, BnCvaeModel
from .modeling_bnvae import BnVaeForConditionalGeneration, BnVaeForSequenceClassification, BnVaeModel
from .modeling_lstm_lm import LstmLMForCausalLM

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
