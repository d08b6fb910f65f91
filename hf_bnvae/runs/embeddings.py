"""Embeddings that are given with the texts of a run, in the place of an encoder."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from datasets import Dataset

from ..data import Corpus, SentenceStates
from ..data.encoder_states import read_embeddings, refuse_missing_numbers
from ..data.shards import Shards
from ..errors import ParameterError
from .data_arguments import EMBEDDING_FILES


class Embeddings:
    """The embeddings of the texts of each split.

    Args:
        files: the files of a split, in the order of its texts.
        at_hand: the embeddings of a split themselves, of splits that no file is named for.

    Raises:
        CorpusError: they cannot be read, or are no tables of numbers.
        ParameterError: there are none of the training split, or not all have one width.
    """

    def __init__(self, files: Mapping[str, Sequence[str]], at_hand: Mapping[str, Any] | None = None):
        self.called = {split: f"`{EMBEDDING_FILES[split]}`" for split in files}
        for split in at_hand or {}:
            if split not in EMBEDDING_FILES:
                raise ParameterError(f"`embeddings` has {split!r}: its keys are {', '.join(EMBEDDING_FILES)}")
            if split in files:
                raise ParameterError(f"`embeddings` holds what {self.called[split]} names: leave one of them out")
            self.called[split] = f"`embeddings` ({split})"
        self.arrays = {split: read_embeddings(rows, self.called[split]) for split, rows in files.items()}
        self.arrays |= {split: read_embeddings(rows, self.called[split]) for split, rows in (at_hand or {}).items()}
        widths = {split: rows.shape[1] for split, rows in self.arrays.items()}
        for split, width in widths.items():
            if width != self.width:
                first = next(iter(widths))
                raise ParameterError(
                    f"{self.called[split]} has {width} numbers in a row and {self.called[first]} {self.width}: give "
                    "embeddings of one model"
                )

    @property
    def width(self) -> int:
        """How many numbers an embedding has."""
        return next(iter(self.arrays.values())).shape[1]

    def check(self, corpus: Corpus, splits: Collection[str] | None = None) -> None:
        """Refuse embeddings that are not those of the texts of a corpus.

        Args:
            splits: those that are read; None for all.

        Raises:
            CorpusError: one that is used holds a NaN.
            ParameterError: a split has no embeddings, or another number of them than of texts.
        """
        origins = corpus.origins
        wanted = {split: origins[split] for split in splits or origins}
        for split, origin in wanted.items():
            if origin.split not in self.arrays:
                raise ParameterError(
                    f"`{EMBEDDING_FILES[origin.split]}`: {corpus.name} has a {split} split, and a model of embeddings "
                    "reads those of its texts: name them"
                )
        for split, rows in self.arrays.items():
            called = self.called[split]
            if split in origins and origins[split].split != split:
                raise ParameterError(
                    f"{called}: the {split} split is put aside from the {origins[split].split} split, whose embeddings "
                    "hold its rows: leave it out"
                )
            if split not in origins:
                raise ParameterError(f"{called}: {corpus.name} has no {split} split: leave it out")
            total = origins[split].total
            least = corpus.reports[split].lines if total is None else total
            if len(rows) < least or (total is not None and len(rows) > total):
                if isinstance(rows, Shards):
                    called = f"{called}, {len(rows.names)} files from {rows.names[0]} to {rows.names[-1]},"
                raise ParameterError(
                    f"{called} holds {len(rows):,} rows, and {corpus.name} ({split}) {least:,} texts: give a row for "
                    "each text in the order of the texts, empty ones too"
                )
        for origin in wanted.values():
            refuse_missing_numbers(self.arrays[origin.split], origin.rows, self.called[origin.split])

    def beside(self, sentences: Dataset, corpus: Corpus, split: str) -> SentenceStates:
        """The encoded sentences of a split with the embedding of each."""
        origin = corpus.origins[split]
        return SentenceStates(sentences, self.arrays[origin.split], origin.rows, are_data=True)
