"""Arguments of VAE training, on top of `transformers.TrainingArguments`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import SchedulerType, Trainer, TrainingArguments
from transformers.integrations import get_available_reporting_integrations
from transformers.optimization import get_scheduler
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy
from transformers.training_args import OptimizerNames

from ..data.errors import first_line
from ..errors import ParameterError
from .field_types import read_fields
from .ranges import check_ranges
from .recipes import DIALOGUE_RECIPES, RECIPES, bf16_pays
from .schedules import KL_SCHEDULES, most_annealing
from .strategies import STRATEGIES

UNREAD = {
    "do_train": "a run trains and evaluates, always",
    "do_eval": "a run trains and evaluates, always",
    "do_predict": "a run trains and evaluates, always",
    "label_smoothing_factor": "the bound on the likelihood has no smoothed labels",
    "dataloader_drop_last": "an epoch holds every sentence once",
    "train_sampling_strategy": "batches are bucketed by length; equal_length makes them of one length",
    "group_by_length": "batches are bucketed by length; equal_length makes them of one length",
    "length_column_name": "lengths stand in the column length",
    "prediction_loss_only": "an evaluation gives every metric",
    "eval_accumulation_steps": "an evaluation keeps no logits",
    "include_for_metrics": "an evaluation keeps no logits",
    "batch_eval_metrics": "an evaluation keeps no logits",
    "bf16_full_eval": "an evaluation is in fp32",
    "fp16_full_eval": "an evaluation is in fp32",
    "compute_metrics": "an evaluation keeps no logits and has metrics of its own",
    "preprocess_logits_for_metrics": "an evaluation keeps no logits",
    "compute_loss_func": "the loss is the model's own",
    "dataloader_prefetch_factor": "batches are made as they are needed",
    "dataloader_persistent_workers": "batches are made as they are needed",
    "label_names": "labels stand in the column labels",
    "eval_do_concat_batches": "an evaluation keeps no logits",
    "eval_use_gather_object": "an evaluation gathers what it needs",
    "average_tokens_across_devices": "a step's loss is the mean over the sentences of all processes",
    "accelerator_split_batches": "per_device_train_batch_size is of each process",
}
"""Arguments of `TrainingArguments` and of `Trainer` that nothing here reads, and why."""
CHOICES: dict[str, type[Enum]] = {
    "eval_strategy": IntervalStrategy,
    "save_strategy": SaveStrategy,
    "logging_strategy": IntervalStrategy,
    "hub_strategy": HubStrategy,
    "lr_scheduler_type": SchedulerType,
    "optim": OptimizerNames,
}
"""Arguments of `TrainingArguments` that are one of some names."""
NO_TOKEN = "<HUB_TOKEN>"
"""What `to_dict` writes in the place of any token, and of none."""
OPTIMISER_PACKAGES = {
    "galore": "galore_torch",
    "apollo": "apollo_torch",
    "lomo": "lomo_optim",
    "torch_4bit": "torchao",
    "torch_8bit": "torchao",
    "torch_xla": "torch_xla",
    "torch_npu": "torch_npu",
    "bnb": "bitsandbytes",
    "8bit": "bitsandbytes",
    "paged": "bitsandbytes",
    "lion": "bitsandbytes",
    "ademamix": "bitsandbytes",
    "apex": "apex",
    "grokadamw": "grokadamw",
    "schedule_free": "schedulefree",
    "stable_adamw": "optimi",
    "anyprecision": "torchdistx",
}
"""What the name of an optimiser holds, and the package that it comes from: of several the first."""
MADE_OF_A_MODEL = ("galore", "apollo", "lomo")
"""Parts of the names of optimisers that look at the model."""
MUON_WITH = ("adamw_torch_fused", "adamw_torch")


LEFT_OUT: dict[str, Any] = {"warmup_steps": 0, "weight_decay": 0.0, "pretrained_learning_rate": None}
"""What a recipe means that leaves them out; the defaults of the arguments are those of the recipe fast."""


def of_recipe(recipe: dict[str, Any], name: str, text: str | None = None) -> Any:
    """A field whose default is a recipe's, with the help of Transformers where `text` is None."""
    helped = TrainingArguments.__dataclass_fields__[name].metadata if text is None else {"help": text}
    return field(default=(LEFT_OUT | recipe)[name], metadata=helped)


