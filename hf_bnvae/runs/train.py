"""`train` and `train_dialogue`: from data to a trained model in one call."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

from ..data import CorpusError
from ..data.python_data import as_rows, holds_splits, plain_rows
from ..data.splits import SPLIT_NAMES
from ..data.tokenizers import tokenizer_at_hand
from ..dialogue_pipeline import DialoguePipeline
from ..errors import ParameterError
from ..methods import DIALOGUE_METHODS, METHODS, Method
from ..pipelines import LanguageModelPipeline, TextVaePipeline
from ..training import DialogueTrainingArguments, VaeTrainer, VaeTrainingArguments
from ..training.field_types import read_values
from .arguments import arguments_from_values
from .card_arguments import CardArguments
from .data_arguments import TrainingDataArguments
from .dialogue_data_arguments import DialogueDataArguments
from .dialogue_model_arguments import DialogueModelArguments
from .dialogue_run import DialogueRun, train_dialogue_model
from .evaluation_arguments import ResponseArguments, TextMetricArguments
from .model_arguments import ModelArguments
from .text_run import TextRun, train_text_model

VALIDATION_PERCENTAGE = 10.0
NAMES_OF_COLUMNS = ("text_column", "context_column", "response_column", "utterance_column")
"""Parameters that name a column. A dict that has it holds columns, and no splits."""


@overload
def train(  # type: ignore[overload-overlap]
    dataset: Any = None,
    *,
    method: Literal["lm", "lstm_lm"],
    output_dir: str | Path = "out",
    **parameters,
) -> LanguageModelPipeline: ...


@overload
def train(
    dataset: Any = None,
    method: str = "bn_vae",
    output_dir: str | Path = "out",
    embeddings: Any = None,
    tokenizer: Any = None,
    callbacks: Sequence[Any] = (),
    **parameters,
) -> TextVaePipeline: ...


def train(
    dataset: Any = None,
    method: str = "bn_vae",
    output_dir: str | Path = "out",
    embeddings: Any = None,
    tokenizer: Any = None,
    callbacks: Sequence[Any] = (),
    **parameters,
) -> TextVaePipeline | LanguageModelPipeline:
    """Train a text VAE on sentences, or the language model beside it.

    The output folder gets what the command `hf-bnvae train` writes: the model, its tokenizer, checkpoints,
    `all_results.json` and the model card.

    Args:
        dataset: a list or any other iterable of strings, a `datasets.Dataset` or one of its columns, a `DatasetDict`,
            a pandas `DataFrame` or `Series`, a dict of any of these by split, a dict of columns, the path of a file, or
            the name of a built-in corpus, a folder or a dataset on the Hub. Without a validation split, a tenth of the
            data is put aside as one. Of a stream or a generator no more is read than `max_train_samples` take. None
            where `parameters` name the data.
        method: a row of `methods.METHODS`.
        output_dir: a folder that holds no run yet.
        embeddings: of the texts, `(texts, width)`, an array or a tensor, which the model reads in the place of an
            encoder; a dict of them by split (`train`, `validation`, `test`) where the data have splits. A validation
            split that is put aside takes its own with it. `embeddings_file` and its companions name files of them.
        tokenizer: a fast tokenizer of Transformers, or what the flag takes: a kind to build, or a name.
        callbacks: of `Trainer`, such as `transformers.EarlyStoppingCallback(3)`.
        parameters: any flag of `hf-bnvae train`, by its name: `rate=8`, `num_train_epochs=5`, `text_column="review"`.
            Texts that read as a number or as true or false are taken as such.

    Returns:
        The trained model with its tokenizer: of the methods lm and lstm_lm a `LanguageModelPipeline`.

    Raises:
        CorpusError: the data cannot be read or trained on.
        ValueError: a parameter that does not exist, or a value that cannot be used; the sentence names it.

    Example:

        vae = train(["the food was great", "never again", ...], method="bn_vae", output_dir="out")
        vae.encode(["the service was slow"])
    """
    kinds = (TrainingDataArguments, ModelArguments, TextMetricArguments, CardArguments, VaeTrainingArguments)
    with _plain_names():
        made, named = _tokenizer_and_name(tokenizer)
        named |= {"method": method, "output_dir": output_dir} | parameters
        sentences, values = _data_and_values(dataset, METHODS, kinds, named)
        data, model_args, metrics, card, args = arguments_from_values(*kinds, values=values)
        run = TextRun(data, model_args, metrics, card, args, tokenizer=made, callbacks=callbacks)
        run.sentences, run.embeddings = sentences, _by_split(embeddings)
        trainer, _ = train_text_model(run)
    return _pipeline(TextVaePipeline if METHODS[method].has_latent else LanguageModelPipeline, trainer)


def train_dialogue(
    dataset: Any = None,
    method: str = "bn_cvae",
    output_dir: str | Path = "out",
    tokenizer: Any = None,
    callbacks: Sequence[Any] = (),
    **parameters,
) -> DialoguePipeline:
    """Train a conditional VAE that answers in dialogues.

    The output folder gets what the command `hf-bnvae dialogue` writes: the model, its tokenizer, checkpoints,
    `all_results.json`, `samples.md` and the model card.

    Args:
        dataset: a list of dialogues, each a list of strings or a dict as a line of a jsonl file is, or any other shape
            that `train` takes. The layouts of a row are those of `data.load_dialogues`.
        method: a row of `methods.DIALOGUE_METHODS`.
        output_dir: a folder that holds no run yet.
        tokenizer, callbacks: as of `train`.
        parameters: any flag of `hf-bnvae dialogue`, by its name: `rate=8`, `num_responses=0`.

    Returns:
        The trained model with its tokenizer.

    Raises:
        CorpusError: the data cannot be read or trained on.
        ValueError: a parameter that does not exist, or a value that cannot be used; the sentence names it.

    Example:

        chat = train_dialogue([["hello !", "hi , how are you ?"], ...], output_dir="out")
        chat.respond(["hello !"], num_responses=5)
    """
    kinds = (
        DialogueDataArguments,
        DialogueModelArguments,
        ResponseArguments,
        CardArguments,
        DialogueTrainingArguments,
    )
    with _plain_names():
        made, named = _tokenizer_and_name(tokenizer)
        named |= {"method": method, "output_dir": output_dir} | parameters
        dialogues, values = _data_and_values(dataset, DIALOGUE_METHODS, kinds, named)
        data, model_args, metrics, card, args = arguments_from_values(*kinds, values=values)
        run = DialogueRun(data, model_args, metrics, card, args, tokenizer=made, callbacks=callbacks)
        run.dialogues = dialogues
        trainer, _ = train_dialogue_model(run)
    return _pipeline(DialoguePipeline, trainer)


def _tokenizer_and_name(tokenizer: Any) -> tuple[Any, dict[str, Any]]:
    """A tokenizer that is given (None where it has but a name), and the parameter that names it."""
    if tokenizer is None or isinstance(tokenizer, str | Path):
        return None, {"tokenizer": tokenizer}
    made = tokenizer_at_hand(tokenizer)
    return made, {"tokenizer": made.name_or_path or type(made).__name__}


def _by_split(embeddings: Any) -> Mapping[str, Any] | None:
    """Embeddings by split; those alone are of the training split."""
    return embeddings if embeddings is None or isinstance(embeddings, Mapping) else {"train": embeddings}


def _pipeline(kind: Any, trainer: VaeTrainer) -> Any:
    """The trained model with its tokenizer, which knows the output folder."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # without the run's autocast
    pipeline = kind(model.eval(), trainer.processing_class)
    pipeline.folder = Path(str(trainer.args.output_dir))
    return pipeline


