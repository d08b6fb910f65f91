"""Strategies: whom a step of training updates."""

import math

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.utils import logging

logger = logging.get_logger(__name__)

STRATEGIES = ("standard", "aggressive")
INNER_STEPS_AT_MOST = 100
INNER_STEPS_BETWEEN_CHECKS = 10


class AggressiveCallback(TrainerCallback, ExportableState):
    """Says how long the aggressive strategy of He et al. (2019) goes on: until mutual information stops climbing.

    While it is on, every step first updates the encoder alone until its loss stops falling, and then the decoder
    alone. It ends for good at the first evaluation whose MI is not above that of the evaluation before it; from then
    on it costs nothing. Its state is saved with every checkpoint.
    """

    def __init__(self):
        self.active = True
        self.last_mi = -math.inf

    def state(self) -> dict:
        return {"args": {}, "attributes": {"active": self.active, "last_mi": self.last_mi}}

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        during_training = "train_seconds" in metrics
        if not (during_training and self.active and "eval_mi" in metrics):
            return
        if metrics["eval_mi"] <= self.last_mi:
            self.active = False
            logger.warning(f"MI has stopped climbing at step {state.global_step}: aggressive training ends here.")
        self.last_mi = metrics["eval_mi"]
