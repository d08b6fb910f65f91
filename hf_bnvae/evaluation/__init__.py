"""From a model and batches to numbers. All losses are in nats per sentence."""

from .collapse import collapse_verdict
from .grid import GridPosterior, discretised_posterior, grid_posterior
from .inference import Inference, agg_kl, au, dialogue_metrics, elbo, elbo_metrics, infer, kl, mi, rec
from .likelihood import nll
from .probes import bag_of_words, classification_scores, nested_samples, probe
from .responses import WordVectors, judge_responses
from .sampling import sample_responses
from .scores import with_another_s_latents

__all__ = [
    "GridPosterior",
    "Inference",
    "WordVectors",
    "agg_kl",
    "au",
    "bag_of_words",
    "classification_scores",
    "collapse_verdict",
    "dialogue_metrics",
    "discretised_posterior",
    "elbo",
    "elbo_metrics",
    "grid_posterior",
    "infer",
    "judge_responses",
    "kl",
    "mi",
    "nested_samples",
    "nll",
    "probe",
    "rec",
    "sample_responses",
    "with_another_s_latents",
]
