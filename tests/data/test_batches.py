"""The sampler's laws: each sentence once an epoch, never alone, and the same order for the same seed and epoch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_bnvae.data import LengthBucketSampler, TokenizerPair, VaeCollator, build_tokenizer
from hf_bnvae.data.batches import encoded_columns

LENGTHS = st.lists(st.integers(3, 12), min_size=2, max_size=200)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(2, 9), st.booleans(), st.booleans(), st.integers(0, 3))
def test_each_sentence_comes_once_and_never_alone(lengths, batch_size, equal, shuffle, epoch):
    sampler = LengthBucketSampler(lengths, batch_size, equal=equal, seed=1, shuffle=shuffle)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(2 <= len(batch) <= batch_size + 2 for batch in batches)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(2, 9))
def test_equal_length_means_equal_but_for_lone_sentences(lengths, batch_size):
    mixed = [
        batch
        for batch in LengthBucketSampler(lengths, batch_size, equal=True)
        if len({lengths[index] for index in batch}) > 1
    ]
    lone = sum(lengths.count(length) == 1 for length in set(lengths))
    assert len(mixed) <= lone


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(1, 5), st.integers(2, 4), st.booleans())
def test_the_shares_of_processes_make_up_the_batches_of_one(lengths, batch_size, processes, equal):
    if len(lengths) < processes:
        return
    whole = list(LengthBucketSampler(lengths, batch_size * processes, equal=equal))
    shares = [
        list(LengthBucketSampler(lengths, batch_size, equal=equal, num_processes=processes, process_index=process))
        for process in range(processes)
    ]
    together = [[index for part in parts for index in part] for parts in zip(*shares, strict=True)]
    assert all(part for parts in shares for part in parts)
    assert sorted(map(sorted, together)) == sorted(map(sorted, whole)) or processes > 2
    assert sorted(index for batch in together for index in batch) == list(range(len(lengths)))


def test_every_epoch_has_its_own_order_and_the_seed_fixes_it():
    lengths = [3 + index % 7 for index in range(200)]

    def order(seed, epoch):
        sampler = LengthBucketSampler(lengths, 8, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)


def test_bucketing_leaves_little_padding():
    lengths = [3 + (index * 7919) % 40 for index in range(4000)]
    batches = list(LengthBucketSampler(lengths, 32))
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)


def test_collation_pads_on_the_right_and_hides_padding_from_the_loss():
    rows = [{"input_ids": [1, 5, 2]}, {"input_ids": [1, 6, 7, 8, 2]}]
    batch = VaeCollator(0)(rows)
    assert batch["input_ids"].tolist() == [[1, 5, 2, 0, 0], [1, 6, 7, 8, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch["labels"].tolist() == [[5, 2, -100, -100], [6, 7, 8, 2]]


def test_no_sentences_no_sampler():
    with pytest.raises(ValueError, match="no sentences"):
        LengthBucketSampler([], 4)


TEXTS = ["a b  c", "a", "", " a\tb\nc d a b", "a </s> b", "c unknown a"]


@pytest.mark.parametrize("max_length", [256, 5])
def test_the_words_of_a_text_are_the_tokens_of_a_tokenizer_of_words(max_length):
    """Of one that was cut or held special symbols, they are those that are left."""
    columns = encoded_columns(TEXTS, build_tokenizer(["a b c d"], "word"), max_length)
    assert columns["words"] == [length - 1 for length in columns["length"]]
    assert (max_length == 5) == any(columns["truncated"]) and sum(columns["symbols"]) == 1


@pytest.mark.parametrize("kind", ["bpe", "char", "unigram"])
def test_the_words_of_a_text_do_not_depend_on_the_tokenizer_that_writes_it(kind):
    word, other = build_tokenizer(["a b c d"], "word"), build_tokenizer(["a bb ccc unknown"] * 9, kind, 300)
    wanted = [4, 2, 1, 7, 3, 4]
    for tokenizer in (word, other, TokenizerPair(word, other), TokenizerPair(other, word)):
        assert encoded_columns(TEXTS, tokenizer, 256)["words"] == wanted
