"""Distributions over latents, one a sentence: diagonal Gaussians, and von Mises-Fisher on the sphere."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TypeVar

import torch
import torch.nn.functional as F

LOG_TWO_PI = math.log(2 * math.pi)
ANGLES = 1 << 14

Batch = TypeVar("Batch", bound="LatentDistribution")


@dataclass
class LatentDistribution:
    """A batch of q(z|x). Every field that is a tensor has a row a sentence; `mean` is what `encode` gives."""

    mean: torch.Tensor

    @property
    def standardised_expectation(self) -> torch.Tensor:
        """E_q[z] in units of the prior's standard deviation in each dimension, `(batch, latent_size)`."""
        raise NotImplementedError

    def rsample(self, num_samples: int = 1, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Reparameterised samples, `(batch, num_samples, latent_size)`, made of standard normal `noise` if given."""
        raise NotImplementedError

    def kl(self) -> torch.Tensor:
        """KL(q ‖ p) in nats, in terms `(batch, any)` whose sum counts."""
        raise NotImplementedError

    def log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z|x) in nats of `latents` `(batch, num_samples, latent_size)`: `(batch, num_samples)`."""
        raise NotImplementedError

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats, p the prior of `kl`; the last dimension is summed out."""
        raise NotImplementedError

    def conditions(self, latents: torch.Tensor) -> torch.Tensor:
        """What the decoder is given with `latents` `(batch, num_samples, latent_size)`: nothing else, but in a CVAE."""
        return latents

    def pairwise_log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z_i|x_j) in nats of `(rows, latent_size)` latents under every row: `(rows, batch)`, float64."""
        raise NotImplementedError

    def map(self: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Apply `change` to every tensor, to pick rows or to move to a device; returns the same kind."""
        return replace(self, **{name: change(tensor) for name, tensor in self._tensors().items()})

    def concatenate(self: Batch, others: Sequence[Batch]) -> Batch:
        """The rows of this batch, then those of others of the same kind."""
        tensors = {
            name: torch.cat([tensor, *(getattr(other, name) for other in others)])
            for name, tensor in self._tensors().items()
        }
        return replace(self, **tensors)

    def _tensors(self) -> dict[str, torch.Tensor]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


@dataclass
class DiagonalGaussian(LatentDistribution):
    """Diagonal Gaussians, with N(0, I) as the prior; `mean` and `logvar` (log σ²) are `(batch, latent_size)`, fp32."""

    mean: torch.Tensor
    logvar: torch.Tensor

    @property
    def standardised_expectation(self) -> torch.Tensor:
        """E_q[z] in units of the prior's standard deviation, `(batch, latent_size)`."""
        return self.mean

    def rsample(self, num_samples: int = 1, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Reparameterised samples, `(batch, num_samples, latent_size)`, made of standard normal `noise` if given."""
        noise = _standard_noise(self.mean, num_samples) if noise is None else noise
        return self.mean.unsqueeze(1) + noise * (0.5 * self.logvar).exp().unsqueeze(1)

    def kl(self) -> torch.Tensor:
        """KL(q ‖ N(0, I)) of each dimension in nats (Eq. 2), `(batch, latent_size)`."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - self.logvar - 1)

    def log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z|x) in nats of `latents` `(batch, num_samples, latent_size)`: `(batch, num_samples)`."""
        mean, logvar = self.mean.unsqueeze(1), self.logvar.unsqueeze(1)
        return -0.5 * ((latents - mean) ** 2 * (-logvar).exp() + logvar + LOG_TWO_PI).sum(-1)

    def pairwise_log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z_i|x_j) in nats of `(rows, latent_size)` latents under every row: `(rows, batch)`, float64.

        The quadratic form is opened up, so that all pairs cost one matrix product.
        """
        mean, logvar, latents = self.mean.double(), self.logvar.double(), latents.double()
        centre = mean.mean(0)
        mean, latents = mean - centre, latents - centre
        precision = (-logvar).exp()
        constants = -0.5 * (mean**2 * precision + logvar + LOG_TWO_PI).sum(1, keepdim=True)
        weights = torch.cat([-0.5 * precision, mean * precision, constants], 1)
        return torch.cat([latents**2, latents, latents.new_ones(len(latents), 1)], 1) @ weights.T

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        return log_standard_normal(latents)


@dataclass
class ConditionalGaussian(DiagonalGaussian):
    """The posterior q(z|x,y) of a CVAE, with the prior p(z|x) of the same row; all four are `(batch, latent_size)`.

    Args:
        context: what the decoder knows of x, `(batch, context_width)`.
    """

    prior_mean: torch.Tensor
    prior_logvar: torch.Tensor
    context: torch.Tensor

    @property
    def prior(self) -> DiagonalGaussian:
        """p(z|x), whose own `kl` is KL(p(z|x) ‖ N(0, I))."""
        return DiagonalGaussian(self.prior_mean, self.prior_logvar)

    def kl(self) -> torch.Tensor:
        """KL(q(z|x,y) ‖ p(z|x)) of each dimension in nats, `(batch, latent_size)`."""
        difference = self.logvar - self.prior_logvar
        distance = (self.mean - self.prior_mean) ** 2 * (-self.prior_logvar).exp()
        return 0.5 * (difference.exp() + distance - difference - 1)

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        return self.prior.log_prob(latents)

    def conditions(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.context.unsqueeze(1).expand(-1, latents.size(1), -1), latents], -1)


@dataclass
class VonMisesFisher(LatentDistribution):
    """von Mises-Fisher with a fixed concentration, and the uniform distribution on the sphere as the prior.

    Args:
        mean: the unit vectors around which the latents lie, `(batch, latent_size)`, fp32.
        kappa: the concentration κ > 0.
    """

    mean: torch.Tensor
    kappa: float

    @property
    def standardised_expectation(self) -> torch.Tensor:
        """E_q[z] in units of the prior's standard deviation 1/√n in each dimension, `(batch, latent_size)`."""
        n = self.mean.size(1)
        return self.mean * (mean_resultant_length(self.kappa, n) * math.sqrt(n))

    def rsample(self, num_samples: int = 1, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Samples `(batch, num_samples, latent_size)` on the sphere, made of standard normal `noise` if given.

        The share of the noise along the mean picks the angle, through both distribution functions; what is left of it
        is the direction away from the mean. The gradient with respect to the mean is that of turning the sphere with
        it: angle and direction are constants.
        """
        mean = self.mean.unsqueeze(1)
        with torch.no_grad():
            noise = _standard_noise(self.mean, num_samples) if noise is None else noise
            along = (noise * mean).sum(-1, keepdim=True)
            cosine, sine = _cosine_and_sine(torch.special.ndtr(along.double()), self.kappa, self.mean.size(1))
            cosine, sine = cosine.to(mean.dtype), sine.to(mean.dtype)
            away = F.normalize(noise - along * mean, dim=-1)
        away = away - (away * mean).sum(-1, keepdim=True) * mean
        return cosine * mean + sine * away

    def kl(self) -> torch.Tensor:
        """KL(q ‖ uniform) in nats, the same constant for every sentence: `(batch, 1)`."""
        n = self.mean.size(1)
        divergence = (
            self.kappa * mean_resultant_length(self.kappa, n) + log_normaliser(self.kappa, n) - log_uniform_on_sphere(n)
        )
        return self.mean.new_full((len(self.mean), 1), divergence)

    def log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z|x) in nats, a density on the sphere, of `(batch, samples, latent_size)`: `(batch, samples)`."""
        cosine = (latents * self.mean.unsqueeze(1)).sum(-1)
        return self.kappa * cosine + log_normaliser(self.kappa, self.mean.size(1))

    def pairwise_log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z_i|x_j) in nats of `(rows, latent_size)` latents under every row: `(rows, batch)`, float64."""
        cosines = latents.double() @ self.mean.double().T
        return self.kappa * cosines + log_normaliser(self.kappa, self.mean.size(1))

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.new_full(latents.shape[:-1], log_uniform_on_sphere(latents.size(-1)))


def log_standard_normal(latents: torch.Tensor) -> torch.Tensor:
    """log N(z; 0, I) in nats; the last dimension is summed out."""
    return -0.5 * (latents**2 + LOG_TWO_PI).sum(-1)


def log_uniform_on_sphere(n: int) -> float:
    """The log density of the uniform distribution on the unit sphere of n dimensions: −log of its area."""
    return math.lgamma(n / 2) - math.log(2) - n / 2 * math.log(math.pi)


@lru_cache(maxsize=64)
def log_normaliser(kappa: float, n: int) -> float:
    """log C_n(κ), where the density of von Mises-Fisher is C_n(κ) exp(κ μᵀz)."""
    # Both integrals over the angle share the area of the sphere around the mean, which cancels from their ratio.
    ratio = _integrand(0.0, n).logsumexp(0) - _integrand(kappa, n).logsumexp(0)
    return log_uniform_on_sphere(n) + float(ratio) - kappa


@lru_cache(maxsize=64)
def mean_resultant_length(kappa: float, n: int) -> float:
    """A_n(κ) = |E[z]| = I_{n/2}(κ) / I_{n/2−1}(κ)."""
    return float((_integrand(kappa, n).softmax(0) * _angles().cos()).sum())


def _angles() -> torch.Tensor:
    return torch.linspace(0, math.pi, ANGLES + 1, dtype=torch.float64, device="cpu")


def _log_density(kappa: float, n: int) -> torch.Tensor:
    """log of sinⁿ⁻²θ exp(κ(cos θ − 1)), which the angle θ to the mean has for a density, but for a factor."""
    angles = _angles()
    density = -2 * kappa * (angles / 2).sin() ** 2  # κ(cos θ − 1) without its cancellation near 0
    return density + (n - 2) * angles.sin().clamp(min=1e-300).log() if n > 2 else density


def _integrand(kappa: float, n: int) -> torch.Tensor:
    """The same with the logarithms of Simpson's weights: its logsumexp is the integral's, but for a factor."""
    weights = torch.full((ANGLES + 1,), 2.0, dtype=torch.float64, device="cpu")
    weights[1::2] = 4
    weights[[0, -1]] = 1
    return _log_density(kappa, n) + weights.log()


@lru_cache(maxsize=16)
def _angle_table(kappa: float, n: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The distribution function of the angle, and the angles where it takes its values."""
    log_density = _log_density(kappa, n)
    density = (log_density - log_density.max()).exp()
    steps = (density[1:] + density[:-1]) / 2
    cumulative = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    return (cumulative / cumulative[-1]).to(device), _angles().to(device)


def _cosine_and_sine(uniform: torch.Tensor, kappa: float, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the angle to the mean at which its distribution function is 1 − `uniform`."""
    cumulative, angles = _angle_table(kappa, n, uniform.device)
    # The other way round, so that noise along the mean brings the sample nearer to it.
    share = 1 - uniform
    above = torch.searchsorted(cumulative, share).clamp(1, len(cumulative) - 1)
    low, high = cumulative[above - 1], cumulative[above]
    part = ((share - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    angle = angles[above - 1] + part * (angles[1] - angles[0])
    return angle.cos(), angle.sin()


def _standard_noise(like: torch.Tensor, num_samples: int) -> torch.Tensor:
    batch, latent_size = like.shape
    return torch.randn(batch, num_samples, latent_size, device=like.device, dtype=like.dtype)
