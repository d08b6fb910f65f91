"""Evaluate encoders by a linear classifier on their vectors, trained on few labels and on many (the paper's Table 3).

    hf-bnvae classify --model_name_or_path out --train_file train.tsv --test_file test.tsv \
        --label_column label --num_labels_list 100,500,1000,2000,10000 --output_dir out_classification
    hf-bnvae classify --model_name_or_path runs/comparison/runs/*/seed_1 NAME=MODEL \
        --dataset_name my_folder --output_dir table

A model is a folder or a Hub id, with NAME= before it where the folder does not name its row: a text VAE, whose vector
of a sentence is the posterior mean, a model of sentence-transformers, or any other encoder, whose states are averaged
over the sentence. With --finetune true the encoders of text VAEs are trained along with the classifier.
"""

import copy
import re
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import evaluate
import numpy as np
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import has_file, logging

from ..data import Corpus, CorpusError, load_tokenizer
from ..data.batches import encode_texts
from ..data.errors import first_line
from ..evaluation import bag_of_words, encode_in_order, nested_samples, probe
from ..evaluation.judges import judge_path
from ..hub.records import command_line, write_json
from ..models import BnCvaeConfig, BnVaeConfig, BnVaeForSequenceClassification, BnVaeModel, LstmLMConfig
from ..training.run_lock import lock, unlock
from ..visible import visible
from .checks import check_least, check_seeds, whole_numbers
from .data_flags import DataArguments
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .loading import load_model, read_config
from .program import called_as
from .run import run
from .yaml_file import all_flags

logger = logging.get_logger(__name__)

FLAG = "--model_name_or_path"
MAJORITY, BAG_OF_WORDS = "majority", "bow"
ROW_NAMES = {MAJORITY: "most frequent class", BAG_OF_WORDS: "bag of words, logistic regression"}
FINETUNING_FLAGS = ("num_train_epochs", "learning_rate", "per_device_train_batch_size")

Predict = Callable[[np.ndarray, int], np.ndarray]
"""From places of labelled sentences and a seed to the classes of the judged sentences."""
Scores = dict[str, dict[int, list[dict[str, float]]]]
"""Accuracy and F1 by row, by number of labels, one for each seed."""


@dataclass
class ClassificationArguments:
    """What is judged, and on how many labels."""

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

    def models(self) -> dict[str, str]:
        """The model of each row. Without a name a row has that of the folder, or, over `seed_N`, of the one above."""
        found: dict[str, str] = {}
        for text in self.model_name_or_path:
            name, equals, place = text.partition("=")
            if not equals or "/" in name or Path(text).exists():
                path = Path(text).resolve()
                name, place = (path.parent if re.fullmatch(r"seed_\d+", path.name) else path).name, text
            if name in found or name in ROW_NAMES:
                raise UsageError(f"{FLAG}: two rows would have the name {name}: say NAME=MODEL")
            found[name] = place
        return found


@dataclass
class Task:
    """What every row learns from and is judged on; labels are numbers from 0.

    Args:
        texts, labels: the training sentences that are in a sample.
        judged_texts, judged_labels: the sentences to judge on.
        split: which those are, `test` or `eval`.
        samples: places in `texts` by seed and size.
        majority: the most frequent class of the whole training split.
        train_sentences, num_classes: of the whole training split.
        unseen: judged sentences whose class is not among those.
    """

    texts: list[str]
    labels: np.ndarray
    judged_texts: list[str]
    judged_labels: np.ndarray
    split: str
    samples: dict[tuple[int, int], np.ndarray]
    majority: int
    train_sentences: int
    num_classes: int
    unseen: int


