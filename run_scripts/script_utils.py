"""What the run scripts share: flags, the YAML file, one-sentence errors, and the files of a finished run."""

import errno
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch
import yaml
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, HfArgumentParser
from transformers.utils import logging

from hf_bnvae import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    LstmLMConfig,
    LstmLMForCausalLM,
)
from hf_bnvae.data import (
    Corpus,
    CorpusError,
    TokenStore,
    build_tokenizer,
    first_texts,
    load_corpus,
    load_tokenizer,
    token_store,
    training_sources,
)
from hf_bnvae.data.errors import first_line
from hf_bnvae.data.streaming import Source
from hf_bnvae.data.tokenizers import KINDS
from hf_bnvae.data.unknown_words import warn_of_unknown_words, warn_of_whole_lines
from hf_bnvae.evaluation import WordVectors, judge_reconstructions, nll, sample_ppl
from hf_bnvae.hub import CardError, HubError, make_repository, publish, write_card
from hf_bnvae.hub.records import RECORD_NAME, command_line, hardware, versions
from hf_bnvae.methods import METHODS, Method
from hf_bnvae.models.configuration_bnvae import (
    DECODER_NAMES,
    DEFAULT_CNN_DILATIONS,
    FREE_BITS_MODES,
    POSTERIOR_NAMES,
    RATE_FIELDS,
)
from hf_bnvae.training import (
    RECIPES,
    SIZES,
    CheckpointError,
    LockError,
    NonFiniteLossError,
    VaeTrainingArguments,
    check_same_run,
    run_arguments,
)
from hf_bnvae.training.arguments import refuse_unread
from hf_bnvae.training.checkpoints import (
    holds_a_run,
    last_checkpoint,
    remove_broken,
    remove_run,
    wanted_checkpoint,
)
from hf_bnvae.training.ranges import MOST_SEED, check_ranges
from hf_bnvae.training.recipes import bf16_pays
from hf_bnvae.training.run_lock import end_with_parent, lock
from hf_bnvae.training.word_vectors import start_from_vectors
from hf_bnvae.visible import visible

BUILT_IN_LICENSES = {"pydocs": "PSF-2.0, of Python and its documentation", "toy_dialogues": "Apache-2.0"}
SENTENCE_MODELS = {BnVaeConfig: BnVaeForConditionalGeneration, LstmLMConfig: LstmLMForCausalLM}
DIALOGUE_MODELS = {BnCvaeConfig: BnCvaeForConditionalGeneration}

logger = logging.get_logger("hf_bnvae.scripts")


class UsageError(ValueError):
    """A flag or a file that cannot be used: one sentence with the remedy."""


def check_least(arguments, **least: float) -> None:
    """Refuse a number below what its flag can mean."""
    for name, smallest in least.items():
        value = getattr(arguments, name)
        if value is not None and not value >= smallest:
            raise UsageError(f"--{name} must be at least {smallest}, got {value}")


def check_output_file(path: str | None, flag: str, endings: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, a file that cannot be written, or whose ending says nothing.

    Its folder may be missing yet.
    """
    if path is None:
        return
    file = Path(path)
    if endings and file.suffix.lower() not in endings:
        raise UsageError(f"{flag} {path}: give it the ending {' or '.join(endings)}")
    if file.is_dir():
        raise UsageError(f"{flag} {path} is a folder: name a file")
    check_output_folder(str(file.parent), flag)


def check_output_folder(path: str, flag: str) -> None:
    """Refuse, before any work, a folder that cannot be made or written."""
    folder = Path(path)
    present = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not present.is_dir():
        raise UsageError(f"{flag} {path}: {present} is a file: name a folder")
    if not os.access(present, os.W_OK | os.X_OK):
        raise UsageError(f"{flag} {path}: there is no writing to {present}: name another folder")


def check_seeds(seeds: Iterable[int], flag: str) -> None:
    """Refuse a seed that not every generator of random numbers takes."""
    for seed in seeds:
        if not 0 <= seed <= MOST_SEED:
            raise UsageError(f"{flag} must be from 0 to {MOST_SEED}, got {seed}")


def whole_numbers(text: str, flag: str) -> list[int]:
    """The numbers of a flag that takes several, separated by commas."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{flag} must be whole numbers separated by commas, got {text}") from error


