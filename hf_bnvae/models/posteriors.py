"""Approximate posteriors q(z|x): from the encoder's last state to a distribution over latents, with its prior."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init

from .configuration_checks import check_finite, check_range
from .distributions import (
    DiagonalGaussian,
    LatentDistribution,
    VonMisesFisher,
    log_standard_normal,
    log_uniform_on_sphere,
)
from .layers import input_dtype
from .normalisation import (
    BatchStandardisation,
    BatchUnitMean,
    FixedScaleBatchNorm,
    NormalisedModule,
    kl_lower_bound,
    recompute_statistics,
)

SMALLEST_SQUARED_MEAN = 1e-6
SMALLEST_VARIANCE_SHARE = 1e-3
DU_SMALLEST_VARIANCE = 1 / (2 * math.pi * math.e)


class Posterior(NormalisedModule):
    """The base of all posteriors: linear heads without bias, computed in full precision, and the prior."""

    HEADS: tuple[str, ...] = ()
    """The linear heads, each from the encoder's state to `latent_size` numbers."""

    reads: tuple[str, ...] = ()
    """The fields of a configuration that only some posteriors read, and this one does."""

    normalises_batches = False
    """Whether it reads statistics of the training batch, which then needs two sentences or more."""

    is_conditional = False
    """Whether it can be the recognition network of a conditional model, which takes a mean and a log variance."""

    in_prior_units = False
    """Whether a conditional model takes its mean and variance in the units of the prior of the same row."""

    rate_field: str | None = None
    """The field that sets the least KL; None for a posterior that has no such bound."""

    bound = ""
    """The formula of that bound, in nats a sentence, averaged over the data of the normalisation's statistics."""

    def __init__(self, config):
        super().__init__()
        self.latent_size = config.latent_size
        for name in self.HEADS:
            setattr(self, name, nn.Linear(config.encoding_size, config.latent_size, bias=False))

    @staticmethod
    def value_at_rate(rate: float, latent_size: int) -> float:
        """The value of `rate_field` at which the KL is at least `rate` nats a sentence."""
        raise NotImplementedError

    @staticmethod
    def rate_at_value(value: float, latent_size: int) -> float:
        """The least KL, in nats a sentence, at a value of `rate_field`."""
        raise NotImplementedError

    @classmethod
    def check_fields(cls, config) -> None:
        """Refuse values of the fields that it reads, whether it is chosen or not, by a ValueError that names one."""

    @classmethod
    def check_choice(cls, config) -> None:
        """Refuse a configuration that chooses it and cannot, by a ValueError that names the field to change."""

    def reset_parameters(self) -> None:
        """Give the parameters beside those of the heads the values that a training starts from."""

    def forward(self, hidden: torch.Tensor) -> LatentDistribution:
        """From `(batch, encoding_size)` to the posterior; fp32 even under autocast."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self._distribution(*self._raw(hidden))

    def _raw(self, hidden: torch.Tensor) -> list[torch.Tensor]:
        heads = [getattr(self, name) for name in self.HEADS]
        return [head(hidden.to(input_dtype(head))).float() for head in heads]

    def _distribution(self, *raw: torch.Tensor) -> LatentDistribution:
        raise NotImplementedError

    def normalised(self, hidden: torch.Tensor) -> list[torch.Tensor]:
        """Return the input of each of `normalisations`, from states `(batch, encoding_size)`."""
        return self._normalised(*self._raw(hidden))

    def _normalised(self, *raw: torch.Tensor) -> list[torch.Tensor]:
        """Return the input of each of `normalisations`, from the outputs of the heads."""
        return []

    def recompute_statistics(self, hidden_batches: Iterable[torch.Tensor]) -> None:
        """Exact normalisation statistics over the encoder states `(batch, encoding_size)` of a data set."""
        recompute_statistics(self.normalisations, (self.normalised(hidden) for hidden in hidden_batches))

    def sample_prior(self, num_samples: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """`(num_samples, latent_size)` draws of p(z)."""
        parameter = next(self.parameters())
        device = generator.device if generator is not None else parameter.device
        return torch.randn(num_samples, self.latent_size, generator=generator, device=device).to(parameter.device)

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats; the last dimension is summed out."""
        return log_standard_normal(latents)


