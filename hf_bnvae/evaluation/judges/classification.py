"""Accuracy and F1 of a classifier, as a local `evaluate` module."""

import datasets
import evaluate

from hf_bnvae.evaluation.probes import classification_scores

DESCRIPTION = """The share of sentences whose class is right, and F1 averaged over classes, as fractions."""
INPUTS = """predictions: the class that each sentence was given. references: the one that it has."""


class Classification(evaluate.Metric):
    """`accuracy` and `f1`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions, references):
        return classification_scores(predictions, references)
