"""Average length of responses, as a local `evaluate` module."""

import datasets
import evaluate

from hf_bnvae.evaluation.responses import average_length

DESCRIPTION = """Words of a response."""
INPUTS = """predictions: for each context, the responses of the model."""


class ResponseLength(evaluate.Metric):
    """`average_length`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Sequence(datasets.Value("string"))}),
        )

    def _compute(self, predictions):
        return {"average_length": average_length(predictions)}
