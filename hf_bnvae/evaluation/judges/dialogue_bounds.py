"""Perplexity and KL of a CVAE, as a local `evaluate` module."""

import datasets
import evaluate

from hf_bnvae.evaluation.inference import perplexity

DESCRIPTION = """rec_ppl = exp(total reconstruction / total tokens), and the mean KL in nats a response."""
INPUTS = """reconstruction, kl: nats of each response; tokens: its words, the end symbol counted."""


class DialogueBounds(evaluate.Metric):
    """`rec_ppl`, `rec`, `kl` and `elbo`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="Zhao et al. (2017), Learning Discourse-level Diversity for Neural Dialog Models",
            inputs_description=INPUTS,
            features=datasets.Features(
                {
                    "reconstruction": datasets.Value("float64"),
                    "kl": datasets.Value("float64"),
                    "tokens": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, reconstruction, kl, tokens):
        return {
            "rec_ppl": perplexity(sum(reconstruction), sum(tokens)),
            "rec": sum(reconstruction) / len(reconstruction),
            "kl": sum(kl) / len(kl),
            "elbo": (sum(reconstruction) + sum(kl)) / len(kl),
        }
