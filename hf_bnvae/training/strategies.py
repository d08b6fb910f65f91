"""Training strategies: which parameters a step of training updates."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.utils import logging

from ..errors import ParameterError
from ..methods import METHODS
from ..models.objectives import IGNORED

if TYPE_CHECKING:
    from .arguments import VaeTrainingArguments
    from .trainer import VaeTrainer

INNER_STEPS_AT_MOST = 100
INNER_STEPS_BETWEEN_CHECKS = 10

logger = logging.get_logger(__name__)


class Strategy(Protocol):
    """How a `VaeTrainer` updates a model at every step. What it must remember stands in the callbacks that it gives."""

    def check(self, args: "VaeTrainingArguments", method: str | None = None, streaming: bool = False) -> None:
        """Refuse a training that the strategy cannot do.

        Args:
            args: of the training.
            method: a key of `methods.METHODS`, where it is known.
            streaming: whether the training set is a `data.TokenStore`.

        Raises:
            ParameterError: in one sentence, in which names of parameters stand between backticks.
        """

    def callbacks(self) -> list[TrainerCallback]:
        """New callbacks that hold the state of the strategy, which is saved with every checkpoint."""

    def step(self, trainer: "VaeTrainer", model, update: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Do one step of training on the current batch.

        Args:
            model: the model as the accelerator wraps it.
            update: computes the gradients of the current batch for all parameters, and returns its loss.

        Returns:
            The loss of the current batch.
        """


class StandardStrategy:
    """Every step updates the encoder and the decoder together."""

    def check(self, args: "VaeTrainingArguments", method: str | None = None, streaming: bool = False) -> None:
        """Every training can be done so."""

    def callbacks(self) -> list[TrainerCallback]:
        return []

    def step(self, trainer: "VaeTrainer", model, update: Callable[[], torch.Tensor]) -> torch.Tensor:
        return update()


class AggressiveStrategy:
    """Every step trains the encoder ahead of the decoder, until mutual information stops climbing (He et al. 2019).

    A step first updates the encoder alone until its loss a word stops falling, and then the decoder alone.
    `AggressiveCallback` says when this ends.
    """

    def __init__(self):
        self._batches: list[list[int]] | None = None

    def check(self, args: "VaeTrainingArguments", method: str | None = None, streaming: bool = False) -> None:
        if args.gradient_accumulation_steps > 1:
            raise ParameterError("`strategy` aggressive updates at every batch: use `gradient_accumulation_steps` 1")
        if args.eval_strategy == "no":
            raise ParameterError("`strategy` aggressive ends by the MI of evaluations: use an `eval_strategy`")
        if streaming:
            raise ParameterError("`strategy` aggressive draws sentences from all of the corpus: leave out `streaming`")
        if method is not None and not METHODS[method].has_latent:
            raise ParameterError(f"`strategy` aggressive trains an encoder, and `method` {method} has none")

    def callbacks(self) -> list[TrainerCallback]:
        return [AggressiveCallback()]

    def step(self, trainer: "VaeTrainer", model, update: Callable[[], torch.Tensor]) -> torch.Tensor:
        active = trainer.callback(AggressiveCallback).active
        if not active or trainer._get_learning_rate() == 0:  # a warm-up starts at 0, where no loss would fall
            return update()
        model.train()
        with self._decoder_without_gradients(trainer):
            self._train_encoder_ahead(trainer, model)
        loss = update()
        trainer.model.model.zero_grad()
        return loss

    @staticmethod
    @contextmanager
    def _decoder_without_gradients(trainer: "VaeTrainer") -> Iterator[None]:
        """Spares one process the decoder's gradients; DistributedDataParallel waits for those of every parameter."""
        learning = [parameter for parameter in _of_the_decoder(trainer) if parameter.requires_grad]
        for parameter in learning:
            parameter.requires_grad_(trainer.args.world_size > 1)
        try:
            yield
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)

    def _train_encoder_ahead(self, trainer: "VaeTrainer", model) -> None:
        """Update the encoder alone until its loss a word stops falling.

        The batches are drawn by the seed and the step, so that a resumed run draws the same.
        """
        if self._batches is None:
            self._batches = list(trainer.train_sampler())
        generator = random.Random(f"{trainer.args.seed}-{trainer.state.global_step}")
        before, draws = math.inf, 0
        for _ in range(0, INNER_STEPS_AT_MOST, INNER_STEPS_BETWEEN_CHECKS):
            total = torch.zeros(2, device=trainer.args.device)
            for _ in range(INNER_STEPS_BETWEEN_CHECKS):
                draws += 1
                total += self._update_encoder(trainer, model, generator.choice(self._batches), draws)
            summed = trainer.accelerator.reduce(total)
            now = float(summed[0] / summed[1])
            if not now < before:
                break
            before = now

    @staticmethod
    def _update_encoder(trainer: "VaeTrainer", model, rows: list[int], draw: int) -> torch.Tensor:
        """Update the encoder alone on a batch. Returns the sum of its losses in nats and its words, `(2,)`."""
        batch = trainer.train_batch(rows)
        loss = trainer.backward(model, batch, draw)
        for parameter in _of_the_decoder(trainer):
            parameter.grad = None
        if trainer.args.max_grad_norm:
            trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
        trainer.optimizer.step()
        model.zero_grad()
        words = (batch["labels"] != IGNORED).sum()
        return torch.stack([loss * len(batch["labels"]), words])


def _of_the_decoder(trainer: "VaeTrainer") -> list[torch.nn.Parameter]:
    """The parameters of p(x|z): all that are not the encoder's, those of a bag of words among them."""
    encoder = {id(parameter) for parameter in trainer.model.model.parameters()}
    return [parameter for parameter in trainer.model.parameters() if id(parameter) not in encoder]


class AggressiveCallback(TrainerCallback, ExportableState):
    """Ends the aggressive strategy at the first evaluation whose MI is not above that of the evaluation before it.

    From then on the strategy costs nothing. The state is saved with every checkpoint, under the name of this class.
    """

    def __init__(self):
        self._begin()

    def _begin(self) -> None:
        self.active = True
        self.last_mi = -math.inf

    def state(self) -> dict:
        return {"args": {}, "attributes": {"active": self.active, "last_mi": self.last_mi}}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self._begin()

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        during_training = "train_seconds" in metrics
        if not (during_training and self.active and "eval_mi" in metrics):
            return
        if metrics["eval_mi"] <= self.last_mi:
            self.active = False
            logger.warning(f"MI has stopped climbing at step {state.global_step}: aggressive training ends here.")
        self.last_mi = metrics["eval_mi"]


STRATEGIES: dict[str, type[Strategy]] = {"standard": StandardStrategy, "aggressive": AggressiveStrategy}
"""The strategies by name."""
