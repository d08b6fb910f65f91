"""Evaluate encoders by a linear classifier on their vectors, trained on few labels and on many (the paper's Table 3).

    hf-bnvae classify --model_name_or_path out --train_file train.tsv --test_file test.tsv \
        --label_column label --num_labels_list 100,500,1000,2000,10000 --output_dir out_classification
    hf-bnvae classify --model_name_or_path runs/comparison/runs/*/seed_1 NAME=MODEL \
        --dataset_name my_folder --output_dir table

A model is a folder or a Hub id, with NAME= before it where the folder does not name its row: a text VAE, whose vector
of a sentence is the posterior mean, a model of sentence-transformers, or any other encoder, whose states are averaged
over the sentence. With --finetune true the encoders of text VAEs are trained along with the classifier.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import (
    AutoModel,
    AutoTokenizer,
    set_seed,
)
from transformers.utils import has_file, logging

from ..analysis.classification_table import (
    BAG_OF_WORDS,
    MAJORITY,
    ROW_NAMES,
    ClassificationSettings,
    flat_results,
    results_page,
)
from ..data import load_tokenizer
from ..data.encoded_texts import encode_texts
from ..data.errors import first_line
from ..evaluation import encode_in_order
from ..evaluation.classification import (
    ClassificationTask,
    Predict,
    counting_words,
    evaluate_samples,
    finetuning,
    most_frequent,
    probing,
    read_task,
)
from ..hub.run_record import command_line, write_json
from ..models import BnCvaeConfig, BnVaeConfig, BnVaeForSequenceClassification, BnVaeModel, LstmLMConfig
from ..runs.checks import check_least, check_seeds, whole_numbers
from ..runs.data_arguments import DataArguments
from ..runs.loading import load_model, read_config
from ..training.run_lock import lock, unlock
from ..visible import visible
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .program import called_as
from .run import run
from .yaml_file import all_flags

logger = logging.get_logger(__name__)

FLAG = "--model_name_or_path"
FINETUNING_FLAGS = ("num_train_epochs", "learning_rate", "per_device_train_batch_size")


@dataclass
class ClassificationArguments:
    """What is evaluated, and on how many labels."""

    model_name_or_path: list[str] = field(metadata={"help": "folders of models or Hub ids, or NAME=MODEL"})
    output_dir: str = field(metadata={"help": "where all_results.json and results.md go"})
    num_labels_list: list[str] = field(
        default_factory=lambda: ["100,500,1000,2000,10000"],
        metadata={"help": "labelled sentences to learn from, separated by commas"},
    )
    balanced: bool = field(default=False, metadata={"help": "learn from as many sentences of each class"})
    seeds: list[str] = field(
        default_factory=lambda: ["1,2,3,4,5"], metadata={"help": "of the labelled samples, separated by commas"}
    )
    standardise: bool = field(
        default=True, metadata={"help": "give every dimension of the vectors variance 1; else quiet ones count less"}
    )
    batch_size: int = field(default=128, metadata={"help": "sentences to encode at once"})
    finetune: bool = field(default=False, metadata={"help": "train text VAEs along with the classifier on them"})
    num_train_epochs: float = field(default=10.0, metadata={"help": "finetune: passes over the labelled sentences"})
    learning_rate: float = field(default=3e-3, metadata={"help": "finetune: of AdamW, decaying linearly"})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "finetune: sentences in a batch"})

    def __post_init__(self):
        check_least(self, batch_size=1, num_train_epochs=0, learning_rate=0, per_device_train_batch_size=1)
        for name in FINETUNING_FLAGS:
            if not self.finetune and getattr(self, name) != getattr(type(self), name):
                raise UsageError(f"--{name} is read with --finetune true only: leave it out")
        if self.finetune and not self.standardise:
            raise UsageError("--standardise false is read without --finetune only: leave it out")
        if self.sizes()[0] < 2:
            raise UsageError(f"--num_labels_list must be at least 2 each, got {self.sizes()[0]}")
        check_seeds(self.sample_seeds(), "--seeds")
        folder = Path(self.output_dir)
        if folder.is_file() or (folder / "config.json").exists() or (folder / "all_results.json").exists():
            raise UsageError(f"--output_dir {folder} is a file, or holds a model or results: name another folder")

    def sizes(self) -> list[int]:
        return sorted(set(whole_numbers(",".join(self.num_labels_list), "--num_labels_list")))

    def sample_seeds(self) -> list[int]:
        return sorted(set(whole_numbers(",".join(self.seeds), "--seeds")))

    def settings(self) -> ClassificationSettings:
        """What the table says of the classifiers."""
        return ClassificationSettings(self.sizes(), self.sample_seeds(), self.balanced, self.standardise, self.finetune)

    def models(self) -> dict[str, str]:
        """The model of each row. Without a name a row has that of the folder, or, over `seed_N`, of the one above."""
        by_row: dict[str, str] = {}
        for text in self.model_name_or_path:
            row, equals, model = text.partition("=")
            if not equals or "/" in row or Path(text).exists():
                path = Path(text).resolve()
                row, model = (path.parent if re.fullmatch(r"seed_\d+", path.name) else path).name, text
            if row in by_row or row in ROW_NAMES:
                raise UsageError(f"{FLAG}: two rows would have the name {row}: say NAME=MODEL")
            by_row[row] = model
        return by_row


@flags_named()
def main(argv: list[str] | None = None) -> None:
    args, data = parse_arguments(ClassificationArguments, DataArguments, description=__doc__.splitlines()[0], argv=argv)
    if find_spec("sklearn") is None:
        raise UsageError("classification takes scikit-learn: pip install 'hf-bnvae[classification]'")
    models = args.models()
    for model in models.values():
        check_model(model, args.finetune)
    settings = args.settings()
    task = read_task(data.load(), settings.sizes, settings.seeds, settings.balanced)
    print(
        f"{task.num_classes:,} classes; {len(task.texts):,} of {task.train_sentences:,} training sentences are in a "
        f"sample, and {len(task.test_texts):,} to evaluate on"
    )
    lock(args.output_dir)
    classifier = finetuned_classifier if args.finetune else probed_classifier
    rows: dict[str, Predict] = {name: classifier(model, task, data.max_length, args) for name, model in models.items()}
    rows |= {MAJORITY: most_frequent(task), BAG_OF_WORDS: counting_words(task)}
    scores = {name: evaluate_samples(name, predict, task) for name, predict in rows.items()}
    folder = Path(args.output_dir)
    write_json(folder / "all_results.json", flat_results(scores, task, settings))
    page = results_page(scores, task, settings, command_line(called_as("classify", argv), all_flags(argv)))
    (folder / "results.md").write_text(page, encoding="utf-8")
    unlock(folder)
    print(visible(page))


def probed_classifier(name: str, task: ClassificationTask, max_length: int, args: ClassificationArguments) -> Predict:
    """A linear classifier on the vectors of a frozen encoder."""
    vectors = encode(name, task.texts + task.test_texts, max_length, args.batch_size)
    sample, test = np.split(vectors, [len(task.texts)])
    return probing(sample, test, task, args.standardise)


def finetuned_classifier(
    name: str, task: ClassificationTask, max_length: int, args: ClassificationArguments
) -> Predict:
    """A text VAE trained along with a classifier on its posterior mean."""
    tokenizer = load_tokenizer(name, FLAG)
    set_seed(args.sample_seeds()[0])
    model = load_ours(BnVaeForSequenceClassification, name, num_labels=task.num_classes)
    ids, test_ids = (token_ids(texts, tokenizer, max_length) for texts in (task.texts, task.test_texts))
    training = {flag: getattr(args, flag) for flag in FINETUNING_FLAGS}
    training |= {"output_dir": args.output_dir, "per_device_eval_batch_size": args.batch_size}
    return finetuning(model, tokenizer, ids, test_ids, task, **training)


def check_model(name: str, finetune: bool) -> None:
    """Refuse what no vectors can come from, before anything is read or trained."""
    flag = f"{FLAG} {name}"
    if is_sentence_transformer(name):
        if find_spec("sentence_transformers") is None:
            raise UsageError(f"{flag} takes sentence-transformers: pip install 'hf-bnvae[sentence-transformers]'")
        kind = "sentence-transformers"
    else:
        config = read_config(name, flag)
        kind = config.model_type
        if isinstance(config, (LstmLMConfig, BnCvaeConfig)):
            raise UsageError(f"{flag} is a {kind} model, which has no latent of a sentence alone: name a text VAE")
    if finetune and kind != BnVaeConfig.model_type:
        raise UsageError(f"{flag} is a {kind} model, and --finetune trains text VAEs (bnvae) only")


def is_sentence_transformer(name: str) -> bool:
    try:
        return has_file(name, "modules.json")
    except (OSError, ValueError) as error:
        raise UsageError(f"{FLAG} {name}: no model there ({first_line(error)})") from error


def encode(name: str, texts: list[str], max_length: int, batch_size: int) -> np.ndarray:
    """A vector of each text, `(texts, width)`: the posterior mean of a text VAE, the mean state of other encoders."""
    device = PartialState().device
    if is_sentence_transformer(name):
        from sentence_transformers import SentenceTransformer

        with loading(name):
            model = SentenceTransformer(name, device=str(device))
        model.max_seq_length = min(max_length, model.max_seq_length or max_length)
        return model.encode(texts, batch_size=batch_size)
    config = read_config(name, f"{FLAG} {name}")
    if isinstance(config, BnVaeConfig):
        tokenizer = load_tokenizer(name, FLAG)
        # A refined posterior takes the decoder; any other needs no more of a checkpoint than the encoder.
        model = load_model(name) if config.refinement_steps else load_ours(BnVaeModel, name)
        vectors_of = model.encode
    else:
        with loading(name):
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model = AutoModel.from_pretrained(name, trust_remote_code=False)
        model = model.get_encoder() if config.is_encoder_decoder else model
        vectors_of = partial(mean_state, model)
    model.eval().to(device)
    rows = token_ids(texts, tokenizer, max_length)
    return encode_in_order(rows, vectors_of, batch_size, tokenizer.pad_token_id, device).numpy()


@torch.no_grad()
def mean_state(model, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states averaged over the tokens of each sentence, `(batch, width)`."""
    states = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    weights = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def token_ids(texts: list[str], tokenizer, max_length: int) -> list[list[int]]:
    max_length = min(max_length, tokenizer.model_max_length)
    rows, cut = encode_texts(texts, tokenizer, max_length)
    if any(cut):
        logger.warning(f"{sum(cut):,} of {len(texts):,} sentences have more than {max_length} tokens and were cut.")
    return rows


def load_ours(kind, name: str, **options):
    """A part of a text VAE from any checkpoint that holds its encoder."""
    with loading(name):
        model, loaded = kind.from_pretrained(name, output_loading_info=True, **options)
    missing = {key for key in loaded["missing_keys"] if not key.startswith("classifier.")}
    if missing:
        raise UsageError(f"{FLAG} {name} lacks weights of the encoder, {min(missing)} for one")
    return model


@contextmanager
def loading(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UsageError(f"{FLAG} {name}: it cannot be loaded ({first_line(error)})") from error


if __name__ == "__main__":
    run(main)
