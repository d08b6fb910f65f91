"""Judges of responses: BLEU, word-vector similarity, diversity and length, for several responses to each context.

`predictions[i]` are the N responses to context i and `references[i]` the M responses that people gave, as strings whose
words stand between spaces. With d(r, h) the likeness of two utterances, precision is the mean over responses of the
best d with a reference, and recall the mean over references of the best d with a response (Zhao et al. 2017).
"""

import gzip
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

Texts = Sequence[Sequence[str]]

BLEU_ORDER = 4
SMOOTHING_K = 5  # of technique 4 of Chen & Cherry (2014)


def precision_and_recall(likeness: Sequence[np.ndarray]) -> tuple[float, float]:
    """Means over contexts, each with a matrix d `(responses, references)`."""
    precision = np.mean([matrix.max(1).mean() for matrix in likeness])
    recall = np.mean([matrix.max(0).mean() for matrix in likeness])
    return float(precision), float(recall)


def check_pairs(predictions: Texts, references: Texts) -> None:
    """Refuse lists that do not belong together.

    Raises:
        ValueError: naming the first context that has no response or no reference.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} lists of predictions and {len(references)} of references")
    if not predictions:
        raise ValueError("no predictions to judge")
    for name, lists in (("predictions", predictions), ("references", references)):
        for number, texts in enumerate(lists):
            if isinstance(texts, str) or not len(texts):
                raise ValueError(f"{name}[{number}] must be a list of at least one string")


# BLEU


@lru_cache(maxsize=1)
def _bleu():
    from sacrebleu.metrics import BLEU  # here, because no training needs it

    return BLEU(tokenize="none", max_ngram_order=BLEU_ORDER + 1, smooth_method="none", effective_order=True)


@lru_cache(maxsize=1 << 16)
def sentence_bleu(hypothesis: str, reference: str) -> float:
    """BLEU-4 of one utterance under technique 7 of Chen & Cherry (2014), from 0 to about 1.12.

    The smoothing gives an utterance of five words or more 1.12 against itself, and one of a single word 0.19.

    n-gram counts are sacrebleu's. Technique 4 gives an order without a match a count that falls with every such order
    and grows with the length; technique 5 then averages each precision with its neighbours, the one below (for the
    first, its own plus 1) and the one above.
    """
    score = _bleu().sentence_score(hypothesis, [reference])
    counts, totals, length = score.counts, score.totals, score.sys_len
    if counts[0] == 0:
        return 0.0
    precisions, misses = [], 0
    for count, total in zip(counts[:BLEU_ORDER], totals[:BLEU_ORDER], strict=True):
        if count == 0 and length > 1:
            misses += 1
            count = math.log(length) / (2**misses * SMOOTHING_K)
        precisions.append(count / max(1, total))
    above = [*precisions[1:], counts[BLEU_ORDER] / max(1, totals[BLEU_ORDER])]
    below = precisions[0] + 1
    log_sum = 0.0
    for own, next_order in zip(precisions, above, strict=True):
        below = (below + own + next_order) / 3
        log_sum += math.log(below)
    return math.exp(min(0.0, 1 - score.ref_len / length) + log_sum / BLEU_ORDER)


def bleu(predictions: Texts, references: Texts) -> dict[str, float]:
    """`bleu_precision` and `bleu_recall`, sentence BLEU-4 in percent."""
    check_pairs(predictions, references)
    likeness = [
        np.array([[sentence_bleu(response, reference) for reference in wanted] for response in given])
        for given, wanted in zip(predictions, references, strict=True)
    ]
    precision, recall = precision_and_recall(likeness)
    return {"bleu_precision": 100 * precision, "bleu_recall": 100 * recall}


# Word vectors


@dataclass
class WordVectors:
    """Vectors of words, and where they come from.

    Args:
        rows: the row of each word in `matrix`.
        matrix: `(words, width)`.
        name: to show beside results.
    """

    rows: dict[str, int]
    matrix: np.ndarray
    name: str = ""

    @classmethod
    def load(cls, path: str) -> "WordVectors":
        """Read GloVe or word2vec text, or word2vec binary (`.bin`), gzipped or not.

        What gensim's own `save` wrote is a pickle, which could run anything, and is not read.

        Raises:
            ValueError: in one sentence, when there is no such file or it holds no vectors.
        """
        if not Path(path).is_file():
            raise ValueError(f"the word vectors {path} do not exist")
        binary = path.removesuffix(".gz").endswith(".bin")
        try:
            rows, matrix = _read_binary(path) if binary else _read_text(path)
            if not matrix.size:
                raise ValueError("there are none in it")
            finite = np.isfinite(matrix).all(1)
            if not finite.all():
                word = list(rows)[int(finite.argmin())]
                raise ValueError(f"the vector of {word!r} holds what is no finite number")
        except Exception as error:  # gensim raises many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"the word vectors {path} could not be read ({reason})") from error
        return cls(rows, matrix, Path(path).name)

    def known_share(self, texts: Iterable[str]) -> float:
        """The share of the words of some texts that have a vector; 1 without a word."""
        known = [word in self.rows for text in texts for word in text.split()]
        return sum(known) / len(known) if known else 1.0

    def pooled(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The average and the extrema of each text's word vectors, `(texts, width)` both; 0 without a known word.

        The extremum of a dimension is the value that is farthest from 0 (Forgues et al. 2014).
        """
        words = [text.split() for text in texts]
        row_of = np.repeat(np.arange(len(texts)), [len(row) for row in words])
        numbers = np.array([self.rows.get(word, -1) for row in words for word in row], dtype=np.int64)
        known = numbers >= 0
        vectors, row_of = self.matrix[numbers[known]], row_of[known]
        average = np.zeros((len(texts), self.matrix.shape[1]), dtype=np.float32)
        extrema = np.zeros_like(average)
        present, starts = np.unique(row_of, return_index=True)
        if len(present):
            average[present] = np.add.reduceat(vectors, starts) / np.diff([*starts, len(vectors)])[:, None]
            high, low = np.maximum.reduceat(vectors, starts), np.minimum.reduceat(vectors, starts)
            extrema[present] = np.where(high >= -low, high, low)
        return average, extrema


