"""The rate of a configuration: the least KL in nats a sentence, and the field of its posterior that it sets."""

import math

from .configuration_checks import check_finite
from .posteriors import POSTERIORS

DEFAULT_RATE = 8.0
RATE_FIELDS = {name: kind.rate_field for name, kind in POSTERIORS.items() if kind.rate_field is not None}
"""The posteriors with a floor on the KL, and the field that sets it."""


def field_at_rate(posterior: str, rate: float, latent_size: int) -> float:
    """The value of a posterior's field in `RATE_FIELDS` at which the KL is at least `rate` nats a sentence."""
    return POSTERIORS[posterior].value_at_rate(rate, latent_size)


def rate_of(posterior: str, value: float, latent_size: int) -> float:
    """The inverse: the floor on the KL, in nats a sentence, of a value of a posterior's field."""
    return POSTERIORS[posterior].rate_at_value(value, latent_size)


def kl_floor(config) -> float | None:
    """The floor on the KL that a configuration's posterior has, in nats a sentence; None without one."""
    if config.posterior not in RATE_FIELDS:
        return None
    if config.rate is not None:
        return config.rate  # that of its field is off where the field is 1 but for rounding
    return rate_of(config.posterior, getattr(config, RATE_FIELDS[config.posterior]), config.latent_size)


def with_changed_rate(written: dict, changes: dict) -> dict:
    """A written configuration with what a caller of `from_pretrained` changes of the rate.

    Of a rate and the field that it sets what is given wins, and the other is left out.
    """
    name = RATE_FIELDS.get(changes.get("posterior", written.get("posterior", "batch_norm")))
    changed = {key: changes[key] for key in ("rate", name, "latent_size") if key in changes}
    if {"rate", name} & changed.keys():
        left_out = {"rate", name}
    elif written.get("rate") is not None:
        left_out = {name}  # the rate stays, also where the number of dimensions does not
    else:
        left_out = set()
    return {key: value for key, value in written.items() if key not in left_out} | changed


def take_rate(config, **defaults: float) -> None:
    """Give the fields that set the rate their values: from `rate` where it is given, else their defaults.

    Args:
        defaults: of fields; the others have by default what a rate of `DEFAULT_RATE` means.
    """
    name, size = RATE_FIELDS.get(config.posterior), max(1, config.latent_size)
    if config.posterior == "matched" and config.rate is None:
        of_gamma = config.gamma is not None and 0 < config.gamma < 1
        config.rate = rate_of("matched", config.gamma, size) if of_gamma else DEFAULT_RATE
    if name is not None and getattr(config, name) is None and config.rate is not None and 0 < config.rate < math.inf:
        setattr(config, name, field_at_rate(config.posterior, config.rate, size))
    for kind, field in RATE_FIELDS.items():
        if getattr(config, field, 0.0) is None:
            setattr(config, field, defaults[field] if field in defaults else field_at_rate(kind, DEFAULT_RATE, size))


def check_rate(config) -> None:
    """Refuse a rate that nothing reads, or that says otherwise than the field that it sets."""
    if config.rate is None:
        return
    name = RATE_FIELDS.get(config.posterior)
    if name is None:
        raise ValueError(
            f"rate must be None with the posterior {config.posterior}, which has no floor on its KL: those that have "
            f"one are {', '.join(RATE_FIELDS)}"
        )
    check_finite(config, "rate", positive=True)
    wanted, found = field_at_rate(config.posterior, config.rate, config.latent_size), getattr(config, name)
    if not math.isclose(found, wanted, rel_tol=1e-6):
        raise ValueError(
            f"rate {config.rate} means the {name} {wanted:.4g} with {config.latent_size} latent dimensions, and {name} "
            f"is {found}: give one of the two"
        )