of_fast = partial(of_recipe, RECIPES["fast"])
of_dialogue = partial(of_recipe, DIALOGUE_RECIPES["fast"])


def refuse_unread(names: Iterable[str]) -> None:
    """Refuse arguments that would change nothing.

    Raises:
        ParameterError: for one of them.
    """
    for name in names:
        if name in UNREAD:
            raise ParameterError(f"`{name}` has no effect here, because {UNREAD[name]}: leave it out")


def check_checkpointing(args: TrainingArguments, model) -> None:
    """Refuse to compute layers twice where no gradient goes through any: in LSTMs, and in a frozen encoder over one.

    A frozen decoder is no such model: the gradient of z goes through its layers. A memory of z, which such layers
    would leave out, is refused as well.

    Raises:
        ParameterError: naming what asks for it.
    """
    encoder = getattr(getattr(model, "model", None), "encoder", None)
    is_frozen = encoder is not None and not any(weight.requires_grad for weight in encoder.parameters())
    for name in ("gradient_checkpointing", "activation_checkpointing"):  # the second from Transformers 5.23 on
        if not getattr(args, name, False):
            continue
        if getattr(model.config, "latent_memory_length", 0):
            raise ParameterError(
                f"`{name}` computes layers without the keys and values of z: leave it out, or use "
                "`soft_prompt_length` 8 in their place"
            )
        if not getattr(model, "supports_gradient_checkpointing", True):
            raise ParameterError(f"`{name}` needs a model of several layers, which an LSTM is not: leave it out")
        if is_frozen and getattr(model.decoder, "lm", None) is None:
            raise ParameterError(
                f"`{name}` computes layers again for their gradient, and a frozen encoder over an LSTM has none: leave "
                "it out, or train the encoder by `train_encoder` full"
            )


