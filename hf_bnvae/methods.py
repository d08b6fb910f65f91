"""The table of methods: what each one changes in the model and in its training. `plans.py` makes models of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Method:
    """A system of the paper, or one after it, as data. Every choice is also a flag of its own.

    Args:
        summary: what makes it different, in a few words.
        posterior: family of q(z|x), a key of `models.posteriors.POSTERIORS`; `"none"` for a language model.
        decoder: a key of `models.decoders.DECODERS`.
        kl_schedule: how the KL weight moves over training, a key of `training.schedules.KL_SCHEDULES`.
        strategy: which networks a step of training updates, one of `training.strategies.STRATEGIES`.
        settings: defaults of other flags: the KL objective, and what the method needs beside.
    """

    summary: str
    posterior: str = "gaussian"
    decoder: str = "lstm"
    kl_schedule: str = "linear"
    strategy: str = "standard"
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def has_latent(self) -> bool:
        return self.posterior != "none"


METHODS = {
    "lstm_lm": Method("LSTM language model: the decoder alone", posterior="none", kl_schedule="constant"),
    "vae": Method("linear KL annealing (Bowman et al. 2016)"),
    "beta_vae": Method(
        "constant KL weight β (Higgins et al. 2017)", kl_schedule="constant", settings={"kl_weight": 0.4}
    ),
    "cyclic_vae": Method(
        "KL annealing again and again (Fu et al. 2019)", kl_schedule="cyclic", settings={"kl_annealing_epochs": 5.0}
    ),
    "skip_vae": Method("z also joins every output of the decoder (Dieng et al. 2019)", decoder="skip_lstm"),
    "cnn_vae": Method("decoder of dilated causal convolutions (Yang et al. 2017)", decoder="cnn"),
    "sa_vae": Method("posterior refined by gradient steps (Kim et al. 2018)", settings={"refinement_steps": 20}),
    "agg_vae": Method("encoder trained ahead of the decoder (He et al. 2019)", strategy="aggressive"),
    "fb_vae": Method("free bits (Kingma et al. 2016)", settings={"free_bits": 4.0}),
    "delta_vae": Method("KL of at least δ in every dimension (Razavi et al. 2019)", posterior="delta"),
    "cv_vae": Method("one constant variance for all sentences (Ghosh et al. 2020)", posterior="constant_variance"),
    "vmf_vae": Method("von Mises-Fisher posterior with fixed κ (Xu & Durrett 2018)", posterior="vmf"),
    "bn_vae": Method("batch-normalised posterior mean with a frozen scale (Zhu et al. 2020)", posterior="batch_norm"),
    "matched_vae": Method(
        "aggregated posterior with the prior's mean and variance, at a chosen rate",
        posterior="matched",
        settings={"decorrelation": 2.0},
    ),
    "bn_vae_learned": Method("batch-normalised μ and σ with tied, learnt scales (Su)", posterior="tied_scales"),
    "du_vae": Method("batch-normalised μ, dropout on σ² above a floor (Shen et al. 2021)", posterior="du"),
    "ae": Method(
        "no KL: the autoencoder that pretrains an encoder (Li et al. 2019)",
        kl_schedule="constant",
        settings={"kl_weight": 0.0, "metric_for_best_model": "rec"},
    ),
    "lm": Method(
        "language model: the decoder alone, an LSTM or a pretrained one",
        posterior="none",
        kl_schedule="constant",
    ),
}

DIALOGUE_METHODS = {
    "cvae": Method(
        "conditional VAE with KL annealing (Zhao et al. 2017)",
        decoder="gru",
        settings={"prior_kl_weight": 0.0},
    ),
    "cvae_bow": Method(
        "the same with the loss of the response's bag of words (Zhao et al. 2017)",
        decoder="gru",
        settings={"prior_kl_weight": 0.0, "bow_weight": 1.0},
    ),
    "bn_cvae": Method(
        "batch-normalised mean of q, and KL(p || N(0, I)) in the bound (Zhu et al. 2020)",
        posterior="batch_norm",
        decoder="gru",
    ),
    "matched_cvae": Method(
        "q with the moments of the prior of its context, at a chosen rate KL(q || p)",
        posterior="matched",
        decoder="gru",
    ),
}


def method_table(methods: Mapping[str, Method] = METHODS) -> str:
    """A table of methods as text, a row a method."""
    header = ("method", "posterior", "decoder", "KL schedule", "strategy", "settings", "what it is")
    rows = [header]
    for name, method in methods.items():
        settings = ", ".join(f"{key}={value}" for key, value in method.settings.items())
        row = (name, method.posterior, method.decoder, method.kl_schedule, method.strategy, settings, method.summary)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
