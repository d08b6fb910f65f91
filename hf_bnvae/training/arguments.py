"""Arguments of VAE training, on top of `transformers.TrainingArguments`."""

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields

import torch
from transformers import TrainingArguments

from .schedules import KL_SCHEDULES
from .strategies import STRATEGIES

UNREAD = {
    "do_train": "a run trains and judges, always",
    "do_eval": "a run trains and judges, always",
    "do_predict": "a run trains and judges, always",
    "label_smoothing_factor": "the bound on the likelihood has no smoothed labels",
    "dataloader_drop_last": "an epoch holds every sentence once",
    "train_sampling_strategy": "batches are bucketed by length; equal_length makes them of one length",
    "group_by_length": "batches are bucketed by length; equal_length makes them of one length",
    "length_column_name": "lengths stand in the column length",
    "prediction_loss_only": "an evaluation gives every metric",
    "eval_accumulation_steps": "an evaluation keeps no logits",
    "include_for_metrics": "an evaluation keeps no logits",
    "batch_eval_metrics": "an evaluation keeps no logits",
    "dataloader_prefetch_factor": "batches are made as they are needed",
    "dataloader_persistent_workers": "batches are made as they are needed",
    "accelerator_split_batches": "per_device_train_batch_size is of each process",
}
"""Arguments of `TrainingArguments` that nothing here reads, and why."""


def refuse_unread(names: Iterable[str]) -> None:
    """Refuse arguments that would change nothing.

    Raises:
        ValueError: for one of them.
    """
    for name in names:
        if name in UNREAD:
            raise ValueError(f"--{name} has no effect here, because {UNREAD[name]}: leave it out")


@dataclass
class VaeTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the choices that a VAE adds, and defaults that suit one.

    By default a run evaluates and saves every epoch and keeps the model with the best ELBO.
    """

    kl_schedule: str = field(
        default="linear",
        metadata={"help": "how the KL weight moves over training", "choices": sorted(KL_SCHEDULES)},
    )
    kl_annealing_epochs: float = field(
        default=10.0,
        metadata={"help": "epochs until the KL weight is full; the cyclic schedule then holds it as long, and repeats"},
    )
    kl_annealing_steps: int | None = field(
        default=None, metadata={"help": "the same in optimiser steps; wins over --kl_annealing_epochs"}
    )
    strategy: str = field(
        default="standard",
        metadata={
            "help": "whom a step updates: encoder and decoder together, or aggressively the encoder ahead of the "
            "decoder until MI stops climbing",
            "choices": list(STRATEGIES),
        },
    )
    equal_length: bool = field(
        default=False,
        metadata={"help": "batches of one sentence length only; by default lengths are near-equal (bucketed)"},
    )
    statistics_samples: int = field(
        default=4096,
        metadata={
            "help": "training sentences from which the batch-norm statistics are re-estimated before every "
            "evaluation and save; after training they are exact over the whole training set"
        },
    )
    plateau_patience: int | None = field(
        default=None,
        metadata={
            "help": "after so many evaluations without a better ELBO go back to the best checkpoint and halve the "
            "learning rate; off by default"
        },
    )
    plateau_start_epoch: float = field(default=0.0, metadata={"help": "no halving before this epoch"})
    plateau_max_halvings: int = field(default=5, metadata={"help": "stop at this many halvings"})

    num_train_epochs: float = field(default=20.0, metadata={"help": "passes over the training data"})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "sentences in a batch on each device"})
    per_device_eval_batch_size: int = field(default=128, metadata={"help": "sentences in an evaluation batch"})
    max_grad_norm: float = field(default=5.0, metadata={"help": "clip the gradient to this norm"})
    eval_strategy: str = field(default="epoch", metadata={"help": "when to evaluate: no, steps, epoch"})
    save_strategy: str = field(default="epoch", metadata={"help": "when to save: no, steps, epoch, best"})
    save_total_limit: int | None = field(default=2, metadata={"help": "checkpoints to keep, the best among them"})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "end with the best model, not the last"})
    metric_for_best_model: str | None = field(
        default="elbo", metadata={"help": "what the best model is best in; the ELBO counts the KL in full"}
    )
    greater_is_better: bool | None = field(default=False, metadata={"help": "whether more of it is better"})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "hide a loss that is not a number; off, so that training stops there"}
    )
    logging_steps: float = field(default=100, metadata={"help": "optimiser steps between two lines of the log"})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "go on with the plateau rule where the checkpoint left it"}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "kept off: the collator reads what it needs"})
    report_to: None | str | list[str] = field(  # noqa: RUF036 (HfArgumentParser reads the order)
        default="none", metadata={"help": "trackers to report to: tensorboard, wandb, ...; none by default"}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "replace the run that output_dir holds: its checkpoints, weights and results are removed"},
    )
    hub_strategy: str = field(
        default="end", metadata={"help": "kept at end: a run is published once, when it is finished"}
    )

    def __post_init__(self):
        if self.hub_token is not None:
            raise ValueError("--hub_token would show the token to others: set HF_TOKEN, or run `hf auth login` once")
        defaults = {item.name: item.default for item in fields(self) if item.default is not MISSING}
        refuse_unread(name for name, default in defaults.items() if getattr(self, name) != default)
        # Without this, `bf16` on a machine with no accelerator is refused.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()
        # Several GPUs in one process would each normalise by themselves: `accelerate launch` starts a process for each.
        self._n_gpu = min(1, self.n_gpu)
        if self.overwrite_output_dir and self.resume_from_checkpoint not in (None, "false"):
            raise ValueError("--overwrite_output_dir removes what --resume_from_checkpoint goes on from: leave one out")
        if self.strategy == "aggressive" and self.gradient_accumulation_steps > 1:
            raise ValueError("--strategy aggressive updates at every batch: use --gradient_accumulation_steps 1")
        if self.strategy == "aggressive" and self.eval_strategy == "no":
            raise ValueError("--strategy aggressive ends by the MI of evaluations: use an --eval_strategy")
        for name in ("kl_annealing_epochs", "plateau_start_epoch"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--{name} must be at least 0, got {getattr(self, name)}")
        for name, least in (("kl_annealing_steps", 0), ("plateau_patience", 1), ("statistics_samples", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} must be at least {least}, got {value}")


@dataclass
class DialogueTrainingArguments(VaeTrainingArguments):
    """The same for dialogue."""

    run_length: int = field(
        default=8,
        metadata={
            "help": "consecutive responses of a dialogue that share a batch, at most; a longer run encodes each "
            "utterance for more of them and mixes fewer dialogues"
        },
    )

    def __post_init__(self):
        super().__post_init__()
        if self.run_length < 1:
            raise ValueError(f"--run_length must be at least 1, got {self.run_length}")
        if self.strategy != "standard":
            raise ValueError(f"--strategy {self.strategy} is for run_lm.py: leave it out")
        if self.equal_length:
            raise ValueError("--equal_length is for run_lm.py: dialogue is read without padding anyway, leave it out")
