"""What several modules ask of a layer, of a network to be made, and of rows with padding."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

_WITHOUT_WEIGHTS: ContextVar[tuple[str, ...]] = ContextVar("parts that are made without weights", default=())


@contextmanager
def networks_without_weights(*parts: str) -> Iterator[None]:
    """Make the networks of some parts (`encoder`, `decoder`) on the meta device: pretrained ones take their places."""
    token = _WITHOUT_WEIGHTS.set(parts)
    try:
        yield
    finally:
        _WITHOUT_WEIGHTS.reset(token)


def network_of(part: str, auto_class: Any, config) -> Any:
    """A new network of a part of a model."""
    with torch.device("meta") if part in _WITHOUT_WEIGHTS.get() else nullcontext():
        return auto_class.from_config(config)


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Give every module back the mode that it is in, training or evaluation, which may be another for each."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class TopicVectors(nn.Embedding):
    """A vector for each topic, behind that of no topic, which starts at 0, the centre of the others."""


def words_read(input_ids: torch.Tensor, padding: int | None) -> torch.Tensor:
    """Which of `(batch, length)` token ids are read where no mask says so: all but padding, where there is such."""
    return torch.ones_like(input_ids, dtype=torch.bool) if padding is None else input_ids != padding


def to_the_left(rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Move the positions that `mask` `(batch, length)` counts to the front, in their order.

    The rows are `(batch, length)` or `(batch, length, width)`.
    """
    counted = mask.bool()
    in_front, behind = counted.long().cumsum(1), (~counted).long().cumsum(1)
    positions = torch.where(counted, in_front, in_front[:, -1:] + behind) - 1
    return torch.zeros_like(rows).scatter(
        1, positions if rows.dim() == 2 else positions.unsqueeze(-1).expand_as(rows), rows
    )


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is `x @ weight.T` and nothing else.

    It is not when it was replaced (by an adapter, a quantised or a parametrised layer, one with a bias), when it has
    hooks, or when its `forward` was: then it has to be called.
    """
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return type(layer) is nn.Linear and layer.bias is None and not any(hooks) and "forward" not in vars(layer)


def input_dtype(layer: nn.Module, weight: str = "weight") -> torch.dtype:
    """The type of numbers that a layer reads: its weight's, and fp32 where that is no tensor (a quantised layer)."""
    parameter = getattr(layer, weight, None)
    if isinstance(parameter, torch.Tensor) and parameter.is_floating_point():
        return parameter.dtype
    return torch.float32
