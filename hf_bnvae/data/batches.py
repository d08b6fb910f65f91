"""From sentences to padded batches: encoding, length bucketing, collation."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler

from ..models.objectives import IGNORED
from .corpora import Corpus
from .encoded_texts import encode_counted, word_counts
from .tokenizer_pair import TokenizerPair, writing_tokenizer
from .tokenizers import check_ends

BUCKET_WINDOW = 20
COUNTS = ["truncated", "unknown", "symbols"]


def encode_corpus(corpus: Corpus, tokenizer: Any, max_length: int) -> dict[str, Dataset]:
    """Token ids, and how many tokens and words there are, of every sentence.

    Longer ones are cut to `max_length` tokens, ends included. The corpus's reports then also count the cut
    sentences and the tokens kept.

    Returns:
        By split a `Dataset` with the columns `input_ids`, `length` and `words`, of a `TokenizerPair` also `labels`, in
        the place of `text`.
    """

    def encode(rows):
        return encoded_columns(rows["text"], tokenizer, max_length)

    encoded = {}
    for split, dataset in corpus.splits.items():
        ids = dataset.map(encode, batched=True, remove_columns=["text"], keep_in_memory=True, desc=f"Encoding {split}")
        report = corpus.reports[split]
        for name in COUNTS:
            setattr(report, name, sum(ids[name][:]))
        report.tokens = sum(ids["length"][:]) - len(ids)
        encoded[split] = ids.remove_columns(COUNTS)
    return encoded


def encoded_columns(texts: list[str], tokenizer: Any, max_length: int) -> dict[str, list]:
    """Columns of a data set: `input_ids`, `length` and `words`, of a `TokenizerPair` also `labels`, and the counts.

    The length is in tokens, and the words are those of the text that is written, see `word_counts`.

    Raises:
        CorpusError: for a tokenizer that puts no ends around a text.
    """
    check_ends(tokenizer)
    found = encode_counted(texts, tokenizer, max_length)
    columns: dict[str, list] = {"input_ids": found.input_ids, "length": [len(ids) for ids in found.input_ids]}
    cut = found.truncated
    if isinstance(tokenizer, TokenizerPair):
        found = tokenizer.encode_targets(texts, max_length)
        columns |= {"labels": found.input_ids, "length": [len(ids) + 1 for ids in found.input_ids]}
        cut = [one or other for one, other in zip(cut, found.truncated, strict=True)]
    columns["words"] = word_counts(texts, found, writing_tokenizer(tokenizer))
    return columns | {"truncated": cut, "unknown": found.unknown, "symbols": found.symbols}


@dataclass
class VaeCollator:
    """Pads a list of encoded sentences on the right: `input_ids`, `attention_mask`, and `labels` behind the start.

    These are `(batch, length)`, and the labels as long as the longest of their own. `labels` are the words to predict
    with the end symbol, −100 on padding: those of a row, or its `input_ids` without the first. `word_positions`
    `(words,)` says where in them, row by row, the words are, so that no GPU has to be waited for to find out. Rows with
    `encoder_states` give these, `(batch, width)`, in the place of `input_ids`.

    Args:
        pad_token_id: None for a tokenizer without padding: the mask alone says then where the words are.
        few_shapes: round lengths up (`rounded_length`), and give all places as `word_positions`, so that batches of
            as many sentences have few shapes.
    """

    pad_token_id: int | None
    few_shapes: bool = False

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        read: dict[str, torch.Tensor] = {}
        if "input_ids" in rows[0]:
            input_ids, attention_mask = self._padded([row["input_ids"] for row in rows], self.pad_token_id or 0, 0)
            read = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "labels" in rows[0]:
            labels, mask = self._padded([row["labels"] for row in rows], IGNORED, 1)
            words = mask == 1
        else:
            words = attention_mask[:, 1:] == 1
            labels = input_ids[:, 1:].masked_fill(~words, IGNORED)
        if "encoder_states" in rows[0]:
            read = {"encoder_states": torch.from_numpy(np.stack([row["encoder_states"] for row in rows])).float()}
        positions = torch.arange(words.numel()) if self.few_shapes else words.flatten().nonzero().squeeze(1)
        return {**read, "labels": labels, "word_positions": positions}

    def _padded(self, rows: list[list[int]], padding: int, missing: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows that lack so many tokens of a sentence, filled up."""
        longest = max(map(len, rows))
        return padded(rows, padding, rounded_length(longest + missing) - missing if self.few_shapes else longest)


