"""Sentence BLEU-4 of several responses to each context, as a local `evaluate` module."""

import datasets
import evaluate

from hf_bnvae.evaluation.responses import bleu

DESCRIPTION = """Sentence BLEU-4, smoothed by technique 7 of Chen & Cherry (2014): precision and recall in percent."""
INPUTS = """predictions: for each context, the responses of the model. references: for each, those of people. Words
stand between spaces."""


class ResponseBleu(evaluate.Metric):
    """`bleu_precision` and `bleu_recall`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="Chen & Cherry (2014), A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU",
            inputs_description=INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("string")),
                    "references": datasets.Sequence(datasets.Value("string")),
                }
            ),
        )

    def _compute(self, predictions, references):
        return bleu(predictions, references)