def main(argv: list[str] | None = None) -> None:
    args, data = parse_arguments(ClassificationArguments, DataArguments, description=__doc__.splitlines()[0], argv=argv)
    if find_spec("sklearn") is None:
        raise UsageError("classification takes scikit-learn: pip install 'hf-bnvae[classification]'")
    models = args.models()
    for place in models.values():
        check_model(place, args.finetune)
    task = read_task(data.load(), args)
    print(
        f"{task.num_classes:,} classes; {len(task.texts):,} of {task.train_sentences:,} training sentences are in a "
        f"sample, and {len(task.judged_texts):,} to judge on"
    )
    with flags_named():
        lock(args.output_dir)
    learn = finetuning if args.finetune else probing
    rows: dict[str, Predict] = {name: learn(place, task, data.max_length, args) for name, place in models.items()}
    rows |= {MAJORITY: most_frequent(task), BAG_OF_WORDS: counting_words(task)}
    scores = {name: judge_samples(name, predict, task) for name, predict in rows.items()}
    folder = Path(args.output_dir)
    write_json(folder / "all_results.json", flat_results(scores, task, args))
    page = results_page(scores, task, args, command_line(called_as("classify", argv), all_flags(argv)))
    (folder / "results.md").write_text(page, encoding="utf-8")
    unlock(folder)
    print(visible(page))


def check_model(place: str, finetune: bool) -> None:
    """Refuse what no vectors can come from, before anything is read or trained."""
    flag = f"{FLAG} {place}"
    if is_sentence_transformer(place):
        if find_spec("sentence_transformers") is None:
            raise UsageError(f"{flag} takes sentence-transformers: pip install 'hf-bnvae[sentence-transformers]'")
        kind = "sentence-transformers"
    else:
        config = read_config(place, flag)
        kind = config.model_type
        if isinstance(config, (LstmLMConfig, BnCvaeConfig)):
            raise UsageError(f"{flag} is a {kind} model, which has no latent of a sentence alone: name a text VAE")
    if finetune and kind != BnVaeConfig.model_type:
        raise UsageError(f"{flag} is a {kind} model, and --finetune trains text VAEs (bnvae) only")


def is_sentence_transformer(place: str) -> bool:
    try:
        return has_file(place, "modules.json")
    except (OSError, ValueError) as error:
        raise UsageError(f"{FLAG} {place}: no model there ({first_line(error)})") from error


def read_task(corpus: Corpus, args: ClassificationArguments) -> Task:
    """Draw the samples, and keep of the training split what is in one."""
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass --train_file")
    judged = next((split for split in ("test", "validation") if split in corpus.splits), None)
    if judged is None:
        raise CorpusError(f"{corpus.name} has neither a test nor a validation split to judge on: pass --test_file")
    words, judged_words = read_labels(corpus, "train"), read_labels(corpus, judged)
    known = set(words)
    classes = sorted(known)
    if len(classes) < 2:
        raise CorpusError(
            f"{corpus.name}: every training sentence has the label {classes[0]}: name another column by --label_column"
        )
    if len(classes) == len(words):
        raise CorpusError(
            f"{corpus.name}: every training sentence has a label of its own: name another column by --label_column"
        )
    others = sorted(set(judged_words) - known)
    unseen = sum(word not in known for word in judged_words)
    if unseen == len(judged_words):
        raise CorpusError(
            f"{corpus.name}: the {judged} split has none of the labels of the training split, but {others[0]} for one: "
            f"pass a --{judged}_file with labels of the same kind"
        )
    if unseen:
        logger.warning(
            f"{unseen:,} of {len(judged_words):,} {judged} sentences have a label that no training sentence has "
            f"({', '.join(others[:5])}), and count as errors."
        )
    numbers = {word: number for number, word in enumerate([*classes, *others])}
    labels = np.array([numbers[word] for word in words])
    samples = draw_samples(corpus.name, words, args)
    kept = np.unique(np.concatenate(list(samples.values())))
    return Task(
        texts=corpus.splits["train"].select(kept)["text"][:],
        labels=labels[kept],
        judged_texts=corpus.splits[judged]["text"][:],
        judged_labels=np.array([numbers[word] for word in judged_words]),
        split="test" if judged == "test" else "eval",
        samples={key: np.searchsorted(kept, rows) for key, rows in samples.items()},
        majority=int(np.bincount(labels).argmax()),
        train_sentences=len(labels),
        num_classes=len(classes),
        unseen=unseen,
    )


