"""Text VAEs whose posterior does not collapse, for Transformers."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from .models import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnCvaeModel,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    BnVaeForSequenceClassification,
    BnVaeModel,
    LstmLMConfig,
    LstmLMForCausalLM,
)
from .models.version import __version__
from .pipelines import TextVaePipeline

_MODELS: dict[Any, dict[Any, Any]] = {
    BnVaeConfig: {
        AutoModel: BnVaeModel,
        AutoModelForSeq2SeqLM: BnVaeForConditionalGeneration,
        AutoModelForSequenceClassification: BnVaeForSequenceClassification,
    },
    BnCvaeConfig: {AutoModel: BnCvaeModel, AutoModelForSeq2SeqLM: BnCvaeForConditionalGeneration},
    LstmLMConfig: {AutoModelForCausalLM: LstmLMForCausalLM},
}


def _register() -> None:
    for config, classes in _MODELS.items():
        AutoConfig.register(config.model_type, config)
        config.register_for_auto_class()
        for auto_class, model in classes.items():
            auto_class.register(config, model)
            model.register_for_auto_class(auto_class.__name__)  # saving copies the code that loads it


_register()

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
    "TextVaePipeline",
    "__version__",
]
