"""Word dropout hides words from the decoder in training alone, each by its sentence and position."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_bnvae import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    LstmLMConfig,
    LstmLMForCausalLM,
)
from hf_bnvae.models.noise import with_hidden_words
from tests.helpers import make_batch

SIZES = {"vocab_size": 40, "embedding_size": 8, "hidden_size": 12}
LATENT = {"latent_size": 4, "initializer_range": 0.5, "embedding_initializer_range": 0.5}
CVAE = LATENT | {"utterance_hidden_size": 6, "context_hidden_size": 8, "embedding_dropout": 0.0, "output_dropout": 0.0}
KINDS = {
    "vae": (BnVaeForConditionalGeneration, BnVaeConfig, LATENT | {"embedding_dropout": 0.0, "output_dropout": 0.0}),
    "cnn": (
        BnVaeForConditionalGeneration,
        BnVaeConfig,
        LATENT | {"decoder": "cnn", "embedding_dropout": 0.0, "output_dropout": 0.0},
    ),
    "lm": (
        LstmLMForCausalLM,
        LstmLMConfig,
        {"initializer_range": 0.5, "embedding_dropout": 0.0, "output_dropout": 0.0},
    ),
    "cvae": (BnCvaeForConditionalGeneration, BnCvaeConfig, CVAE),
}


def make(kind, **changes):
    model, config, settings = KINDS[kind]
    torch.manual_seed(0)
    return model(config(**SIZES, **settings, unk_token_id=3, **changes))


def inputs_of(kind):
    batch = make_batch([5, 9, 7, 8])
    if kind == "cvae":
        batch = {name: batch[name] for name in ("labels", "input_ids", "attention_mask")}
        batch["input_ids"], batch["attention_mask"] = (
            batch["input_ids"].unsqueeze(1),
            batch["attention_mask"].unsqueeze(1),
        )
    return batch


def test_the_share_of_hidden_words_is_the_rate_and_neither_start_nor_padding_is_hidden():
    config = BnVaeConfig(word_dropout=0.3, unk_token_id=3)
    ids = make_batch([200 - row % 7 for row in range(50)])["input_ids"]
    for seed in (None, 5):
        read = with_hidden_words(ids, config, seed)
        hidden = read != ids
        words = (ids != 0) & (ids != 1)
        assert not hidden[~words].any()
        assert hidden[words].float().mean().item() == pytest.approx(0.3, abs=0.02)
        assert (read[hidden] == 3).all()


def test_what_is_hidden_goes_by_sentence_position_and_seed_and_not_by_batch_or_padding():
    config = BnVaeConfig(word_dropout=0.5, unk_token_id=3)
    ids = make_batch([5, 9, 7, 8])["input_ids"]
    whole = with_hidden_words(ids, config, 7)
    assert torch.equal(with_hidden_words(ids[2:, :8], config, 7), whole[2:, :8])
    assert not torch.equal(with_hidden_words(ids, config, 8), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_training_alone_and_a_rate_of_zero_nothing(kind):
    batch = inputs_of(kind)
    losses = {}
    for rate in (0.0, 0.5):
        model = make(kind, word_dropout=rate)
        losses[rate, "train"] = model.train()(**batch, noise_seed=3).reconstruction_loss
        losses[rate, "again"] = model(**batch, noise_seed=3).reconstruction_loss
        losses[rate, "next"] = model(**batch, noise_seed=4).reconstruction_loss
        with torch.no_grad():
            losses[rate, "eval"] = model.eval()(**batch).reconstruction_loss
    assert torch.equal(losses[0.5, "train"], losses[0.5, "again"])
    assert not torch.equal(losses[0.5, "train"], losses[0.5, "next"])
    assert not torch.isclose(losses[0.5, "train"], losses[0.0, "train"])
    if kind == "lm":
        assert torch.equal(losses[0.0, "train"], losses[0.0, "next"])
        assert torch.equal(losses[0.5, "eval"], losses[0.0, "eval"])


@pytest.mark.parametrize("config", [BnVaeConfig, BnCvaeConfig, LstmLMConfig])
def test_a_rate_without_an_unknown_word_and_one_out_of_range_are_refused(config):
    assert config().word_dropout == 0
    with pytest.raises(StrictDataclassError, match="word_dropout must be 0 without unk_token_id"):
        config(word_dropout=0.5)
    with pytest.raises(StrictDataclassError, match=r"word_dropout must lie in \[0, 1\)"):
        config(word_dropout=1.0, unk_token_id=3)
