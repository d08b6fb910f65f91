"""Whether a tokenizer and a model belong together."""

from ..errors import ParameterError
from .tokenizer_pair import TokenizerPair, writing_tokenizer


def check_tokenizer(model, tokenizer, called: str) -> None:
    """Refuse a tokenizer that gives ids which the model does not have."""
    config = model.config
    network = getattr(config, "decoder_config", None)
    size = config.vocab_size if network is None else network.get_text_config().vocab_size
    check_vocabulary(writing_tokenizer(tokenizer), size, called)
    if isinstance(tokenizer, TokenizerPair):
        check_vocabulary(tokenizer.encoder, config.encoder_vocab_size or config.vocab_size, called)


def check_vocabulary(tokenizer, size: int, called: str) -> None:
    """Refuse a tokenizer that gives texts ids which a network of so many words does not have.

    Symbols of other things than texts, such as of pictures, may have larger ones.
    """
    symbols = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    used = {getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "unk", "cls", "sep")}
    largest = max(set(tokenizer.get_vocab().values()) - (symbols - used))
    if largest >= size:
        raise ParameterError(
            f"{called}: its tokenizer has the id {largest} and the model {size} words: they do not belong together"
        )
