"""Texts go through a model in batches of like length, and results come back in the order of the texts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_bnvae import BnCvaeForConditionalGeneration, BnVaeForConditionalGeneration, LstmLMForCausalLM
from hf_bnvae.evaluation import EvaluatedModel, GeneratingModel, SampledModel, TextBatches, encode_in_order


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=9), min_size=1, max_size=30), st.integers(1, 8))
def test_each_text_has_its_own_vector_whatever_the_batches(rows, batch_size):
    def first_last_and_length(input_ids, attention_mask):
        lengths = attention_mask.sum(1)
        last = input_ids.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
        return torch.stack([input_ids[:, 0], last, lengths], 1)

    vectors = encode_in_order(rows, first_last_and_length, batch_size)
    assert vectors.tolist() == [[row[0], row[-1], len(row)] for row in rows]


def test_batches_can_be_read_twice_and_hold_each_text_once():
    batches = TextBatches([[1, 2], [3, 4, 5], [6, 7], [8, 9, 9]], 2, 0)
    first, second = ([batch["input_ids"].tolist() for batch in batches] for _ in range(2))
    assert first == second and len(first) == len(batches)
    found = [row for batch in first for row in batch]
    assert [found[index] for index in batches.original_order] == [[1, 2], [3, 4, 5], [6, 7], [8, 9, 9]]


@pytest.mark.parametrize("kind", [BnVaeForConditionalGeneration, BnCvaeForConditionalGeneration, LstmLMForCausalLM])
def test_our_models_have_what_evaluation_asks_for(kind):
    writes_what_it_reads = [GeneratingModel] if kind is not LstmLMForCausalLM else []
    for protocol in (EvaluatedModel, SampledModel, *writes_what_it_reads):
        asked = {name for name in protocol.__dict__ if not name.startswith("_")}
        assert asked <= set(dir(kind)) | {"config", "generation_config", "decoder"}, protocol