class GaussianPosterior(Posterior):
    """q(z|x) = N(μ, σ²) with μ and log σ² linear in the encoder's last state; the prior is N(0, I)."""

    HEADS = ("mean", "logvar")
    is_conditional = True

    def _distribution(self, mean, logvar):
        return DiagonalGaussian(mean, logvar)


class BatchNormPosterior(GaussianPosterior):
    """The Gaussian posterior of BN-VAE: its mean is batch-normalised with a frozen scale γ (paper, section 3.2)."""

    reads = ("rate", "gamma")
    normalises_batches = True
    rate_field = "gamma"
    bound = "n·γ²/2"

    @staticmethod
    def value_at_rate(rate, latent_size):
        return math.sqrt(2 * rate / latent_size)

    @staticmethod
    def rate_at_value(value, latent_size):
        return kl_lower_bound(value, 0.0) * latent_size

    @classmethod
    def check_fields(cls, config):
        check_finite(config, "gamma", positive=True)

    def __init__(self, config):
        super().__init__(config)
        self.mean_norm = FixedScaleBatchNorm(config.latent_size, config.gamma)

    def _normalised(self, mean, logvar):
        return [mean]

    def _distribution(self, mean, logvar):
        return DiagonalGaussian(self.mean_norm(mean), logvar)


class MatchedPosterior(GaussianPosterior):
    """A Gaussian posterior whose aggregate has the prior's first two moments, at a chosen rate R in nats.

    With γ² = 1 − exp(−2R/n), μ = γ · (m − mean_B m) / std_B m and σ² = (1 − γ²) · exp(s) / mean_B exp(s). Over a batch
    E[μ] = 0 and E[μ² + σ²] = 1 in every dimension, exactly. So E[KL] = −½ Σ E[log σ²], which by Jensen's inequality is
    at least R, and R where σ² is the same for all sentences. R is also the most information that a Gaussian mean of
    that variance carries. (The mean of BN-VAE adds its variance γ² to a σ² near 1: its aggregate has a variance of
    1 + γ² and can never be the prior.)

    In a conditional model the two moments are those in units of the prior of each row, μ_p + σ_p·μ and σ_p²·σ²:
    E[KL(q(z|x,y) ‖ p(z|x))] is at least R whatever the prior learns.
    """

    reads = ("rate",)
    normalises_batches = True
    in_prior_units = True
    rate_field = "gamma"
    bound = "−n/2·log(1−γ²), the rate that was chosen,"

    @staticmethod
    def value_at_rate(rate, latent_size):
        return math.sqrt(-math.expm1(-2 * rate / latent_size))

    @staticmethod
    def rate_at_value(value, latent_size):
        return -latent_size / 2 * math.log1p(-(value**2))

    def __init__(self, config):
        super().__init__(config)
        self.gamma = self.value_at_rate(config.rate, config.latent_size)
        self.log_left = -2 * config.rate / config.latent_size
        self.mean_norm = BatchStandardisation(config.latent_size)
        self.variance_norm = BatchUnitMean(config.latent_size)

    def _normalised(self, mean, logvar):
        return [mean, logvar]

    def _distribution(self, mean, logvar):
        return DiagonalGaussian(self.gamma * self.mean_norm(mean), self.log_left + self.variance_norm(logvar))


