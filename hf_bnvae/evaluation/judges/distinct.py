"""Diversity of responses, as a local `evaluate` module."""

import datasets
import evaluate

from hf_bnvae.evaluation.responses import distinct

DESCRIPTION = """The share of distinct n-grams among those of all responses to a context, and within each response."""
INPUTS = """predictions: for each context, the responses of the model. orders: the n."""


class Distinct(evaluate.Metric):
    """`distinct_n` and `within_distinct_n`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="Li et al. (2016), A Diversity-Promoting Objective Function for Neural Conversation Models",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Sequence(datasets.Value("string"))}),
        )

    def _compute(self, predictions, orders=(1, 2)):
        return distinct(predictions, orders)
