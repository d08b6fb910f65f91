"""Text VAEs whose posterior does not collapse, for Transformers.

The import registers the models with the Auto classes. What trains, and what reads data, is imported when it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from .dialogue_pipeline import DialoguePipeline
    from .pipelines import TextVaePipeline
    from .plans import Plan, build_model, resolve
    from .runs.train import train, train_dialogue

_IMPORTED_WHEN_NEEDED = {
    "DialoguePipeline": "dialogue_pipeline",
    "Plan": "plans",
    "TextVaePipeline": "pipelines",
    "build_model": "plans",
    "resolve": "plans",
    "train": "runs.train",
    "train_dialogue": "runs.train",
}


def _register() -> None:
    for config in (BnVaeConfig, BnCvaeConfig, LstmLMConfig):
        for name, reference in config.AUTO_CLASSES.items():
            auto_class, kind = getattr(transformers, name), getattr(models, reference.partition(".")[2])
            auto_class.register(config.model_type if kind is config else config, kind)
            kind.register_for_auto_class(name)  # saving copies the code that loads it


_register()


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
    "DialoguePipeline",
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
