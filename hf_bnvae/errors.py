"""Errors of what the caller can mend."""


class ParameterError(ValueError):
    """A parameter, or a file that it names, cannot be used: one sentence with the remedy.

    Names of parameters stand between backticks; the command line prints them as flags.
    """


def last_line(error: Exception) -> str:
    """The last line of a validation error, which holds the message proper."""
    return str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")
