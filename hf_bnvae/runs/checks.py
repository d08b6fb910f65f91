"""Values of arguments that are refused before any work."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ParameterError
from ..training.ranges import MOST_SEED


def check_least(arguments, **least: float) -> None:
    """Refuse a number below what its argument can mean."""
    for name, smallest in least.items():
        value = getattr(arguments, name)
        if value is not None and not value >= smallest:
            raise ParameterError(f"`{name}` must be at least {smallest}, got {value}")


def check_output_file(path: str | None, called: str, endings: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, a file that cannot be written, or whose ending says nothing.

    Its folder may be missing yet. `called` is the name of the argument, as the error shall say it.
    """
    if path is None:
        return
    file = Path(path)
    if endings and file.suffix.lower() not in endings:
        raise ParameterError(f"{called} {path}: give it the ending {' or '.join(endings)}")
    with _names_that_the_system_takes(f"{called} {path}"):
        if file.is_dir():
            raise ParameterError(f"{called} {path} is a folder: name a file")
        _check_folder(file.absolute().parent, f"{called} {path}", "name a file in a folder")


def check_output_folder(path: str, called: str) -> None:
    """Refuse, before any work, a folder that cannot be made or written."""
    with _names_that_the_system_takes(f"{called} {path}"):
        _check_folder(Path(path), f"{called} {path}", "name a folder")


@contextmanager
def _names_that_the_system_takes(called: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ParameterError(f"{called} cannot be written ({error.strerror}): name another") from error


def check_folder_without_results(path: str, called: str) -> None:
    """Refuse, before any work, a folder whose model or results would be replaced."""
    folder = Path(path)
    with _names_that_the_system_takes(f"{called} {path}"):
        taken = folder.is_file() or (folder / "config.json").exists() or (folder / "all_results.json").exists()
    if taken:
        raise ParameterError(f"{called} {path} is a file, or holds a model or results: name another folder")


def _check_folder(folder: Path, called: str, remedy: str) -> None:
    present = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not present.is_dir():
        raise ParameterError(f"{called}: {present} is a file: {remedy}")
    if not os.access(present, os.W_OK | os.X_OK):
        raise ParameterError(f"{called}: there is no writing to {present}: name another folder")


def check_seeds(seeds: Iterable[int], called: str) -> None:
    """Refuse a seed that not every generator of random numbers takes."""
    for seed in seeds:
        if not 0 <= seed <= MOST_SEED:
            raise ParameterError(f"{called} must be from 0 to {MOST_SEED}, got {seed}")


def whole_numbers(text: str, called: str) -> list[int]:
    """The numbers of an argument that takes several, separated by commas."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise ParameterError(f"{called} must be whole numbers separated by commas, got {text}") from error
