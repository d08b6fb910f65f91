"""What people said in a dialogue, in the words that a model writes."""

from itertools import chain, zip_longest

from ..data import DialogueCorpus
from ..data.encoded_texts import unknown_word
from ..data.tokenizer_pair import written_texts


def reference_responses(corpus: DialogueCorpus, split: str, tokenizer) -> list[list[str]]:
    """The reference responses of every context of a split: the turn itself, and other references where there are any.

    They are cut into words as the model's responses are; what the tokenizer does not know stays as it is.
    """
    turns = [dialogue.turns[turn] for dialogue, turn in corpus.responses(split)]
    texts = [text for turn in turns for text in (turn.text, *turn.references)]
    split_texts = iter(as_the_model_writes(texts, tokenizer))
    return [[next(split_texts) for _ in range(1 + len(turn.references))] for turn in turns]


def as_the_model_writes(texts: list[str], tokenizer) -> list[str]:
    """Texts encoded and decoded again, with what the tokenizer does not know as it was."""
    encoded = tokenizer(texts, return_offsets_mapping=True, verbose=False)
    written = written_texts(encoded["input_ids"], tokenizer)
    unknown = unknown_word(tokenizer)
    for index, (ids, offsets) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)):
        spans = [slice(*span) for number, span in zip(ids, offsets, strict=True) if number == unknown]
        if spans:
            known = written[index].split(tokenizer.unk_token)
            originals = [texts[index][span] for span in spans]
            pairs = zip_longest(known, originals, fillvalue="")
            spelt_out = len(known) > len(spans) + 1
            written[index] = texts[index] if spelt_out else "".join(chain.from_iterable(pairs))
    return written
