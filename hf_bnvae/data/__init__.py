"""From a file or a name to padded batches."""

from .batches import LengthBucketSampler, VaeCollator, encode_corpus
from .corpora import Corpus, CorpusError, CorpusReport, load_corpus
from .dialogue_batches import DialogueCollator, DialogueResponses, DialogueSampler, encode_dialogues
from .dialogues import Dialogue, DialogueCorpus, DialogueReport, Turn, load_dialogues
from .encoder_states import SentenceStates
from .pydocs import pydocs_labels, pydocs_sentences, pydocs_splits
from .python_data import encoded_rows
from .raw_texts import with_token_ids
from .streaming import first_texts, training_sources
from .synthetic import SyntheticCorpus, spoken_words, synthetic_corpus
from .tokenizer_pair import TokenizerPair
from .tokenizers import build_tokenizer, load_tokenizer
from .tokens_on_disk import StreamSampler, TokenStore, token_store
from .toy_sentences import SentenceFactors, read_factors, toy_sentences

__all__ = [
    "Corpus",
    "CorpusError",
    "CorpusReport",
    "Dialogue",
    "DialogueCollator",
    "DialogueCorpus",
    "DialogueReport",
    "DialogueResponses",
    "DialogueSampler",
    "LengthBucketSampler",
    "SentenceFactors",
    "SentenceStates",
    "StreamSampler",
    "SyntheticCorpus",
    "TokenStore",
    "TokenizerPair",
    "Turn",
    "VaeCollator",
    "build_tokenizer",
    "encode_corpus",
    "encode_dialogues",
    "encoded_rows",
    "first_texts",
    "load_corpus",
    "load_dialogues",
    "load_tokenizer",
    "pydocs_labels",
    "pydocs_sentences",
    "pydocs_splits",
    "read_factors",
    "spoken_words",
    "synthetic_corpus",
    "token_store",
    "toy_sentences",
    "training_sources",
    "with_token_ids",
]
