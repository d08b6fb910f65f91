"""Arguments that say what the model of dialogues is."""

from dataclasses import dataclass, field

from ..data import DialogueCorpus
from ..errors import ParameterError
from ..methods import DIALOGUE_METHODS
from ..models import BnCvaeConfig
from ..models.configuration_bncvae import CONDITIONAL_POSTERIORS
from ..models.posteriors import POSTERIORS
from ..plans import DIALOGUES
from ..training import DIALOGUE_RECIPES, DIALOGUE_SIZES
from .checks import check_least
from .config_fields import with_fields_of
from .model_arguments import MethodArguments, readers
from .tokenizer_arguments import VOCABULARY_HELP, TokenizerArguments


@dataclass
@with_fields_of(BnCvaeConfig, defaults={"posterior": None}, help_texts={"vocab_size": VOCABULARY_HELP})
class DialogueModelArguments(MethodArguments, TokenizerArguments):
    """What the model is: the fields of `BnCvaeConfig`, and where its tokenizer comes from."""

    FAMILY = DIALOGUES
    READ_BY = readers("posterior", {name: POSTERIORS[name] for name in CONDITIONAL_POSTERIORS})

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
    topic_embedding: bool = field(default=False, metadata={"help": "give each topic of the training data a vector"})

    def __post_init__(self):
        check_least(self, vocab_size=1, min_count=0, initializer_range=0, embedding_initializer_range=0)

    def config(self, tokenizer, corpus: DialogueCorpus) -> BnCvaeConfig:
        """The model's configuration for a tokenizer and the topics of the training split."""
        topics = []
        if self.topic_embedding:
            topics = sorted({dialogue.topic for dialogue in corpus.splits["train"] if dialogue.topic})
            if not topics:
                raise ParameterError(f"`topic_embedding`: no training dialogue of {corpus.name} has a topic")
        return self.make_config(BnCvaeConfig, tokenizer, topics=topics, **self.choices())

    def choices(self) -> dict[str, str]:
        return {"posterior": self.posterior or DIALOGUE_METHODS[self.method].posterior}

    def refuse_unread(self, given: set[str]) -> None:
        super().refuse_unread(given - {"gamma"} if self.prior_batch_norm else given)
        if "topic_size" in given and not self.topic_embedding:
            raise ParameterError("`topic_size` is read with `topic_embedding` only: leave it out")
        if "bow_hidden_size" in given and not self.bow_weight:
            raise ParameterError("`bow_hidden_size` is read with `bow_weight` above 0 only: leave it out")