def read_labels(corpus: Corpus, split: str) -> list[str]:
    """The class of each sentence as a word, so that 1 and "1" of two files are the same one."""
    rows = corpus.splits[split]
    if "label" not in rows.column_names:
        raise CorpusError(f"{corpus.name}: the {split} split has no labels: name their column by --label_column")
    labels = rows["label"][:]
    for number, label in enumerate(labels, start=1):
        if not isinstance(label, (int, str)) or not str(label).strip():
            raise CorpusError(
                f"{corpus.name}: sentence {number:,} of the {split} split has {label!r} for a label: give every "
                "sentence a word or a whole number, or name another column by --label_column"
            )
    return [str(label).strip() for label in labels]


def draw_samples(name: str, labels: list[str], args: ClassificationArguments) -> dict[tuple[int, int], np.ndarray]:
    """Places of labelled sentences by seed and size."""
    sizes = args.sizes()
    if sizes[-1] > len(labels):
        raise UsageError(
            f"--num_labels_list {sizes[-1]}: the training split of {name} has {len(labels):,} sentences: leave larger "
            "numbers out"
        )
    samples = {}
    for seed in args.sample_seeds():
        try:
            drawn = nested_samples(labels, sizes, seed, args.balanced)
        except ValueError as error:
            raise UsageError(f"--balanced: {error}; leave larger numbers out of --num_labels_list") from error
        for size, rows in drawn.items():
            if len({labels[row] for row in rows}) < 2:
                raise UsageError(
                    f"--num_labels_list {size}: with seed {seed} all of them have one label: ask for more, or for "
                    "--balanced true"
                )
            samples[seed, size] = rows
    return samples


def judge_samples(name: str, predict: Predict, task: Task) -> dict[int, list[dict[str, float]]]:
    """Accuracy and F1 of a row by number of labels, one for each seed."""
    judge = evaluate.load(str(judge_path("classification")), keep_in_memory=True)
    scores: dict[int, list[dict[str, float]]] = {}
    for (seed, size), rows in tqdm(task.samples.items(), desc=name):
        found = judge.compute(predictions=predict(rows, seed), references=task.judged_labels)
        scores.setdefault(size, []).append(found)
    return scores


def probing(place: str, task: Task, max_length: int, args: ClassificationArguments) -> Predict:
    """A linear classifier on the vectors of a frozen encoder."""
    vectors = encode(place, task.texts + task.judged_texts, max_length, args.batch_size)
    features, judged = np.split(vectors, [len(task.texts)])
    return lambda rows, seed: probe(features[rows], task.labels[rows], judged, args.standardise)


def most_frequent(task: Task) -> Predict:
    return lambda rows, seed: np.full(len(task.judged_labels), task.majority)


def counting_words(task: Task) -> Predict:
    """The same classifier on counts of the words of a sample."""

    def predict(rows: np.ndarray, seed: int) -> np.ndarray:
        features, judged = bag_of_words([task.texts[row] for row in rows], task.judged_texts)
        return probe(features, task.labels[rows], judged, standardise=False)

    return predict


