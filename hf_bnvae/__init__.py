"""Text VAEs whose posterior does not collapse, for Transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from ._version import __version__
from .models import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnCvaeModel,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    BnVaeModel,
    LstmLMConfig,
    LstmLMForCausalLM,
)

AutoConfig.register("bnvae", BnVaeConfig)
AutoModel.register(BnVaeConfig, BnVaeModel)
AutoModelForSeq2SeqLM.register(BnVaeConfig, BnVaeForConditionalGeneration)
AutoConfig.register("bncvae", BnCvaeConfig)
AutoModel.register(BnCvaeConfig, BnCvaeModel)
AutoModelForSeq2SeqLM.register(BnCvaeConfig, BnCvaeForConditionalGeneration)
AutoConfig.register("lstm_lm", LstmLMConfig)
AutoModelForCausalLM.register(LstmLMConfig, LstmLMForCausalLM)

__all__ = [
    "BnCvaeConfig",
    "BnCvaeForConditionalGeneration",
    "BnCvaeModel",
    "BnVaeConfig",
    "BnVaeForConditionalGeneration",
    "BnVaeModel",
    "LstmLMConfig",
    "LstmLMForCausalLM",
    "__version__",
]
