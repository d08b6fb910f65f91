"""Ways from one latent to another."""

import math

import torch


def interpolate_latents(a: torch.Tensor, b: torch.Tensor, steps: int, mode: str = "slerp") -> torch.Tensor:
    """`(steps, latent_size)` points from a to b, spherical or linear.

    Where the two directions are parallel or one of the ends is 0 there is no arc, and the path is linear.

    Raises:
        ValueError: for fewer than two steps or an unknown mode.
    """
    if steps < 2:
        raise ValueError(f"an interpolation needs at least 2 steps, got {steps}")
    if mode not in ("slerp", "linear"):
        raise ValueError(f"mode must be 'slerp' or 'linear', got {mode!r}")
    share = torch.linspace(0, 1, steps, device=a.device, dtype=a.dtype).unsqueeze(1)
    norms = a.norm() * b.norm()
    cosine = (a @ b / norms).clamp(-1, 1) if norms > 0 else torch.ones_like(norms)
    angle = torch.arccos(cosine)
    if mode == "linear" or math.isclose(float(torch.sin(angle)), 0.0, abs_tol=1e-4):
        return (1 - share) * a + share * b
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
