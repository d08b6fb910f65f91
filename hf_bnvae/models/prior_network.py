"""The prior p(z|x) of a conditional model."""

import torch
from torch import nn

from .distributions import DiagonalGaussian
from .layers import input_dtype
from .normalisation import FixedScaleBatchNorm, NormalisedModule


class PriorNetwork(NormalisedModule):
    """p(z|x) = N(μ, σ²): a tanh layer over the context, and a linear one to μ and log σ²."""

    def __init__(self, config):
        super().__init__()
        self.hidden = nn.Linear(config.context_size, config.prior_hidden_size)
        self.parameters_of = nn.Linear(config.prior_hidden_size, 2 * config.latent_size)
        self.mean_norm = FixedScaleBatchNorm(config.latent_size, config.gamma) if config.prior_batch_norm else None

    def forward(self, context: torch.Tensor) -> DiagonalGaussian:
        """From `(batch, context_size)`; fp32 even under autocast."""
        with torch.autocast(context.device.type, enabled=False):
            mean, logvar = self.raw(context)
            return DiagonalGaussian(mean if self.mean_norm is None else self.mean_norm(mean), logvar)

    def raw(self, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mean, before its normalisation, and log σ²."""
        hidden = torch.tanh(self.hidden(context.to(input_dtype(self.hidden))))
        return self.parameters_of(hidden).float().chunk(2, 1)
