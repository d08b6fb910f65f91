"""The ranges of numeric arguments, by the names of their fields: those of `TrainingArguments`, and ours."""

import math
from dataclasses import dataclass, fields

from ..errors import ParameterError

MOST_SEED = 2**32 - 1
MOST_WIDTH = 1_000_000


@dataclass(frozen=True)
class Range:
    """The numbers that an argument can be.

    Args:
        least, most: both included; None for no end.
        above: greater than this.
        below: less than this.
        besides: single numbers that stand for something else.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    besides: tuple[float, ...] = ()

    def holds(self, value: float) -> bool:
        if value in self.besides:
            return True
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        most = "" if self.most is None else f" and at most {self.most:,}"
        most += "" if self.below is None else f" and below {self.below:g}"
        if self.above is not None:
            words = f"a finite number above {self.above:g}{most}"
        elif self.least is None:
            words = f"a finite number{most}"
        else:
            words = f"at least {self.least:g}{most}"
        return words + "".join(f", or {number:g}" for number in self.besides)


ANY = Range()
RANGES = {
    "seed": Range(0, MOST_SEED),
    "data_seed": Range(0, MOST_SEED),
    "learning_rate": Range(0),
    "pretrained_learning_rate": Range(0),
    "num_train_epochs": Range(above=0),
    "max_steps": Range(1, besides=(-1,)),
    "warmup_steps": Range(0),
    "warmup_ratio": Range(0, 1),
    "weight_decay": Range(0),
    "max_grad_norm": Range(0),
    "adam_beta1": Range(0, below=1),
    "adam_beta2": Range(0, below=1),
    "adam_epsilon": Range(0),
    "gradient_accumulation_steps": Range(1),
    "per_device_train_batch_size": Range(1),
    "per_device_eval_batch_size": Range(1),
    "dataloader_num_workers": Range(0),
    "logging_steps": Range(above=0),
    "eval_steps": Range(above=0),
    "save_steps": Range(above=0),
    "save_total_limit": Range(1),
    "kl_annealing_epochs": Range(0),
    "plateau_start_epoch": Range(0),
    "kl_annealing_steps": Range(0),
    "plateau_patience": Range(1),
    "plateau_max_halvings": Range(1),
    "statistics_samples": Range(2),
    "run_length": Range(1),
    "gamma": Range(above=0, most=1_000),
    "rate": Range(above=0, most=100_000),
    "latent_size": Range(1, MOST_WIDTH),
    "embedding_size": Range(1, MOST_WIDTH),
    "hidden_size": Range(1, MOST_WIDTH),
    "utterance_hidden_size": Range(1, MOST_WIDTH),
    "context_hidden_size": Range(1, MOST_WIDTH),
    "initializer_range": Range(0),
    "embedding_initializer_range": Range(0),
    "encoder_initializer_range": Range(0),
    "encoder_embedding_initializer_range": Range(0),
}


def check_ranges(arguments) -> None:
    """Refuse numbers out of the ranges of their fields, and NaN and infinity in any field.

    Args:
        arguments: an instance of a dataclass.

    Raises:
        ParameterError: naming the argument, its range and its value.
    """
    for item in fields(arguments):
        given = getattr(arguments, item.name, None)
        allowed = RANGES.get(item.name, ANY)
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not allowed.holds(value):
                raise ParameterError(f"`{item.name}` must be {allowed}, got {value}")
