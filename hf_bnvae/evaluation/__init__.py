"""From a model and batches to numbers. All losses are in nats per sentence."""

from ..deprecation import former_names
from .collapse import collapse_verdict
from .grid import GridPosterior, discretised_posterior, grid_posterior
from .inference import Inference, agg_kl, au, dialogue_metrics, elbo, elbo_metrics, infer, kl, mi, rec, use
from .likelihood import nll
from .model_protocols import EvaluatedModel, GeneratingModel, RespondingModel, SampledModel
from .probes import bag_of_words, classification_scores, nested_samples, probe
from .responses import WordVectors, evaluate_responses
from .sampling import sample_responses
from .scores import infer_with_use, with_another_s_latents
from .text_order import TextBatches, encode_in_order
from .texts import evaluate_reconstructions, sample_ppl

__all__ = [
    "EvaluatedModel",
    "GeneratingModel",
    "GridPosterior",
    "Inference",
    "RespondingModel",
    "SampledModel",
    "TextBatches",
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
    "encode_in_order",
    "evaluate_reconstructions",
    "evaluate_responses",
    "grid_posterior",
    "infer",
    "infer_with_use",
    "kl",
    "mi",
    "nested_samples",
    "nll",
    "probe",
    "rec",
    "sample_ppl",
    "sample_responses",
    "use",
    "with_another_s_latents",
]

__getattr__ = former_names(
    __name__,
    {"judge_reconstructions": "evaluate_reconstructions", "judge_responses": "evaluate_responses"},
)
