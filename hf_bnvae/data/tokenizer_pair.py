"""Two tokenizers as one: of what an encoder reads, and of what a decoder writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

from .encoded_texts import EncodedTexts, inner_tokens, unknown_word

SUBFOLDER = "decoder_tokenizer"


class TokenizerPair:
    """It reads as the first of two tokenizers does, and writes as the second.

    What is asked of a tokenizer and is not written here is the encoder's.

    Args:
        encoder: of the texts that the encoder reads.
        decoder: of the texts that the decoder learns to write.
    """

    def __init__(self, encoder: PreTrainedTokenizerBase, decoder: PreTrainedTokenizerBase):
        self.encoder = encoder
        self.decoder = decoder

    def __getattr__(self, name: str) -> Any:
        if name in ("encoder", "decoder"):
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def __call__(self, *args, **kwargs):
        return self.encoder(*args, **kwargs)

    def encode_targets(self, texts: list[str], max_length: int) -> EncodedTexts:
        """What the decoder is to write of texts: its token ids with the end symbol, cut to `max_length` − 1."""
        found = inner_tokens(texts, self.decoder)
        end = self.decoder.eos_token_id
        kept = [[*ids[: max_length - 2], end] for ids in found.input_ids]
        return EncodedTexts(kept, [len(ids) > max_length - 2 for ids in found.input_ids], found.unknown, found.symbols)

    def decode(self, *args, **kwargs):
        """The text of token ids that the decoder wrote."""
        return self.decoder.decode(*args, **kwargs)

    def batch_decode(self, *args, **kwargs):
        """The same of several rows."""
        return self.decoder.batch_decode(*args, **kwargs)

    def save_pretrained(self, folder: str | Path, **kwargs) -> None:
        """Save the encoder's where `AutoTokenizer` looks, and the decoder's in the subfolder `decoder_tokenizer`."""
        self.encoder.save_pretrained(folder, **kwargs)
        self.decoder.save_pretrained(Path(folder) / SUBFOLDER, **kwargs)


def with_decoder_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str, **where) -> Any:
    """The tokenizer of a model with the one that its decoder writes with, where there is one beside it.

    Args:
        name: the folder or the name on the Hub that `tokenizer` comes from.
        where: options of `from_pretrained` that say where a checkpoint is.
    """
    file = f"{SUBFOLDER}/tokenizer_config.json"
    found = cached_file(
        name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False, **where
    )
    if found is None:
        return tokenizer
    cached_file(name, f"{SUBFOLDER}/tokenizer.json", **where)
    # Of a subfolder on the Hub Transformers wants a config.json, which a tokenizer alone does not have.
    return TokenizerPair(tokenizer, AutoTokenizer.from_pretrained(Path(found).parent, trust_remote_code=False))


def writing_tokenizer(tokenizer: Any) -> PreTrainedTokenizerBase:
    """The one of what a decoder writes."""
    return tokenizer.decoder if isinstance(tokenizer, TokenizerPair) else tokenizer


def written_texts(rows: torch.Tensor | Sequence[Sequence[int]], tokenizer: Any) -> list[str]:
    """The texts of token ids that a model wrote: without special symbols, but with `<unk>`, which is a word of it."""
    writes = writing_tokenizer(tokenizer)
    special = {number for number, token in writes.added_tokens_decoder.items() if token.special}
    special |= set(writes.all_special_ids)
    special.discard(unknown_word(writes))
    ids = rows.tolist() if isinstance(rows, torch.Tensor) else rows
    return writes.batch_decode([[number for number in row if number not in special] for row in ids])
