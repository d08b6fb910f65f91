"""Normalisation of a posterior's parameters over batches: Eq. 5 of the paper, and the matched moments.

Every statistic is that of the training batch, of all processes together under `torch.distributed`, with gradients
through it; under gradient accumulation it is that of each micro-batch. It is computed in fp32 under autocast and for
half-precision weights. In evaluation a stored one is used, which stays fp32: a running average over training batches,
until `recompute_statistics` replaces it by the exact one of a data set.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import nn
from transformers import initialization as init

SMALLEST_SPREAD = 1e-30
Number = TypeVar("Number", float, torch.Tensor)


class BatchStatistics(nn.Module):
    """The base of all normalisations: it stores statistics and computes their exact values over a data set.

    A summary of any number of rows is a `(rows of the summary, num_features)` tensor in float64, whose first row is
    their count.

    Args:
        num_features: number of dimensions.
        momentum: the weight of a new batch in the running average.
    """

    num_batches_tracked: torch.Tensor

    def __init__(self, num_features: int, momentum: float = 0.1):
        super().__init__()
        self.num_features = num_features
        self.momentum = momentum
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def reset_parameters(self) -> None:
        """Forget all batches."""
        init.zeros_(self.num_batches_tracked)

    def empty_summary(self) -> torch.Tensor:
        """Return the summary of no rows."""
        raise NotImplementedError

    def summary(self, raw: torch.Tensor) -> torch.Tensor:
        """Summarise `(batch, num_features)` in float64."""
        raise NotImplementedError

    def merged(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Merge the summaries of two sets of rows."""
        raise NotImplementedError

    def store(self, summary: torch.Tensor) -> None:
        """Make the statistics of a summary the stored ones."""
        raise NotImplementedError

    def recompute_statistics(self, raw_batches: Iterable[torch.Tensor]) -> None:
        """See `recompute_statistics` below; of this module alone, from `(batch, num_features)` tensors."""
        recompute_statistics([self], ([raw] for raw in raw_batches))

    def _weight_of_a_batch(self) -> torch.Tensor:
        """Count a new training batch, and return its weight in the running average."""
        self.num_batches_tracked += 1
        return (1.0 / self.num_batches_tracked.float()).clamp(min=self.momentum)

    def _apply(self, fn, recurse=True):
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.is_floating_point() and buffer.dtype != torch.float32 and not exact[name].is_meta:
                setattr(self, name, exact[name].to(buffer.device))
        return self

    def extra_repr(self) -> str:
        return f"{self.num_features}, momentum={self.momentum}"


class NormalisedModule(nn.Module):
    """A part of a model which may hold batch statistics; half-precision weights leave those in fp32."""

    @property
    def normalisations(self) -> list[BatchStatistics]:
        """The modules that hold statistics of the training set, in the order in which they were made."""
        return [module for module in self.modules() if isinstance(module, BatchStatistics)]

    @property
    def _keep_in_fp32_modules_strict(self) -> set[str]:
        """The names of buffers that Transformers keeps in fp32 when it loads a model in half precision."""
        buffers = (named for module in self.normalisations for named in module.named_buffers())
        return {name for name, buffer in buffers if buffer.is_floating_point()}


@torch.no_grad()
def recompute_statistics(modules: Sequence[BatchStatistics], raw_batches: Iterable[Sequence[torch.Tensor]]) -> None:
    """Replace the running averages of modules by the exact statistics of a data set, in float64 and in one pass.

    Args:
        raw_batches: of each batch, of any size, what each module reads of it, `(batch, num_features)`. Under
            `torch.distributed` each process passes its own share, which may be empty.

    Raises:
        ValueError: when there are fewer than two rows in all.
    """
    totals = [module.empty_summary() for module in modules]
    for raws in raw_batches:
        totals = [
            module.merged(total, module.summary(raw.to("cpu", torch.float64)))
            for module, total, raw in zip(modules, totals, raws, strict=True)
        ]
    for module, own in zip(modules, totals, strict=True):
        total = module.empty_summary()
        for summary in _of_all_processes(own, module.num_batches_tracked.device):
            total = module.merged(total, summary)
        if total[0, 0] < 2:
            raise ValueError(f"posterior statistics need at least 2 sentences, got {int(total[0, 0])}")
        module.store(total)


