"""Latents as users have them: tensors, arrays and lists."""

from typing import Any

import torch

SHAPES = {1: "({},)", 2: "(batch, {})", 3: "(batch, num_samples, {})"}


def latents_of(latents: Any, size: int, dimensions: tuple[int, ...] = (2,), name: str = "latents") -> torch.Tensor:
    """Latents as a tensor of floating point numbers, of any of the `SHAPES` of so many dimensions.

    Args:
        latents: a tensor, a NumPy array, or a list of numbers or of either; an empty list is no latents.
        size: numbers of a latent.
        name: of the parameter, for errors.

    Raises:
        ValueError: for another shape, for what is no numbers, and for a NaN or an infinity.
    """
    wanted = f"{name} must be {' or '.join(SHAPES[number].format(size) for number in dimensions)}"
    try:
        found = _as_tensor(latents, size)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{wanted} numbers, got {_described(latents)}") from error
    if found.dim() not in dimensions or found.size(-1) != size or found.is_complex():
        hint = f"; {name}[None] makes a batch of one" if found.shape == (size,) else ""
        raise ValueError(f"{wanted}, got {tuple(found.shape)}{hint}")
    finite = found.isfinite()
    if not finite.all():
        row = "" if found.dim() == 1 else f" in row {int(finite.flatten(1).all(1).int().argmin())}, counted from 0"
        raise ValueError(f"{name} must be finite numbers, got others{row}")
    return found


def _as_tensor(latents: Any, size: int) -> torch.Tensor:
    if isinstance(latents, torch.Tensor):
        return latents if latents.is_floating_point() or latents.is_complex() else latents.float()
    if isinstance(latents, list | tuple):
        if not latents:
            return torch.zeros(0, size)
        return torch.stack([torch.as_tensor(row) for row in latents]).float()
    return torch.as_tensor(latents, dtype=torch.float32)


def _described(latents: Any) -> str:
    """What stands in the place of latents."""
    if isinstance(latents, list | tuple):
        kinds = sorted({type(row).__name__ for row in latents})
        return f"a {type(latents).__name__} of {' and '.join(kinds)}"
    return f"a {type(latents).__name__}"
