"""Callbacks: the stopwatch, the plateau rule of the paper's recipe, and the warning of a collapsing posterior."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from ..deprecation import warn_of_former_name
from ..evaluation.collapse import MAX_ACTIVE_SHARE, MAX_KL, MAX_MI, MAX_USE, collapse_verdict
from ..models.rates import RATE_FIELDS
from .checkpoints import best_checkpoint

logger = logging.get_logger(__name__)


class Stopwatch(TrainerCallback, ExportableState):
    """Seconds of training, evaluations and statistics left out, over all the processes that a resumed run took.

    `apart` has the seconds of what is left out, and `earlier_runtime` those of all together before this process.
    """

    def __init__(self):
        self._begin()

    def _begin(self) -> None:
        self.earlier = self.earlier_runtime = 0.0
        self.apart = {"evaluation": 0.0, "statistics": 0.0}
        self._started: float | None = None
        self._began = time.perf_counter()

    def state(self) -> dict:
        runtime = self.earlier_runtime + time.perf_counter() - self._began
        attributes = {"earlier": self.seconds, "earlier_runtime": runtime, "apart": dict(self.apart)}
        return {"args": {}, "attributes": attributes}

    @property
    def seconds(self) -> float:
        return self.earlier + (0.0 if self._started is None else time.perf_counter() - self._started)

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        self.earlier, self._started = self.seconds, None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """For what is no training in the middle of it."""
        running = self._started is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self._begin()
        self._began = time.perf_counter()
        self.start()

    def on_train_end(self, args, state, control, **kwargs):
        self.stop()


class LossSum(TrainerCallback, ExportableState):
    """The training loss of the processes that a resumed run took before this one, summed over their steps."""

    def __init__(self):
        self.earlier = 0.0
        self.saved = 0.0

    def state(self) -> dict:
        return {"args": {}, "attributes": {"earlier": self.saved}}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self.earlier = 0.0


class BestCheckpoint(TrainerCallback):
    """Gives a resumed run the path of its best checkpoint, which is in the folder of the one that it goes on from.

    The path that the state remembers is that of another working directory, or of a folder that was moved since.
    """

    def __init__(self):
        self.resumed: str | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        if self.resumed is None or not state.best_global_step:
            return
        checkpoint = best_checkpoint(self.resumed, state.best_global_step)
        if checkpoint is None:
            logger.warning(
                f"The best checkpoint, of step {state.best_global_step}, is not beside {self.resumed} any more: the "
                "best model is looked for from here on."
            )
            state.best_metric = state.best_global_step = None
        elif checkpoint.parent == Path(args.output_dir).resolve():
            checkpoint = Path(args.output_dir) / checkpoint.name
        state.best_model_checkpoint = None if checkpoint is None else str(checkpoint)


class PlateauCallback(TrainerCallback, ExportableState):
    """When the best model's metric stops improving, go back to the best checkpoint and halve the learning rate.

    The rule of He et al. (2019) that the paper's recipe follows. Evaluations in which the KL weight is not yet full
    do not count. Where saves are rarer than evaluations, and the best weights were not saved, those of now stay. Its
    state is saved with every checkpoint.

    Args:
        patience: evaluations without improvement before a halving.
        start_epoch: no halving before this epoch.
        max_halvings: training stops at this many.
        metric: what has to improve.
        greater_is_better: whether it improves by rising.
    """

    def __init__(
        self,
        patience: int,
        start_epoch: float = 0.0,
        max_halvings: int = 5,
        metric: str = "elbo",
        greater_is_better: bool = False,
    ):
        self.patience = patience
        self.start_epoch = start_epoch
        self.max_halvings = max_halvings
        self.metric = metric
        self.greater_is_better = greater_is_better
        self._begin()

    def _begin(self) -> None:
        self.best = math.inf
        self.evaluations_without_improvement = 0
        self.halvings = 0

    @classmethod
    def of(cls, args) -> "PlateauCallback":
        """The rule that the arguments describe."""
        return cls(
            args.plateau_patience,
            args.plateau_start_epoch,
            args.plateau_max_halvings,
            args.metric_for_best_model or "elbo",
            bool(args.greater_is_better),
        )

    def state(self) -> dict:
        """What `Trainer` saves with a checkpoint, and makes the callback of a resumed run from."""
        return {
            "args": {
                "patience": self.patience,
                "start_epoch": self.start_epoch,
                "max_halvings": self.max_halvings,
                "metric": self.metric,
                "greater_is_better": self.greater_is_better,
            },
            "attributes": {
                "best": self.best,
                "evaluations_without_improvement": self.evaluations_without_improvement,
                "halvings": self.halvings,
            },
        }

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self._begin()

    def on_evaluate(self, args, state, control, metrics, model=None, optimizer=None, lr_scheduler=None, **kwargs):
        metric = f"eval_{self.metric.removeprefix('eval_')}"
        during_training = "eval_kl_weight" in metrics
        if not during_training or metric not in metrics or metrics["eval_kl_weight"] < 1:
            return
        value = -metrics[metric] if self.greater_is_better else metrics[metric]
        if value < self.best:
            self.best = value
            self.evaluations_without_improvement = 0
            return
        self.evaluations_without_improvement += 1
        if self.evaluations_without_improvement < self.patience or state.epoch < self.start_epoch:
            return
        self.evaluations_without_improvement = 0
        self.halvings += 1
        if self.halvings >= self.max_halvings:
            logger.warning(f"The {self.metric} has not improved after {self.halvings} halvings: training ends here.")
            control.should_training_stop = True
        saved = state.best_model_checkpoint
        if saved is None:
            went = "no checkpoint to go back to (`save_strategy`)"
        elif not saved.endswith(f"-{state.best_global_step}"):
            went = f"the weights of step {state.best_global_step}, the best, were not saved (`save_steps`)"
        else:
            went = "back to the best checkpoint"
            model.load_state_dict(load_file(Path(saved) / SAFE_WEIGHTS_NAME), strict=False)
        for group in optimizer.param_groups:
            group["lr"] /= 2
        lr_scheduler.base_lrs = [rate / 2 for rate in lr_scheduler.base_lrs]
        logger.warning(
            f"No better {self.metric} than {abs(self.best):.2f} in {self.patience} evaluations: {went}, learning rate "
            f"halved to {lr_scheduler.base_lrs[0]:g}."
        )


class CollapseCallback(TrainerCallback):
    """Says in one plain sentence when the posterior has collapsed, or is about to.

    Args:
        max_active_share: warn when at most this share of the units is active, or
        max_mi, max_kl: when mutual information and KL (nats per sentence) are both under these, or
        max_use: when the decoder takes no more nats than this from the latent.
    """

    def __init__(
        self,
        max_active_share: float = MAX_ACTIVE_SHARE,
        max_mi: float = MAX_MI,
        max_kl: float = MAX_KL,
        max_use: float = MAX_USE,
    ):
        self.max_use = max_use
        self.max_active_share = max_active_share
        self.max_mi = max_mi
        self.max_kl = max_kl
        self._warned = False

    def on_train_begin(self, args, state, control, **kwargs):
        self._warned = False

    def on_evaluate(self, args, state, control, metrics, model=None, **kwargs):
        if "eval_kl" not in metrics:
            return
        collapsed, signs = self.verdict(metrics, model.config.latent_size, posterior=model.config.posterior)
        if collapsed and not self._warned:
            if metrics["eval_kl"] > self.max_kl and metrics.get("eval_use", math.inf) <= self.max_use:
                said = f"The decoder does not read the latent: {signs}. {self._advice_to_listen(model.config)}"
            else:
                said = f"The posterior is collapsing: {signs}. {self._advice(model.config)}"
            logger.warning(said)
        self._warned = collapsed

    def verdict(
        self, metrics: Mapping[str, float], latent_size: int, prefix: str = "eval", posterior: str = ""
    ) -> tuple[bool, str]:
        """See `evaluation.collapse_verdict`."""
        limits = {
            "max_active_share": self.max_active_share,
            "max_mi": self.max_mi,
            "max_kl": self.max_kl,
            "max_use": self.max_use,
        }
        return collapse_verdict(metrics, latent_size, prefix, posterior, **limits)

    def judge(self, *args, **kwargs) -> tuple[bool, str]:
        """The former name of `verdict`."""
        warn_of_former_name("CollapseCallback.judge", "verdict")
        return self.verdict(*args, **kwargs)

    @staticmethod
    def _advice(config) -> str:
        if config.posterior == "du":
            return "Try a larger `gamma` or a smaller `kl_weight`."
        if config.posterior in RATE_FIELDS:
            than = "" if config.kl_lower_bound is None else f" than {config.kl_lower_bound:.3g} nats"
            return f"Try a larger `rate`{than}, or longer `kl_annealing_epochs`."
        if config.model_type == "bncvae":
            return "Try `method` bn_cvae or matched_cvae, `bow_weight` 1 or longer `kl_annealing_epochs`."
        return "Try `method` bn_vae or matched_vae, which hold a `rate`, or a smaller `kl_weight`."

    @staticmethod
    def _advice_to_listen(config) -> str:
        """For a posterior that holds its KL under a decoder that does without."""
        if getattr(config, "decoder", None) == "pretrained":
            untried = [] if config.latent_memory_length else ["`latent_memory_length` 8 in the place of a soft prompt"]
        else:
            ways = {"bow_weight": "`bow_weight` 1", "word_dropout": "`word_dropout` 0.3"}
            untried = [words for name, words in ways.items() if not getattr(config, name)]
        return f"Try {' or '.join([*untried, 'a longer training'])}."
