"""Semi-amortised inference (Kim et al. 2018): the encoder's posterior, refined sentence by sentence by gradient steps.

From λ₀ = (μ, log σ²) of the encoder, K steps of descent with momentum on L(λ) = rec + weight · KL of each sentence:

    v ← ρ v + clip(∇L(λ)),   λ ← λ − α v

The gradient passes back through the steps. That takes products of L's second derivatives with vectors, which are formed
by central differences of first derivatives, because fused LSTM kernels have no second ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .distributions import DiagonalGaussian
from .layers import modes_kept, to_the_left, words_read
from .objectives import IGNORED

NOISE_SAMPLES = 1 << 40  # numbers of noise that no metric draws

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


def refine_posterior(
    model: Any,
    posterior: DiagonalGaussian,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    kl_weight: float | torch.Tensor,
    noise_seed: int | torch.Tensor | None,
) -> DiagonalGaussian:
    """The encoder's posterior of `(batch, length)` token ids after `config.refinement_steps` steps.

    Args:
        model: a text VAE with its decoder.
        kl_weight: of the KL in the loss that the steps make small.
        noise_seed: of the noise of the steps, as in a call of the model.
    """
    if torch.is_inference_mode_enabled():
        # The steps need gradients, which neither this mode nor the tensors made in it have.
        with torch.inference_mode(False), torch.no_grad():
            mask = attention_mask if attention_mask is None else attention_mask.clone()
            return refine_posterior(model, posterior.map(torch.clone), input_ids.clone(), mask, kl_weight, noise_seed)
    config = model.config
    mask = words_read(input_ids, config.pad_token_id) if attention_mask is None else attention_mask.bool()
    input_ids, mask = to_the_left(input_ids, mask), to_the_left(mask, mask)
    labels = input_ids[:, 1:].masked_fill(~mask[:, 1:], IGNORED)
    samples = range(NOISE_SAMPLES, NOISE_SAMPLES + config.refinement_steps)
    noise = model.model.keyed_noise(samples, noise_seed, input_ids, mask)
    if noise is None:
        noise = torch.randn(len(input_ids), len(samples), config.latent_size, device=input_ids.device)

    def losses(position: torch.Tensor, number: int) -> torch.Tensor:
        candidate = DiagonalGaussian(*position.chunk(2, 1))
        sides = len(position) // len(labels)
        step_noise = noise[:, number : number + 1].repeat(sides, 1, 1)
        # Differences of gradients leave nothing of bf16's eight bits.
        with _without_dropout(model.decoder), torch.autocast(input_ids.device.type, enabled=False):
            rec = model.sentence_losses(labels.repeat(sides, 1), candidate.rsample(noise=step_noise).squeeze(1))
        return rec + kl_weight * candidate.kl().sum(1)

    steps = RefinementSteps(
        config.refinement_steps, config.refinement_step_size, config.refinement_momentum, config.refinement_clip
    )
    start = torch.cat([posterior.mean, posterior.logvar], 1)
    refined = refine(start, losses, list(model.decoder.parameters()), steps)
    return DiagonalGaussian(*refined.chunk(2, 1))


@contextmanager
def _without_dropout(decoder: nn.Module) -> Iterator[None]:
    """The decoder without dropout, yet in training mode, without which some LSTM kernels have no gradient."""
    with modes_kept(decoder):
        for module in decoder.modules():
            module.training = not isinstance(module, nn.Dropout)
        yield


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
