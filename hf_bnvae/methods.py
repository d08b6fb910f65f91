"""The table of methods: what each one changes in the model and in its training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A system of the paper, as data.

    Args:
        summary: what makes it different, in a few words.
        posterior: family of q(z|x), a key of `models.posteriors.POSTERIORS`.
        decoder: a key of `models.decoders.DECODERS`.
        kl_schedule: how the KL weight moves over training, a key of `training.schedules.KL_SCHEDULES`.
    """

    summary: str
    posterior: str = "gaussian"
    decoder: str = "lstm"
    kl_schedule: str = "linear"


METHODS = {
    "vae": Method("linear KL annealing (Bowman et al. 2016)"),
    "bn_vae": Method("batch-normalised posterior mean with a frozen scale (Zhu et al. 2020)", posterior="batch_norm"),
}
