"""What people said in a dialogue, in the words that a model writes."""

from ..data import DialogueCorpus


def reference_responses(corpus: DialogueCorpus, split: str, tokenizer) -> list[list[str]]:
    """The reference responses of every context of a split: the turn itself, and other references where there are any.

    They are cut into words as the model's responses are; words that the model does not know stay as they are.
    """
    turns = [dialogue.turns[turn] for dialogue, turn in corpus.responses(split)]
    texts = [text for turn in turns for text in (turn.text, *turn.references)]
    split_texts = iter(as_the_model_writes(texts, tokenizer))
    return [[next(split_texts) for _ in range(1 + len(turn.references))] for turn in turns]


def as_the_model_writes(texts: list[str], tokenizer) -> list[str]:
    """Texts encoded and decoded again, with the words that the tokenizer does not know as they were."""
    encoded = tokenizer(texts, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
    decoded = tokenizer.batch_decode(encoded["input_ids"], skip_special_tokens=True)
    unknown = tokenizer.unk_token_id
    for index, ids in enumerate(encoded["input_ids"]):
        if unknown in ids:
            decoded[index] = " ".join(
                texts[index][start:end] if number == unknown else tokenizer.decode([number])
                for number, (start, end) in zip(ids, encoded["offset_mapping"][index], strict=True)
                if end > start
            )
    return decoded
