"""From a model and batches to numbers. All losses are in nats per sentence."""

from .inference import Inference, agg_kl, au, elbo, elbo_metrics, infer, kl, mi, rec
from .likelihood import nll

__all__ = ["Inference", "agg_kl", "au", "elbo", "elbo_metrics", "infer", "kl", "mi", "nll", "rec"]
