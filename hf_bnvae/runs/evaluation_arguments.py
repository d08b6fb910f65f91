"""Arguments that say how a trained model is evaluated."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..data import load_tokenizer
from ..data.vocabularies import check_tokenizer
from ..errors import ParameterError
from ..evaluation import WordVectors
from ..models import LstmLMConfig, LstmLMForCausalLM
from ..training.recipes import bf16_pays
from .checks import check_least, check_output_file, check_seeds
from .data_arguments import DataArguments
from .dialogue_data_arguments import DialogueDataArguments
from .loading import load_model, load_vectors

SCORES_ENDINGS = (".csv", ".jsonl")


@dataclass
class EvaluationArguments:
    """What is evaluated."""

    model_name_or_path: str = field(metadata={"help": "folder of a checkpoint, or its Hub id"})
    split: str = field(
        default="test", metadata={"help": "the split to evaluate", "choices": ["train", "validation", "test"]}
    )
    batch_size: int = field(default=128, metadata={"help": "sentences in a batch"})
    seed: int = field(default=42, metadata={"help": "of the latent noise, which is keyed by sentence"})
    output_file: str | None = field(default=None, metadata={"help": "write the results here as JSON"})
    scores_file: str | None = field(
        default=None,
        metadata={"help": "write the scores of each sentence or response here, as csv or jsonl by the ending"},
    )

    def __post_init__(self):
        check_least(self, batch_size=1)
        check_seeds([self.seed], "`seed`")
        check_output_file(self.scores_file, "`scores_file`", SCORES_ENDINGS)

    def corpus(self, data: DataArguments | DialogueDataArguments) -> Any:
        """The corpus that `data` names, with no other split than the one to evaluate.

        Raises:
            ParameterError: it does not have that split.
        """
        if self.split == "train" and data.max_eval_samples is not None:
            raise ParameterError("`max_eval_samples` cuts validation and test: use `max_train_samples`")
        corpus = data.load()
        if self.split not in corpus.splits:
            raise ParameterError(
                f"{corpus.name} has no {self.split} split: pass `{self.split}_file` or another `split`"
            )
        return replace(corpus, splits=type(corpus.splits)({self.split: corpus.splits[self.split]}))


@dataclass
class DialogueEvaluationArguments(EvaluationArguments):
    """What is evaluated, of a model of dialogues."""

    samples_file: str | None = field(
        default=None, metadata={"help": "write contexts with responses here, as Markdown (`num_cases`)"}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.samples_file is not None and Path(self.samples_file).is_dir():
            raise ParameterError(f"`samples_file` {self.samples_file} is a folder: name a file")


def refuse_without(arguments: Any, **readers: str) -> None:
    """Refuse arguments that are given where the number that reads them, by its name, is 0."""
    for name, reader in readers.items():
        if getattr(arguments, name) not in (None, []) and not getattr(arguments, reader):
            raise ParameterError(f"`{name}` is read with `{reader}` above 0 only: leave it out")


@dataclass
class LikelihoodArguments:
    """How the trained model is evaluated."""

    nll_samples: int = field(default=500, metadata={"help": "importance samples K of the NLL; 0 leaves it out"})
    max_nll_samples: int | None = field(
        default=None, metadata={"help": "compute the NLL of the first so many sentences of the split"}
    )
    nll_tolerance: float | None = field(
        default=None,
        metadata={
            "help": "stop the samples of a sentence, after 16 or more, where the standard error of its NLL is below so "
            "many nats, such as 0.1; by default all are taken"
        },
    )
    nll_bf16: bool = field(
        default=False,
        metadata={"help": "the products of the NLL in bf16: several times as fast where the hardware has it"},
    )

    def __post_init__(self):
        check_least(self, nll_samples=0, max_nll_samples=1, nll_tolerance=0)
        if self.nll_tolerance == math.inf:
            raise ParameterError("`nll_tolerance` must be a number of nats, got inf")
        refuse_without(self, nll_tolerance="nll_samples", max_nll_samples="nll_samples")
        if self.nll_bf16 and not bf16_pays():
            raise ParameterError("`nll_bf16`: this machine has no products in bf16, leave it out")


@dataclass
class TextMetricArguments(LikelihoodArguments):
    """How a trained text VAE is evaluated: by its bounds, and by the texts that it writes."""

    reconstruction_samples: int = field(
        default=1_000,
        metadata={"help": "say so many sentences of the split again from their latents, for BLEU; 0 leaves it out"},
    )
    language_model: str | None = field(
        default=None,
        metadata={"help": "a language model of the same corpus (`method` lm): gives the perplexity of samples"},
    )
    prior_samples: int | None = field(
        default=None, metadata={"help": "samples of the prior whose perplexity is taken, by default 1,000"}
    )

    def __post_init__(self):
        super().__post_init__()
        check_least(self, reconstruction_samples=0, prior_samples=1)
        if self.prior_samples is not None and self.language_model is None:
            raise ParameterError("`prior_samples` is read with `language_model` only: leave it out")
        self.prior_samples = self.prior_samples or 1_000

    def load_language_model(self, latent_size: int) -> tuple | None:
        """The language model and its tokenizer, for a model with so many latent dimensions; None without one."""
        if self.language_model is None:
            return None
        called = "`language_model`"
        if latent_size == 0:
            raise ParameterError(f"{called} judges draws of a prior, and a language model has none: leave it out")
        model = load_model(self.language_model, called, {LstmLMConfig: LstmLMForCausalLM})
        tokenizer = load_tokenizer(self.language_model, called)
        check_tokenizer(model, tokenizer, f"{called} {self.language_model}")
        return model, tokenizer


@dataclass
class ResponseArguments(LikelihoodArguments):
    """How the trained model and its responses are evaluated."""

    nll_samples: int = field(
        default=0, metadata={"help": "importance samples K of the NLL of the responses; 0 leaves it out"}
    )
    num_responses: int = field(
        default=10, metadata={"help": "responses to each context that are evaluated; 0 for none"}
    )
    max_response_contexts: int | None = field(
        default=None, metadata={"help": "evaluate the responses to the first so many contexts of the split"}
    )
    word_vectors: str | None = field(
        default=None,
        metadata={"help": "for A-bow and E-bow: GloVe or word2vec text, or word2vec .bin"},
    )
    num_cases: int = field(default=8, metadata={"help": "contexts shown in samples.md"})
    compare_with: list[str] = field(
        default_factory=list, metadata={"help": "other trained models whose responses stand in samples.md as well"}
    )

    def __post_init__(self):
        super().__post_init__()
        check_least(self, num_responses=0, max_response_contexts=1, num_cases=0)
        readers = {
            "word_vectors": "num_responses",
            "max_response_contexts": "num_responses",
            "compare_with": "num_cases",
        }
        refuse_without(self, **readers)

    def load_word_vectors(self) -> WordVectors | None:
        """The word vectors that responses are compared by; None without them."""
        return None if self.word_vectors is None else load_vectors(self.word_vectors, "`word_vectors`")
