"""The classification task: a classifier learns from few labels or from many, and is evaluated (the paper's Table 3)."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging

from ..data import Corpus, CorpusError
from ..errors import ParameterError
from .probes import bag_of_words, classification_scores, nested_samples, probe

logger = logging.get_logger(__name__)

Predict = Callable[[np.ndarray, int], np.ndarray]
"""From indices of labelled sentences and a seed to the classes of the sentences to evaluate on."""


@dataclass
class ClassificationTask:
    """What every classifier learns from and is evaluated on; labels are numbers from 0.

    Args:
        texts, labels: the training sentences that are in a sample.
        test_texts, test_labels: the sentences to evaluate on.
        split: which those are, `test` or `eval`.
        samples: indices of `texts` by seed and size.
        majority: the most frequent class of the whole training split.
        train_sentences, num_classes: of the whole training split.
        unseen: sentences to evaluate on whose class is not among those.
    """

    texts: list[str]
    labels: np.ndarray
    test_texts: list[str]
    test_labels: np.ndarray
    split: str
    samples: dict[tuple[int, int], np.ndarray]
    majority: int
    train_sentences: int
    num_classes: int
    unseen: int


def read_task(corpus: Corpus, sizes: list[int], seeds: list[int], balanced: bool) -> ClassificationTask:
    """Draw the labelled samples, and keep the training sentences that are in one.

    Args:
        sizes: numbers of labelled sentences, the smallest first.
        seeds: of the samples; there is one of each size for each seed.
        balanced: draw as many sentences of each class.

    Raises:
        CorpusError: the labels of the corpus make no task.
        ParameterError: the corpus has too few sentences for a sample.
    """
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass a `train_file`")
    split = next((split for split in ("test", "validation") if split in corpus.splits), None)
    if split is None:
        raise CorpusError(f"{corpus.name} has neither a test nor a validation split to evaluate on: pass a `test_file`")
    words, test_words = read_labels(corpus, "train"), read_labels(corpus, split)
    known = set(words)
    classes = sorted(known)
    if len(classes) < 2:
        raise CorpusError(
            f"{corpus.name}: every training sentence has the label {classes[0]}: name another column by `label_column`"
        )
    if len(classes) == len(words):
        raise CorpusError(
            f"{corpus.name}: every training sentence has a label of its own: name another column by `label_column`"
        )
    others = sorted(set(test_words) - known)
    unseen = sum(word not in known for word in test_words)
    if unseen == len(test_words):
        raise CorpusError(
            f"{corpus.sources[split]} has none of the labels of the training split, but {others[0]} for one: "
            f"pass a `{split}_file` with labels of the same kind"
        )
    if unseen:
        logger.warning(
            f"{unseen:,} of {len(test_words):,} {split} sentences have a label that no training sentence has "
            f"({', '.join(others[:5])}), and count as errors."
        )
    numbers = {word: number for number, word in enumerate([*classes, *others])}
    labels = np.array([numbers[word] for word in words])
    samples = draw_samples(corpus.name, words, sizes, seeds, balanced)
    kept = np.unique(np.concatenate(list(samples.values())))
    return ClassificationTask(
        texts=corpus.splits["train"].select(kept)["text"][:],
        labels=labels[kept],
        test_texts=corpus.splits[split]["text"][:],
        test_labels=np.array([numbers[word] for word in test_words]),
        split="test" if split == "test" else "eval",
        samples={key: np.searchsorted(kept, rows) for key, rows in samples.items()},
        majority=int(np.bincount(labels).argmax()),
        train_sentences=len(labels),
        num_classes=len(classes),
        unseen=unseen,
    )


def read_labels(corpus: Corpus, split: str) -> list[str]:
    """The class of each sentence as a word, so that 1 and "1" of two files are the same one."""
    rows, source = corpus.splits[split], corpus.sources[split]
    if "label" not in rows.column_names:
        raise CorpusError(f"{source} has no labels: name their column by `label_column`")
    labels = rows["label"][:]
    for number, label in enumerate(labels, start=1):
        if not isinstance(label, (int, str)) or not str(label).strip():
            raise CorpusError(
                f"{source}: sentence {number:,} has {label!r} for a label: give every sentence a word or a whole "
                "number, or name another column by `label_column`"
            )
    return [str(label).strip() for label in labels]


def draw_samples(
    name: str, labels: list[str], sizes: list[int], seeds: list[int], balanced: bool
) -> dict[tuple[int, int], np.ndarray]:
    """Indices of labelled sentences by seed and size, those of a smaller size among those of a larger one."""
    if sizes[-1] > len(labels):
        raise ParameterError(
            f"`num_labels_list` {sizes[-1]}: the training split of {name} has {len(labels):,} sentences: leave larger "
            "numbers out"
        )
    samples = {}
    for seed in seeds:
        try:
            drawn = nested_samples(labels, sizes, seed, balanced)
        except ValueError as error:
            raise ParameterError(f"`balanced`: {error}; leave larger numbers out of `num_labels_list`") from error
        for size, rows in drawn.items():
            if len({labels[row] for row in rows}) < 2:
                raise ParameterError(
                    f"`num_labels_list` {size}: with seed {seed} all of them have one label: ask for more, or for "
                    "`balanced` true"
                )
            samples[seed, size] = rows
    return samples


def evaluate_samples(name: str, predict: Predict, task: ClassificationTask) -> dict[int, list[dict[str, float]]]:
    """Accuracy and F1 of a classifier by number of labels, one for each seed.

    Args:
        name: what the progress bar says.
    """
    scores: dict[int, list[dict[str, float]]] = {}
    for (seed, size), rows in tqdm(task.samples.items(), desc=name):
        metrics = classification_scores(predict(rows, seed), task.test_labels)
        scores.setdefault(size, []).append(metrics)
    return scores


def probing(features: np.ndarray, test_features: np.ndarray, task: ClassificationTask, standardise: bool) -> Predict:
    """A linear classifier on vectors of the sentences, `(sentences, width)`.

    Args:
        features, test_features: vectors of the task's `texts` and `test_texts`.
        standardise: give every dimension variance 1.
    """
    return lambda rows, seed: probe(features[rows], task.labels[rows], test_features, standardise)


def most_frequent(task: ClassificationTask) -> Predict:
    """The most frequent class of the training split, whatever the sentence."""
    return lambda rows, seed: np.full(len(task.test_labels), task.majority)


def counting_words(task: ClassificationTask) -> Predict:
    """A linear classifier on counts of the words of a sample."""

    def predict(rows: np.ndarray, seed: int) -> np.ndarray:
        features, test_features = bag_of_words([task.texts[row] for row in rows], task.test_texts)
        return probe(features, task.labels[rows], test_features, standardise=False)

    return predict


def finetuning(
    model, tokenizer, ids: list[list[int]], test_ids: list[list[int]], task: ClassificationTask, **training
) -> Predict:
    """A `BnVaeForSequenceClassification` trained on a sample, encoder and all.

    Args:
        model: the start of every training.
        ids, test_ids: token ids of the task's `texts` and `test_texts`.
        training: of `TrainingArguments`; the folder in `output_dir` stays as it is.
    """
    train = [{"input_ids": row, "labels": int(label)} for row, label in zip(ids, task.labels, strict=True)]
    test: Any = [{"input_ids": row} for row in test_ids]

    def predict(rows: np.ndarray, seed: int) -> np.ndarray:
        trainer = Trainer(
            copy.deepcopy(model),
            TrainingArguments(
                seed=seed,
                **training,
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
        return np.asarray(trainer.predict(test).predictions).argmax(-1)

    return predict
