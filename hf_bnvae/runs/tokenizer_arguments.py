"""Arguments of the tokenizer and of the word vectors."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..data import build_tokenizer, load_tokenizer
from ..data.tokenizers import KINDS
from ..errors import ParameterError

VOCABULARY_HELP = "size of a built vocabulary at most, specials included"


@dataclass
class TokenizerArguments:
    """How texts become token ids. The size of the vocabulary is a field of the configuration."""

    tokenizer: str = field(
        default="word",
        metadata={"help": "'word', 'bpe', 'unigram', 'char' (built from the training data), or a tokenizer's name"},
    )
    min_count: int = field(default=1, metadata={"help": "leave out words seen fewer times than this"})
    keep_linebreaks: bool = field(default=False, metadata={"help": "for 'word': make line breaks in a text words"})
    split_punctuation: bool = field(
        default=False, metadata={"help": "for 'word': make punctuation marks words of their own"}
    )
    initial_word_vectors: str | None = field(
        default=None, metadata={"help": "start from these: GloVe or word2vec text, or word2vec .bin"}
    )

    READ_BY_KINDS: ClassVar[Mapping[str, Collection[str]]] = {
        "keep_linebreaks": ("word",),
        "split_punctuation": ("word",),
        "min_count": ("word", "char", "bpe"),
        "vocab_size": KINDS,
    }
    """Arguments that only some kinds of a built tokenizer read."""

    if TYPE_CHECKING:
        vocab_size: int = 0  # `config_fields.with_fields_of` adds it to the classes that inherit

    def refuse_unread_by_tokenizer(self, given: set[str]) -> None:
        """Refuse arguments that the user gave and that the chosen tokenizer does not read."""
        for name, kinds in self.READ_BY_KINDS.items():
            if name in given and self.tokenizer not in kinds:
                raise ParameterError(
                    f"`{name}` is read where the run makes a tokenizer ({', '.join(kinds)}), and `tokenizer` is "
                    f"{self.tokenizer}: leave it out"
                )

    def make_tokenizer(self, texts, started_from: str | None, at_hand=None):
        """The tokenizer of the model that the run starts from, one at hand or by name, or one built from the texts."""
        if started_from is not None:
            return load_tokenizer(started_from)
        return self.own_tokenizer(texts) if at_hand is None else at_hand

    def own_tokenizer(self, texts):
        """One by name, or one built from the training texts."""
        if self.tokenizer not in KINDS:
            return load_tokenizer(self.tokenizer)
        options = (self.split_punctuation, self.keep_linebreaks)
        return build_tokenizer(texts, self.tokenizer, self.vocab_size, self.min_count, *options)
