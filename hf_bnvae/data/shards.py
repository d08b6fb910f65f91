"""A table of numbers that lies in several files: which files these are, and their rows as those of one array."""

import re
from collections.abc import Sequence
from glob import glob
from pathlib import Path

import numpy as np

from .errors import CorpusError
from .readers import refuse_address


class Shards:
    """The rows of several arrays, one array after the other; each of them stays where it is.

    Args:
        arrays: `(rows, width)` of one width.
        names: what each is called, for errors.
    """

    def __init__(self, arrays: Sequence[np.ndarray], names: Sequence[str]):
        self.arrays = list(arrays)
        self.names = list(names)
        self.ends = np.cumsum([len(array) for array in arrays])
        self.shape = (int(self.ends[-1]), arrays[0].shape[1])
        self.dtype = np.result_type(*(array.dtype for array in arrays))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        numbers = self.numbers_of(rows)
        for number in np.unique(numbers):
            own = numbers == number
            found[own] = self.arrays[number][rows[own] - self.start_of(number)]
        return found

    def numbers_of(self, rows: np.ndarray) -> np.ndarray:
        """Which of the arrays holds each of some rows."""
        return np.searchsorted(self.ends, rows, side="right")

    def start_of(self, number: int) -> int:
        """The row at which an array begins."""
        return int(self.ends[number]) - len(self.arrays[number])

    def __getstate__(self):
        return self.__dict__ | {"arrays": [without_rows(array) for array in self.arrays]}

    def __setstate__(self, state):
        self.__dict__ = state | {"arrays": [with_rows(array) for array in state["arrays"]]}


def without_rows(array):
    """What another process is sent of an array: of one that lies on disk the path, so that it maps the file itself."""
    on_disk = isinstance(array, np.memmap) and array.filename is not None
    return Path(array.filename) if on_disk else array


def with_rows(sent):
    """The array again."""
    return np.load(sent, mmap_mode="r") if isinstance(sent, Path) else sent


def shards_named(source: str, endings: Sequence[str], called: str) -> list[Path]:
    """The file of that name, those of a folder, or those that match a pattern such as `shards/*.npy`, by their names.

    Args:
        endings: of the files of a folder that count.
        called: the parameter that names them, for errors.

    Raises:
        CorpusError: there are none, or their names do not say their order.
    """
    refuse_address(source)
    path = Path(source)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in endings and file.name[0] != ".")
        if not found:
            raise CorpusError(f"{called} {source} is a folder without a file that ends in {' or '.join(endings)}")
    elif path.exists() or not set("*?[") & set(source):
        return [path]
    else:
        found = [Path(name) for name in sorted(glob(source, recursive=True))]
        if not found:
            raise CorpusError(f"{called} {source}: no file has such a name")
    counted = sorted(found, key=_by_number)
    for file, other in zip(found, counted, strict=True):
        if file != other:
            raise CorpusError(
                f"{called} {source}: {file.name} comes before {other.name} by its letters and after it by its number: "
                "name the files one by one in the order of the texts"
            )
    return found


def _by_number(file: Path) -> list[str | int]:
    """What sorts `shard-2` before `shard-10`."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", str(file)))]
