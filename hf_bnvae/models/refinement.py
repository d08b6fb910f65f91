"""Semi-amortised inference (Kim et al. 2018): the encoder's posterior, refined sentence by sentence by gradient steps.

From λ₀ = (μ, log σ²) of the encoder, K steps of descent with momentum on L(λ) = rec + weight · KL of each sentence:

    v ← ρ v + clip(∇L(λ)),   λ ← λ − α v

The gradient passes back through the steps. That takes products of L's second derivatives with vectors, which are formed
by central differences of first derivatives, because fused LSTM kernels have no second ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

SentenceLosses = Callable[[torch.Tensor, int], torch.Tensor]
"""From λ `(batch, 2 · latent_size)` and the number of the step to the loss of each sentence `(batch,)`."""


@dataclass(frozen=True)
class RefinementSteps:
    """How λ moves: `number` steps of size `size` with `momentum`, each sentence's gradient cut to the norm `clip`."""

    number: int
    size: float
    momentum: float
    clip: float


def refine(
    start: torch.Tensor, losses: SentenceLosses, parameters: Sequence[torch.Tensor], steps: RefinementSteps
) -> torch.Tensor:
    """λ after the steps, `(batch, 2 · latent_size)`.

    Args:
        start: λ₀; gradients flow into it, and into `parameters`.
        losses: what the steps make small. At each step it must be the same function whenever it is called: no dropout,
            noise that belongs to the step. It is also called with twice the batch, for both sides of a difference.
        parameters: the tensors that `losses` depends on.
        steps: how to move.
    """
    return _Refinement.apply(start, losses, steps, *(item for item in parameters if item.requires_grad))


class _Refinement(torch.autograd.Function):
    @staticmethod
    def forward(ctx, start, losses, steps, *parameters):
        position, velocity = start.detach(), torch.zeros_like(start)
        path = []
        for number in range(steps.number):
            gradient = _gradients(losses, number, position, 1.0, ())[0]
            path.append((number, position, gradient))
            velocity = steps.momentum * velocity + _clipped(gradient, steps.clip)
            position = position - steps.size * velocity
        ctx.losses, ctx.steps, ctx.path, ctx.parameters = losses, steps, path, parameters
        return position

    @staticmethod
    def backward(ctx, position_grad):
        steps = ctx.steps
        velocity_grad = torch.zeros_like(position_grad)
        parameter_grads = [torch.zeros_like(parameter) for parameter in ctx.parameters]
        for number, position, gradient in reversed(ctx.path):
            velocity_grad = velocity_grad - steps.size * position_grad
            direction = _clipped_backward(gradient, steps.clip, velocity_grad)
            products = _hessian_products(ctx.losses, number, position, direction, ctx.parameters)
            position_grad = position_grad + products[0]
            for total, product in zip(parameter_grads, products[1:], strict=True):
                total += product
            velocity_grad = steps.momentum * velocity_grad
        return position_grad, None, None, *parameter_grads


def _gradients(
    losses: SentenceLosses, number: int, position: torch.Tensor, weights, parameters
) -> tuple[torch.Tensor, ...]:
    """Gradients of Σ weights · losses with respect to λ and the parameters."""
    with torch.enable_grad():
        position = position.detach().requires_grad_()
        total = (weights * losses(position, number)).sum()
        return torch.autograd.grad(total, (position, *parameters), materialize_grads=True)


def _hessian_products(losses, number, position, direction, parameters) -> list[torch.Tensor]:
    """∂²L/∂λ∂λ · direction and ∂²L/∂θ∂λ · direction, summed over sentences for the parameters θ.

    Each sentence is moved by the same distance to both sides, both sides in one batch, so that rounding weighs alike
    for all of them; the weights put the true lengths back.
    """
    distance = torch.finfo(position.dtype).eps ** (1 / 3)
    length = direction.norm(dim=1, keepdim=True)
    unit = direction / length.clamp(min=torch.finfo(position.dtype).tiny)
    weights = (length / (2 * distance)).squeeze(1)
    both_sides = torch.cat([position + distance * unit, position - distance * unit])
    moved, *products = _gradients(losses, number, both_sides, torch.cat([weights, -weights]), parameters)
    ahead, behind = moved.chunk(2)
    return [ahead + behind, *products]


def _clipped(gradient: torch.Tensor, clip: float) -> torch.Tensor:
    return gradient * (clip / gradient.norm(dim=1, keepdim=True).clamp(min=clip))


def _clipped_backward(gradient: torch.Tensor, clip: float, output_grad: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        gradient = gradient.detach().requires_grad_()
        return torch.autograd.grad(_clipped(gradient, clip), gradient, output_grad)[0]
