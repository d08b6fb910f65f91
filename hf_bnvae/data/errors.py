"""The error of bad input data."""


class CorpusError(ValueError):
    """Bad input data: one sentence that names the file, line or column and the remedy."""
