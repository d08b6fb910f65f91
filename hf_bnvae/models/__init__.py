"""What travels with a checkpoint: configurations, models, posteriors, decoders, objectives."""

from .configuration_bnvae import BnVaeConfig
from .modeling_bnvae import BnVaeForConditionalGeneration, BnVaeModel

__all__ = ["BnVaeConfig", "BnVaeForConditionalGeneration", "BnVaeModel"]
