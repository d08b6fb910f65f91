"""Likeness of responses by word vectors, as a local `evaluate` module."""

import datasets
import evaluate

from hf_bnvae.evaluation.responses import WordVectors, word_vector_similarity

DESCRIPTION = """Cosines of averages (A-bow) and extrema (E-bow) of word vectors: precision and recall in percent."""
INPUTS = """predictions: for each context, the responses of the model. references: for each, those of people. Words
stand between spaces.
vectors: the path of a file of word vectors."""


class WordVectorSimilarity(evaluate.Metric):
    """`abow_*` and `ebow_*`, precision and recall."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="Zhao et al. (2017), Learning Discourse-level Diversity for Neural Dialog Models",
            inputs_description=INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("string")),
                    "references": datasets.Sequence(datasets.Value("string")),
                }
            ),
        )

    def _compute(self, predictions, references, vectors):
        return word_vector_similarity(predictions, references, WordVectors.load(vectors))
