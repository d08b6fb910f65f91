"""Approximate posteriors q(z|x): from the encoder's last state to a distribution over latents."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

LOG_TWO_PI = math.log(2 * math.pi)
SMALLEST_SPREAD = 1e-30


@dataclass
class DiagonalGaussian:
    """A batch of diagonal Gaussians; `mean` and `logvar` (log σ²) are `(batch, latent_size)`, in fp32."""

    mean: torch.Tensor
    logvar: torch.Tensor

    def rsample(self, num_samples: int = 1, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Reparameterised samples, `(batch, num_samples, latent_size)`, made of standard normal `noise` if given."""
        if noise is None:
            batch, latent_size = self.mean.shape
            noise = torch.randn(batch, num_samples, latent_size, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean.unsqueeze(1) + noise * (0.5 * self.logvar).exp().unsqueeze(1)

    def kl(self) -> torch.Tensor:
        """KL(q ‖ N(0, I)) of each dimension in nats (Eq. 2), `(batch, latent_size)`."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - self.logvar - 1)

    def log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z|x) in nats of `latents` `(batch, num_samples, latent_size)`: `(batch, num_samples)`."""
        mean, logvar = self.mean.unsqueeze(1), self.logvar.unsqueeze(1)
        return -0.5 * ((latents - mean) ** 2 * (-logvar).exp() + logvar + LOG_TWO_PI).sum(-1)


class FixedScaleBatchNorm(nn.Module):
    r"""Batch normalisation with a frozen scale: μ̂ = γ (μ − mean_B) / std_B + β (Eq. 5).

    In training the batch's own biased statistics are used, so that over a batch each dimension of μ̂ has mean β and
    variance γ² *exactly*, whatever the scale of μ: there is no ε for the encoder to hide under. Then the KL to
    N(0, I), averaged over the batch, is at least n(γ²+β²)/2 (Eq. 6). A dimension that does not vary at all gives β,
    and no gradient.

    Under `torch.distributed` the statistics are those of all processes together, and gradients pass through them.
    Under gradient accumulation they are those of each micro-batch. They are computed in fp32 under autocast and for
    half-precision weights, and the stored ones stay fp32.

    In evaluation the stored statistics are used: a running average over training batches, until
    `recompute_statistics` replaces it by the exact ones of a data set.

    Args:
        num_features: number of latent dimensions n.
        gamma: the frozen scale. It is no parameter: no optimiser can move it.
        momentum: the weight of a new batch in the running average.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, num_features: int, gamma: float, momentum: float = 0.1):
        super().__init__()
        self.num_features = num_features
        self.gamma = gamma
        self.momentum = momentum
        self.shift = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def forward(self, raw_mean: torch.Tensor) -> torch.Tensor:
        """Normalise `(batch, num_features)`; returns fp32.

        Raises:
            ValueError: for a training batch of one sentence, which has no variance.
        """
        raw_mean = raw_mean.float()
        if self.training:
            normalised = self._normalise_by_batch(raw_mean)
        else:
            varies = self.running_var > 0
            inverse_std = torch.where(varies, self.running_var, 1.0).rsqrt() * varies
            normalised = (raw_mean - self.running_mean) * inverse_std
        return self.gamma * normalised + self.shift.float()

    def _normalise_by_batch(self, raw_mean: torch.Tensor) -> torch.Tensor:
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        shared = shared and torch.distributed.get_world_size() > 1
        if raw_mean.size(0) == 1 and not shared:
            raise ValueError(
                "batch normalisation of the posterior mean needs at least 2 sentences in a training batch, got 1: "
                "raise the batch size"
            )
        # Normalisation ignores shifts and scales of its input, so both are taken out beforehand, as constants:
        # squares then neither overflow nor underflow, and equal inputs give differences of exactly zero.
        origin = raw_mean[0].detach().clone()
        if shared:
            torch.distributed.broadcast(origin, src=0)
        offsets = raw_mean - origin
        spread = offsets.detach().abs().amax(0)
        count = torch.full((1,), float(raw_mean.size(0)), device=raw_mean.device)
        if shared:
            torch.distributed.all_reduce(spread, op=torch.distributed.ReduceOp.MAX)
            torch.distributed.all_reduce(count)
        varies = spread > SMALLEST_SPREAD
        spread = torch.where(varies, spread, 1.0)
        offsets = offsets / spread
        mean = _sum_over_batch(offsets, shared) / count
        centred = offsets - mean
        variance = _sum_over_batch(centred**2, shared) / count
        varies = varies & (variance.detach() > 0)
        self._update_running(origin + spread * mean.detach(), spread**2 * variance.detach() * varies)
        return centred * (torch.where(varies, variance, 1.0).rsqrt() * varies)

    @torch.no_grad()
    def _update_running(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self.num_batches_tracked += 1
        weight = (1.0 / self.num_batches_tracked.float()).clamp(min=self.momentum)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)

    @torch.no_grad()
    def recompute_statistics(self, raw_means: Iterable[torch.Tensor]) -> None:
        """Replace the running average by the exact mean and biased variance of `raw_means`, in float64.

        Args:
            raw_means: `(batch, num_features)` tensors, batches of any sizes; under `torch.distributed` each process
                passes its own share.

        Raises:
            ValueError: when there are fewer than two rows in all.
        """
        device = self.running_mean.device
        count = torch.zeros((), dtype=torch.float64)
        mean = torch.zeros(self.num_features, dtype=torch.float64)
        squares = torch.zeros(self.num_features, dtype=torch.float64)
        for batch in raw_means:
            batch = batch.to("cpu", torch.float64)
            batch_mean = batch.mean(0)
            batch_moments = (
                torch.tensor(float(len(batch)), dtype=torch.float64),
                batch_mean,
                ((batch - batch_mean) ** 2).sum(0),
            )
            count, mean, squares = _merge_moments((count, mean, squares), batch_moments)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            mine = torch.cat([count.reshape(1), mean, squares])
            # NCCL moves only tensors on its own device, gloo those on the CPU.
            mine = mine.to(device if torch.distributed.get_backend() == "nccl" else "cpu")
            shares = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather(shares, mine)
            total = (torch.zeros_like(count), torch.zeros_like(mean), torch.zeros_like(squares))
            for share in shares:
                other_count, other_mean, other_squares = share.cpu().split([1, self.num_features, self.num_features])
                total = _merge_moments(total, (other_count[0], other_mean, other_squares))
            count, mean, squares = total
        if count < 2:
            raise ValueError(f"posterior statistics need at least 2 sentences, got {int(count)}")
        self.running_mean.copy_(mean)
        self.running_var.copy_(squares / count)

    def _apply(self, fn, recurse=True):
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.is_floating_point() and buffer.dtype != torch.float32 and not exact[name].is_meta:
                setattr(self, name, exact[name].to(buffer.device))
        return self

    def extra_repr(self) -> str:
        return f"{self.num_features}, gamma={self.gamma}, momentum={self.momentum}"


class _AllReduceSum(torch.autograd.Function):
    """Sum over processes, in both directions."""

    @staticmethod
    def forward(ctx, tensor):
        tensor = tensor.clone()
        torch.distributed.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient)
        return gradient


def _sum_over_batch(values: torch.Tensor, shared: bool) -> torch.Tensor:
    total = values.sum(0)
    return _AllReduceSum.apply(total) if shared else total


def _merge_moments(left, right):
    """Count, mean and sum of squared deviations of two samples put together."""
    count = left[0] + right[0]
    if count == 0:
        return left
    difference = right[1] - left[1]
    mean = left[1] + difference * (right[0] / count)
    return count, mean, left[2] + right[2] + difference**2 * (left[0] * right[0] / count)


class GaussianPosterior(nn.Module):
    """q(z|x) = N(μ, σ²) with both parameters linear in the encoder's last state, without bias.

    The prior that belongs to it is N(0, I).
    """

    def __init__(self, config):
        super().__init__()
        self.latent_size = config.latent_size
        self.mean = nn.Linear(config.hidden_size, config.latent_size, bias=False)
        self.logvar = nn.Linear(config.hidden_size, config.latent_size, bias=False)

    def forward(self, hidden: torch.Tensor) -> DiagonalGaussian:
        """From `(batch, hidden_size)` to the posterior; fp32 even under autocast."""
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.to(self.mean.weight.dtype)
            return DiagonalGaussian(self._mean(hidden), self.logvar(hidden).float())

    def _mean(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.mean(hidden).float()

    def sample_prior(self, num_samples: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """`(num_samples, latent_size)` draws of p(z)."""
        device = generator.device if generator is not None else self.mean.weight.device
        latents = torch.randn(num_samples, self.latent_size, generator=generator, device=device)
        return latents.to(self.mean.weight.device)

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats; the last dimension is summed out."""
        return -0.5 * (latents**2 + LOG_TWO_PI).sum(-1)


class BatchNormPosterior(GaussianPosterior):
    """The Gaussian posterior of BN-VAE: its mean is batch-normalised with a frozen scale γ (paper, section 3.2)."""

    def __init__(self, config):
        super().__init__(config)
        self.mean_norm = FixedScaleBatchNorm(config.latent_size, config.gamma)

    def _mean(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.mean_norm(self.mean(hidden))

    def recompute_statistics(self, hidden_batches: Iterable[torch.Tensor]) -> None:
        """Exact normalisation statistics over the encoder states `(batch, hidden_size)` of a data set."""
        self.mean_norm.recompute_statistics(
            self.mean(hidden.to(self.mean.weight.dtype)).float() for hidden in hidden_batches
        )


POSTERIORS = {"gaussian": GaussianPosterior, "batch_norm": BatchNormPosterior}
