"""A Trainer for text VAEs, its arguments, schedules, callbacks and recipes."""

from .arguments import DialogueTrainingArguments, VaeTrainingArguments
from .callbacks import CollapseCallback, PlateauCallback
from .checkpoints import CheckpointError
from .dialogue_trainer import DialogueTrainer
from .non_finite import NonFiniteLossError
from .recipes import DIALOGUE_RECIPES, DIALOGUE_SIZES, RECIPES, SIZES
from .resuming import check_same_run, keep_annealing, run_arguments
from .run_lock import LockError
from .schedules import KL_SCHEDULES
from .trainer import VaeTrainer

__all__ = [
    "DIALOGUE_RECIPES",
    "DIALOGUE_SIZES",
    "KL_SCHEDULES",
    "RECIPES",
    "SIZES",
    "CheckpointError",
    "CollapseCallback",
    "DialogueTrainer",
    "DialogueTrainingArguments",
    "LockError",
    "NonFiniteLossError",
    "PlateauCallback",
    "VaeTrainer",
    "VaeTrainingArguments",
    "check_same_run",
    "keep_annealing",
    "run_arguments",
]