def rounded_length(length: int) -> int:
    """The length, rounded up by 3 at most, and above 64 by less than an eighth: 16 lengths to 64, then 8 an octave."""
    step = max(4, (1 << (length - 1).bit_length()) // 16)
    return -(-length // step) * step


def padded(rows: list[list[int]], padding: int, length: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of numbers filled up on the right, `(rows, longest)`, and a mask that is 1 where there is a number.

    Rows without a number, which an empty text may give, have a column too, and all have at least `length`.
    """
    lengths = torch.tensor([len(row) for row in rows])
    longest = max(1, length, int(lengths.max()))
    filled = torch.tensor([row + [padding] * (longest - len(row)) for row in rows], dtype=torch.long)
    return filled, (torch.arange(longest) < lengths.unsqueeze(1)).long()


class EpochSampler(Sampler[list[int]]):
    """What our samplers share: an epoch to shuffle by, and whole batches to share out to processes.

    A remainder of one example (or of fewer than there are processes) joins the batch before it, because one example has
    no batch statistics. The order of an epoch depends on `seed` and the epoch alone, so that a resumed run sees the
    batches that it would have seen.

    Args:
        batch_size: examples in a batch (one or two more where lone ones joined).
        seed: of the shuffling; without `shuffle` it is not used.
        shuffle: False keeps one fixed order (evaluation).
        num_processes, process_index: with several processes, each batch is the share of this one in a batch of all
            of them, so that N processes with batches of b take the steps of one with batches of N·b.
    """

    def __init__(
        self, batch_size: int, seed: int | str = 0, shuffle: bool = True, num_processes: int = 1, process_index: int = 0
    ):
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.num_processes = num_processes
        self.process_index = process_index
        self.drop_last = False
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, counted from 0: its order is drawn by the seed and this number."""
        self.epoch = epoch

    def _generator(self) -> random.Random:
        return random.Random(f"{self.seed}-{self.epoch}")

    @property
    def _whole_batch_size(self) -> int:
        return self.batch_size * self.num_processes

    @property
    def _least(self) -> int:
        """Examples that a batch must have: two for a variance, and one for every process."""
        return min(self._whole_batch_size, max(2, self.num_processes))

    def _cut(self, indices: list[int]) -> list[list[int]]:
        cuts = self._cuts(len(indices))
        return [indices[start:end] for start, end in pairwise(cuts)]

    def _cuts(self, count: int) -> list[int]:
        """Where so many examples are cut into batches, with both ends."""
        cuts = list(range(0, count, self._whole_batch_size))
        if len(cuts) > 1 and count - cuts[-1] < self._least:
            cuts.pop()
        return [*cuts, count]


class LengthBucketSampler(EpochSampler):
    """Batches of sentences of equal or near-equal length, in a new order every epoch; each sentence comes once.

    Args:
        lengths: the length of each sentence.
        equal: only sentences of one length together. Else windows of 20 batches are shuffled together and sorted by
            length within; without shuffling all of them are sorted.
        batch_size, seed, shuffle, num_processes, process_index: see `EpochSampler`.
    """

    def __init__(
        self,
        lengths: list[int],
        batch_size: int,
        equal: bool = False,
        seed: int | str = 0,
        shuffle: bool = True,
        num_processes: int = 1,
        process_index: int = 0,
    ):
        if not lengths:
            raise ValueError("no sentences to make batches of")
        super().__init__(batch_size, seed, shuffle, num_processes, process_index)
        self.lengths = lengths
        self.equal = equal
        self._num_batches = len(self._batches(random.Random(0)))

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._generator()
        batches = self._batches(generator)
        if self.shuffle:
            generator.shuffle(batches)
        for batch in batches:
            yield batch[self.process_index :: self.num_processes]

    def _batches(self, generator: random.Random) -> list[list[int]]:
        order = list(range(len(self.lengths)))
        if self.shuffle:
            generator.shuffle(order)
        if self.equal:
            return self._equal_batches(order)
        window = BUCKET_WINDOW * self._whole_batch_size if self.shuffle else len(order)
        in_order: list[int] = []
        for start in range(0, len(order), window):
            in_order += sorted(order[start : start + window], key=self.lengths.__getitem__)
        return self._cut(in_order)

    def _equal_batches(self, order: list[int]) -> list[list[int]]:
        by_length = defaultdict(list)
        for index in order:
            by_length[self.lengths[index]].append(index)
        batches: list[list[int]] = []
        few: list[int] = []
        for length in sorted(by_length):
            group = few + by_length[length]
            few = []
            if len(group) < self._least:
                few = group
            else:
                batches += self._cut(group)
        if few and batches:
            batches[-1] += few
        elif few:
            batches.append(few)
        return batches


def evenly_spaced(count: int, length: int) -> list[int]:
    """Indices of at most `count` items of a list of `length`, evenly spaced over it."""
    count = min(count, length)
    return [number * length // count for number in range(count)]