class TiedScalesPosterior(Posterior):
    """Mean and standard deviation both batch-normalised, with scales that are learnt and tied (Su's extension).

    γ_μ = √(τ + (1−τ)·sigmoid(θ)) and γ_σ = √((1−τ)·sigmoid(−θ)) in each dimension, so that over a batch
    E[μ²] + E[σ²] = 1: the aggregated posterior has the prior's first two moments, and the KL is at least
    −n/2 · log(1−τ). The normalised σ has a sign, which its square forgets; a small share of σ² is constant, because
    log σ² would have no finite gradient where that sign changes.

    The KL lies far above that bound, which has E[−log σ²] at −log E[σ²]: a σ of mean 0 and variance 1 passes through 0,
    and E[−log σ²] of a normal one is log 2 + Euler's γ = 1.27, so that each dimension costs 0.63 nats more, 20 nats in
    32 dimensions, which are no information about the sentence. `MatchedPosterior` normalises σ² itself.
    """

    HEADS = ("mean", "deviation")
    reads = ("rate", "tau")
    normalises_batches = True
    is_conditional = True
    rate_field = "tau"
    bound = "−n/2·log(1−τ)"

    @staticmethod
    def value_at_rate(rate, latent_size):
        return -math.expm1(-2 * rate / latent_size)

    @staticmethod
    def rate_at_value(value, latent_size):
        return -latent_size / 2 * math.log1p(-value)

    @classmethod
    def check_fields(cls, config):
        if not 0 < config.tau < 1:
            raise ValueError(f"tau must lie in (0, 1), got {config.tau}")

    def __init__(self, config):
        super().__init__(config)
        self.tau = config.tau
        self.norm = BatchStandardisation(2 * config.latent_size)
        self.scale_logit = nn.Parameter(torch.zeros(config.latent_size))

    def reset_parameters(self):
        init.zeros_(self.scale_logit)

    def _normalised(self, mean, deviation):
        return [torch.cat([mean, deviation], 1)]

    def _distribution(self, mean, deviation):
        mean, deviation = self.norm(*self._normalised(mean, deviation)).chunk(2, 1)
        logit = self.scale_logit.float()
        mean_scale = (self.tau + (1 - self.tau) * logit.sigmoid()).sqrt()
        variance_scale = (1 - self.tau) * (-logit).sigmoid()
        square = (1 - SMALLEST_VARIANCE_SHARE) * deviation**2 + SMALLEST_VARIANCE_SHARE
        return DiagonalGaussian(mean_scale * mean, (variance_scale * square).log())


class DuPosterior(Posterior):
    """DU-VAE (Shen et al. 2021): σ² has a floor and, in training, dropout above it; μ is batch-normalised.

    σ² = α + exp(s) with α = 1/(2πe), the variance at which a Gaussian has no entropy. The scale of the mean is learnt
    per dimension, and rescaled so that its root mean square stays γ.
    """

    HEADS = ("mean", "logvar")
    reads = ("gamma", "variance_dropout")
    normalises_batches = True
    is_conditional = True

    @classmethod
    def check_fields(cls, config):
        check_finite(config, "gamma", positive=True)
        check_range(config, 0, 1, "variance_dropout")

    def __init__(self, config):
        super().__init__(config)
        self.gamma = config.gamma
        self.variance_dropout = config.variance_dropout
        self.mean_norm = BatchStandardisation(config.latent_size)
        self.scale = nn.Parameter(torch.ones(config.latent_size))
        self.shift = nn.Parameter(torch.zeros(config.latent_size))

    def reset_parameters(self):
        init.ones_(self.scale)
        init.zeros_(self.shift)

    def _normalised(self, mean, logvar):
        return [mean]

    def _distribution(self, mean, logvar):
        scale = self.scale.float()
        scale = self.gamma * scale / (scale**2).mean().sqrt()
        above = F.dropout(logvar.exp(), self.variance_dropout, self.training)
        return DiagonalGaussian(scale * self.mean_norm(mean) + self.shift.float(), (DU_SMALLEST_VARIANCE + above).log())


class DeltaPosterior(Posterior):
    """δ-VAE (Razavi et al. 2019): μ and σ confined so that the KL of each dimension is at least δ, for any input.

    σ lies in the interval [σ_l, σ_u] whose ends have ln σ² − σ² + 2δ + 1 = 0 (Eq. 7), and
    μ = √(2δ + 1 + ln σ² − σ² + max(0, m)) (Eq. 8, with the square root that its print leaves out).
    """

    HEADS = ("mean", "deviation")
    reads = ("rate", "delta")
    rate_field = "delta"
    bound = "n·δ"

    @staticmethod
    def value_at_rate(rate, latent_size):
        return rate / latent_size

    @staticmethod
    def rate_at_value(value, latent_size):
        return latent_size * value

    @classmethod
    def check_fields(cls, config):
        check_finite(config, "delta", positive=True)

    def __init__(self, config):
        super().__init__(config)
        self.delta = config.delta
        self.smallest, self.largest = feasible_deviations(config.delta)

    def _distribution(self, mean, deviation):
        deviation = self.smallest + (self.largest - self.smallest) * deviation.sigmoid()
        logvar = 2 * deviation.log()
        least = (2 * self.delta + 1 + logvar - deviation**2).clamp(min=0)
        # The small addition keeps the root's gradient finite where both terms vanish, and only raises the KL.
        return DiagonalGaussian((least + mean.relu() + SMALLEST_SQUARED_MEAN).sqrt(), logvar)


