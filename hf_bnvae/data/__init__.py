"""From a file or a name to padded batches."""

from .batches import LengthBucketSampler, VaeCollator, encode_corpus
from .corpora import Corpus, CorpusError, CorpusReport, load_corpus
from .pydocs import pydocs_sentences, pydocs_splits
from .tokenizers import build_tokenizer, load_tokenizer

__all__ = [
    "Corpus",
    "CorpusError",
    "CorpusReport",
    "LengthBucketSampler",
    "VaeCollator",
    "build_tokenizer",
    "encode_corpus",
    "load_corpus",
    "load_tokenizer",
    "pydocs_sentences",
    "pydocs_splits",
]
