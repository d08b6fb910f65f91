"""`train` and `train_dialogue`: from data to a trained model in one call."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

from datasets import Dataset, IterableDataset

from ..data import CorpusError
from ..data.splits import SPLIT_NAMES
from ..dialogue_pipeline import DialoguePipeline
from ..methods import DIALOGUE_METHODS, METHODS, Method
from ..pipelines import LanguageModelPipeline, TextVaePipeline
from ..training import DialogueTrainingArguments, VaeTrainer, VaeTrainingArguments
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
COLUMNS = ("text", "turns", "context")
"""A dict with one of these keys holds columns; any other holds splits."""


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
    **parameters,
) -> TextVaePipeline: ...


def train(
    dataset: Any = None,
    method: str = "bn_vae",
    output_dir: str | Path = "out",
    embeddings: Any = None,
    **parameters,
) -> TextVaePipeline | LanguageModelPipeline:
    """Train a text VAE on sentences, or the language model beside it.

    The output folder gets what the command `hf-bnvae train` writes: the model, its tokenizer, checkpoints,
    `all_results.json` and the model card.

    Args:
        dataset: a list of strings, a `datasets.Dataset`, a `DatasetDict`, a pandas `DataFrame` or `Series`, a dict of
            any of these by split, the path of a file, or the name of a built-in corpus, a folder or a dataset on the
            Hub. Without a validation split, a tenth of the data is put aside as one. None where `parameters` name the
            data.
        method: a row of `methods.METHODS`.
        output_dir: a folder that holds no run yet.
        embeddings: of the texts, `(texts, width)`, an array or a tensor, which the model reads in the place of an
            encoder; a dict of them by split (`train`, `validation`, `test`) where the data have splits. A validation
            split that is put aside takes its own with it. `embeddings_file` and its companions name files of them.
        parameters: any flag of `hf-bnvae train`, by its name: `rate=8`, `num_train_epochs=5`, `text_column="review"`.

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
        sentences, values = _data_and_values(dataset, method, METHODS, output_dir, parameters)
        data, model_args, metrics, card, args = arguments_from_values(*kinds, values=values)
        run = TextRun(data, model_args, metrics, card, args, sentences=sentences, embeddings=_by_split(embeddings))
        trainer, _ = train_text_model(run)
    return _pipeline(TextVaePipeline if METHODS[method].has_latent else LanguageModelPipeline, trainer)


def train_dialogue(
    dataset: Any = None, method: str = "bn_cvae", output_dir: str | Path = "out", **parameters
) -> DialoguePipeline:
    """Train a conditional VAE that answers in dialogues.

    The output folder gets what the command `hf-bnvae dialogue` writes: the model, its tokenizer, checkpoints,
    `all_results.json`, `samples.md` and the model card.

    Args:
        dataset: a list of dialogues, each a list of strings or a dict as a line of a jsonl file is, or any other shape
            that `train` takes. The layouts of a row are those of `data.load_dialogues`.
        method: a row of `methods.DIALOGUE_METHODS`.
        output_dir: a folder that holds no run yet.
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
        dialogues, values = _data_and_values(dataset, method, DIALOGUE_METHODS, output_dir, parameters)
        data, model_args, metrics, card, args = arguments_from_values(*kinds, values=values)
        trainer, _ = train_dialogue_model(DialogueRun(data, model_args, metrics, card, args, dialogues=dialogues))
    return _pipeline(DialoguePipeline, trainer)


def _by_split(embeddings: Any) -> Mapping[str, Any] | None:
    """Embeddings by split; those alone are of the training split."""
    return embeddings if embeddings is None or isinstance(embeddings, Mapping) else {"train": embeddings}


def _pipeline(kind: Any, trainer: VaeTrainer) -> Any:
    """The trained model with its tokenizer, which knows the output folder."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # without the run's autocast
    pipeline = kind(model, trainer.processing_class)
    pipeline.folder = Path(str(trainer.args.output_dir))
    return pipeline


def _data_and_values(
    dataset: Any,
    method: str,
    methods: Mapping[str, Method],
    output_dir: str | Path,
    parameters: dict[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """The data at hand (None where parameters name them), and the values of the run's arguments by their names."""
    if method not in methods:
        raise ValueError(f"method must be one of {', '.join(methods)}, got {method!r}")
    at_hand, named = _data_of(dataset)
    values = {"method": method, "output_dir": str(output_dir)} | named | parameters
    if _lacks_validation(at_hand, values):
        values["validation_split_percentage"] = VALIDATION_PERCENTAGE
    return at_hand, values


def _data_of(dataset: Any) -> tuple[Any, dict[str, str]]:
    """The data in a shape that `data.load_corpus` takes, or parameters that name them."""
    if dataset is None:
        return None, {}
    if isinstance(dataset, str | Path):
        return None, {"train_file" if Path(dataset).is_file() else "dataset_name": str(dataset)}
    if isinstance(dataset, Mapping) and not isinstance(dataset, Dataset):
        if any(column in dataset for column in COLUMNS):
            return Dataset.from_dict(dict(dataset)), {}
        return {split: _as_dataset(rows) for split, rows in dataset.items()}, {}
    return _as_dataset(dataset), {}


def _as_dataset(rows: Any) -> Any:
    """A data set of a list of texts, of dialogues or of rows, or of what pandas holds; anything else as it is.

    The first row that is not None says which of the three; a text may be None, or NaN in a table.
    """
    if type(rows).__module__.partition(".")[0] == "pandas":
        if hasattr(rows, "columns"):
            return Dataset.from_pandas(rows, preserve_index=False)
        rows = rows.tolist()
    if not isinstance(rows, list | tuple):
        return rows
    rows = list(rows)
    first = next((row for row in rows if row is not None), None)
    if isinstance(first, Mapping):
        return Dataset.from_list(_of_kind(Mapping, "a dict", rows))
    if isinstance(first, list | tuple):
        return Dataset.from_dict({"turns": _of_kind(list | tuple, "a list", rows)})
    texts = [None if row != row else row for row in rows]
    return Dataset.from_dict({"text": _of_kind(str | None, "text", texts)})


def _of_kind(kind: Any, called: str, rows: list) -> list:
    """The rows; a CorpusError with the number of the first that is of another kind."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, kind):
            raise CorpusError(f"the data, row {number}: must be {called}, got {type(row).__name__}")
    return rows


def _lacks_validation(at_hand: Any, values: Mapping[str, Any]) -> bool:
    """Whether a validation split is to be put aside: there is none, and the caller says nothing of it."""
    decided = ("validation_file", "validation_split", "validation_split_percentage", "eval_strategy", "dataset_name")
    if any(values.get(name) is not None for name in decided) or values.get("streaming"):
        return False
    if isinstance(at_hand, Mapping) and not isinstance(at_hand, Dataset | IterableDataset):
        return not any(name in at_hand for name in SPLIT_NAMES["validation"])
    return True


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