def feasible_deviations(delta: float) -> tuple[float, float]:
    """The smallest and the largest σ at which some μ gives a KL of δ: the roots of ln σ² − σ² + 2δ + 1 = 0."""

    def excess(variance: float) -> float:
        return math.log(variance) - variance + 2 * delta + 1

    def root(outside: float, inside: float) -> float:
        for _ in range(200):
            middle = (outside + inside) / 2
            outside, inside = (middle, inside) if excess(middle) < 0 else (outside, middle)
        return math.sqrt(inside)

    return root(math.exp(-2 * delta - 2), 1.0), root(4 * delta + 4, 1.0)


class ConstantVariancePosterior(Posterior):
    """A Gaussian whose variance is one constant for all sentences and dimensions (the CV-VAE of Ghosh et al. 2020).

    What the mean adds to its KL is never below 0, so that the KL of any sentence is at least n/2 · (σ² − 1 − log σ²).
    Nothing of that floor is information: the mean may still be the same for all sentences.
    """

    HEADS = ("mean",)
    reads = ("rate", "variance")
    rate_field = "variance"
    bound = "n/2·(σ² − 1 − log σ²)"

    @staticmethod
    def value_at_rate(rate, latent_size):
        return feasible_deviations(rate / latent_size)[0] ** 2

    @staticmethod
    def rate_at_value(value, latent_size):
        return latent_size / 2 * (value - 1 - math.log(value))

    @classmethod
    def check_fields(cls, config):
        if not 0 < config.variance <= 1:
            raise ValueError(f"variance must lie in (0, 1], got {config.variance}")

    def __init__(self, config):
        super().__init__(config)
        self.logvar = math.log(config.variance)

    def _distribution(self, mean):
        return DiagonalGaussian(mean, torch.full_like(mean, self.logvar))


class VonMisesFisherPosterior(Posterior):
    """von Mises-Fisher around a direction, with a fixed concentration κ; the prior is uniform on the sphere.

    Its KL is a constant (Xu & Durrett 2018).
    """

    HEADS = ("mean",)
    reads = ("kappa",)

    @classmethod
    def check_fields(cls, config):
        check_finite(config, "kappa", positive=True)

    @classmethod
    def check_choice(cls, config):
        if config.free_bits > 0:
            raise ValueError("free_bits means nothing with the posterior vmf, whose KL is a constant: set it to 0")
        if config.decorrelation > 0:
            raise ValueError("decorrelation is that of a Gaussian, which the posterior vmf is not: set it to 0")
        if config.latent_size < 2:
            raise ValueError("latent_size must be at least 2 with the posterior vmf, which lives on a sphere")

    def __init__(self, config):
        super().__init__(config)
        self.kappa = float(config.kappa)

    def _distribution(self, mean):
        return VonMisesFisher(F.normalize(mean, dim=-1), self.kappa)

    def sample_prior(self, num_samples: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return F.normalize(super().sample_prior(num_samples, generator), dim=-1)

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.new_full(latents.shape[:-1], log_uniform_on_sphere(self.latent_size))


POSTERIORS: dict[str, type[Posterior]] = {
    "gaussian": GaussianPosterior,
    "batch_norm": BatchNormPosterior,
    "matched": MatchedPosterior,
    "tied_scales": TiedScalesPosterior,
    "du": DuPosterior,
    "delta": DeltaPosterior,
    "constant_variance": ConstantVariancePosterior,
    "vmf": VonMisesFisherPosterior,
}