class BatchStandardisation(BatchStatistics):
    r"""(x − mean_B) / std_B in every dimension.

    In training the batch's own biased statistics are used, so that over a batch each dimension has mean 0 and variance
    1 *exactly*, whatever the scale of x: there is no ε for the encoder to hide under. A dimension that does not vary at
    all gives 0, and no gradient.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, num_features: int, momentum: float = 0.1):
        super().__init__(num_features, momentum)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def reset_parameters(self):
        super().reset_parameters()
        init.zeros_(self.running_mean)
        init.ones_(self.running_var)

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
        shared = _is_shared()
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
        mean = sum_over_processes(offsets.sum(0)) / count
        centred = offsets - mean
        variance = sum_over_processes((centred**2).sum(0)) / count
        varies = varies & (variance.detach() > 0)
        self._update_running(origin + spread * mean.detach(), spread**2 * variance.detach() * varies)
        return centred * (torch.where(varies, variance, 1.0).rsqrt() * varies)

    @torch.no_grad()
    def _update_running(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        weight = self._weight_of_a_batch()
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)

    def empty_summary(self) -> torch.Tensor:
        return torch.zeros(3, self.num_features, dtype=torch.float64)

    def summary(self, raw: torch.Tensor) -> torch.Tensor:
        mean = raw.mean(0)
        return torch.stack([torch.full_like(mean, len(raw)), mean, ((raw - mean) ** 2).sum(0)])

    def merged(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        (count, mean, squares), (new, new_mean, new_squares) = left, right
        share = new / (count + new).clamp(min=1)
        difference = new_mean - mean
        return torch.stack(
            [count + new, mean + difference * share, squares + new_squares + difference**2 * count * share]
        )

    def store(self, summary: torch.Tensor) -> None:
        count, mean, squares = summary
        self.running_mean.copy_(mean)
        self.running_var.copy_(squares / count)


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

    def reset_parameters(self):
        super().reset_parameters()
        init.zeros_(self.shift)

    def forward(self, raw_mean: torch.Tensor) -> torch.Tensor:
        """Normalise `(batch, num_features)`; returns fp32."""
        return self.gamma * super().forward(raw_mean) + self.shift.float()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gamma={self.gamma}"


def kl_lower_bound(gamma: Number, beta: Number) -> Number:
    """(γ² + β²)/2: the least KL of a dimension to N(0, 1) in nats, averaged over the batch of Eq. 5 (Eq. 6)."""
    return (gamma**2 + beta**2) / 2


class BatchUnitMean(BatchStatistics):
    r"""x − log mean_B exp(x) in every dimension, so that exp of it has the mean 1 over a batch *exactly*.

    Neither the scale nor a shift of x can overflow: the largest of each dimension is taken out before exp.
    """

    running_log_mean: torch.Tensor

    def __init__(self, num_features: int, momentum: float = 0.1):
        super().__init__(num_features, momentum)
        self.register_buffer("running_log_mean", torch.zeros(num_features))

    def reset_parameters(self):
        super().reset_parameters()
        init.zeros_(self.running_log_mean)

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """Normalise `(batch, num_features)`; returns fp32."""
        raw = raw.float()
        if not self.training:
            return raw - self.running_log_mean
        shared = _is_shared()
        largest = raw.detach().amax(0)
        count = torch.full((1,), float(raw.size(0)), device=raw.device)
        if shared:
            torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
            torch.distributed.all_reduce(count)
        below = raw - largest
        log_mean = (sum_over_processes(below.exp().sum(0)) / count).log()
        self._update_running(largest + log_mean.detach())
        return below - log_mean

    @torch.no_grad()
    def _update_running(self, log_mean: torch.Tensor) -> None:
        weight = self._weight_of_a_batch()
        averaged = torch.logaddexp(self.running_log_mean + torch.log1p(-weight), log_mean + weight.log())
        self.running_log_mean.copy_(averaged)

    def empty_summary(self) -> torch.Tensor:
        nothing = torch.full((2, self.num_features), -math.inf, dtype=torch.float64)
        nothing[0] = 0
        return nothing

    def summary(self, raw: torch.Tensor) -> torch.Tensor:
        log_sum = raw.logsumexp(0)
        return torch.stack([torch.full_like(log_sum, len(raw)), log_sum])

    def merged(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return torch.stack([left[0] + right[0], torch.logaddexp(left[1], right[1])])

    def store(self, summary: torch.Tensor) -> None:
        count, log_sum = summary
        self.running_log_mean.copy_(log_sum - count.log())


def _is_shared() -> bool:
    """Whether a batch is shared out to several processes."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _of_all_processes(summary: torch.Tensor, device: torch.device) -> list[torch.Tensor]:
    """The summary of each process."""
    if not _is_shared():
        return [summary]
    # NCCL moves only tensors on its own device, gloo those on the CPU.
    summary = summary.to(device if torch.distributed.get_backend() == "nccl" else "cpu")
    summaries = [torch.empty_like(summary) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(summaries, summary)
    return [other.cpu() for other in summaries]


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


def sum_over_processes(own: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over the processes that share a batch, with gradients back to each; alone, itself."""
    return _AllReduceSum.apply(own) if _is_shared() else own
