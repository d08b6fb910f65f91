"""The error of bad input data."""


class CorpusError(ValueError):
    """Bad input data: one sentence that names the file, line or column and the remedy."""


def no_sentence(source: str, lines: int) -> CorpusError:
    """The error of a source that holds no row, or rows of white space alone."""
    return CorpusError(
        f"{source} holds no sentence: all of its {lines:,} lines are empty" if lines else f"{source} holds no rows"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error, or its kind where it says nothing; what stands between backticks is no parameter."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).replace("`", "'")
