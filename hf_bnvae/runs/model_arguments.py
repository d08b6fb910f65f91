"""Arguments that say what the model of sentences is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from huggingface_hub.errors import StrictDataclassError

from ..data.tokenizer_pair import TokenizerPair, writing_tokenizer
from ..data.tokenizers import bare_tokenizer, with_ends
from ..data.vocabularies import check_vocabulary
from ..errors import ParameterError, last_line
from ..methods import METHODS
from ..models import BnVaeConfig, LstmLMConfig
from ..models.decoders import DECODERS
from ..models.encoders import ENCODERS
from ..models.posteriors import POSTERIORS
from ..models.pretrained_parts import refuse_no_language_model, special_tokens
from ..models.rates import RATE_FIELDS
from ..plans import SENTENCES, Family
from ..training import RECIPES, SIZES
from ..training.pretrained_encoder import SIZES_OF_AN_ENCODER
from .checks import check_least
from .config_fields import with_fields_of
from .loading import load_config, read_config
from .tokenizer_arguments import VOCABULARY_HELP, TokenizerArguments

OF_A_TOKENIZER = ("tokenizer", "vocab_size", "min_count", "keep_linebreaks", "split_punctuation")
"""Arguments of a tokenizer that the run makes."""
TRAINED = {"encoder": ["frozen", "full"], "decoder": ["frozen", "lora", "full"]}
"""What of a pretrained part is trained."""
WITHOUT_PRETRAINED_PARTS = {
    "pretrained_encoder": "is a text VAE with parts of its own to start from",
    "initial_word_vectors": "gives one vocabulary its word vectors, and a model on a pretrained part has two",
}
"""Arguments that do not go with a pretrained part, and why."""
WITHOUT_EMBEDDINGS = {
    "encoder_name_or_path": "names an encoder, and the embeddings stand in its place",
    "encoder_config": "describes an encoder, and the embeddings stand in its place",
    "pretrained_encoder": "is a text VAE with an encoder of its own to start from",
    "initial_word_vectors": "starts the word vectors of an encoder as well",
    "encoder_embedding_size": "is the width of an encoder's word vectors",
    "refinement_steps": "reconstruct the words that an encoder read, and there are none (`method` sa_vae takes them)",
}
"""Arguments that do not go with embeddings, and why."""


def readers(choice: str, kinds: Mapping[str, Any]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The flags that only some values of a choice read, with the choice and these values."""
    flags = dict.fromkeys(flag for kind in kinds.values() for flag in kind.reads)
    return {flag: (choice, tuple(name for name, kind in kinds.items() if flag in kind.reads)) for flag in flags}


