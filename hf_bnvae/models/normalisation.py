"""Batch normalisation of a posterior's parameters: standardisation over the batch, and the frozen scale of BN-VAE."""

from collections.abc import Iterable

import torch
from torch import nn

SMALLEST_SPREAD = 1e-30


class BatchStandardisation(nn.Module):
    r"""(x − mean_B) / std_B in every dimension.

    In training the batch's own biased statistics are used, so that over a batch each dimension has mean 0 and variance
    1 *exactly*, whatever the scale of x: there is no ε for the encoder to hide under. A dimension that does not vary at
    all gives 0, and no gradient.

    Under `torch.distributed` the statistics are those of all processes together, and gradients pass through them.
    Under gradient accumulation they are those of each micro-batch. They are computed in fp32 under autocast and for
    half-precision weights, and the stored ones stay fp32.

    In evaluation the stored statistics are used: a running average over training batches, until
    `recompute_statistics` replaces it by the exact ones of a data set.

    Args:
        num_features: number of dimensions.
        momentum: the weight of a new batch in the running average.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, num_features: int, momentum: float = 0.1):
        super().__init__()
        self.num_features = num_features
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """Standardise `(batch, num_features)`; returns fp32.

        Raises:
            ValueError: for a training batch of one sentence, which has no variance.
        """
        raw = raw.float()
        if self.training:
            return self._standardise_by_batch(raw)
        varies = self.running_var > 0
        return (raw - self.running_mean) * (torch.where(varies, self.running_var, 1.0).rsqrt() * varies)

    def _standardise_by_batch(self, raw: torch.Tensor) -> torch.Tensor:
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        shared = shared and torch.distributed.get_world_size() > 1
        if raw.size(0) == 1 and not shared:
            raise ValueError(
                "batch normalisation of the posterior needs at least 2 sentences in a training batch, got 1: "
                "raise the batch size; call .eval() on a model that is not trained; and where the last batch of an "
                "epoch is the one, tell Trainer dataloader_drop_last=True"
            )
        # Normalisation ignores shifts and scales of its input, so both are taken out beforehand, as constants:
        # squares then neither overflow nor underflow, and equal inputs give differences of exactly zero.
        origin = raw[0].detach().clone()
        if shared:
            torch.distributed.broadcast(origin, src=0)
        offsets = raw - origin
        spread = offsets.detach().abs().amax(0)
        count = torch.full((1,), float(raw.size(0)), device=raw.device)
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
    def recompute_statistics(self, raw_batches: Iterable[torch.Tensor]) -> None:
        """Replace the running average by the exact mean and biased variance of `raw_batches`, in float64.

        Args:
            raw_batches: `(batch, num_features)` tensors, batches of any sizes; under `torch.distributed` each process
                passes its own share.

        Raises:
            ValueError: when there are fewer than two rows in all.
        """
        device = self.running_mean.device
        count = torch.zeros((), dtype=torch.float64)
        mean = torch.zeros(self.num_features, dtype=torch.float64)
        squares = torch.zeros(self.num_features, dtype=torch.float64)
        for batch in raw_batches:
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
        return f"{self.num_features}, momentum={self.momentum}"


class FixedScaleBatchNorm(BatchStandardisation):
    r"""Batch normalisation with a frozen scale: μ̂ = γ (μ − mean_B) / std_B + β (Eq. 5).

    Over a training batch each dimension of μ̂ has mean β and variance γ², so that the KL to N(0, I), averaged over the
    batch, is at least n(γ²+β²)/2 (Eq. 6).

    Args:
        num_features: number of latent dimensions n.
        gamma: the frozen scale. It is no parameter: no optimiser can move it.
    """

    def __init__(self, num_features: int, gamma: float):
        super().__init__(num_features)
        self.gamma = gamma
        self.shift = nn.Parameter(torch.zeros(num_features))

    def forward(self, raw_mean: torch.Tensor) -> torch.Tensor:
        """Normalise `(batch, num_features)`; returns fp32."""
        return self.gamma * super().forward(raw_mean) + self.shift.float()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gamma={self.gamma}"


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
