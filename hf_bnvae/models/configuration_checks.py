"""Checks of configuration fields. Each raises a ValueError that names the field and what it must be."""

import math

from transformers import AutoConfig

from .noise import hidden_word


def take_nested_configs(config) -> None:
    """Make objects of nested configurations, and take the sizes that a pretrained decoder decides."""
    for name in config.sub_configs:
        value = getattr(config, name)
        if isinstance(value, dict):
            setattr(config, name, AutoConfig.for_model(**value))
    if config.decoder == "pretrained" and config.decoder_config is not None:
        sizes = config.decoder_config.get_text_config()
        config.vocab_size, config.hidden_size, config.embedding_size = (sizes.vocab_size, *2 * (sizes.hidden_size,))


def check_ties(config) -> None:
    """Refuse to tie the word vectors of a pretrained decoder, which says itself whether they are tied."""
    if config.decoder == "pretrained" and config.tie_word_embeddings:
        raise ValueError("tie_word_embeddings must be False with the decoder pretrained, which has ties of its own")


def check_word_dropout(config) -> None:
    """Refuse to hide words where there is no unknown word to read in their place."""
    if config.word_dropout > 0 and hidden_word(config) is None:
        raise ValueError("word_dropout must be 0 without unk_token_id, the unknown word, which hidden ones are read as")


def check_range(config, least: float, below: float | None, *names: str) -> None:
    """Refuse a field that is under `least`, or not below `below`."""
    for name in names:
        value = getattr(config, name)
        if value < least or (below is not None and not value < below):
            wanted = f"be at least {least}" if below is None else f"lie in [{least}, {below})"
            raise ValueError(f"{name} must {wanted}, got {value}")


def check_finite(config, *names: str, positive: bool) -> None:
    """Refuse a field that is not a finite number of at least 0, or above it."""
    for name in names:
        value = getattr(config, name)
        if not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
            raise ValueError(f"{name} must be a finite number {'above' if positive else 'of at least'} 0, got {value}")


def check_names(config, **choices: tuple[str, ...]) -> None:
    """Refuse a field that is none of its choices."""
    for name, names in choices.items():
        value = getattr(config, name)
        if value not in names:
            raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}")
