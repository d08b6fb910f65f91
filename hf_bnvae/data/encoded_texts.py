"""From texts to token ids, with what was lost on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase


def encode_texts(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """Token ids of texts, cut to `max_length` with their ends, and which of them were cut. See `encode_counted`."""
    found = encode_counted(texts, tokenizer, max_length)
    return found.input_ids, found.truncated


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of texts, and what was counted on the way, one for each text.

    Args:
        input_ids: with their ends, cut to a length.
        truncated: whether it was cut.
        unknown: words that the tokenizer does not know.
        symbols: special symbols in the text itself that were left out.
    """

    input_ids: list[list[int]]
    truncated: list[bool]
    unknown: list[int]
    symbols: list[int]


def encode_counted(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedTexts:
    """Token ids of texts, cut to `max_length` with their ends.

    Between its ends a text has no start, end or padding symbol, nor another special one: where it spells one out
    (`</s>` in a corpus of language models), that is left out and counted. `<unk>` is the unknown word.
    """
    unknown = unknown_word(tokenizer)
    symbols = set(tokenizer.all_special_ids) - {unknown}
    before, behind = _ends(tokenizer)
    kept, left_out = [], []
    for ids in _token_ids(texts, tokenizer, with_ends=True):
        last = len(ids) - behind
        inner = ids[before:last]
        if symbols.isdisjoint(inner):
            left_out.append(0)
        else:
            words = [number for number in inner if number not in symbols]
            left_out.append(len(inner) - len(words))
            ids = [*ids[:before], *words, *ids[last:]]
        kept.append(ids)
    cut = [ids if len(ids) <= max_length else [*ids[: max_length - behind], *ids[len(ids) - behind :]] for ids in kept]
    counts = [0] * len(cut) if unknown is None else [ids.count(unknown) for ids in cut]
    return EncodedTexts(cut, [len(ids) > max_length for ids in kept], counts, left_out)


def inner_tokens(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> EncodedTexts:
    """Token ids of texts without ends, uncut; special symbols that a text spells out are left out and counted."""
    unknown = unknown_word(tokenizer)
    symbols = set(tokenizer.all_special_ids) - {unknown}
    rows = list(_token_ids(texts, tokenizer, with_ends=False))
    kept = [[number for number in ids if number not in symbols] for ids in rows]
    counts = [0] * len(kept) if unknown is None else [ids.count(unknown) for ids in kept]
    left_out = [len(ids) - len(words) for ids, words in zip(rows, kept, strict=True)]
    return EncodedTexts(kept, [False] * len(kept), counts, left_out)


def word_counts(texts: list[str], found: EncodedTexts, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """How many words the token ids of each text stand for: what white space separates, and one for the end.

    Of a text that was cut, or in which special symbols were left out, they are the words that its ids still spell.
    """
    special = set(tokenizer.all_special_ids) - {unknown_word(tokenizer)}
    counts = []
    for text, ids, cut, left_out in zip(texts, found.input_ids, found.truncated, found.symbols, strict=True):
        if cut or left_out:
            text = str(tokenizer.decode([number for number in ids if number not in special]))
        counts.append(len(text.split()) + 1)
    return counts


def _token_ids(texts: list[str], tokenizer: PreTrainedTokenizerBase, with_ends: bool) -> Iterator[list[int]]:
    backend = _backend(tokenizer)  # at once, and without the offsets that `tokenizer(texts)` works out
    return (encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=with_ends))


def _backend(tokenizer: PreTrainedTokenizerBase) -> Any:
    """What encodes for a tokenizer, without the padding and the cut that its file may ask for."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


def _ends(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """How many symbols a tokenizer puts before a text and behind it; some put none there."""
    added = _backend(tokenizer).encode("a", add_special_tokens=True).special_tokens_mask
    before, behind = (len(list(takewhile(bool, mask))) for mask in (added, reversed(added)))
    if before == len(added):  # of a tokenizer that leaves the word out
        before, behind = len(added) // 2, len(added) - len(added) // 2
    return before, behind


def unknown_word(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """None where one symbol stands for everything, of a tokenizer that knows every byte."""
    unknown = tokenizer.unk_token_id
    return None if unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) else unknown