def _data_and_values(
    dataset: Any, methods: Mapping[str, Method], kinds: tuple[type, ...], named: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The data at hand (None where parameters name them), and the values of the run's arguments by their names."""
    if named["method"] not in methods:
        raise ValueError(f"method must be one of {', '.join(methods)}, got {named['method']!r}")
    values = read_values(*kinds, values=named)
    if isinstance(dataset, str | Path):
        values = {"train_file" if Path(dataset).is_file() else "dataset_name": str(dataset)} | values
        dataset = None
    if dataset is not None and values.get("streaming"):
        raise ParameterError(
            "`streaming` reads what `train_file` or `dataset_name` names, and the data are given in its place: leave "
            "it out, or name them"
        )
    if isinstance(dataset, Mapping) and any(values.get(name) in dataset for name in NAMES_OF_COLUMNS):
        dataset = (plain_rows if methods is DIALOGUE_METHODS else as_rows)(dataset)
    if _lacks_validation(dataset, values):
        values["validation_split_percentage"] = VALIDATION_PERCENTAGE
    return dataset, values


def _lacks_validation(at_hand: Any, values: Mapping[str, Any]) -> bool:
    """Whether a validation split is to be put aside: there is none, and the caller says nothing of it."""
    decided = ("validation_file", "validation_split", "validation_split_percentage", "dataset_name")
    without = values.get("streaming") or values.get("eval_strategy") == "no"
    if without or any(values.get(name) is not None for name in decided):
        return False
    return not (holds_splits(at_hand) and any(name in at_hand for name in SPLIT_NAMES["validation"]))


@contextmanager
def _plain_names() -> Iterator[None]:
    """Leave the backticks around names of parameters out of errors."""
    try:
        yield
    except ValueError as error:
        message = re.sub(r"`(\w+)`", r"\1", str(error))
        if message == str(error):
            raise
        raise (CorpusError if isinstance(error, CorpusError) else ValueError)(message) from error
