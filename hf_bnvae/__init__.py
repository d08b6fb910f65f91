"""Text VAEs whose posterior does not collapse, for Transformers."""

import transformers

from . import models
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


def _register() -> None:
    for config in (BnVaeConfig, BnCvaeConfig, LstmLMConfig):
        for name, reference in config.AUTO_CLASSES.items():
            auto_class, kind = getattr(transformers, name), getattr(models, reference.partition(".")[2])
            auto_class.register(config.model_type if kind is config else config, kind)
            kind.register_for_auto_class(name)  # saving copies the code that loads it


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