@dataclass
class SplitArguments:
    """Which splits of the data are which. The names are those of `SplitChoice`."""

    dataset_config_name: str | None = field(
        default=None, metadata={"help": "the configuration of a dataset on the Hub or of its clone"}
    )
    train_split: str | None = field(default=None, metadata={"help": "what the dataset calls its training split"})
    validation_split: str | None = field(default=None, metadata={"help": "what it calls its validation split"})
    test_split: str | None = field(default=None, metadata={"help": "what it calls its test split"})
    validation_split_percentage: float | None = field(
        default=None, metadata={"help": "put aside so many percent of the training split as the validation split"}
    )
    validation_split_seed: int = field(
        default=0, metadata={"help": "draws them, so that runs with several --seed share one validation split"}
    )

    def split_choice(self) -> dict:
        """Its fields by name, for `load_corpus` and `load_dialogues`."""
        return {item.name: getattr(self, item.name) for item in fields(SplitArguments)}


@dataclass
class DataArguments(SplitArguments):
    """Where the sentences come from."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "'pydocs' (built in), a local folder with train/valid/test files, or a Hub dataset id"},
    )
    train_file: str | None = field(default=None, metadata={"help": "txt, tsv, csv, jsonl, parquet or arrow"})
    validation_file: str | None = field(default=None, metadata={"help": "txt, tsv, csv, jsonl, parquet or arrow"})
    test_file: str | None = field(default=None, metadata={"help": "txt, tsv, csv, jsonl, parquet or arrow"})
    text_column: str | None = field(default=None, metadata={"help": "name of the text column, or its number from 0"})
    label_column: str | None = field(default=None, metadata={"help": "name of the label column, or its number from 0"})
    no_header: bool = field(
        default=False, metadata={"help": "the first line of csv and tsv files is data; columns have numbers from 0"}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "use only the first so many examples"})
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "use only the first so many examples of each of validation and test"}
    )
    max_length: int = field(default=256, metadata={"help": "cut sentences at so many tokens, both ends counted"})

    def __post_init__(self):
        check_least(self, max_length=3, max_train_samples=1, max_eval_samples=1)

    def load(self) -> Corpus:
        """Read the corpus that the flags name."""
        return load_corpus(
            self.dataset_name,
            {"train": self.train_file, "validation": self.validation_file, "test": self.test_file},
            self.text_column,
            self.label_column,
            {
                "train": self.max_train_samples,
                "validation": self.max_eval_samples,
                "test": self.max_eval_samples,
            },
            self.splits(),
            self.no_header,
            **self.split_choice(),
        )

    def splits(self) -> tuple[str, ...]:
        """The splits that are held in memory."""
        return ("train", "validation", "test")


@dataclass
class TrainingDataArguments(DataArguments):
    """The same, with a training split that may be larger than memory."""

    streaming: bool = field(
        default=False,
        metadata={
            "help": "read the training split once as a stream, keep its token ids on disk (in the cache of datasets), "
            "and train from there a block at a time: for corpora larger than memory"
        },
    )
    preprocessing_num_workers: int = field(
        default=1, metadata={"help": "processes that share out the shards of a streamed corpus to tokenise them"}
    )

    def __post_init__(self):
        super().__post_init__()
        check_least(self, preprocessing_num_workers=1)
        if self.streaming and self.validation_split_percentage is not None:
            raise UsageError("--validation_split_percentage holds the whole training split: leave out --streaming")

    def sources(self) -> list[Source]:
        """The shards of the training split."""
        columns = (self.text_column, self.label_column, self.no_header)
        return training_sources(self.dataset_name, self.train_file, *columns, **self.split_choice())

    def store(self, sources: list[Source], tokenizer) -> TokenStore:
        """Their token ids."""
        return token_store(sources, tokenizer, self.max_length, self.max_train_samples, self.preprocessing_num_workers)

    def texts(self, sources: list[Source]) -> Iterator[str]:
        """What a tokenizer is built from."""
        return first_texts(sources, self.max_train_samples)

    def splits(self) -> tuple[str, ...]:
        return ("validation", "test") if self.streaming else super().splits()


class MethodArguments:
    """What the arguments of a model are chosen from."""

    METHODS: ClassVar[Mapping[str, Method]]
    RECIPES: ClassVar[Mapping[str, dict]]
    SIZES: ClassVar[Mapping[str, dict]]
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

    METHODS = METHODS
    RECIPES = RECIPES
    SIZES = SIZES
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


@dataclass
class JudgeArguments:
    """How the trained model is judged."""

    nll_samples: int = field(default=500, metadata={"help": "importance samples K of the NLL; 0 leaves it out"})
    max_nll_samples: int | None = field(
        default=None, metadata={"help": "judge the NLL on the first so many sentences of the split"}
    )
    nll_bf16: bool = field(
        default=False,
        metadata={"help": "the products of the NLL in bf16: several times as fast where the hardware has it"},
    )

    def __post_init__(self):
        check_least(self, nll_samples=0, max_nll_samples=1)
        if self.nll_bf16 and not bf16_pays():
            raise UsageError("--nll_bf16: this machine has no products in bf16, leave it out")


@dataclass
class TextJudgeArguments(JudgeArguments):
    """How a trained text VAE is judged: by its bounds, and by the texts that it writes."""

    reconstruction_samples: int = field(
        default=1_000,
        metadata={"help": "say so many sentences of the split again from their latents, for BLEU; 0 leaves it out"},
    )
    language_model: str | None = field(
        default=None,
        metadata={"help": "an LSTM-LM of the same corpus (--method lstm_lm): gives the perplexity of samples"},
    )
    prior_samples: int | None = field(
        default=None, metadata={"help": "samples of the prior whose perplexity is taken, by default 1,000"}
    )

    def __post_init__(self):
        super().__post_init__()
        check_least(self, reconstruction_samples=0, prior_samples=1)
        if self.prior_samples is not None and self.language_model is None:
            raise UsageError("--prior_samples is read with --language_model only: leave it out")
        self.prior_samples = self.prior_samples or 1_000

    def load_language_model(self, latent_size: int) -> tuple | None:
        """The language model and its tokenizer, for a model with so many latent dimensions; None without one."""
        if self.language_model is None:
            return None
        flag = "--language_model"
        if latent_size == 0:
            raise UsageError(f"{flag} judges draws of a prior, and a language model has none: leave it out")
        model = load_model(self.language_model, flag, {LstmLMConfig: LstmLMForCausalLM})
        tokenizer = load_tokenizer(self.language_model, flag)
        check_tokenizer(model, tokenizer, f"{flag} {self.language_model}")
        return model, tokenizer


@dataclass
class CardArguments:
    """What the model card says and the run cannot know."""

    license: str | None = field(
        default=None, metadata={"help": "of the model, by its id on the Hub, such as apache-2.0, or 'other'"}
    )
    data_license: str | None = field(default=None, metadata={"help": "of the data, in words"})
    language: list[str] | None = field(
        default=None, metadata={"help": "of the data, by its ISO 639 codes, such as en, or several of them"}
    )
    card_quotes: int = field(
        default=3, metadata={"help": "texts of the data that the model card shows with the model's; 0 to quote none"}
    )

    def __post_init__(self):
        check_least(self, card_quotes=0)
        for code in self.language or ():
            if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|multilingual|code", code):
                raise UsageError(f"--language must be the codes of languages, such as en or zh, got {code!r}")
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.license):
            raise UsageError(
                f"--license must be the id of a licence on the Hub, such as apache-2.0 or other, got {self.license!r}"
            )


def parse_arguments(*dataclass_types, description: str, argv: list[str] | None = None) -> tuple:
    """Flags into dataclasses. What is set where wins in this order: flags, YAML file, --method, --recipe, --size.

    The first argument may be a YAML file of flags.
    """
    argv = all_flags(argv)
    parser = HfArgumentParser(dataclass_types, description=description, allow_abbrev=False)
    models = next((kind for kind in dataclass_types if issubclass(kind, MethodArguments)), None)
    if models is not None:
        chosen, _ = HfArgumentParser(models, allow_abbrev=False, add_help=False).parse_known_args(argv)
        method = models.METHODS[chosen.method]
        defaults = models.SIZES.get(chosen.size, {}) | models.RECIPES[chosen.recipe]
        defaults |= {"kl_schedule": method.kl_schedule, "strategy": method.strategy, **method.settings}
        if _given(argv) & {"kl_annealing_epochs", "kl_annealing_steps"} == {"kl_annealing_epochs"}:
            defaults.pop("kl_annealing_steps", None)
        known = {item.name for kind in dataclass_types for item in fields(kind)}
        parser.set_defaults(**{name: value for name, value in defaults.items() if name in known})
        if any(flag.replace("-", "_").startswith("__fp16") for flag in argv) and "bf16" in known:
            parser.set_defaults(bf16=False)
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    except (ValueError, ImportError) as error:
        raise UsageError(" ".join(str(error).split())) from error
    if unknown:
        # Their names only: a value may be a token.
        names = [text.partition("=")[0] for text in unknown if text.startswith("-")] or unknown
        raise UsageError(f"unknown flags: {' '.join(names)}; --help lists all")
    for arguments in parsed:
        check_arguments(arguments)
        if isinstance(arguments, MethodArguments):
            arguments.refuse_unread(_given(argv))
        elif isinstance(arguments, VaeTrainingArguments):
            try:
                refuse_unread(sorted(_given(argv)))
            except ValueError as error:
                raise UsageError(str(error)) from error
    return tuple(parsed)


def check_arguments(arguments) -> None:
    """Refuse numbers out of their ranges, and outputs that cannot be written, before any work."""
    try:
        check_ranges(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name in ("output_file", "samples_file"):
        check_output_file(getattr(arguments, name, None), f"--{name}")
    if getattr(arguments, "output_dir", None) is not None:
        check_output_folder(arguments.output_dir, "--output_dir")


def all_flags(argv: list[str] | None) -> list[str]:
    """The command line (by default this process's), with the flags of a YAML file in the place of its name."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0].endswith((".yaml", ".yml")):
        argv = [*_yaml_flags(Path(argv[0])), *argv[1:]]
    for text in argv:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            shown = text.encode("utf-8", "replace").decode()
            raise UsageError(f"{shown} is no UTF-8: rename the file, or write the flag in UTF-8")
    return argv


def _given(argv: list[str]) -> set[str]:
    """The names of the flags that the user gave."""
    return {flag[2:].partition("=")[0].replace("-", "_") for flag in argv if flag.startswith("--")}


def _yaml_flags(path: Path) -> list[str]:
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold flags, one `name: value` a line")
    flags: list[str] = []
    for name, value in content.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        flags += [f"--{name}", *map(str, values)]
    return flags


def run_main(main: Callable[[], None]) -> None:
    """Call `main`; what the user can mend is printed as one sentence, and the exit status is 1."""
    end_with_parent()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that has no ± is no reason to stop
    try:
        main()
    except KeyboardInterrupt:
        say_how_to_go_on()
        sys.exit(130)
    except (CorpusError, UsageError, NonFiniteLossError, HubError, CardError) as error:
        fail(str(error))
    except (OSError, SafetensorError, RuntimeError) as error:
        if not is_full_disk(error):
            raise
        fail(f"the disk is full, what was being saved is not there: free some space and resume ({first_line(error)})")


def say_how_to_go_on() -> None:
    """After an interruption: the checkpoint that the run can be resumed from, if there is one."""
    argv = all_flags(None)
    folders = [value for flag, value in pairwise(argv) if flag == "--output_dir"]
    kept = last_checkpoint(folders[-1], resumable=True) if folders and Path(folders[-1]).is_dir() else None
    advice = f"; go on from {kept} by --resume_from_checkpoint last" if kept is not None else ""
    print(f"{Path(sys.argv[0]).name}: interrupted{advice}", file=sys.stderr)


def is_full_disk(error: Exception) -> bool:
    """Whether an error of Python, safetensors or torch means that a file could not grow."""
    numbers = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    said = [f"os error {number}" for number in numbers]
    said += ["PytorchStreamWriter failed", "file write failed", "enforce fail at inline_container.cc"]
    return getattr(error, "errno", None) in numbers or any(words in str(error) for words in said)


def fail(message: str) -> None:
    sys.exit(f"{Path(sys.argv[0]).name}: error: {visible(message)}")


def one_sentence(error: Exception) -> str:
    """What a validation error of several lines says in the end."""
    return str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")


def check_output_dir(output_dir: str, checkpoint: str | None, overwrite: bool = False) -> None:
    """Refuse a folder that holds another run than the one that `checkpoint` goes on with."""
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output_dir {folder} is a file: name a folder")
    resumed = checkpoint is not None and Path(checkpoint).resolve().parent == folder.resolve()
    if not (resumed or overwrite) and holds_a_run(folder):
        go_on = (
            ", go on with that run by --resume_from_checkpoint last" if last_checkpoint(folder, resumable=True) else ""
        )
        raise UsageError(
            f"--output_dir {folder} already holds a model: name another folder{go_on}, or replace it by "
            "--overwrite_output_dir true"
        )


def find_checkpoint(output_dir: str, wanted: str | None) -> str | None:
    """The checkpoint folder behind --resume_from_checkpoint: a path, or `last` (also `true`), the last whole one."""
    with flags_named():
        return wanted_checkpoint(output_dir, wanted)


def begin_run(args, checkpoint: str | None, overwrite: bool) -> None:
    """Take the output folder for this run alone, and clear it of a former run that is to be replaced.

    The folder is looked at once more: another run may have ended there since the flags were read.
    """
    if args.process_index == 0:
        with flags_named():
            lock(args.output_dir)
        check_output_dir(args.output_dir, checkpoint, overwrite)
        if overwrite:
            remove_run(args.output_dir)
        remove_broken(args.output_dir)


def goes_on(trainer, checkpoint: str | None, streaming: bool = False) -> None:
    """Let a trainer's checkpoints say what the run was told, and refuse to resume one that was told otherwise."""
    trainer.run_arguments = run_arguments(trainer.args, trainer.train_dataset, streaming)
    if checkpoint is not None:
        with flags_named():
            changes = check_same_run(checkpoint, trainer.run_arguments)
        for sentence in changes:
            logger.warning(sentence)


@contextmanager
def flags_named() -> Iterator[None]:
    """Errors of the library, which name parameters, as errors that name flags."""
    try:
        yield
    except (CheckpointError, LockError) as error:
        raise UsageError(f"--{error}") from error


def check_same_model(config, checkpoint: str, arguments: MethodArguments) -> None:
    """Refuse to resume a checkpoint under flags that would make another model of it."""
    flag = f"--resume_from_checkpoint {checkpoint}"
    saved = load_config(checkpoint, flag, SENTENCE_MODELS | DIALOGUE_MODELS)
    if type(saved) is not type(config):
        raise UsageError(f"{flag}: the checkpoint is a {saved.model_type}, and --method makes a {config.model_type}")
    for name in [*(item.name for item in fields(arguments)), "topics"]:
        decides = hasattr(config, name) and not name.endswith("initializer_range")  # weights have left their start
        if decides and getattr(saved, name) != getattr(config, name):
            raise UsageError(
                f"{flag}: the checkpoint has {name} {getattr(saved, name)} and the flags say {getattr(config, name)}; "
                "repeat the flags of the run"
            )


def read_config(name: str, flag: str):
    """The configuration of any model; `flag` is what the user named it by."""
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except StrictDataclassError as error:
        raise UsageError(f"{flag}: its config.json is not valid: {one_sentence(error)}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{flag}: no model there ({first_line(error)})") from error


def load_config(name: str, flag: str, models: Mapping = SENTENCE_MODELS):
    """The configuration of one of our models; `flag` is what the user named it by."""
    config = read_config(name, flag)
    if type(config) not in models:
        wanted = " or ".join(kind.model_type for kind in models)
        raise UsageError(f"{flag} is a {config.model_type} model, and {wanted} is what belongs here")
    return config


def load_model(name: str, flag: str = "--model_name_or_path", models: Mapping = SENTENCE_MODELS):
    """A whole text VAE (or another of `models`) from a folder or the Hub, in evaluation mode."""
    flag = f"{flag} {name}"
    kind = models[type(load_config(name, flag, models))]
    try:
        model, loaded = kind.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{flag}: its weights cannot be read ({first_line(error)})") from error
    if loaded["missing_keys"]:
        raise UsageError(
            f"{flag} lacks weights of a whole model, {min(loaded['missing_keys'])} for one: was it saved from the "
            "encoder alone?"
        )
    ruined = next((name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()), None)
    if ruined is not None:
        raise UsageError(f"{flag}: its weight {ruined} holds numbers that are not finite; take an earlier checkpoint")
    return model.eval()


def check_tokenizer(model, tokenizer, flag: str) -> None:
    """Refuse a tokenizer that gives ids which the model does not have."""
    largest, size = max(tokenizer.get_vocab().values()), model.config.vocab_size
    if largest >= size:
        raise UsageError(
            f"{flag}: its tokenizer has the id {largest} and the model {size} words: they do not belong together"
        )


def start_from(model: BnVaeForConditionalGeneration, folder: str, reset_decoder: bool) -> str:
    """Give a new model the weights of a trained one: the encoder with its heads, and the decoder unless it is reset.

    Returns:
        What was taken, in one sentence.
    """
    flag = f"--pretrained_encoder {folder}"
    source = load_model(folder, "--pretrained_encoder")
    if not isinstance(source, BnVaeForConditionalGeneration):
        raise UsageError(f"{flag} is a language model, which has no encoder")
    for name in ("vocab_size", "embedding_size", "hidden_size", "latent_size"):
        theirs, ours = getattr(source.config, name), getattr(model.config, name)
        if theirs != ours:
            raise UsageError(f"{flag} has {name} {theirs} and the flags say {ours}: give both models the same sizes")
    if not reset_decoder:
        for name in ("decoder", "tie_word_embeddings", "cnn_dilations", "cnn_kernel_size"):
            theirs, ours = getattr(source.config, name), getattr(model.config, name)
            if theirs != ours:
                raise UsageError(f"{flag} has {name} {theirs} and the flags say {ours}: add --reset_decoder")
        model.decoder.load_state_dict(source.decoder.state_dict())
    left = model.model.load_state_dict(source.model.state_dict(), strict=False).missing_keys
    taken = "the encoder" if reset_decoder else "the encoder and the decoder"
    new = f"; new are {', '.join(left)}" if left else ""
    return f"{taken} of {folder}{new}"


def load_vectors(path: str | None, flag: str) -> WordVectors | None:
    """Word vectors from a file; None without one."""
    if path is None:
        return None
    try:
        return WordVectors.load(path)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


def take_word_vectors(model, tokenizer, path: str) -> str:
    """Start a model's word vectors from those of a file. Returns how many were known, in one sentence."""
    try:
        return start_from_vectors(model, tokenizer, WordVectors.load(path))
    except ValueError as error:
        said = str(error).replace("use embedding_size", "use --embedding_size")
        raise UsageError(f"--{said}" if said.startswith("initial") else f"--initial_word_vectors: {said}") from error


def judge_trained_nll(trainer, dataset, make_batches, judge: JudgeArguments) -> dict:
    """`judge_nll` of the model that a trainer ends with, shared out to its processes."""
    progress = not trainer.args.disable_tqdm and trainer.is_world_process_zero()
    return judge_nll(trainer.model, dataset, make_batches, judge, trainer.args.seed, progress, trainer.shares)


def judge_nll(
    model,
    dataset,
    make_batches,
    judge: JudgeArguments,
    seed: int,
    progress: bool,
    shares: Callable[[Sized], bool] = lambda rows: False,
    each: list[torch.Tensor] | None = None,
) -> dict:
    """`nll` and `ppl` with what they were computed on; nothing where --nll_samples is 0.

    `shares` says whether `make_batches` gives this process but its share of a data set; `each` gets the loss of each
    sentence of its batches.
    """
    if judge.nll_samples <= 0:
        return {}
    if judge.max_nll_samples is not None:
        dataset = dataset.select(range(min(judge.max_nll_samples, len(dataset))))
    with torch.autocast(model.device.type, torch.bfloat16, enabled=judge.nll_bf16):
        judged = nll(
            model,
            make_batches(dataset),
            judge.nll_samples,
            seed=seed,
            progress=progress,
            shared=shares(dataset),
            each=each,
        )
    samples = judge.nll_samples if model.config.latent_size else 1
    return judged | {"nll_sentences": len(dataset), "nll_samples": samples}


def judge_texts(
    model,
    tokenizer,
    dataset,
    make_batches,
    judge: TextJudgeArguments,
    seed: int,
    progress: bool,
    shares: Callable[[Sized], bool],
    language_model: tuple | None,
) -> dict:
    """`reconstruction_bleu`, `exact_match` and, given a language model, `sample_ppl`; nothing without a latent."""
    if not model.config.latent_size:
        return {}
    found: dict = {}
    if judge.reconstruction_samples:
        part = dataset.select(far_apart(judge.reconstruction_samples, len(dataset)))
        found |= judge_reconstructions(model, make_batches(part), tokenizer, shares(part), progress)
        found["reconstruction_sentences"] = len(part)
    if language_model is not None:
        judges, its_tokenizer = language_model
        judges.to(model.device)
        found["sample_ppl"] = sample_ppl(model, tokenizer, judges, its_tokenizer, judge.prior_samples, seed)
        found["prior_samples"], found["language_model"] = judge.prior_samples, Path(judge.language_model).name
    return found


def check_training(trainer_args, config, name: str, examples: int, has_validation: bool) -> None:
    """Refuse what would fail, or mean nothing, once training has begun."""
    if config.normalises_batches:
        if trainer_args.train_batch_size * trainer_args.world_size < 2:
            raise UsageError(
                f"--per_device_train_batch_size {trainer_args.per_device_train_batch_size} leaves nothing to normalise "
                f"over: use at least 2 with the posterior {config.posterior}"
            )
        if examples < 2:
            raise CorpusError(f"{name} has one training example: the posterior {config.posterior} needs at least 2")
    if examples < trainer_args.world_size:
        raise CorpusError(
            f"{name} has {examples} training examples for {trainer_args.world_size} processes: start fewer of them"
        )
    if not has_validation and trainer_args.eval_strategy != "no":
        raise CorpusError(
            f"{name} has no validation split: pass --validation_file, or --eval_strategy no together with "
            "--load_best_model_at_end false"
        )


def take_push_to_hub(args) -> bool:
    """Take --push_to_hub from `Trainer`, which would push at every save; make sure of the repository before training.

    Returns:
        Whether the finished run is to be published, by `push_to_hub`.

    Raises:
        HubError: it could not be published.
    """
    wanted, args.push_to_hub = args.push_to_hub, False
    if not wanted:
        return False
    if args.hub_model_id is None:
        raise UsageError("--push_to_hub needs the name of the model on the Hub: add --hub_model_id USER/NAME")
    if args.hub_strategy != "end" or args.hub_always_push:
        raise UsageError("a run is published once, when it is finished: leave out --hub_strategy and --hub_always_push")
    if args.process_index == 0:
        make_repository(args.hub_model_id, args.hub_private_repo)
    return True


def push_to_hub(args) -> None:
    """Publish the finished run in `args.output_dir`.

    Raises:
        HubError: it was not published; the error names the command that finishes the job.
    """
    try:
        published = publish(args.output_dir, args.hub_model_id, args.hub_private_repo, revision=args.hub_revision)
    except HubError as error:
        command = ["python", "run_scripts/publish.py", args.output_dir, "--repo_id", args.hub_model_id]
        command += ["--private"] if args.hub_private_repo else []
        command += ["--revision", args.hub_revision] if args.hub_revision else []
        raise HubError(
            f"{error}. The trained model is whole in {args.output_dir}, and `{shlex.join(command)}` publishes it"
        ) from None
    print(f"Published: {published}")


def log_reports(reports: Mapping, kind: str = "") -> None:
    """Say what became of each split, and warn where the tokenizer knows little of it.

    Args:
        kind: of the tokenizer, where it was built from the training data.
    """
    for split, report in reports.items():
        logger.warning(f"{split}: {report}")
        warn_of_unknown_words(split, report.unknown_share)
    if "train" in reports and hasattr(reports["train"], "lines"):
        train = reports["train"]
        warn_of_whole_lines("train", train.lines - train.empty, train.tokens, kind)


def unknown_shares(reports: Mapping) -> dict[str, float]:
    """`<split>_unknown_share` of every split: the share of its words that the tokenizer does not know."""
    prefixes = {"validation": "eval"}
    return {f"{prefixes.get(split, split)}_unknown_share": report.unknown_share for split, report in reports.items()}


def training_results(trainer, trained, tokens: int) -> dict:
    """Speed and size of a training, with the seconds that evaluations and statistics took of it."""
    metrics = trained.metrics
    training_seconds = trainer.stopwatch.seconds
    return {
        "train_loss": metrics["train_loss"],
        "train_runtime": metrics["train_runtime"],
        "train_seconds_without_evaluation": training_seconds,
        "train_evaluation_seconds": trainer.seconds["evaluation"],
        "train_statistics_seconds": trainer.seconds["statistics"],
        "train_last_statistics_seconds": trainer.seconds["last_statistics"],
        "train_tokens_per_second": metrics["epoch"] * tokens / training_seconds,
        "train_steps": trained.global_step,
        "train_epochs": metrics["epoch"],
        "train_sentences": len(trainer.train_dataset),
        "train_tokens": tokens,
        "world_size": trainer.args.world_size,
        "seed": trainer.args.seed,
        "vocab_size": trainer.model.config.vocab_size,
    }


def write_run(script: str, argv: list[str] | None, corpus, arguments: tuple, examples: dict, pushed: bool) -> None:
    """Write `run.json` and the model card of a finished run, whose `all_results.json` is written.

    Args:
        script: the file that was run.
        argv: its flags; None for this process's.
        arguments: of the data, the model, the card and the training.
        examples: what the model writes.
        pushed: whether the run is to be published, so that the card loads the model from there.
    """
    data, model_args, card, args = arguments
    record = {
        "command": command_line(script, all_flags(argv), args.world_size),
        "method": model_args.method,
        "license": card.license,
        "language": card.language,
        "base_model": _hub_id(getattr(model_args, "pretrained_encoder", None)),
        "data": {
            "name": Path(corpus.name).resolve().name if Path(corpus.name).exists() else corpus.name,
            "hub_id": _hub_id(data.dataset_name, BUILT_IN_LICENSES),
            "license": card.data_license or (None if data.train_file else BUILT_IN_LICENSES.get(data.dataset_name)),
            "splits": {
                split: "; ".join([str(report), *([corpus.notes[split]] if split in corpus.notes else [])])
                for split, report in corpus.reports.items()
            },
        },
        "versions": versions(),
        "hardware": hardware(args),
        "examples": examples,
    }
    write_json(Path(args.output_dir) / RECORD_NAME, record)
    write_card(args.output_dir, args.hub_model_id if pushed else None)


def far_apart(count: int, length: int) -> list[int]:
    """At most `count` places of a list, spread over it."""
    count = min(count, length)
    return [place * length // count for place in range(count)]


def _hub_id(name: str | None, built_in: Mapping = MappingProxyType({})) -> str | None:
    """A name that was loaded from the Hub: one that is neither built in nor a local path."""
    return None if name is None or name in built_in or Path(name).exists() else name


def print_results(results: dict) -> None:
    for name, value in ((visible(name), value) for name, value in results.items()):
        print(f"{name:>34} = {value:.4f}" if isinstance(value, float) else f"{name:>34} = {value}")


def without_nan(content: object) -> object:
    """The same with null in the place of numbers that are not finite, which JSON does not have."""
    if isinstance(content, Mapping):
        return {name: without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: object) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        text = json.dumps(without_nan(content), indent=2, sort_keys=True, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