def finetuning(place: str, task: Task, max_length: int, args: ClassificationArguments) -> Predict:
    """`BnVaeForSequenceClassification` trained on a sample, encoder and all."""
    tokenizer = load_tokenizer(place, FLAG)
    set_seed(args.sample_seeds()[0])
    start = load_ours(BnVaeForSequenceClassification, place, num_labels=task.num_classes)
    ids = token_ids(task.texts, tokenizer, max_length)
    train = [{"input_ids": row, "labels": int(label)} for row, label in zip(ids, task.labels, strict=True)]
    judged = [{"input_ids": row} for row in token_ids(task.judged_texts, tokenizer, max_length)]

    def predict(rows: np.ndarray, seed: int) -> np.ndarray:
        trainer = Trainer(
            copy.deepcopy(start),
            TrainingArguments(
                output_dir=args.output_dir,
                seed=seed,
                **{name: getattr(args, name) for name in FINETUNING_FLAGS},
                per_device_eval_batch_size=args.batch_size,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                dataloader_pin_memory=torch.cuda.is_available(),
                disable_tqdm=True,
            ),
            train_dataset=[train[row] for row in rows],
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer.predict(judged).predictions.argmax(-1)

    return predict


def encode(place: str, texts: list[str], max_length: int, batch_size: int) -> np.ndarray:
    """A vector of each text, `(texts, width)`: the posterior mean of a text VAE, the mean state of other encoders."""
    device = PartialState().device
    if is_sentence_transformer(place):
        from sentence_transformers import SentenceTransformer

        with loading(place):
            model = SentenceTransformer(place, device=str(device))
        model.max_seq_length = min(max_length, model.max_seq_length or max_length)
        return model.encode(texts, batch_size=batch_size)
    config = read_config(place, f"{FLAG} {place}")
    if isinstance(config, BnVaeConfig):
        tokenizer = load_tokenizer(place, FLAG)
        # A refined posterior takes the decoder; any other needs no more of a checkpoint than the encoder.
        model = load_model(place) if config.refinement_steps else load_ours(BnVaeModel, place)
        vectors_of = model.encode
    else:
        with loading(place):
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
            model = AutoModel.from_pretrained(place, trust_remote_code=False)
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


def load_ours(kind, place: str, **options):
    """A part of a text VAE from any checkpoint that holds its encoder."""
    with loading(place):
        model, loaded = kind.from_pretrained(place, output_loading_info=True, **options)
    missing = {key for key in loaded["missing_keys"] if not key.startswith("classifier.")}
    if missing:
        raise UsageError(f"{FLAG} {place} lacks weights of the encoder, {min(missing)} for one")
    return model


@contextmanager
def loading(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UsageError(f"{FLAG} {place}: it cannot be loaded ({first_line(error)})") from error


def flat_results(scores: Scores, task: Task, args: ClassificationArguments) -> dict:
    """Means over seeds, as fractions, and deviations where there are several; with the row's name in the key.

    The only model of a table needs none: `test_accuracy_100`, `test_accuracy_100_std`, `test_f1_100` and, beside them,
    `test_bow_accuracy_100` and `test_majority_accuracy`.
    """
    results = {
        "train_sentences": task.train_sentences,
        "num_classes": task.num_classes,
        f"{task.split}_sentences": len(task.judged_texts),
        f"{task.split}_unseen_labels": task.unseen,
        "seeds": args.sample_seeds(),
        **{name: getattr(args, name) for name in ("balanced", "standardise", "finetune")},
    }
    alone = len(scores) == len(ROW_NAMES) + 1
    for name, by_size in scores.items():
        row = task.split if alone and name not in ROW_NAMES else f"{task.split}_{name}"
        for size, found in by_size.items():
            for metric in found[0]:
                values = [score[metric] for score in found]
                if name == MAJORITY:
                    results[f"{row}_{metric}"] = values[0]
                    continue
                results[f"{row}_{metric}_{size}"] = statistics.mean(values)
                if len(values) > 1:
                    results[f"{row}_{metric}_{size}_std"] = statistics.stdev(values)
    return results


def results_page(scores: Scores, task: Task, args: ClassificationArguments, command: str) -> str:
    """The table of accuracies in percent, and what it stands on."""
    trained = "trained along with the encoder" if args.finetune else "on the vectors of a frozen encoder"
    seeds = f"seed{'s' if len(args.sample_seeds()) > 1 else ''} {', '.join(map(str, args.sample_seeds()))}"
    lines = [
        "# Classification",
        "",
        f"`{command}`",
        "",
        f"Accuracy in percent of a one-layer linear classifier {trained}, by labelled sentences; "
        f"{len(task.judged_texts):,} sentences judged, {task.num_classes} classes"
        f"{', balanced samples' if args.balanced else ''}, {seeds}"
        + ("; mean ± standard deviation over seeds." if len(args.sample_seeds()) > 1 else "."),
        "",
        "| | " + " | ".join(f"{size:,}" for size in args.sizes()) + " |",
        "|---|" + "---:|" * len(args.sizes()),
    ]
    for name, by_size in scores.items():
        cells = []
        for found in by_size.values():
            values = [100 * score["accuracy"] for score in found]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 and name != MAJORITY else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        lines.append(f"| {ROW_NAMES.get(name, name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(main)
