"""Errors of the command line: one sentence that names the flag."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..data import CorpusError


class UsageError(ValueError):
    """A flag or a file that cannot be used: one sentence with the remedy."""


@contextmanager
def flags_named() -> Iterator[None]:
    """Turn errors of the library, which begin with a parameter, into errors that begin with its flag."""
    try:
        yield
    except UsageError:
        raise
    except CorpusError as error:
        raise CorpusError(re.sub(r"`(\w+_\w+)`", r"--\1", str(error))) from error
    except ValueError as error:
        raise UsageError(with_flags(str(error))) from error


def with_flags(message: str) -> str:
    """A message of the library with flags in it: a name between backticks, or else the word that it begins with."""
    return re.sub(r"`(\w+)`", r"--\1", message) if message.startswith("`") else f"--{message}"


def one_sentence(error: Exception) -> str:
    """The last line of a validation error, which holds the message proper."""
    return str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")