def _read_binary(path: str) -> tuple[dict[str, int], np.ndarray]:
    try:
        from gensim.models import KeyedVectors
    except ImportError as error:
        raise ValueError("binary ones take gensim: pip install 'hf-bnvae[dialogue]'") from error
    vectors = KeyedVectors.load_word2vec_format(path, binary=True)
    return dict(vectors.key_to_index), np.asarray(vectors.vectors, dtype=np.float32)


def _opened(path: str) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")


def _read_text(path: str) -> tuple[dict[str, int], np.ndarray]:
    """Rows and matrix of a text file of vectors; a word may hold spaces, and the first of two like ones counts."""
    header, width, count = _sizes(path)
    rows: dict[str, int] = {}
    matrix = np.empty((count, width), dtype=np.float32)
    with _opened(path) as lines:
        for line in islice(lines, int(header), None):
            word, *numbers = line.rstrip("\n ").rsplit(" ", width)
            if word not in rows:
                matrix[len(rows)] = numbers
                rows[word] = len(rows)
    return rows, matrix[: len(rows)]


def _sizes(path: str) -> tuple[bool, int, int]:
    """Whether a text file begins with its two sizes, how wide its vectors are, and how many; a short line is named."""
    with _opened(path) as lines:
        first = lines.readline().split()
        header = len(first) == 2 and all(field.isdecimal() for field in first)
        width, count = (int(first[1]), 0) if header else (len(first) - 1, 1)
        for number, line in enumerate(lines, start=2):
            count += 1
            fields = line.rstrip("\n ").count(" ")
            if fields < width:
                raise ValueError(f"line {number} has {fields} numbers where others have {width}")
    if header and count != int(first[0]):
        raise ValueError(f"its first line says {int(first[0]):,} vectors, and it holds {count:,}")
    return header, width, count


