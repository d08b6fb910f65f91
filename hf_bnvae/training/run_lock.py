"""One run a folder, and no worker without the process that started it."""

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from transformers.utils import logging

from ..errors import ParameterError

LOCK_NAME = ".lock"
ENDS_WITH_PARENT = "HF_BNVAE_ENDS_WITH_PARENT"
"""Set to 1 in the environment of a run that another command waits for."""
SECONDS_BETWEEN_LOOKS = 1.0

logger = logging.get_logger(__name__)
_held: dict[Path, IO[str]] = {}


class LockError(ParameterError):
    """Another run writes into the same folder."""


def lock(output_dir: str | Path) -> None:
    """Keep a folder for this process until `unlock`, or until it ends, however it ends: the system then drops the lock.

    Where the file system knows no locks nothing is locked, and a warning says so.

    Raises:
        LockError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    folder = Path(output_dir).resolve()
    if folder in _held:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK_NAME).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        process = f" (process {holder})" if holder else ""
        raise LockError(
            f"`output_dir` {output_dir}: another run{process} writes there: wait for it, stop it, or name "
            "another folder"
        ) from None
    except OSError as error:
        file.close()
        logger.warning(f"{folder} cannot be locked ({error.strerror}): start no second run in it.")
        return
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    _held[folder] = file
    atexit.register(unlock, folder)


def unlock(output_dir: str | Path) -> None:
    """Give a folder back, and remove the lock's file."""
    folder = Path(output_dir).resolve()
    file = _held.pop(folder, None)
    if file is not None:
        (folder / LOCK_NAME).unlink(missing_ok=True)
        file.close()


@contextmanager
def given_back(output_dir: str | Path) -> Iterator[None]:
    """Give a folder back when this is over, however it ends: the process may live on."""
    try:
        yield
    finally:
        unlock(output_dir)


def end_with_parent() -> None:
    """End this process when the one that started it has gone, where a launcher or a command waits for it.

    A worker whose launcher was killed would train on, and a second start would join it.
    """
    # `torchrun` sets the first, and `accelerate launch` of one process the second.
    launched = "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    waited_for = launched or os.environ.get(ENDS_WITH_PARENT) == "1"
    if not waited_for or any(thread.name == ENDS_WITH_PARENT for thread in threading.enumerate()):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, name=ENDS_WITH_PARENT, daemon=True).start()