@dataclass
class VaeTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the choices that a VAE adds, and the defaults of the recipe fast, in fp32.

    By default a run evaluates and saves every epoch and keeps the model with the best ELBO. `save_strategy`,
    `save_steps` and `load_best_model_at_end` follow `eval_strategy` where they are not given, and
    `kl_annealing_epochs` the recipe and `num_train_epochs`. The learning rate is for batches of the recipe's size:
    `plans.resolve` has it follow another.

    Values may be texts that read as what a field holds.

    Raises:
        ParameterError: a value that cannot be used; the sentence names its field.
    """

    RECIPE: ClassVar[Mapping[str, Any]] = RECIPES["fast"]
    METRICS: ClassVar[tuple[str, ...]] = ("elbo", "rec", "kl", "mi", "au", "agg_kl", "use", "bow_loss", "loss")

    kl_schedule: str = field(
        default="linear",
        metadata={"help": "how the KL weight moves over training", "choices": sorted(KL_SCHEDULES)},
    )
    kl_annealing_epochs: float | None = field(
        default=None,
        metadata={
            "help": "epochs until the KL weight is full; the cyclic schedule then holds it as long, and repeats; by "
            "default the recipe's, and at most half of `num_train_epochs`, in cycles a quarter"
        },
    )
    kl_annealing_steps: int | None = field(
        default=None, metadata={"help": "the same in optimiser steps; wins over `kl_annealing_epochs`"}
    )
    strategy: str = field(
        default="standard",
        metadata={
            "help": "which networks a step updates: encoder and decoder together, or aggressively the encoder ahead of "
            "the decoder until MI stops climbing",
            "choices": list(STRATEGIES),
        },
    )
    equal_length: bool = field(
        default=False,
        metadata={"help": "batches of one sentence length only; by default lengths are near-equal (bucketed)"},
    )
    pretrained_learning_rate: float | None = of_fast(
        "pretrained_learning_rate",
        "learning rate of weights or adapters of pretrained parts; that of all in the paper's recipe",
    )
    use_cache: bool = field(
        default=True, metadata={"help": "kept on: the saved configuration says that decoding goes on from states"}
    )
    muon: bool = field(
        default=False,
        metadata={
            "help": "let Muon train the matrices of the layers in place of AdamW, which trains the rest: it makes more "
            "of large batches"
        },
    )
    statistics_samples: int = field(
        default=4096,
        metadata={
            "help": "training sentences from which the batch-norm statistics are re-estimated before every "
            "evaluation and save; after training they are exact over the whole training set"
        },
    )
    cuda_graphs: bool = field(
        default=False,
        metadata={
            "help": "on one GPU of CUDA, replay forward and backward passes as whole graphs: for small batches, whose "
            "many small kernels keep the GPU waiting"
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

    optim: OptimizerNames | str = of_fast("optim")  # noqa: RUF009
    learning_rate: float = of_fast("learning_rate")
    lr_scheduler_type: SchedulerType | str = of_fast("lr_scheduler_type")  # noqa: RUF009
    warmup_steps: float = of_fast("warmup_steps")
    weight_decay: float = of_fast("weight_decay")
    num_train_epochs: float = of_fast("num_train_epochs", "passes over the training data")
    per_device_train_batch_size: int = of_fast("per_device_train_batch_size", "sentences in a batch on each device")
    per_device_eval_batch_size: int = field(default=128, metadata={"help": "sentences in an evaluation batch"})
    max_grad_norm: float = of_fast("max_grad_norm", "clip the gradient to this norm")
    eval_strategy: str = field(default="epoch", metadata={"help": "when to evaluate: no, steps, epoch"})
    save_strategy: str | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "when to save: no, steps, epoch, best; by default with each evaluation, or else every epoch"},
    )
    save_steps: float | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "optimiser steps between two checkpoints, below 1 their share of the training; by default those of "
            "the evaluations, or else 500"
        },
    )
    save_total_limit: int | None = field(default=2, metadata={"help": "checkpoints to keep, the best among them"})
    load_best_model_at_end: bool | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "end with the best model, not the last; by default where each evaluation has a checkpoint"},
    )
    metric_for_best_model: str | None = field(
        default="elbo", metadata={"help": "what the best model is best in; the ELBO counts the KL in full"}
    )
    greater_is_better: bool | None = field(
        default=None, metadata={"help": "whether more of it is better, by default of mi, au and use"}
    )
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
        if self.hub_token == NO_TOKEN:
            self.hub_token = None
        if self.hub_token is not None:
            raise ParameterError(
                "`hub_token` would show the token to others: set HF_TOKEN, or run `hf auth login` once"
            )
        read_fields(self)
        defaults = {item.name: item.default for item in fields(self) if item.default is not MISSING}
        # `do_eval` is set by Transformers, and comes back where arguments are made of others.
        refuse_unread(name for name, value in defaults.items() if getattr(self, name) != value and name != "do_eval")
        check_ranges(self)
        self._refuse_what_nothing_reads(defaults)
        self._check_names()
        self._check_what_is_installed()
        self._fill_in()
        if self.greater_is_better is None:
            self.greater_is_better = (self.metric_for_best_model or "elbo").endswith(("mi", "au", "use"))
        # Without this, `bf16` on a machine with no accelerator is refused.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()
        self._check_the_device()
        self._check_the_schedule()
        self._check_the_optimiser()
        # Several GPUs in one process would each normalise by themselves: `accelerate launch` starts a process for each.
        self._n_gpu = min(1, self.n_gpu)
        if self.overwrite_output_dir and self.resume_from_checkpoint not in (None, "false"):
            raise ParameterError(
                "`overwrite_output_dir` removes what `resume_from_checkpoint` goes on from: leave one out"
            )
        for name, known in (("kl_schedule", KL_SCHEDULES), ("strategy", STRATEGIES)):
            if getattr(self, name) not in known:
                raise ParameterError(f"`{name}` must be one of {', '.join(known)}, got {getattr(self, name)}")
        STRATEGIES[self.strategy]().check(self)
        if self.plateau_patience is not None and self.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU:
            raise ParameterError(
                "`plateau_patience` halves the learning rate by itself, and so does `lr_scheduler_type` "
                "reduce_lr_on_plateau: leave one out"
            )

    def _refuse_what_nothing_reads(self, defaults: dict[str, Any]) -> None:
        """Refuse values that change nothing beside the others, unless they are those of `defaults`."""
        if self.remove_unused_columns:
            raise ParameterError(
                "`remove_unused_columns` has no effect here, because the collator takes what it needs: leave it out"
            )
        readers = {"hub_strategy": "push_to_hub"}
        readers |= dict.fromkeys(("plateau_start_epoch", "plateau_max_halvings"), "plateau_patience")
        for name, reader in readers.items():
            value = getattr(self, name)
            if getattr(value, "value", value) != defaults[name] and not getattr(self, reader):
                raise ParameterError(f"`{name}` is read with `{reader}` only: leave it out, or give both")

    def _fill_in(self) -> None:
        """The values of fields that follow others where they are not given."""
        evaluations, steps = IntervalStrategy(self.eval_strategy), IntervalStrategy.STEPS
        if self.save_strategy is None:
            self.save_strategy = "epoch" if evaluations == IntervalStrategy.NO else evaluations.value
        if self.save_steps is None:
            with_evaluations = evaluations == steps and self.save_strategy == steps
            plain: Any = TrainingArguments.__dataclass_fields__["save_steps"].default
            self.save_steps = self.eval_steps or self.logging_steps if with_evaluations else plain
        saved = evaluations != IntervalStrategy.NO and self.save_strategy in (evaluations, SaveStrategy.BEST)
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = saved
        if self.load_best_model_at_end and not saved:
            raise ParameterError(
                "`load_best_model_at_end` takes the checkpoint of an evaluation, and `eval_strategy` "
                f"{evaluations.value} with `save_strategy` {SaveStrategy(self.save_strategy).value} saves none: leave "
                "it out, or let both be steps or epoch"
            )
        if self.kl_annealing_epochs is None:
            most = most_annealing(self.kl_schedule, self.num_train_epochs)
            self.kl_annealing_epochs = self.RECIPE["kl_annealing_epochs"]
            if self.max_steps < 1:
                self.kl_annealing_epochs = min(self.kl_annealing_epochs, most)

    def _check_names(self) -> None:
        """Refuse names that are none, and texts that do not say what they are read as."""
        for name, kind in CHOICES.items():
            chosen = getattr(self, name)
            names = [item.value for item in kind]
            if chosen is not None and getattr(chosen, "value", chosen) not in names:
                raise ParameterError(f"`{name}` must be one of {', '.join(names)}, got {chosen}")
        pairs = (self.optim_args or "").split(",")
        if self.optim_args and not all(pair.count("=") == 1 for pair in pairs):
            raise ParameterError(f"`optim_args` must read name=value,name=value, got {self.optim_args}")
        if isinstance(self.lr_scheduler_kwargs, str):
            try:
                told = json.loads(self.lr_scheduler_kwargs)
            except ValueError:
                told = None
            if not isinstance(told, dict):
                given = self.lr_scheduler_kwargs
                raise ParameterError(f"`lr_scheduler_kwargs` must be JSON such as '{{\"num_cycles\": 1}}', got {given}")

    def _check_what_is_installed(self) -> None:
        """Refuse what takes a package that is not there, or that a recurrent model does not have."""
        trackers = self.report_to if isinstance(self.report_to, list) else [self.report_to]
        for tracker in trackers:
            if tracker not in (None, "none", "all") and tracker not in get_available_reporting_integrations():
                raise ParameterError(
                    f"`report_to` {tracker} is no tracker that is installed here: install it, or leave it out"
                )
        optimiser = str(getattr(self.optim, "value", self.optim))
        package = next((package for part, package in OPTIMISER_PACKAGES.items() if part in optimiser), None)
        if package is not None and find_spec(package) is None:
            raise ParameterError(
                f"`optim` {optimiser} takes the package {package}, which is not installed: install it, or name another"
            )
        if self.muon and optimiser not in MUON_WITH:
            raise ParameterError(f"`muon` goes with `optim` {' or '.join(MUON_WITH)}, got {optimiser}")
        if isinstance(self.accelerator_config, str) and not Path(self.accelerator_config).is_file():
            raise ParameterError(f"`accelerator_config` {self.accelerator_config} does not exist")
        metric = (self.metric_for_best_model or "elbo").removeprefix("eval_")
        # Of several evaluation sets a metric has the name of its set in front.
        if not any(metric == name or metric.endswith(f"_{name}") for name in self.METRICS):
            raise ParameterError(
                f"`metric_for_best_model` {metric} is not computed; these are: {', '.join(self.METRICS)}"
            )

    def _check_the_device(self) -> None:
        """Refuse what the machine, or the number of processes, cannot do."""
        if self.bf16 and self.device.type == "cpu" and not bf16_pays():
            raise ParameterError("`bf16`: this machine has no products in bf16, leave it out")
        if self.muon and (self.fsdp or self.deepspeed):
            raise ParameterError("`muon` takes whole matrices, which `fsdp` and `deepspeed` share out: leave one out")
        if self.fsdp and self.world_size == 1:
            raise ParameterError("`fsdp` shards a model over several processes, and this is one: leave it out")

    def _check_the_schedule(self) -> None:
        """Refuse a schedule of the learning rate without what it needs, or with what it does not read."""
        kind = SchedulerType(self.lr_scheduler_type)
        given: Any = self.lr_scheduler_kwargs
        steps = self.max_steps if self.max_steps > 0 else 1_000
        try:
            optimizer = torch.optim.SGD([torch.zeros(1)], lr=self.learning_rate)
            get_scheduler(kind, optimizer, self.get_warmup_steps(steps), steps, given)
        except (ValueError, TypeError, ArithmeticError) as error:
            what = f"`lr_scheduler_type` {kind.value} needs `lr_scheduler_kwargs`"
            if given:
                what = f"`lr_scheduler_kwargs` {json.dumps(given)} do not suit `lr_scheduler_type` {kind.value}"
            raise ParameterError(f"{what}: {first_line(error)}") from error

    def _check_the_optimiser(self) -> None:
        """Refuse an optimiser that cannot be made of its arguments: one over a single matrix is made of them."""
        name = str(getattr(self.optim, "value", self.optim))
        if any(part in name for part in MADE_OF_A_MODEL):
            return
        try:
            kind, values = Trainer.get_optimizer_cls_and_kwargs(self)
            kind([torch.nn.Parameter(torch.zeros(2, 2))], **values)
        except (ValueError, TypeError, AttributeError, ImportError) as error:
            what = f"`optim` {name} cannot be made here, name another"
            if self.optim_args:
                what = f"`optim_args` {self.optim_args} do not suit `optim` {name}"
            raise ParameterError(f"{what}: {first_line(error)}") from error


@dataclass
class DialogueTrainingArguments(VaeTrainingArguments):
    """`VaeTrainingArguments` for dialogue, with the defaults of its recipe fast; losses are in nats per response."""

    RECIPE = DIALOGUE_RECIPES["fast"]
    METRICS = ("elbo", "rec", "kl", "kl_prior", "rec_ppl", "use", "bow_loss", "loss")

    optim: OptimizerNames | str = of_dialogue("optim")  # noqa: RUF009
    learning_rate: float = of_dialogue("learning_rate")
    pretrained_learning_rate: float | None = of_dialogue(
        "pretrained_learning_rate", "learning rate of pretrained parts, of which a model of dialogues has none"
    )
    lr_scheduler_type: SchedulerType | str = of_dialogue("lr_scheduler_type")  # noqa: RUF009
    warmup_steps: float = of_dialogue("warmup_steps")
    weight_decay: float = of_dialogue("weight_decay")
    num_train_epochs: float = of_dialogue("num_train_epochs", "passes over the training data")
    per_device_train_batch_size: int = of_dialogue("per_device_train_batch_size", "responses in a batch on each device")
    max_grad_norm: float = of_dialogue("max_grad_norm", "clip the gradient to this norm")
    run_length: int = field(
        default=8,
        metadata={
            "help": "consecutive responses of a dialogue that share a batch, at most; a longer run encodes each "
            "utterance for more of them and mixes fewer dialogues"
        },
    )

    def __post_init__(self):
        super().__post_init__()
        if self.strategy != "standard":
            raise ParameterError(f"`strategy` {self.strategy} is for models of sentences: leave it out")
        if self.equal_length:
            raise ParameterError(
                "`equal_length` is for models of sentences: dialogue is read without padding anyway, leave it out"
            )
