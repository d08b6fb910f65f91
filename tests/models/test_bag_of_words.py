"""A text VAE may be trained to say the words of a sentence from z alone, in any order."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration, BnVaeModel
from tests.helpers import make_batch

WEIGHT = 0.7


@pytest.fixture
def model(make_model):
    return make_model(bow_weight=WEIGHT)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("training", [False, True])
def test_the_loss_is_that_of_every_word_under_one_distribution_of_its_sentence(model, samples, training):
    model.train(training)
    batch = make_batch([5, 9, 2])
    output = model(**batch, num_samples=samples, noise_seed=3, kl_weight=0.5)
    total = 0.0
    for row, latents in zip(batch["labels"], output.latents, strict=True):
        for z in latents:
            log_probs = model.bag_of_words(z).log_softmax(-1)
            total -= sum(float(log_probs[word]) for word in row if word != -100)
    assert float(output.bow_loss) == pytest.approx(total / (3 * samples), rel=1e-5)
    whole = output.reconstruction_loss + 0.5 * output.kl + WEIGHT * output.bow_loss
    torch.testing.assert_close(output.loss, whole)


def test_it_teaches_the_encoder_and_leaves_the_elbo_as_it_is(make_model, model):
    plain = make_model()
    own = plain.state_dict()
    model.load_state_dict(own, strict=False)
    batch = make_batch([5, 9, 2])
    torch.testing.assert_close(model(**batch).reconstruction_loss, plain(**batch).reconstruction_loss)
    assert model(**batch).bow_loss is not None and plain(**batch).bow_loss is None
    assert torch.equal(model.generate(batch["input_ids"]), plain.generate(batch["input_ids"]))
    model.train()
    loss = model(**batch).bow_loss
    (gradient,) = torch.autograd.grad(loss, model.model.embedding.weight)
    assert gradient.abs().sum() > 0


def test_it_is_saved_resized_and_left_out_by_the_encoder_alone(model, tmp_path, caplog):
    batch = make_batch([5, 9, 2])
    model.save_pretrained(tmp_path)
    again = BnVaeForConditionalGeneration.from_pretrained(tmp_path)
    torch.testing.assert_close(again(**batch).loss, model(**batch).loss)
    BnVaeModel.from_pretrained(tmp_path)
    assert "bag_of_words" not in caplog.text
    model.resize_token_embeddings(50)
    assert model.bag_of_words[-1].out_features == 50
    assert torch.isfinite(model(**batch).loss)


def test_its_weight_is_a_number_of_at_least_0():
    with pytest.raises(StrictDataclassError, match="bow_weight must be a finite number of at least 0, got -1"):
        BnVaeConfig(bow_weight=-1)
