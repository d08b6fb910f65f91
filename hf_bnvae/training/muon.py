"""Muon for the matrices of a network and AdamW for the rest of it, as one optimiser."""

from collections import defaultdict
from collections.abc import Iterable

import torch

from ..models.pretrained_parts import pretrained_parameters
from .parameter_groups import set_apart
from .recipes import bf16_pays

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_NORM = 1e-7
RMS_OF_ADAM = 0.2


class MuonAdamW(torch.optim.Optimizer):
    """AdamW, and Muon for the weights that `move_to_muon` is given.

    Muon (Jordan et al. 2024) steps along the momentum of a matrix with its singular values made one, so that all
    directions learn alike. The step is scaled to the mean square of AdamW's (Liu et al. 2025, "Muon is scalable for LLM
    training"), so that both take the same learning rate and the same weight decay. Without a processor for bf16 it
    takes a fourth of the time of `torch.optim.Muon`, which always iterates in bf16, and matrices of one shape go
    together.

    Args:
        params: the parameters, or groups of them.
        momentum: of Muon.
        adamw: the arguments of `torch.optim.AdamW`.
    """

    def __init__(self, params, momentum: float = 0.9, **adamw):
        self._adamw = torch.optim.AdamW(params, **adamw)
        super().__init__(self._adamw.param_groups, self._adamw.defaults)
        self.momentum = momentum
        self._precision = torch.bfloat16 if bf16_pays() else torch.float32

    def move_to_muon(self, matrices: Iterable[torch.nn.Parameter]) -> None:
        """Let Muon train some of the parameters, whose dimensions after the first count as one."""
        set_apart(self, matrices, momentum=self.momentum)

    @torch.no_grad()
    def step(self, closure=None):
        """One step of all parameters that have a gradient."""
        # Groups and states become other objects where a checkpoint is loaded.
        self._adamw.param_groups = [group for group in self.param_groups if "momentum" not in group]
        self._adamw.state = self.state
        loss = self._adamw.step(closure)
        for group in self.param_groups:
            if "momentum" in group:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict) -> None:
        alike = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is not None:
                alike[weight.shape].append(weight)
        for shape, weights in alike.items():
            moved = []
            for weight in weights:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                moved.append(weight.grad.lerp(average, group["momentum"]).flatten(1))  # Nesterov's
            steps = orthogonal(torch.stack(moved).to(self._precision)).to(weights[0].dtype)
            rate = group["lr"] * RMS_OF_ADAM * max(steps.shape[1:]) ** 0.5
            for weight, step in zip(weights, steps, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(step.view(shape), alpha=-rate)


def matrices_of(model) -> list[torch.nn.Parameter]:
    """What Muon trains: the weights of layers, but for word vectors, the output layer and pretrained parts."""
    others = [*pretrained_parameters(model), model.get_output_embeddings().weight]
    others += [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    known = {id(weight) for weight in others}
    return [weight for weight in model.parameters() if weight.dim() > 1 and id(weight) not in known]


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices with their singular vectors, and singular values near one: between 0.5 and 1.5.

    Args:
        matrices: float tensor (matrices, rows, columns).
    """
    linear, cubic, quintic = NEWTON_SCHULZ
    is_tall = matrices.size(1) > matrices.size(2)
    found = matrices.mT if is_tall else matrices
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp_min(SMALLEST_NORM)
    for _ in range(ITERATIONS):
        squared = found @ found.mT
        factor = torch.baddbmm(squared, squared, squared, beta=cubic, alpha=quintic)
        found = torch.baddbmm(found, factor, found, beta=linear)
    return found.mT if is_tall else found
