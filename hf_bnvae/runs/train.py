"""`train`: from sentences to a trained text VAE in one call."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase

from ..data import CorpusError
from ..data.splits import SPLIT_NAMES
from ..methods import METHODS
from ..models import BnVaeForConditionalGeneration
from ..pipelines import TextVaePipeline
from ..training import VaeTrainingArguments
from .arguments import arguments_from_values
from .card_arguments import CardArguments
from .data_arguments import TrainingDataArguments
from .evaluation_arguments import TextMetricArguments
from .model_arguments import ModelArguments
from .text_run import TextRun, train_text_model

VALIDATION_PERCENTAGE = 10.0


def train(dataset: Any = None, method: str = "bn_vae", output_dir: str | Path = "out", **flags) -> TextVaePipeline:
    """Train a text VAE on sentences.

    The output folder gets what the command `hf-bnvae train` writes: the model, its tokenizer, checkpoints,
    `all_results.json` and the model card.

    Args:
        dataset: a list of strings, a `datasets.Dataset`, a `DatasetDict`, a pandas `DataFrame` or `Series`, a dict of
            any of these by split, the path of a file, or the name of a built-in corpus, a folder or a dataset on the
            Hub. Without a validation split, a tenth of the data is put aside as one. None where `flags` name the data.
        method: a row of `methods.METHODS` that has a latent.
        output_dir: a folder that holds no run yet.
        flags: any flag of `hf-bnvae train`, by its name: `rate=8`, `num_train_epochs=5`, `text_column="review"`.

    Returns:
        The trained model with its tokenizer.

    Raises:
        CorpusError: the data cannot be read or trained on.
        ValueError: a parameter that does not exist, or a value that cannot be used; the sentence names it.

    Example:

        vae = train(["the food was great", "never again", ...], method="bn_vae", output_dir="out")
        vae.encode(["the service was slow"])
    """
    with _parameters_named():
        if method not in METHODS or not METHODS[method].has_latent:
            known = ", ".join(name for name, row in METHODS.items() if row.has_latent)
            raise ValueError(f"method must be one of {known}, got {method!r}")
        sentences, named = _data_of(dataset)
        values = {"method": method, "output_dir": str(output_dir)} | named | flags
        if _lacks_validation(sentences, values):
            values["validation_split_percentage"] = VALIDATION_PERCENTAGE
        kinds = (TrainingDataArguments, ModelArguments, TextMetricArguments, CardArguments, VaeTrainingArguments)
        data, model, metrics, card, training = arguments_from_values(*kinds, values=values)
        trainer, _ = train_text_model(TextRun(data, model, metrics, card, training, sentences=sentences))
    pipeline = TextVaePipeline(
        cast(BnVaeForConditionalGeneration, trainer.model), cast(PreTrainedTokenizerBase, trainer.processing_class)
    )
    pipeline.folder = Path(output_dir)
    return pipeline


def _data_of(dataset: Any) -> tuple[Any, dict[str, str]]:
    """The data in a shape that `data.load_corpus` takes, or parameters that name them."""
    if dataset is None:
        return None, {}
    if isinstance(dataset, str | Path):
        return None, {"train_file" if Path(dataset).is_file() else "dataset_name": str(dataset)}
    if isinstance(dataset, Mapping) and not isinstance(dataset, Dataset):
        if "text" in dataset:
            return Dataset.from_dict(dict(dataset)), {}
        return {split: _as_dataset(rows) for split, rows in dataset.items()}, {}
    return _as_dataset(dataset), {}


def _as_dataset(rows: Any) -> Any:
    """A data set of a list of strings or of what pandas holds; anything else as it is."""
    if type(rows).__module__.partition(".")[0] == "pandas":
        if hasattr(rows, "columns"):
            return Dataset.from_pandas(rows, preserve_index=False)
        rows = rows.tolist()
    if isinstance(rows, list | tuple):
        texts = all(isinstance(row, str) for row in rows)
        return Dataset.from_dict({"text": list(rows)}) if texts else Dataset.from_list(list(rows))
    return rows


def _lacks_validation(sentences: Any, values: Mapping[str, Any]) -> bool:
    """Whether a validation split is to be put aside: there is none, and the caller says nothing of it."""
    decided = ("validation_file", "validation_split", "validation_split_percentage", "eval_strategy", "dataset_name")
    if any(values.get(name) is not None for name in decided) or values.get("streaming"):
        return False
    if isinstance(sentences, Mapping) and not isinstance(sentences, Dataset | IterableDataset):
        return not any(name in sentences for name in SPLIT_NAMES["validation"])
    return True


@contextmanager
def _parameters_named() -> Iterator[None]:
    """Turn errors that name flags into errors that name parameters."""
    try:
        yield
    except ValueError as error:
        message = re.sub(r"--(?=[a-z])|`(\w+)`", r"\1", str(error))
        if message == str(error):
            raise
        raise (CorpusError if isinstance(error, CorpusError) else ValueError)(message) from error
