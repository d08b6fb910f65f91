"""Schedules of the KL weight: functions of the optimiser step alone, so that a resumed run needs no state."""

from collections.abc import Callable

KlSchedule = Callable[[int], float]


def constant(annealing_steps: int) -> KlSchedule:
    """The full weight from the first step."""
    return lambda step: 1.0


def linear(annealing_steps: int) -> KlSchedule:
    """From 0 at step 0 to the full weight at `annealing_steps`, in a straight line (Bowman et al. 2016)."""
    return lambda step: min(1.0, step / annealing_steps) if annealing_steps > 0 else 1.0


def cyclic(annealing_steps: int) -> KlSchedule:
    """The linear rise, as many steps at the full weight, and again (Fu et al. 2019).

    A cycle is 2 · `annealing_steps` long, and its last step has the full weight.
    """
    rise = linear(annealing_steps)
    return lambda step: rise((step - 1) % (2 * annealing_steps) + 1) if annealing_steps > 0 and step > 0 else rise(step)


KL_SCHEDULES = {"constant": constant, "linear": linear, "cyclic": cyclic}
