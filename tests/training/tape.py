"""A graph's recorder for the CPU: what CUDA's graphs do, kernel by kernel."""

from collections.abc import Callable, Iterable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def tensors_of(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Calls(TorchDispatchMode):
    """Keeps every call of a kernel with the tensors that it reads and writes; refuses to give a number to the host."""

    def __init__(self):
        super().__init__()
        self.made: list[tuple] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name in ("aten::_local_scalar_dense", "aten::nonzero"):
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}")
        result = function(*args, **(kwargs or {}))
        self.made.append((function, args, kwargs or {}, tensors_of(result), torch.is_grad_enabled()))
        return result


class Tape:
    """Records the calls of a step, and does them again on the very tensors that they were recorded with.

    Recording leaves `state`, all tensors that a step changes, and the random numbers as they were.
    """

    def __init__(self, state: Callable[[], Iterable[torch.Tensor]]):
        self.state = state

    def __call__(self, call):
        before = [(tensor, tensor.detach().clone()) for tensor in self.state()]
        random = torch.get_rng_state()
        try:
            with Calls() as calls:
                result = call()
        finally:
            torch.set_rng_state(random)
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)
        return lambda: replay(calls.made), result


def replay(calls: list[tuple]) -> None:
    for function, args, kwargs, results, learning in calls:
        # LSTMs keep what their gradient needs only where there may be one; but nothing is to be derived here.
        with torch.set_grad_enabled(learning), torch._C._AutoDispatchBelowAutograd():
            again = tensors_of(function(*args, **kwargs))
        for old, new in zip(results, again, strict=True):
            if old.numel() and old.data_ptr() != new.data_ptr():
                old.detach().copy_(new)
