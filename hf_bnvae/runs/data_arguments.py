"""Arguments that say where sentences come from."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..data import Corpus, TokenStore, first_texts, load_corpus, token_store, training_sources
from ..data.streaming import Source
from ..errors import ParameterError
from .checks import check_least

EMBEDDING_FILES = {
    "train": "embeddings_file",
    "validation": "validation_embeddings_file",
    "test": "test_embeddings_file",
}
"""The argument that names the embeddings of a split."""


@dataclass
class SplitArguments:
    """Which splits of the data are which. The names are those of `SplitChoice`."""

    dataset_config_name: str | None = field(
        default=None, metadata={"help": "the configuration of a dataset on the Hub or of its clone"}
    )
    train_split: str | None = field(default=None, metadata={"help": "what the dataset calls its training split"})
    validation_split: str | None = field(default=None, metadata={"help": "what it calls its validation split"})
    test_split: str | None = field(default=None, metadata={"help": "what it calls its test split"})
    validation_split_percentage: float | None = field(
        default=None, metadata={"help": "put aside so many percent of the training split as the validation split"}
    )
    validation_split_seed: int = field(
        default=0, metadata={"help": "draws them, so that runs with several `seed` share one validation split"}
    )

    def split_choice(self) -> dict:
        """Its fields by name, for `load_corpus` and `load_dialogues`."""
        return {item.name: getattr(self, item.name) for item in fields(SplitArguments)}


@dataclass
class DataArguments(SplitArguments):
    """Where the sentences come from."""

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "'pydocs' or 'toy_sentences' (built in), a local folder with train/valid/test files, or a Hub id"
        },
    )
    train_file: str | None = field(default=None, metadata={"help": "txt, tsv, csv, jsonl, parquet or arrow"})
    validation_file: str | None = field(default=None, metadata={"help": "txt, tsv, csv, jsonl, parquet or arrow"})
    test_file: str | None = field(default=None, metadata={"help": "txt, tsv, csv, jsonl, parquet or arrow"})
    text_column: str | None = field(default=None, metadata={"help": "name of the text column, or its number from 0"})
    label_column: str | None = field(default=None, metadata={"help": "name of the label column, or its number from 0"})
    no_header: bool = field(
        default=False, metadata={"help": "the first line of csv and tsv files is data; columns have numbers from 0"}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "use only the first so many examples"})
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "use only the first so many examples of each of validation and test"}
    )
    max_length: int = field(default=256, metadata={"help": "cut sentences at so many tokens, both ends counted"})

    def __post_init__(self):
        check_least(self, max_length=3, max_train_samples=1, max_eval_samples=1)

    def load(self, sentences: Any = None) -> Corpus:
        """Read the corpus that the arguments name, or `sentences` in a shape that `load_corpus` takes."""
        return load_corpus(
            self.dataset_name if sentences is None else sentences,
            {"train": self.train_file, "validation": self.validation_file, "test": self.test_file},
            self.text_column,
            self.label_column,
            {
                "train": self.max_train_samples,
                "validation": self.max_eval_samples,
                "test": self.max_eval_samples,
            },
            self.splits(),
            self.no_header,
            **self.split_choice(),
        )

    def splits(self) -> tuple[str, ...]:
        """The splits that are held in memory."""
        return ("train", "validation", "test")

    def embedding_files(self) -> dict[str, list[str]]:
        """The files of embeddings of each split that has them; none here."""
        return {}


@dataclass
class EmbeddedDataArguments(DataArguments):
    """The same, with embeddings of the sentences that were computed before."""

    embeddings_file: list[str] | None = field(
        default=None,
        metadata={
            "help": "embeddings of the training texts, to be read in the place of an encoder's states: npy of (texts, "
            "width), or parquet with one column of lists; a row for each text, in their order. Several files, a folder "
            "or a pattern are read one after the other"
        },
    )
    validation_embeddings_file: list[str] | None = field(
        default=None, metadata={"help": "those of the validation texts"}
    )
    test_embeddings_file: list[str] | None = field(default=None, metadata={"help": "those of the test texts"})

    def __post_init__(self):
        super().__post_init__()
        for name in EMBEDDING_FILES.values():
            if isinstance(getattr(self, name), str | Path):  # from Python
                setattr(self, name, [str(getattr(self, name))])

    def embedding_files(self) -> dict[str, list[str]]:
        files = {split: getattr(self, name) for split, name in EMBEDDING_FILES.items()}
        return {split: list(map(str, paths)) for split, paths in files.items() if paths is not None}


@dataclass
class TrainingDataArguments(EmbeddedDataArguments):
    """The same, with a training split that may be larger than memory."""

    streaming: bool = field(
        default=False,
        metadata={
            "help": "read the training split once as a stream, keep its token ids on disk (in the cache of datasets), "
            "and train from there a block at a time: for corpora larger than memory"
        },
    )
    preprocessing_num_workers: int = field(
        default=1, metadata={"help": "processes that share out the shards of a streamed corpus to tokenise them"}
    )

    def __post_init__(self):
        super().__post_init__()
        check_least(self, preprocessing_num_workers=1)
        if self.streaming and self.validation_split_percentage is not None:
            raise ParameterError("`validation_split_percentage` holds the whole training split: leave out `streaming`")

    def sources(self) -> list[Source]:
        """The shards of the training split."""
        columns = (self.text_column, self.label_column, self.no_header)
        return training_sources(self.dataset_name, self.train_file, *columns, **self.split_choice())

    def store(self, sources: list[Source], tokenizer) -> TokenStore:
        """Their token ids."""
        return token_store(sources, tokenizer, self.max_length, self.max_train_samples, self.preprocessing_num_workers)

    def texts(self, sources: list[Source]) -> Iterator[str]:
        """What a tokenizer is built from."""
        return first_texts(sources, self.max_train_samples)

    def splits(self) -> tuple[str, ...]:
        return ("validation", "test") if self.streaming else super().splits()
