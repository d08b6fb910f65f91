"""Folders in the cache of `datasets` for what takes long to compute: they are whole or not there."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from datasets import config
from transformers.utils import logging

from .errors import CorpusError

INDEX = "index.json"
SECONDS_OF_A_DAY = 86_400

logger = logging.get_logger(__name__)


def cache_folder() -> Path:
    """Where this package keeps what it computed."""
    return Path(config.HF_DATASETS_CACHE) / "hf_bnvae"


def kept_folder(folder: Path, what: str, make: Callable[[Path], dict], read: Callable[[Path], object]) -> bool:
    """Make a folder unless an earlier run made it, or another process does so first.

    Args:
        folder: its name is a key of all that its contents depend on.
        what: the contents, for messages.
        make: writes the files into a new folder, and gives what the index says of them beside their sizes.
        read: reads something of a file, to see that it can be read.

    Returns:
        Whether it was there.

    Raises:
        CorpusError: when there is no writing to the cache.
    """
    broken = _fault(folder, read)
    if broken is not None:
        logger.warning(f"The {what} in {folder} are not whole ({broken}): they are made anew.")
        shutil.rmtree(folder, ignore_errors=True)
    if (folder / INDEX).is_file():
        return True
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder.parent)
        partial_folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    except OSError as error:
        raise CorpusError(
            f"{what} cannot be kept in {folder.parent} ({error.strerror}): set HF_DATASETS_CACHE to a folder that can"
        ) from error
    try:
        index = make(partial_folder)
        sizes = {path.name: path.stat().st_size for path in partial_folder.iterdir()}
        (partial_folder / INDEX).write_text(json.dumps(index | {"sizes": sizes}), encoding="utf-8")
        try:
            os.replace(partial_folder, folder)
        except OSError:
            if not (folder / INDEX).is_file():  # another process was first
                raise
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)
    return False


def _fault(folder: Path, read: Callable[[Path], object]) -> str | None:
    """What a folder lacks, in words; None for a whole one, and for none."""
    if not folder.is_dir():
        return None
    try:
        sizes = json.loads((folder / INDEX).read_text(encoding="utf-8"))["sizes"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{INDEX} is missing or cannot be read"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{name} is missing or cut off"
        try:
            read(path)
        except (OSError, ValueError, pa.ArrowException):
            return f"{name} cannot be read"
    return None


def _remove_leftovers(folder: Path) -> None:
    """Remove what runs that were killed while they wrote left here; one that still does wrote there today."""
    for path in folder.glob("*.partial-*"):
        with suppress(OSError):
            if time.time() - max(item.stat().st_mtime for item in (path, *path.iterdir())) > SECONDS_OF_A_DAY:
                shutil.rmtree(path, ignore_errors=True)
