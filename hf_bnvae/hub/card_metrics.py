"""How a card shows the metrics of a run."""

import math
from dataclasses import dataclass

SPLITS = {"eval": "validation", "test": "test"}
"""The splits that are judged, by what stands in front of their results."""


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Args:
        label: its name.
        unit: of its values; "nats" are nats per sentence, or per response.
        meaning: what it says, in a few words.
    """

    label: str
    unit: str = ""
    meaning: str = ""


CARD_METRICS = {
    "nll": Metric("NLL", "nats", "importance-weighted bound on −log p of the text"),
    "ppl": Metric("PPL per token", "", "perplexity per token of the decoder that the NLL gives, end symbols counted"),
    "word_ppl": Metric("PPL per word", "", "the same per word between white space, a text's end being one"),
    "elbo": Metric("ELBO (negative)", "nats", "reconstruction and KL together, each at weight 1"),
    "rec": Metric("reconstruction", "nats", "−log p of the text at one sample of its posterior"),
    "kl": Metric("KL", "nats", "of the posterior from the prior"),
    "mi": Metric("MI", "nats", "mutual information between text and latent"),
    "au": Metric("AU", "units", "active units: latent dimensions in use"),
    "agg_kl": Metric("aggregate KL", "nats", "of the posterior averaged over the split from the prior"),
    "use": Metric("use", "nats", "what the decoder takes from z: reconstruction at another z, less at its own"),
    "reconstruction_bleu": Metric("reconstruction BLEU", "percent", "of texts said again from the posterior mean"),
    "exact_match": Metric("exact match", "share", "of texts that come back word for word"),
    "sample_ppl": Metric("sample PPL", "", "perplexity per token of a language model, of draws of the prior"),
    "kl_prior": Metric("KL of the prior", "nats", "of the prior of a context from N(0, I)"),
    "bow_loss": Metric("bag-of-words loss", "nats", "of predicting the words without their order"),
    "rec_ppl": Metric("reconstruction PPL", "", "perplexity per word that the reconstruction gives"),
    "bleu_precision": Metric("BLEU-4 precision", "percent", "how close the sampled responses come to a person's"),
    "bleu_recall": Metric("BLEU-4 recall", "percent", "how close the best sampled response comes to each person's"),
    "abow_precision": Metric("A-bow precision", "percent", "the same by cosines of averaged word vectors"),
    "abow_recall": Metric("A-bow recall", "percent", "the same by cosines of averaged word vectors"),
    "ebow_precision": Metric("E-bow precision", "percent", "the same by cosines of extreme word vectors"),
    "ebow_recall": Metric("E-bow recall", "percent", "the same by cosines of extreme word vectors"),
    "distinct_1": Metric("distinct-1", "share", "of different words in all responses to a context"),
    "distinct_2": Metric("distinct-2", "share", "of different word pairs in all responses to a context"),
    "unknown_share": Metric("unknown words", "share", "of the words that the tokenizer does not know"),
    "within_distinct_1": Metric("distinct-1 within", "share", "of different words in one response"),
    "within_distinct_2": Metric("distinct-2 within", "share", "of different word pairs in one response"),
    "average_length": Metric("length", "words", "of a sampled response"),
}


def shown_number(value: float) -> str:
    """A number as text: whole ones whole, others with two decimals."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
