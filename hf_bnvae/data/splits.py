"""Which splits of the data are which, and a validation split where the data has none."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from transformers.utils import logging

from .errors import CorpusError

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class SplitChoice:
    """What the data calls its splits, and whether a part of the training split is put aside.

    Args:
        dataset_config_name: the configuration of a data set on the Hub or of its clone, or a folder in a local one.
        train_split, validation_split, test_split: what the data calls them; slices such as `train[:10%]` on the Hub.
        validation_split_percentage: put aside so many percent of the training split as the validation split.
        validation_split_seed: draws them, whatever the seed of the training is.
    """

    dataset_config_name: str | None = None
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    validation_split_percentage: float | None = None
    validation_split_seed: int = 0

    def __post_init__(self):
        share = self.validation_split_percentage
        if share is not None and not 0 < share < 100:
            raise CorpusError(f"`validation_split_percentage` must lie between 0 and 100, got {share:g}")

    @classmethod
    def taken_from(cls, options: dict) -> "SplitChoice":
        """The choice that some of the options make, which are taken out of them."""
        return cls(**{item.name: options.pop(item.name) for item in fields(cls) if item.name in options})

    def named(self, split: str) -> str | None:
        """What the user says that a split is called."""
        return getattr(self, f"{split}_split")

    def names_of(self, split: str) -> tuple[str, ...]:
        """What a split may be called."""
        name = self.named(split)
        return SPLIT_NAMES[split] if name is None else (name,)

    def refuse_names(self, source: str) -> None:
        """Refuse names of configurations and splits where the source has none."""
        for item in fields(self)[:4]:
            if getattr(self, item.name) is not None:
                raise CorpusError(f"`{item.name}` is read with the splits of a data set, which {source} has not")

    def rows_for(self, split: str, count: int | None) -> int | None:
        """The rows of which so many are left of a split once a validation split is put aside; None for all."""
        if count is None or split != "train" or self.validation_split_percentage is None:
            return count
        rows = int(count / (1 - self.validation_split_percentage / 100))
        while rows - self._aside(rows) < count:
            rows += 1
        return rows

    def _aside(self, rows: int) -> int:
        """How many of so many rows are put aside."""
        return round(rows * (self.validation_split_percentage or 0) / 100)

    @property
    def note(self) -> str:
        """Where a validation split that was put aside comes from."""
        return (
            f"{self.validation_split_percentage:g}% of the training split, drawn with seed {self.validation_split_seed}"
        )

    def put_aside(
        self, splits: Mapping[str, object], rows: int, called: str = "row"
    ) -> tuple[Sequence[int], Sequence[int]] | None:
        """The numbers of the rows that stay in the training split, and of those that make the validation split.

        Args:
            splits: those that there are.
            rows: of the training split.
            called: what an error calls each of them.

        Returns:
            None where nothing is to be put aside.

        Raises:
            CorpusError: there is a validation split already, or one of the two would be empty.
        """
        if self.validation_split_percentage is None:
            return None
        if "validation" in splits:
            raise CorpusError("`validation_split_percentage`: there is a validation split already; leave it out")
        count = self._aside(rows)
        if not rows:
            raise CorpusError(f"the training split holds no {called}s")
        if not 0 < count < rows:
            raise CorpusError(
                f"{self.validation_split_percentage:g}% of {rows:,} {called}{'' if rows == 1 else 's'} leaves one of "
                "the two splits empty: give a validation split or another `validation_split_percentage`, or train "
                "without one by `eval_strategy` no"
            )
        chosen = set(random.Random(self.validation_split_seed).sample(range(rows), count))
        logger.warning(f"validation: {self.note}")
        return [row for row in range(rows) if row not in chosen], sorted(chosen)


USUAL = SplitChoice()
"""Splits by their usual names."""
