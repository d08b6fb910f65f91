"""A Trainer for text VAEs, its arguments, schedules, callbacks and recipes."""

from .arguments import VaeTrainingArguments
from .callbacks import CollapseCallback, PlateauCallback
from .recipes import RECIPES, SIZES
from .schedules import KL_SCHEDULES
from .trainer import NonFiniteLossError, VaeTrainer

__all__ = [
    "KL_SCHEDULES",
    "RECIPES",
    "SIZES",
    "CollapseCallback",
    "NonFiniteLossError",
    "PlateauCallback",
    "VaeTrainer",
    "VaeTrainingArguments",
]
