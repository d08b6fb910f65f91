"""Flags that say what the model of sentences is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from huggingface_hub.errors import StrictDataclassError

from ..data import build_tokenizer, load_tokenizer
from ..data.tokenizers import KINDS
from ..methods import METHODS
from ..models import BnVaeConfig, LstmLMConfig
from ..models.configuration_bnvae import (
    DECODER_NAMES,
    DEFAULT_CNN_DILATIONS,
    FREE_BITS_MODES,
    POSTERIOR_NAMES,
    RATE_FIELDS,
)
from ..plans import SENTENCES, Family
from ..training import RECIPES, SIZES
from .checks import check_least
from .errors import UsageError, one_sentence


class MethodArguments:
    """What the arguments of a model are chosen from."""

    FAMILY: ClassVar[Family]
    READ_BY: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]]
    """Flags that only some choices read: the choice, and its values that do."""

    def choices(self) -> dict[str, str]:
        """The choices that `READ_BY` names, as they stand."""
        raise NotImplementedError

    def refuse_unread(self, given: set[str]) -> None:
        """Refuse flags that the user gave and that what was chosen does not read, or that say one thing twice."""
        chosen = self.choices()
        twice = RATE_FIELDS.get(chosen["posterior"])
        if "rate" in given and twice in given:
            raise UsageError(f"--rate sets {twice}: give either --rate or --{twice}")
        for name in sorted(given & self.READ_BY.keys()):
            choice, readers = self.READ_BY[name]
            if chosen[choice] not in readers:
                raise UsageError(
                    f"--{name} is read by the {choice} {' or '.join(readers)} only, and this run has "
                    f"{chosen[choice]}: leave it out"
                )

    def make_config(self, kind, tokenizer, **values):
        """A configuration of the fields that these arguments share with it, of others by name, and of a tokenizer."""
        shared = {item.name for item in fields(self)} & {item.name for item in fields(kind)}
        values = {name: getattr(self, name) for name in shared - {"vocab_size"}} | values
        try:
            return kind(
                **values,
                vocab_size=max(tokenizer.get_vocab().values()) + 1,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                unk_token_id=tokenizer.unk_token_id,
            )
        except StrictDataclassError as error:
            raise UsageError(f"--{one_sentence(error)}") from error

    def make_tokenizer(self, texts, started_from: str | None):
        """The tokenizer of what the run goes on from, an existing one by name, or one built from training texts."""
        if started_from is not None:
            return load_tokenizer(started_from)
        if self.tokenizer not in KINDS:
            return load_tokenizer(self.tokenizer)
        options = (self.split_punctuation, self.keep_linebreaks)
        return build_tokenizer(texts, self.tokenizer, self.vocab_size, self.min_count, *options)


@dataclass
class ModelArguments(MethodArguments):
    """What the model is. The names are those of `BnVaeConfig`."""

    FAMILY = SENTENCES
    READ_BY = {
        "gamma": ("posterior", ("batch_norm", "du")),
        "rate": ("posterior", tuple(RATE_FIELDS)),
        "tau": ("posterior", ("tied_scales",)),
        "variance_dropout": ("posterior", ("du",)),
        "delta": ("posterior", ("delta",)),
        "kappa": ("posterior", ("vmf",)),
        "cnn_dilations": ("decoder", ("cnn",)),
        "cnn_kernel_size": ("decoder", ("cnn",)),
    }

    method: str = field(default="bn_vae", metadata={"help": "which system to train", "choices": sorted(METHODS)})
    recipe: str = field(default="fast", metadata={"help": "defaults of the training", "choices": sorted(RECIPES)})
    size: str | None = field(default=None, metadata={"help": "defaults of the sizes", "choices": sorted(SIZES)})
    posterior: str | None = field(
        default=None, metadata={"help": "by default the method's", "choices": list(POSTERIOR_NAMES)}
    )
    decoder: str | None = field(
        default=None, metadata={"help": "by default the method's", "choices": list(DECODER_NAMES)}
    )
    rate: float | None = field(
        default=None, metadata={"help": "least KL in nats a sentence: sets gamma, tau or delta; matched: by default 8"}
    )
    gamma: float | None = field(
        default=None, metadata={"help": "the frozen scale of the batch-normalised posterior mean, by default 0.7"}
    )
    tau: float | None = field(
        default=None,
        metadata={"help": "tied_scales: least share of the variance that the means take, by default at a rate of 8"},
    )
    variance_dropout: float = field(default=0.5, metadata={"help": "du: dropout on the posterior variance"})
    delta: float | None = field(
        default=None, metadata={"help": "delta: the least KL of each latent dimension, by default 0.1"}
    )
    kappa: float = field(default=13.0, metadata={"help": "vmf: the concentration around the mean"})
    kl_weight: float = field(default=1.0, metadata={"help": "the full weight of the KL in the loss (beta-VAE's beta)"})
    free_bits: float = field(default=0.0, metadata={"help": "nats of KL that cost nothing in training"})
    free_bits_mode: str = field(
        default="dim",
        metadata={"help": "share them out to the dimensions, or grant them to their sum", "choices": FREE_BITS_MODES},
    )
    refinement_steps: int = field(
        default=0, metadata={"help": "gradient steps that refine each sentence's posterior (semi-amortised)"}
    )
    refinement_step_size: float = field(default=1 / 32, metadata={"help": "length of a refinement step"})
    refinement_momentum: float = field(default=0.5, metadata={"help": "share of the last refinement step in the next"})
    refinement_clip: float = field(default=5.0, metadata={"help": "clip each sentence's refinement gradient to this"})
    cnn_dilations: list[int] = field(
        default_factory=lambda: list(DEFAULT_CNN_DILATIONS), metadata={"help": "cnn: one residual block each"}
    )
    cnn_kernel_size: int = field(default=3, metadata={"help": "cnn: tokens under a kernel"})
    pretrained_encoder: str | None = field(
        default=None,
        metadata={"help": "start from the weights and the tokenizer of this model, such as an autoencoder's"},
    )
    reset_decoder: bool = field(
        default=False, metadata={"help": "take the encoder alone of --pretrained_encoder, and a new decoder"}
    )
    list_methods: bool = field(default=False, metadata={"help": "print the table of methods and exit"})
    latent_size: int = field(default=32, metadata={"help": "latent dimensions"})
    embedding_size: int = field(default=256, metadata={"help": "width of the word vectors"})
    hidden_size: int = field(default=512, metadata={"help": "width of the LSTMs"})
    embedding_dropout: float = field(default=0.5, metadata={"help": "dropout on the decoder's inputs"})
    output_dropout: float = field(default=0.5, metadata={"help": "dropout on the decoder's outputs"})
    locked_dropout: bool = field(
        default=False, metadata={"help": "one dropout mask for all words of a sentence instead of one for each"}
    )
    initial_word_vectors: str | None = field(
        default=None, metadata={"help": "start from these: GloVe or word2vec text, or word2vec .bin"}
    )
    word_dropout: float = field(
        default=0.0, metadata={"help": "share of the words that are hidden from the decoder in training"}
    )
    initializer_range: float = field(default=0.01, metadata={"help": "the decoder's weights start uniform in +- this"})
    embedding_initializer_range: float = field(
        default=0.1, metadata={"help": "its word vectors start uniform in +- this"}
    )
    encoder_initializer_range: float | None = field(
        default=None, metadata={"help": "the encoder's weights start uniform in +- this; by default as PyTorch's do"}
    )
    encoder_embedding_initializer_range: float | None = field(
        default=None, metadata={"help": "the encoder's word vectors start uniform in +- this; by default N(0, 1)"}
    )
    tie_word_embeddings: bool = field(
        default=False, metadata={"help": "the output layer shares the decoder's word vectors"}
    )
    tokenizer: str = field(
        default="word",
        metadata={"help": "'word', 'bpe', 'unigram', 'char' (built from the training data), or a tokenizer's name"},
    )
    vocab_size: int = field(default=20_000, metadata={"help": "size of a built vocabulary at most, specials included"})
    min_count: int = field(default=1, metadata={"help": "leave out words seen fewer times than this"})
    keep_linebreaks: bool = field(default=False, metadata={"help": "for 'word': make line breaks in a text words"})
    split_punctuation: bool = field(
        default=False, metadata={"help": "for 'word': make punctuation marks words of their own"}
    )

    def __post_init__(self):
        check_least(self, vocab_size=1, min_count=0, initializer_range=0, embedding_initializer_range=0)
        if self.reset_decoder and self.pretrained_encoder is None:
            raise UsageError("--reset_decoder takes the encoder of another model: name it by --pretrained_encoder")

    def config(self, tokenizer) -> BnVaeConfig | LstmLMConfig:
        """The model's configuration for a tokenizer."""
        method = METHODS[self.method]
        if not method.has_latent:
            self._refuse_latent_flags()
            return self.make_config(LstmLMConfig, tokenizer)
        return self.make_config(BnVaeConfig, tokenizer, **self.choices())

    def choices(self) -> dict[str, str]:
        method = METHODS[self.method]
        return {"posterior": self.posterior or method.posterior, "decoder": self.decoder or method.decoder}

    def _refuse_latent_flags(self) -> None:
        """A language model has no posterior that these flags could shape."""
        for name in ("posterior", "decoder", "free_bits", "refinement_steps", "pretrained_encoder"):
            if getattr(self, name):
                raise UsageError(f"--{name} means nothing with --method {self.method}, which has no latent: drop it")
