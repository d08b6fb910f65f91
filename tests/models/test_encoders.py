"""An encoder may have widths and a vocabulary of its own, and dialogue has free bits like sentences."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration, BnVaeConfig, BnVaeForConditionalGeneration
from tests.helpers import make_batch

SIZES = {"vocab_size": 30, "embedding_size": 8, "hidden_size": 12, "latent_size": 3}
OWN = {"encoder_vocab_size": 50, "encoder_embedding_size": 5, "encoder_hidden_size": 7}


def own_model() -> BnVaeForConditionalGeneration:
    return BnVaeForConditionalGeneration(BnVaeConfig(**SIZES, **OWN))


def test_the_encoder_has_its_own_widths_and_the_decoder_those_of_the_configuration():
    model = own_model()
    assert model.model.embedding.weight.shape == (50, 5) and model.model.lstm.weight_hh_l0.shape == (28, 7)
    assert model.model.posterior.mean.weight.shape == (3, 7)
    assert model.decoder.embedding.weight.shape == (30, 8) and model.decoder.output.weight.shape == (30, 12)


def test_tokens_of_the_encoder_and_of_the_decoder_may_differ(tmp_path):
    model = own_model()
    words = torch.randint(30, 50, (4, 6))
    labels = torch.randint(3, 30, (4, 9))
    model(input_ids=words, labels=labels).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval().save_pretrained(tmp_path)
    again = BnVaeForConditionalGeneration.from_pretrained(tmp_path)
    torch.testing.assert_close(
        again(input_ids=words, labels=labels).logits, model(input_ids=words, labels=labels).logits
    )


def test_widths_left_out_are_those_of_the_decoder():
    config = BnVaeConfig(**SIZES)
    assert config.encoding_size == 12 and config.encoder_hidden_size is None


@pytest.mark.parametrize(
    ("field", "value"), [("encoder_hidden_size", 0), ("encoder_embedding_size", -1), ("encoder_vocab_size", 0)]
)
def test_an_encoder_without_width_is_refused_by_the_name_of_the_field(field, value):
    with pytest.raises(StrictDataclassError, match=f"{field} must be at least 1, got {value}"):
        BnVaeConfig(**SIZES, **{field: value})


def test_a_refined_posterior_needs_one_vocabulary():
    with pytest.raises(StrictDataclassError, match="0 where encoder and decoder read other tokens"):
        BnVaeConfig(**SIZES, encoder_vocab_size=50, posterior="gaussian", refinement_steps=2)


@pytest.mark.parametrize("mode", ["dim", "sum"])
def test_free_bits_of_dialogue_leave_a_small_divergence_without_gradient(mode):
    torch.manual_seed(0)
    widths = {"utterance_hidden_size": 5, "context_hidden_size": 6, "prior_hidden_size": 4, "posterior": "gaussian"}
    config = BnCvaeConfig(**SIZES, **widths, free_bits=1000.0, free_bits_mode=mode, prior_kl_weight=0.0)
    model = BnCvaeForConditionalGeneration(config)
    contexts, labels = torch.randint(3, 30, (4, 2, 5)), torch.randint(3, 30, (4, 6))
    output = model(input_ids=contexts, labels=labels, noise_seed=1)
    torch.testing.assert_close(output.loss, output.reconstruction_loss + 1000.0)
    assert output.kl < 1000 and model.auxiliary_losses(labels, torch.zeros(4, config.condition_size)) == {}


def test_old_names_of_methods_warn_and_work(make_model):
    model = make_model()
    batch = make_batch([3, 5])
    with pytest.warns(FutureWarning, match="side_losses is called auxiliary_losses now"):
        assert model.side_losses(batch["labels"], torch.zeros(len(batch["labels"]), 1)) == {}
