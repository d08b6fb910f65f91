"""Text VAEs whose posterior does not collapse, for Transformers.

The import registers the configurations with the Auto classes; the models follow before the first configuration is made,
which is before any model. What trains, and what reads data, is imported when it is needed.
"""

from typing import TYPE_CHECKING

import transformers

from . import models
from .models import BnCvaeConfig, BnVaeConfig, LstmLMConfig
from .models.checkpoints import CheckpointConfig
from .models.lazy_names import names_when_needed
from .models.version import __version__

if TYPE_CHECKING:
    from .dialogue_pipeline import DialoguePipeline
    from .models import (
        BnCvaeForConditionalGeneration,
        BnCvaeModel,
        BnVaeForConditionalGeneration,
        BnVaeForSequenceClassification,
        BnVaeModel,
        LstmLMForCausalLM,
    )
    from .pipelines import LanguageModelPipeline, TextVaePipeline
    from .plans import Plan, build_model, resolve
    from .runs.train import train, train_dialogue

_IMPORTED_WHEN_NEEDED = {
    "BnCvaeForConditionalGeneration": "models",
    "BnCvaeModel": "models",
    "BnVaeForConditionalGeneration": "models",
    "BnVaeForSequenceClassification": "models",
    "BnVaeModel": "models",
    "DialoguePipeline": "dialogue_pipeline",
    "LanguageModelPipeline": "pipelines",
    "LstmLMForCausalLM": "models",
    "Plan": "plans",
    "TextVaePipeline": "pipelines",
    "build_model": "plans",
    "resolve": "plans",
    "train": "runs.train",
    "train_dialogue": "runs.train",
}
_CONFIGS = (BnVaeConfig, BnCvaeConfig, LstmLMConfig)


def _register_configurations() -> None:
    for config in _CONFIGS:
        transformers.AutoConfig.register(config.model_type, config)
        config.register_for_auto_class()  # saving copies the code that loads it


def _register_models() -> None:
    for config in _CONFIGS:
        for name, reference in config.AUTO_CLASSES.items():
            kind = getattr(models, reference.partition(".")[2])
            if kind is not config:
                getattr(transformers, name).register(config, kind)
                kind.register_for_auto_class(name)


_register_configurations()
CheckpointConfig.before_the_first = _register_models


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
    "DialoguePipeline",
    "LanguageModelPipeline",
    "LstmLMConfig",
    "LstmLMForCausalLM",
    "Plan",
    "TextVaePipeline",
    "__version__",
    "build_model",
    "resolve",
    "train",
    "train_dialogue",
]
