"""Flags that say what the model of dialogues is."""

from dataclasses import dataclass, field

from ..data import DialogueCorpus
from ..methods import DIALOGUE_METHODS
from ..models import BnCvaeConfig
from ..models.configuration_bncvae import CONDITIONAL_POSTERIORS
from ..models.configuration_bnvae import RATE_FIELDS
from ..plans import DIALOGUES
from ..training import DIALOGUE_RECIPES, DIALOGUE_SIZES
from .checks import check_least
from .errors import UsageError
from .model_flags import MethodArguments


@dataclass
class DialogueModelArguments(MethodArguments):
    """What the model is. The names are those of `BnCvaeConfig`."""

    FAMILY = DIALOGUES
    READ_BY = {
        "gamma": ("posterior", ("batch_norm", "du", "any with --prior_batch_norm")),
        "rate": ("posterior", tuple(name for name in CONDITIONAL_POSTERIORS if name in RATE_FIELDS)),
        "tau": ("posterior", ("tied_scales",)),
        "variance_dropout": ("posterior", ("du",)),
    }

    method: str = field(
        default="bn_cvae", metadata={"help": "which system to train", "choices": sorted(DIALOGUE_METHODS)}
    )
    recipe: str = field(
        default="fast", metadata={"help": "defaults of the training", "choices": sorted(DIALOGUE_RECIPES)}
    )
    size: str | None = field(
        default=None, metadata={"help": "defaults of the sizes", "choices": sorted(DIALOGUE_SIZES)}
    )
    list_methods: bool = field(default=False, metadata={"help": "print the table of methods and exit"})
    posterior: str | None = field(
        default=None, metadata={"help": "by default the method's", "choices": list(CONDITIONAL_POSTERIORS)}
    )
    rate: float | None = field(
        default=None, metadata={"help": "nats a response: sets gamma or tau; matched: the least KL, by default 8"}
    )
    gamma: float | None = field(
        default=None, metadata={"help": "the frozen scale of the batch-normalised posterior mean, by default 0.6"}
    )
    tau: float | None = field(
        default=None,
        metadata={"help": "tied_scales: least share of the variance that the means take, by default at a rate of 8"},
    )
    variance_dropout: float = field(default=0.5, metadata={"help": "du: dropout on the posterior variance"})
    prior_batch_norm: bool = field(
        default=False, metadata={"help": "normalise the prior's mean as well, which the paper reports to fail"}
    )
    prior_kl_weight: float = field(
        default=1.0, metadata={"help": "weight of KL(p || N(0, I)) in the loss; 0 in a plain CVAE"}
    )
    bow_weight: float = field(default=0.0, metadata={"help": "weight of the loss of the response's bag of words"})
    bow_hidden_size: int = field(default=400, metadata={"help": "width of the layer that predicts the bag of words"})
    kl_weight: float = field(default=1.0, metadata={"help": "the full weight of both KLs in the loss"})
    latent_size: int = field(default=200, metadata={"help": "latent dimensions"})
    embedding_size: int = field(default=200, metadata={"help": "width of the word vectors"})
    utterance_hidden_size: int = field(default=300, metadata={"help": "width of each direction over an utterance"})
    context_hidden_size: int = field(default=600, metadata={"help": "width of the GRU over the context"})
    hidden_size: int = field(default=400, metadata={"help": "width of the decoder"})
    prior_hidden_size: int = field(default=100, metadata={"help": "width of the prior network's tanh layer"})
    context_turns: int = field(default=10, metadata={"help": "turns before a response that it sees, at most"})
    topic_embedding: bool = field(default=False, metadata={"help": "give each topic of the training data a vector"})
    topic_size: int = field(default=30, metadata={"help": "width of a topic's vector"})
    initial_word_vectors: str | None = field(
        default=None, metadata={"help": "start from these: GloVe or word2vec text, or word2vec .bin"}
    )
    embedding_dropout: float = field(default=0.0, metadata={"help": "dropout on the decoder's inputs"})
    output_dropout: float = field(default=0.0, metadata={"help": "dropout on the decoder's outputs"})
    word_dropout: float = field(
        default=0.0, metadata={"help": "share of the words that are hidden from the decoder in training"}
    )
    initializer_range: float = field(default=0.08, metadata={"help": "weights start uniform in +- this"})
    embedding_initializer_range: float = field(default=0.08, metadata={"help": "word vectors start uniform in +- this"})
    tie_word_embeddings: bool = field(default=False, metadata={"help": "the output layer shares the word vectors"})
    tokenizer: str = field(
        default="word",
        metadata={"help": "'word', 'bpe', 'unigram', 'char' (built from the training data), or a tokenizer's name"},
    )
    vocab_size: int = field(default=10_000, metadata={"help": "size of a built vocabulary at most, specials included"})
    min_count: int = field(default=1, metadata={"help": "leave out words seen fewer times than this"})
    keep_linebreaks: bool = field(default=False, metadata={"help": "for 'word': make line breaks in a text words"})
    split_punctuation: bool = field(
        default=False, metadata={"help": "for 'word': make punctuation marks words of their own"}
    )

    def __post_init__(self):
        check_least(self, vocab_size=1, min_count=0, initializer_range=0, embedding_initializer_range=0)

    def config(self, tokenizer, corpus: DialogueCorpus) -> BnCvaeConfig:
        """The model's configuration for a tokenizer and the topics of the training split."""
        topics = []
        if self.topic_embedding:
            topics = sorted({dialogue.topic for dialogue in corpus.splits["train"] if dialogue.topic})
            if not topics:
                raise UsageError(f"--topic_embedding: no training dialogue of {corpus.name} has a topic")
        return self.make_config(BnCvaeConfig, tokenizer, topics=topics, **self.choices())

    def choices(self) -> dict[str, str]:
        return {"posterior": self.posterior or DIALOGUE_METHODS[self.method].posterior}

    def refuse_unread(self, given: set[str]) -> None:
        super().refuse_unread(given - {"gamma"} if self.prior_batch_norm else given)
        if "topic_size" in given and not self.topic_embedding:
            raise UsageError("--topic_size is read with --topic_embedding only: leave it out")
        if "bow_hidden_size" in given and not self.bow_weight:
            raise UsageError("--bow_hidden_size is read with --bow_weight above 0 only: leave it out")
