"""The synthetic corpus: the same for the same seed, in the form of a corpus, and about its z."""

import pytest
import torch

from hf_bnvae.data import VaeCollator, spoken_words, synthetic_corpus
from hf_bnvae.evaluation import grid_posterior
from hf_bnvae.training import SIZES


@pytest.fixture(scope="module")
def corpus():
    return synthetic_corpus(800, seed=3)


def test_a_seed_fixes_it_and_leaves_other_randomness_alone():
    state = torch.get_rng_state()
    first, again, other = (synthetic_corpus(16, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert [first.splits[name].to_dict() for name in first.splits] == [
        again.splits[name].to_dict() for name in again.splits
    ]
    assert first.splits["train"]["input_ids"][:] != other.splits["train"]["input_ids"][:]


def test_it_has_the_form_that_a_collator_reads(corpus):
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 800,
        "validation": 100,
        "test": 100,
    }
    batch = VaeCollator(pad_token_id=0)(list(corpus.splits["train"]))
    ids = batch["input_ids"]
    assert ids.shape == (800, 12) and bool(batch["attention_mask"].all())
    assert set(ids[:, 0].tolist()) == {1} and set(ids[:, -1].tolist()) == {2}
    assert int(ids[:, 1:-1].min()) >= 4 and int(ids.max()) < SIZES["synthetic"]["vocab_size"]
    assert int(spoken_words(ids).min()) >= 0 and spoken_words(ids).shape == (800, 10)


def test_sequences_say_where_their_z_was(corpus):
    split = corpus.splits["validation"]
    words, latents = spoken_words(torch.tensor(split["input_ids"][:])), torch.tensor(split["latent"][:]).double()
    true = grid_posterior(corpus.generator, [{"labels": words}], points=201)
    assert float(torch.corrcoef(torch.stack([true.mean, latents]))[0, 1]) > 0.9
    assert float(true.kl.mean()) > 1.0
    # A posterior that is the right one is as wide as it is wrong.
    assert float(((latents - true.mean) / true.deviation).square().mean()) == pytest.approx(1.0, abs=0.35)
    shuffled = grid_posterior(corpus.generator, [{"labels": words.roll(1, dims=1)}])
    assert float(shuffled.nll.mean()) > float(true.nll.mean()) + 5
