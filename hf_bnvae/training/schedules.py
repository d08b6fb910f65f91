"""Schedules of the KL weight: functions of the optimiser step alone, so that a resumed run needs no state."""

import math
from collections.abc import Callable

KlSchedule = Callable[[int], float]


def constant(annealing_steps: int, total_steps: int) -> KlSchedule:
    """The full weight from the first step."""
    return lambda step: 1.0


def linear(annealing_steps: int, total_steps: int) -> KlSchedule:
    """From 0 at step 0 to the full weight at `annealing_steps`, in a straight line (Bowman et al. 2016)."""
    return lambda step: min(1.0, step / annealing_steps) if annealing_steps > 0 else 1.0


def cyclic(annealing_steps: int, total_steps: int) -> KlSchedule:
    """The linear rise, as many steps at the full weight, and again (Fu et al. 2019).

    The rise takes `annealing_steps`, or as many fewer as make the cycles end with the training, at the full weight.
    """
    if annealing_steps <= 0:
        return constant(annealing_steps, total_steps)
    cycle = total_steps / math.ceil(total_steps / (2 * annealing_steps))
    return lambda step: min(1.0, 2 * ((step - 1) % cycle + 1) / cycle) if step > 0 else 0.0


KL_SCHEDULES = {"constant": constant, "linear": linear, "cyclic": cyclic}
ANNEALING_SHARES = {"linear": 0.5, "cyclic": 0.25}


def most_annealing(schedule: str, epochs: float) -> float:
    """The most epochs of a training that the KL weight takes to get full, where nobody says how long."""
    return ANNEALING_SHARES.get(schedule, 1.0) * epochs