def word_vector_similarity(predictions: Texts, references: Texts, vectors: WordVectors) -> dict[str, float]:
    """`abow_*` and `ebow_*`, precision and recall of the cosines of pooled word vectors, in percent.

    A text without a known word is like nothing: 0.
    """
    check_pairs(predictions, references)
    metrics: dict[str, float] = {}
    sizes = [(len(given), len(wanted)) for given, wanted in zip(predictions, references, strict=True)]
    given = vectors.pooled([text for texts in predictions for text in texts])
    wanted = vectors.pooled([text for texts in references for text in texts])
    for name, responses, people in zip(("abow", "ebow"), given, wanted, strict=True):
        responses, people = _unit_rows(responses), _unit_rows(people)
        likeness, row, column = [], 0, 0
        for count, others in sizes:
            likeness.append(responses[row : row + count] @ people[column : column + others].T)
            row, column = row + count, column + others
        precision, recall = precision_and_recall(likeness)
        metrics |= {f"{name}_precision": 100 * precision, f"{name}_recall": 100 * recall}
    return metrics


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


# Diversity and length


def distinct(predictions: Texts, orders: Sequence[int] = (1, 2)) -> dict[str, float]:
    """The share of distinct n-grams: `within_distinct_n` in each response, `distinct_n` in all those to a context.

    Averaged over the responses, or the contexts, that have an n-gram.
    """
    metrics: dict[str, float] = {}
    for order in orders:
        groups, grams = _ngrams(predictions, order)
        metrics[f"distinct_{order}"] = _distinct_share(groups["context"], grams)
        metrics[f"within_distinct_{order}"] = _distinct_share(groups["response"], grams)
    return metrics


def _ngrams(predictions: Texts, order: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The context and the response of every n-gram, and a number that is its own."""
    words = [text.split() for texts in predictions for text in texts]
    context = np.repeat(np.arange(len(predictions)), [len(texts) for texts in predictions])
    lengths = np.array([len(row) for row in words])
    known: dict[str, int] = {}
    numbers = np.array([known.setdefault(word, len(known)) for row in words for word in row], dtype=np.int64)
    response_of = np.repeat(np.arange(len(words)), lengths)
    starts = np.arange(len(numbers) - order + 1) if len(numbers) >= order else np.arange(0)
    starts = starts[response_of[starts] == response_of[starts + order - 1]]
    columns = np.stack([numbers[starts + offset] for offset in range(order)], 1)
    _, grams = np.unique(columns, axis=0, return_inverse=True)
    return {"context": context[response_of[starts]], "response": response_of[starts]}, grams.reshape(-1)


def _distinct_share(groups: np.ndarray, grams: np.ndarray) -> float:
    """The mean over groups of distinct grams over grams."""
    if not len(groups):
        return 0.0
    kept = np.unique(np.stack([groups, grams], 1), axis=0)[:, 0]
    names, totals = np.unique(groups, return_counts=True)
    return float((np.bincount(kept)[names] / totals).mean())


def average_length(predictions: Texts) -> float:
    """Words of a response."""
    return float(np.mean([len(text.split()) for texts in predictions for text in texts]))


def evaluate_responses(predictions: Texts, references: Texts, vectors: WordVectors | None = None) -> dict[str, float]:
    """Every metric of this module; those of word vectors only where `vectors` are given.

    Args:
        predictions, references: for each context one text or more, its tokens with a space between them.

    Raises:
        ValueError: where the two are not of the same contexts, or one of these has no text.
    """
    metrics = bleu(predictions, references) | distinct(predictions) | {"average_length": average_length(predictions)}
    return metrics | (word_vector_similarity(predictions, references, vectors) if vectors is not None else {})
