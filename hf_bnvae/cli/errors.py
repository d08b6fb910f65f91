"""Errors of the command line: one sentence that names the flag."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..data import CorpusError
from ..errors import ParameterError

PACKAGE = __package__.partition(".")[0]


class UsageError(ValueError):
    """A flag or a file that cannot be used: one sentence with the remedy."""


@contextmanager
def flags_named() -> Iterator[None]:
    """Turn errors and warnings of the package, which name parameters, into those that name flags.

    Raises:
        UsageError: for a `ParameterError`.
        CorpusError: for a `CorpusError`.
    """
    make_record = logging.getLogRecordFactory()

    def record(*args, **kwargs) -> logging.LogRecord:
        made = make_record(*args, **kwargs)
        if made.name.partition(".")[0] == PACKAGE:
            made.msg, made.args = with_flags(made.getMessage()), ()
        return made

    logging.setLogRecordFactory(record)
    try:
        yield
    except CorpusError as error:
        raise CorpusError(with_flags(str(error))) from error
    except ParameterError as error:
        raise UsageError(with_flags(str(error))) from error
    finally:
        logging.setLogRecordFactory(make_record)


def with_flags(message: str) -> str:
    """A message of the package with a flag for each name between backticks."""
    return re.sub(r"`(\w+)`", r"--\1", message).replace("the arguments say", "the flags say")
