"""A Trainer for text VAEs, its arguments, schedules, callbacks and recipes."""

from .arguments import DialogueTrainingArguments, VaeTrainingArguments
from .callbacks import CollapseCallback, PlateauCallback
from .dialogue_trainer import DialogueTrainer
from .recipes import DIALOGUE_RECIPES, DIALOGUE_SIZES, RECIPES, SIZES
from .schedules import KL_SCHEDULES
from .trainer import NonFiniteLossError, VaeTrainer

__all__ = [
    "DIALOGUE_RECIPES",
    "DIALOGUE_SIZES",
    "KL_SCHEDULES",
    "RECIPES",
    "SIZES",
    "CollapseCallback",
    "DialogueTrainer",
    "DialogueTrainingArguments",
    "NonFiniteLossError",
    "PlateauCallback",
    "VaeTrainer",
    "VaeTrainingArguments",
]
