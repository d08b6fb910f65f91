"""Warnings of words that a tokenizer does not know, and of text that it does not cut into words."""

from transformers.utils import logging

HIGH_SHARE = 0.1
FEW_WORDS = 1.5

logger = logging.get_logger(__name__)


def warn_of_unknown_words(split: str, share: float) -> None:
    """Say that much of a split is unknown to the tokenizer, which makes its perplexity low and its texts poor."""
    if share > HIGH_SHARE:
        logger.warning(
            f"{split}: {share:.0%} of the words are unknown to the tokenizer and stand as one symbol, so that the "
            "figures say little: train with a larger `vocab_size` or `tokenizer` bpe, or evaluate on text like that of "
            "the training"
        )


def warn_of_whole_lines(split: str, sentences: int, tokens: int, kind: str) -> None:
    """Say that sentences have about one word each, as where no spaces stand between words.

    Args:
        tokens: of the split, end symbols counted.
        kind: of the tokenizer.
    """
    if kind == "word" and sentences and tokens / sentences - 1 < FEW_WORDS:
        logger.warning(
            f"{split}: about one word a sentence; if no spaces stand between the words (Chinese, Japanese, molecules), "
            "take `tokenizer` bpe or char"
        )