@dataclass
class MethodArguments:
    """What the arguments of a model are chosen from."""

    FAMILY: ClassVar[Family]
    READ_BY: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]]
    """Arguments that only some choices read: the choice, and its values that do."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The fields of the configuration, which `config_fields.with_fields_of` adds."""

    @staticmethod
    def usual_recipe(values: Mapping[str, Any]) -> str:
        """The recipe of a run that names none, by its other arguments."""
        return "fast"

    @staticmethod
    def inherited(given: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that the model decides which the run starts from, where nobody gives them."""
        return {}

    def choices(self) -> dict[str, str]:
        """The choices that `READ_BY` names, as they stand."""
        raise NotImplementedError

    def refuse_unread(self, given: set[str]) -> None:
        """Refuse arguments that the user gave and that what was chosen does not read, or that say one thing twice."""
        chosen = self.choices()
        twice = RATE_FIELDS.get(chosen["posterior"])
        if "rate" in given and twice in given:
            raise ParameterError(f"`rate` sets {twice}: give either `rate` or `{twice}`")
        for name in sorted(given & self.READ_BY.keys()):
            choice, readers = self.READ_BY[name]
            if chosen[choice] not in readers:
                raise ParameterError(
                    f"`{name}` is read by the {choice} {' or '.join(readers)} only, and this run has "
                    f"{chosen[choice]}: leave it out"
                )
        self.refuse_unread_by_tokenizer(given)

    def make_config(self, kind, tokenizer, **values):
        """A configuration of the fields that these arguments share with it, of others by name, and of a tokenizer."""
        writes = writing_tokenizer(tokenizer)
        tokens = special_tokens(writes)
        if not isinstance(tokenizer, TokenizerPair):
            tokens |= {"unk_token_id": writes.unk_token_id}
        shared = {item.name for item in fields(self)} & {item.name for item in fields(kind)}
        values = {name: getattr(self, name) for name in shared - {"vocab_size"}} | values
        try:
            return kind(
                **values,
                vocab_size=max(writes.get_vocab().values()) + 1,
                **tokens,
            )
        except StrictDataclassError as error:
            # Its message begins with the name of the field.
            raise ParameterError(re.sub(r"^\w+", r"`\g<0>`", last_line(error))) from error


@dataclass
@with_fields_of(
    BnVaeConfig,
    defaults={"posterior": None, "decoder": None, **SENTENCES.sizes_without_name},
    help_texts={"vocab_size": VOCABULARY_HELP},
)
class ModelArguments(MethodArguments, TokenizerArguments):
    """What the model is: the fields of `BnVaeConfig`, and where its weights and its tokenizer come from."""

    FAMILY = SENTENCES
    READ_BY = readers("encoder", ENCODERS) | readers("posterior", POSTERIORS) | readers("decoder", DECODERS)

    method: str = field(default="bn_vae", metadata={"help": "which system to train", "choices": sorted(METHODS)})
    recipe: str | None = field(
        default=None,
        metadata={
            "help": "defaults of the training: by default fast, and pretrained under a pretrained decoder",
            "choices": sorted(RECIPES),
        },
    )
    size: str | None = field(default=None, metadata={"help": "defaults of the sizes", "choices": sorted(SIZES)})
    pretrained_encoder: str | None = field(
        default=None,
        metadata={"help": "start from the weights and the tokenizer of this model, such as an autoencoder's"},
    )
    encoder_name_or_path: str | None = field(
        default=None, metadata={"help": "a pretrained encoder, any `AutoModel`, in the place of the LSTM"}
    )
    decoder_name_or_path: str | None = field(
        default=None, metadata={"help": "a pretrained decoder, any `AutoModelForCausalLM`, in the place of the LSTM"}
    )
    encoder_config: str | None = field(
        default=None,
        metadata={"help": "the configuration, by name or file, of an encoder that is trained from scratch"},
    )
    decoder_config: str | None = field(
        default=None,
        metadata={"help": "the configuration, by name or file, of a decoder that is trained from scratch"},
    )
    train_encoder: str = field(
        default="frozen", metadata={"help": "what of a pretrained encoder is trained", "choices": TRAINED["encoder"]}
    )
    train_decoder: str = field(
        default="lora",
        metadata={
            "help": "what of a pretrained decoder is trained: low-rank adapters beside its attention, all, or nothing",
            "choices": TRAINED["decoder"],
        },
    )
    lora_rank: int = field(default=16, metadata={"help": "rank of these adapters"})
    save_base: bool = field(
        default=True,
        metadata={
            "help": "save the frozen weights of pretrained parts with the model; false records where they come from, "
            "and loading reads them there"
        },
    )
    reset_decoder: bool = field(
        default=False, metadata={"help": "take the encoder alone of `pretrained_encoder`, and a new decoder"}
    )
    list_methods: bool = field(default=False, metadata={"help": "print the table of methods and exit"})

    def __post_init__(self):
        check_least(self, vocab_size=1, min_count=0, initializer_range=0, embedding_initializer_range=0, lora_rank=1)
        for part in ("encoder", "decoder"):
            if getattr(self, part) == "pretrained" and self._source(part) is None:
                raise ParameterError(f"`{part}` pretrained is a network by name: use `{part}_name_or_path`")
            if None not in (getattr(self, f"{part}_name_or_path"), getattr(self, f"{part}_config")):
                raise ParameterError(
                    f"`{part}_config` starts from no weights and `{part}_name_or_path` from those of a network: leave "
                    "out one of them"
                )
            trained, choices = getattr(self, f"train_{part}"), TRAINED[part]
            if trained not in choices:
                raise ParameterError(f"`train_{part}` must be {' or '.join(choices)}, got {trained}")
            if self._source(part) is not None:
                for name, says in WITHOUT_PRETRAINED_PARTS.items():
                    if getattr(self, name) is not None:
                        raise ParameterError(f"`{name}` {says}: leave out either it or `{self._source(part)}`")
        if self._source("decoder") is not None and self.choices()["decoder"] != "pretrained":
            raise ParameterError(
                f"`{self._source('decoder')}` stands in the place of the LSTM, and `method` {self.method} has the "
                f"decoder {self.choices()['decoder']}: leave one of them out"
            )
        if self.reset_decoder and self.pretrained_encoder is None:
            raise ParameterError("`reset_decoder` takes the encoder of another model: name it by `pretrained_encoder`")

    def _source(self, part: str) -> str | None:
        """The argument that puts a network in the place of an LSTM; None where none does."""
        names = (f"{part}_name_or_path", f"{part}_config")
        return next((name for name in names if getattr(self, name) is not None), None)

    def on_embeddings(self, width: int) -> "ModelArguments":
        """The same of a model that reads embeddings of so many numbers in the place of an encoder.

        Raises:
            ParameterError: another argument speaks of an encoder, or of a model without a latent.
        """
        if not METHODS[self.method].has_latent:
            raise ParameterError(
                f"`embeddings_file` means nothing with `method` {self.method}, which has no latent: drop it"
            )
        for name, says in WITHOUT_EMBEDDINGS.items():
            if getattr(self, name):
                raise ParameterError(f"`{name}` {says}: leave out either it or `embeddings_file`")
        given: dict[str, Any] = {"encoder": "given", "encoder_hidden_size": width}
        if self.encoder_hidden_size not in (None, width):
            raise ParameterError(
                f"`encoder_hidden_size` is {self.encoder_hidden_size}, and embeddings have {width} numbers: drop it"
            )
        return replace(self, **given)

    def config(self, tokenizer) -> BnVaeConfig | LstmLMConfig:
        """The model's configuration for a tokenizer."""
        method = METHODS[self.method]
        if not method.has_latent:
            return self.make_config(LstmLMConfig, tokenizer, **self.pretrained_configs(tokenizer))
        return self.make_config(BnVaeConfig, tokenizer, **self.choices(), **self.pretrained_configs(tokenizer))

    def pretrained_configs(self, tokenizer) -> dict[str, Any]:
        """The fields of a model on networks of Transformers."""
        values: dict[str, Any] = {}
        if self.encoder_name_or_path is not None:
            values["encoder_config"] = self._config_with_words_of("encoder_name_or_path", tokenizer.encoder)
        elif self.encoder_config is not None:
            reads = tokenizer.encoder if isinstance(tokenizer, TokenizerPair) else tokenizer
            values["encoder_config"] = self._config_from_scratch("encoder_config", reads)
        elif isinstance(tokenizer, TokenizerPair) and self.encoder != "given":
            values["encoder_vocab_size"] = max(tokenizer.encoder.get_vocab().values()) + 1
            values["encoder_pad_token_id"] = tokenizer.encoder.pad_token_id
        if self.decoder_name_or_path is not None:
            writes = writing_tokenizer(tokenizer)
            values["decoder_config"] = self._config_with_words_of("decoder_name_or_path", writes)
            if self.train_decoder == "lora":
                values["decoder_lora"] = {"rank": self.lora_rank, "alpha": 2.0 * self.lora_rank}
        elif self.decoder_config is not None:
            values["decoder_config"] = self._config_from_scratch("decoder_config", writing_tokenizer(tokenizer))
        if self._source("decoder") is not None:
            if "skip_lstm" in (self.decoder, METHODS[self.method].decoder) and METHODS[self.method].has_latent:
                values["decoder_skip"] = True
            values["tie_word_embeddings"] = False  # its own configuration says whether it ties them
        return values

    def _config_of(self, parameter: str):
        name = getattr(self, parameter)
        return read_config(name, f"`{parameter}` {name}")

    def _config_with_words_of(self, parameter: str, tokenizer):
        config = self._config_of(parameter)
        size = config.get_text_config().vocab_size
        check_vocabulary(tokenizer, size, f"`{parameter}` {getattr(self, parameter)}")
        return config

    def _config_from_scratch(self, parameter: str, tokenizer):
        """A configuration with the vocabulary of the tokenizer of the run, whatever it had."""
        config = self._config_of(parameter)
        sizes = config.get_text_config()
        sizes.vocab_size = max(tokenizer.get_vocab().values()) + 1
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            setattr(sizes, name, getattr(tokenizer, name))
        return config

    def make_tokenizer(self, texts, started_from: str | None, at_hand=None):
        """The tokenizer of a run; a model on a pretrained part has two, one to read and one to write."""
        decoder = self._source("decoder")
        if started_from is None and decoder is not None:
            try:
                refuse_no_language_model(self._config_of(decoder), getattr(self, decoder))
            except ParameterError:
                raise
            except ValueError as error:
                raise ParameterError(f"`{decoder}`: {error}") from error
        if started_from is not None or not self.is_pretrained:
            return super().make_tokenizer(texts, started_from, at_hand)
        parts: dict[str, Any] = {
            parameter: bare_tokenizer(name, f"`{parameter}`")
            for parameter in ("encoder_name_or_path", "decoder_name_or_path")
            if (name := getattr(self, parameter)) is not None
        }
        writes = parts.get("decoder_name_or_path")
        if writes is not None and writes.eos_token_id is None:
            raise ParameterError(f"`decoder_name_or_path` {self.decoder_name_or_path}: its tokenizer has no end symbol")
        if writes is not None and not METHODS[self.method].has_latent:
            return with_ends(writes)
        if self.encoder == "given":
            parts["encoder_name_or_path"] = writes  # it reads nothing
        own: Any = None if len(parts) == 2 else super().make_tokenizer(texts, None, at_hand)
        return TokenizerPair(*(parts.get(f"{part}_name_or_path", own) for part in ("encoder", "decoder")))

    @staticmethod
    def inherited(given: Mapping[str, Any]) -> dict[str, Any]:
        name = given.get("pretrained_encoder")
        if name is None or given.get("size") is not None:
            return {}
        try:
            config = load_config(name, f"`pretrained_encoder` {name}")
        except ParameterError:
            return {}  # a run refuses it, in its turn
        if not isinstance(config, BnVaeConfig) or config.encoder != "lstm":
            return {}
        return {size: getattr(config, size) for size in SIZES_OF_AN_ENCODER if size not in given}

    @property
    def is_pretrained(self) -> bool:
        """Whether the model stands on a pretrained encoder or decoder."""
        return self.encoder_name_or_path is not None or self.decoder_name_or_path is not None

    def refuse_unread(self, given: set[str]) -> None:
        super().refuse_unread(given)
        if not METHODS[self.method].has_latent:
            self._refuse_latent_arguments(given)
        for name, part in (("train_encoder", "encoder"), ("train_decoder", "decoder"), ("lora_rank", "decoder")):
            if name in given and getattr(self, f"{part}_name_or_path") is None:
                raise ParameterError(f"`{name}` is read with `{part}_name_or_path` only: leave it out")
        if "pretrained_learning_rate" in given and not (self._source("encoder") or self._source("decoder")):
            raise ParameterError(
                "`pretrained_learning_rate` is of pretrained parts, and this run has none: leave it out"
            )
        self._refuse_tokenizer_arguments(given)
        if "lora_rank" in given and self.train_decoder != "lora":
            raise ParameterError("`lora_rank` is read with `train_decoder` lora only: leave it out")
        decoder = self._source("decoder")
        for name in ("hidden_size", "embedding_size", *(["tie_word_embeddings"] if self.tie_word_embeddings else [])):
            if decoder is not None and name in given:
                raise ParameterError(f"`{name}` is said by the configuration of `{decoder}`: leave it out")
        if not self.save_base and not self.bases:
            raise ParameterError(
                "`save_base` false leaves out the frozen weights of pretrained parts, and this run has none: drop it"
            )

    @property
    def trained_parts(self) -> dict[str, str]:
        """What of each pretrained part is trained, by the argument that says so."""
        parts = [part for part in TRAINED if getattr(self, f"{part}_name_or_path") is not None]
        return {f"train_{part}": getattr(self, f"train_{part}") for part in parts}

    @property
    def bases(self) -> dict[str, str]:
        """The names of pretrained parts whose weights stay as they were."""
        frozen = {"encoder": ("frozen",), "decoder": ("frozen", "lora")}
        named = {part: getattr(self, f"{part}_name_or_path") for part in frozen}
        return {
            part: name
            for part, name in named.items()
            if name is not None and getattr(self, f"train_{part}") in frozen[part]
        }

    @staticmethod
    def usual_recipe(values: Mapping[str, Any]) -> str:
        return "fast" if values.get("decoder_name_or_path") is None else "pretrained"

    def choices(self) -> dict[str, str]:
        method = METHODS[self.method]
        encoder = self.encoder if self._source("encoder") is None else "pretrained"
        decoder = self.decoder or method.decoder
        if self._source("decoder") is not None and decoder in ("lstm", "skip_lstm"):
            decoder = "pretrained"
        return {
            "encoder": encoder if method.has_latent else "none",
            "posterior": self.posterior or method.posterior,
            "decoder": decoder,
        }

    def _refuse_tokenizer_arguments(self, given: set[str]) -> None:
        """Pretrained parts have their tokenizers; one that is made stands beside a part without."""
        parts = ("encoder", "decoder") if METHODS[self.method].has_latent else ("decoder",)
        if any(getattr(self, f"{part}_name_or_path") is None for part in parts):
            return
        for name in OF_A_TOKENIZER:
            if name in given:
                raise ParameterError(
                    f"`{name}` is of a tokenizer that the run makes, and pretrained parts have theirs: leave it out"
                )

    def _refuse_latent_arguments(self, given: set[str]) -> None:
        """A language model has no posterior that these arguments could shape."""
        decoder = self._source("decoder")
        if self.method == "lstm_lm" and decoder is not None:
            raise ParameterError(f"`{decoder}` stands in the place of the LSTM: use `method` lm with it")
        if self.decoder_name_or_path is not None and self.train_decoder == "frozen":
            raise ParameterError(
                f"`train_decoder` frozen leaves nothing to train of `method` {self.method}: use lora or full"
            )
        pretrained = ("pretrained_encoder", "encoder_name_or_path", "encoder_config")
        of_z = (
            "posterior",
            "decoder",
            "free_bits",
            "decorrelation",
            "bow_weight",
            "refinement_steps",
            "soft_prompt_length",
            "latent_memory_length",
            "decoder_skip",
        )
        for name in (*of_z, *pretrained):
            if name in given and getattr(self, name):
                raise ParameterError(
                    f"`{name}` means nothing with `method` {self.method}, which has no latent: drop it"
                )
