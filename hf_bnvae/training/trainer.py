"""A `transformers.Trainer` for the ELBO."""

import hashlib
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from statistics import fmean

import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader, Sampler
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import logging

from ..data import LengthBucketSampler, StreamSampler, TokenStore, VaeCollator
from ..evaluation import Inference, elbo_metrics, infer_with_use
from ..models.modeling_common import renamed
from ..models.objectives import kl_objective
from ..models.pretrained_parts import pretrained_parameters
from .arguments import VaeTrainingArguments
from .best_metric import check_best_metric
from .callbacks import BestCheckpoint, CollapseCallback, LossSum, PlateauCallback, Stopwatch
from .muon import MuonAdamW, matrices_of
from .non_finite import ruined
from .parameter_groups import set_apart
from .saving import SavingTrainer
from .schedules import KL_SCHEDULES
from .step_graphs import StepGraphs, graphs_of
from .strategies import STRATEGIES
from .trainer_inputs import ready_inputs, with_rows

STATISTICS_BATCH_SIZE = 256
STATISTICS_ROWS = 64 * STATISTICS_BATCH_SIZE
MOST_STATISTICS_ROWS = 131_072  # a mean over so many is within 0.3% of a standard deviation

logger = logging.get_logger(__name__)


class VaeTrainer(SavingTrainer):
    """Trains a text VAE on rec + weight · KL, in nats per sentence.

    Beside what `Trainer` does:

    - the KL weight follows `args.kl_schedule`; it and the parts of the loss stand beside the loss in the log;
    - a step's gradient is the mean over its sentences, whatever the sizes of its micro-batches;
    - batches hold sentences of near-equal or equal length, never one sentence alone;
    - an evaluation gives `loss` (at the current KL weight), `elbo` (at weight 1), `rec`, `kl`, `mi`, `au`,
      `agg_kl`, `use`;
    - the best model is the one with the best ELBO among those evaluated at the full KL weight; other evaluations count
      neither for an `EarlyStoppingCallback` nor for the scheduler reduce_lr_on_plateau;
    - before every evaluation and save, the batch-norm statistics of the posterior are re-estimated by an
      encoder-only pass over a fixed sample of the training set, and after training over all of it;
    - a step updates what `args.strategy` says, see `training.strategies`;
    - a loss that is not finite stops the run: `NonFiniteLossError`.

    The data sets hold texts in a column `text`, which `processing_class` tokenises, or `input_ids`, in any shape that
    `data.with_token_ids` and `data.encoded_rows` take; a stream is read into memory, as far as `args.max_steps` goes.
    `data_collator` is by default a `data.VaeCollator`, which pads as `processing_class` or else the model does. The
    training set may be a `data.TokenStore`, of which a few blocks are in memory at a time. `eval_dataset` may be a dict
    by name: the metrics of each stand under `eval_<name>_`, and those of the first under `eval_` as well, so that it is
    the one to choose the best model by.

    Raises:
        CorpusError: a data set cannot be trained on.
        ParameterError: something else that is given cannot be used; the sentence names it.
    """

    ARGUMENTS, COLLATOR = VaeTrainingArguments, VaeCollator
    PARTS = {"rec": "reconstruction_loss", "kl": "kl"}
    """The names that the log has beside the loss, each with its name in the output of a model."""

    current_gradient_accumulation_steps = 1

    def __init__(self, model=None, args: VaeTrainingArguments | None = None, **kwargs):
        args = self.ARGUMENTS() if args is None else args
        kwargs = ready_inputs(model, args, type(self), kwargs)
        super().__init__(model, args, **kwargs)
        self.model_accepts_loss_kwargs = False
        if getattr(self.model, "words_of_z", None) is not None:
            self.PARTS = self.PARTS | {"bow_loss": "bow_loss"}
        if getattr(self.model.config, "decorrelation", 0) > 0:
            self.PARTS = self.PARTS | {"total_correlation": "total_correlation"}
        check_best_metric(self.args, self.model, self.eval_dataset, self.PARTS)
        self._parts = torch.zeros(len(self.PARTS) + 1, device=self.args.device)
        self._first_bad_step = torch.full((), -1.0, device=self.args.device)
        self._statistics_step: int | None = None
        self._statistics_sample: list[dict[str, torch.Tensor]] | None = None
        self.add_callback(Stopwatch())
        self.add_callback(LossSum())
        self._best_checkpoint = BestCheckpoint()
        self.add_callback(self._best_checkpoint)
        if self.model.config.latent_size > 0 and self._lacks(CollapseCallback):
            self.add_callback(CollapseCallback())
        self.graphs: StepGraphs | None = None
        self.strategy = STRATEGIES[self.args.strategy]()
        for callback in self.strategy.callbacks():
            self.add_callback(callback)
        if self.args.plateau_patience is not None and self._lacks(PlateauCallback):
            self.add_callback(PlateauCallback.of(self.args))

    def _lacks(self, kind) -> bool:
        """Whether the caller gave no callback of a class."""
        return not any(isinstance(callback, kind) for callback in self.callback_handler.callbacks)

    # Data

    def train_sampler(self) -> Sampler:
        """The sampler of the batches of this process, a new order every epoch."""
        return self._sampler(
            self.train_dataset,
            self._train_batch_size,
            seed=self.args.data_seed if self.args.data_seed is not None else self.args.seed,
            num_processes=self.args.world_size,
            process_index=self.args.process_index,
        )

    def _sampler(self, dataset, batch_size: int, shuffle: bool = True, **options) -> Sampler:
        """Batches of a data set; without `shuffle` in an order that saves time."""
        if isinstance(dataset, TokenStore):
            return StreamSampler(dataset, batch_size, self.args.equal_length, **options)
        equal = shuffle and self.args.equal_length
        return LengthBucketSampler(dataset["length"][:], batch_size, equal=equal, shuffle=shuffle, **options)

    def get_train_dataloader(self) -> DataLoader:
        sampler = self.train_sampler()
        self._steps_per_epoch = math.ceil(len(sampler) / self.args.gradient_accumulation_steps)
        # Not `accelerator.prepare`, which would share out the sampler's batches once more.
        loader = self._data_loader(self.train_dataset, sampler)
        self.graphs = graphs_of(self.model, self.args) if self.args.cuda_graphs else None
        if self.graphs is not None and isinstance(loader.collate_fn, VaeCollator):
            loader.collate_fn = copy(loader.collate_fn)
            loader.collate_fn.few_shapes = True
        return prepare_data_loader(
            loader,
            device=self.args.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            non_blocking=True,
        )

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        """This process's share of a data set, each of whose rows comes once on one process."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = self.eval_dataset[dataset]
        if dataset is None:
            raise ValueError("evaluation needs a data set")
        dataset = with_rows(dataset, self.args, "the data set", self.processing_class)
        batch_size = self.args.per_device_eval_batch_size
        return self._data_loader(dataset, self._sampler(dataset, batch_size, shuffle=False, **self._share_of(dataset)))

    get_test_dataloader = get_eval_dataloader

    def is_sharded(self, dataset) -> bool:
        """Whether each process evaluates a part of a data set, so that their results are to be gathered."""
        return len(dataset) >= self.args.world_size > 1

    shares = renamed("shares", "is_sharded")

    def _share_of(self, dataset) -> dict[str, int]:
        """How a sampler shares out a data set; one with fewer rows than processes goes to all of them whole."""
        if not self.is_sharded(dataset):
            return {}
        return {"num_processes": self.args.world_size, "process_index": self.args.process_index}

    def _data_loader(self, dataset, sampler: Sampler) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
            # A generator of its own: an evaluation must not move the random state of training.
            generator=torch.Generator().manual_seed(self.args.seed),
        )

    # Optimiser

    def create_optimizer(self, model=None):
        if self.optimizer is not None:
            return super().create_optimizer(model)
        optimizer = super().create_optimizer(model)
        if isinstance(optimizer, MuonAdamW):
            optimizer.move_to_muon(matrices_of(self.model))
        rate = self.args.pretrained_learning_rate
        if rate is not None:
            set_apart(optimizer, pretrained_parameters(self.model), lr=rate)
        return optimizer

    @staticmethod
    def get_optimizer_cls_and_kwargs(args, model=None):
        chosen, settings = Trainer.get_optimizer_cls_and_kwargs(args, model)
        return (MuonAdamW, settings) if args.muon else (chosen, settings)

    def get_decay_parameter_names(self, model) -> list[str]:
        """Matrices alone decay: not biases, and not the shifts and scales of a posterior."""
        return [name for name in super().get_decay_parameter_names(model) if model.get_parameter(name).dim() > 1]

    # Loss

    @property
    def annealing_steps(self) -> int:
        """Optimiser steps until the KL weight is full."""
        if self.args.kl_annealing_steps is not None:
            return self.args.kl_annealing_steps
        return round(self.args.kl_annealing_epochs * self._steps_per_epoch)

    def kl_annealing_factor(self, step: int | None = None) -> float:
        """From 0 to 1: what the schedule multiplies the full KL weight by at a step, by default the current one."""
        if not self.is_in_train:
            return 1.0
        step = self.state.global_step if step is None else step
        return KL_SCHEDULES[self.args.kl_schedule](self.annealing_steps, self.state.max_steps)(step)

    kl_share = renamed("kl_share", "kl_annealing_factor")

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The micro-batches of a step, and how many sentences all processes have in them."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        own = self._filled(sum(len(batch["labels"]) for batch in batches), 1)
        return batches, self.accelerator.gather(own).float().sum()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of a batch at the current KL weight, nats per sentence, as its share of the mean.

        `num_items_in_batch` is the number of sentences that `get_batch_samples` gives; without it the batch is all of
        its step.
        """
        inputs = self._with_numbers(inputs, num_items_in_batch)
        step, share = inputs.pop("step"), inputs.pop("share")
        outputs = model(**inputs)
        loss = outputs.loss * share
        with torch.no_grad():
            parts = [outputs[name] * share for name in self.PARTS.values()]
            whole = torch.stack([*parts, torch.ones_like(parts[0])])
            self._parts += whole / self.current_gradient_accumulation_steps
            bad = (self._first_bad_step < 0) & ~torch.isfinite(outputs.loss)
            self._first_bad_step.masked_fill_(bad, step)
        return (loss, outputs) if return_outputs else loss

    def _with_numbers(self, batch: dict[str, torch.Tensor], sentences=None) -> dict[str, torch.Tensor]:
        """A batch and all that differs between two steps beside it, as tensors, so that a graph can read them."""
        if "step" in batch:
            return dict(batch)
        numbers = {"step": self._filled(self.state.global_step + 1.0)}
        return {**batch, **self._numbers(), **numbers, "share": self._share_of_step(len(batch["labels"]), sentences)}

    def _numbers(self, draw: int = 0) -> dict[str, torch.Tensor]:
        """The KL weight and the seed of the noise, as a model takes them."""
        weight = self.model.config.kl_weight * self.kl_annealing_factor()
        return {"kl_weight": self._filled(weight), "noise_seed": self._filled(self._noise_seed(draw))}

    def _filled(self, number: float, *shape: int) -> torch.Tensor:
        """A tensor, so that a compiled model is not compiled again at every number; filled, because to copy a number
        from the host waits for a GPU."""
        return torch.full(shape, number, device=self.args.device)

    def _noise_seed(self, draw: int = 0) -> int:
        """Latents in training are keyed by sentence and this: the same on any number of processes, and resumed."""
        name = f"{self.args.seed}-{self.state.global_step}-{draw}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)

    def _share_of_step(self, own: int, sentences: torch.Tensor | None = None) -> torch.Tensor:
        """What a mean over `own` sentences counts in the mean over the processes and micro-batches of a step.

        Args:
            sentences: of the step; None where each process has one batch in it.
        """
        micro_batches = self.current_gradient_accumulation_steps
        if sentences is None:
            sentences, micro_batches = self.accelerator.gather(self._filled(own, 1)).float().sum(), 1
        return own / (sentences / (self.args.world_size * micro_batches))

    def training_step(self, model, inputs, num_items_in_batch=None):
        """One batch under `args.strategy`, which may take more of the training set; gives its loss."""
        update = partial(super().training_step, model, num_items_in_batch=num_items_in_batch)
        if self.graphs is not None:
            batch = self._with_numbers(self._prepare_inputs(inputs), num_items_in_batch)
            return self.graphs.step(update, batch, self.current_gradient_accumulation_steps)
        return self.strategy.step(self, model, partial(update, inputs))

    def train_batch(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch of rows of the training set, on the device."""
        return self._prepare_inputs(self.data_collator(self.train_dataset.__getitems__(rows)))

    def backward(self, model, batch: dict[str, torch.Tensor], draw: int) -> torch.Tensor:
        """Compute the gradients of one more batch at the current step. Returns its loss, detached.

        Args:
            model: the model as the accelerator wraps it.
            draw: the number of the batch within the step, by which its latents are keyed; the batch that the step is
                made for has the number 0.
        """
        with self.compute_loss_context_manager():
            loss = model(**batch, **self._numbers(draw)).loss
        self.accelerator.backward(loss * self._share_of_step(len(batch["labels"])))
        return loss.detach()

    @property
    def stopwatch(self) -> Stopwatch:
        """Seconds of training, evaluations left out."""
        return self.callback(Stopwatch)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of evaluations and of statistics."""
        return self.stopwatch.apart

    @contextmanager
    def _apart_from_training(self, what: str) -> Iterator[None]:
        """Time that the stopwatch leaves out and `seconds` counts."""
        started = time.perf_counter()
        with self.stopwatch.stopped():
            yield
        self.seconds[what] += time.perf_counter() - started

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        if all(self.kl_annealing_factor(step) < 1 for step in range(num_training_steps + 1)):
            logger.warning(
                f"The KL weight is not full before step {self.annealing_steps}, and training ends at step "
                f"{num_training_steps}: no best model can be chosen. "
                f"Take {self._shorter_annealing(num_training_steps)}."
            )
        return super().create_scheduler(num_training_steps, optimizer)

    def _shorter_annealing(self, num_training_steps: int) -> str:
        """An annealing that is over after half of the training, as a flag."""
        if self.args.kl_annealing_steps is not None:
            return f"`kl_annealing_steps` {num_training_steps // 2}"
        return f"`kl_annealing_epochs` {num_training_steps / self._steps_per_epoch / 2:.2g}"

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self._raise_if_not_finite()
        return super()._maybe_log_save_evaluate(*args, **kwargs)

    def _raise_if_not_finite(self) -> None:
        step = int(self._first_bad_step)
        if step >= 0:
            raise ruined(self.args.output_dir, f"the loss is not a finite number since step {step}")
        finite = torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()]).all()
        if not finite:
            raise ruined(self.args.output_dir, f"the weights are not finite numbers at step {self.state.global_step}")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        earlier = self.callback(LossSum).earlier
        if "train_loss" in logs and earlier:
            logs["train_loss"] = (earlier + self._total_loss_scalar) / max(1, self.state.global_step)
        if "loss" in logs and self._parts[-1] > 0:
            *parts, count = self.accelerator.reduce(self._parts).tolist()
            self._parts.zero_()
            logs |= {name: part / count for name, part in zip(self.PARTS, parts, strict=True)}
            steps = range(self.state.global_step - round(count / self.args.world_size), self.state.global_step)
            logs["kl_weight"] = self.model.config.kl_weight * fmean(map(self.kl_annealing_factor, steps))
        super().log(logs, start_time)

    # Evaluation

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        self.refresh_statistics()
        with self._apart_from_training("evaluation"):
            _, inference = infer_with_use(self.model, dataloader, self.args.seed, self.is_sharded(dataloader.dataset))
            metrics = self._judge(inference)
        share = self.kl_annealing_factor()
        metrics["loss"] = self._loss(metrics, inference, self.model.config.kl_weight * share)
        # What is decided by a metric must be decided alike on all processes, to the last bit.
        metrics = broadcast_object_list([metrics])[0]
        if self.is_in_train:
            metrics["kl_weight"] = share
        if self.is_in_train and not math.isfinite(metrics["elbo"]):
            what = f"the ELBO of the evaluation at step {self.state.global_step} is not a finite number"
            raise ruined(self.args.output_dir, what)
        prefixes = [metric_key_prefix]
        if isinstance(self.eval_dataset, dict) and metric_key_prefix == f"eval_{next(iter(self.eval_dataset))}":
            prefixes.append("eval")
        metrics = {f"{prefix}_{name}": value for prefix in prefixes for name, value in metrics.items()}
        if self.is_in_train:
            metrics["eval_kl_weight"] = share
            metrics["train_seconds"] = self.stopwatch.seconds
        return EvalLoopOutput(None, None, metrics, num_samples=len(inference.kl))

    def _evaluate(self, trial, ignore_keys_for_eval, skip_scheduler=False):
        """An evaluation in training, by which nothing stops and no learning rate falls before the KL weight is full."""
        callbacks, rising = self.callback_handler.callbacks, self.kl_annealing_factor() < 1
        if rising:
            others = [callback for callback in callbacks if not isinstance(callback, EarlyStoppingCallback)]
            self.callback_handler.callbacks = others
        try:
            return super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler or rising)
        finally:
            self.callback_handler.callbacks = callbacks

    def _judge(self, inference: Inference) -> dict[str, float]:
        """The metrics of an evaluation."""
        return elbo_metrics(inference)

    def _loss(self, metrics: dict[str, float], inference: Inference, kl_weight: float) -> float:
        """What the training loss would be, of the metrics of an evaluation; its total correlation is not part of it."""
        auxiliary = {name: metrics[name] for name in ("kl_prior", "bow_loss") if name in metrics}
        kl, config = metrics["kl"], self.model.config
        if getattr(config, "free_bits", 0) > 0:
            kl = float(kl_objective(inference.posterior.kl().double(), config.free_bits, config.free_bits_mode))
        return self.model.training_loss(metrics["rec"], kl, kl_weight, **auxiliary)

    def _determine_best_metric(self, metrics, trial) -> bool:
        if self.kl_annealing_factor() < 1:
            return False
        return super()._determine_best_metric(metrics, trial)

    # Statistics

    def refresh_statistics(self, exact: bool = False) -> None:
        """Re-estimate the posterior's batch-norm statistics by an encoder-only pass over training sentences.

        Args:
            exact: over the whole training set (of a `TokenStore`, over 131,072 of its sentences); otherwise over a
                fixed sample of `args.statistics_samples`. A sample is taken once a step at most. Outside training
                nothing but `exact` does anything, so that a loaded checkpoint is evaluated with the statistics that it
                came with.
        """
        if not exact and (not self.is_in_train or self._statistics_step == self.state.global_step):
            return
        if self.train_dataset is None or not self.model.config.normalises_batches:
            return
        with self._apart_from_training("statistics"):
            batches = self._statistics_batches(self._all_rows()) if exact else self._sampled_batches()
            self.model.recompute_statistics(batches)
        self._statistics_step = self.state.global_step

    def _sampled_batches(self) -> list[dict[str, torch.Tensor]]:
        if self._statistics_sample is None:
            sample = self._statistics_rows(min(self.args.statistics_samples, len(self.train_dataset)))
            self._statistics_sample = list(self._statistics_batches(sample))
        return self._statistics_sample

    def _all_rows(self) -> Sequence[int]:
        """The training set, or of one that is larger than memory as much as makes no difference."""
        if isinstance(self.train_dataset, TokenStore):
            return self.train_dataset.drawn_rows(self.args.seed, MOST_STATISTICS_ROWS)
        return range(len(self.train_dataset))

    def _statistics_rows(self, count: int) -> Sequence[int]:
        """A fixed sample of the training set."""
        if isinstance(self.train_dataset, TokenStore):
            return self.train_dataset.drawn_rows(self.args.seed, count)
        return random.Random(self.args.seed).sample(range(len(self.train_dataset)), count)

    def _statistics_batches(self, rows: Sequence[int]) -> Iterator[dict[str, torch.Tensor]]:
        own = rows[self.args.process_index :: self.args.world_size]
        for start in range(0, len(own), STATISTICS_ROWS):
            dataset = self.train_dataset.select(own[start : start + STATISTICS_ROWS])
            for batch in self._sampler(dataset, STATISTICS_BATCH_SIZE, shuffle=False):
                yield self.data_collator(dataset.__getitems__(batch))

    def train(self, *args, **kwargs):
        """`Trainer.train`, and then the exact statistics of the training set for the model that it ends with."""
        resumed = args[0] if args else kwargs.get("resume_from_checkpoint")
        self._best_checkpoint.resumed = resumed if isinstance(resumed, str) else None
        self._parts.zero_()
        self._first_bad_step.fill_(-1.0)
        self._statistics_step = self._statistics_sample = None
        try:
            output = super().train(*args, **kwargs)
        finally:
            self.is_in_train = False
            self.stopwatch.stop()
        self._raise_if_not_finite()
        before = self.seconds["statistics"]
        self.refresh_statistics(exact=True)
        self.seconds.update(statistics=before, last_statistics=self.seconds["statistics"] - before)
        return output._replace(training_loss=output.metrics["train_loss"])

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        self.refresh_statistics()
        super().save_model(output_dir, _internal_call)
