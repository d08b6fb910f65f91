"""What a decoder takes from the latent of each sentence."""

import pytest
import torch

from hf_bnvae.evaluation import elbo_metrics, infer, infer_with_use, with_another_s_latents
from tests.helpers import make_batch


def test_each_sentence_gets_the_latent_of_another_once(make_model):
    model = make_model(posterior="gaussian")
    batch = make_batch([6, 9, 4, 7, 5])
    found = infer(model, [batch])
    losses = with_another_s_latents(model, [batch], found, seed=1)
    table = torch.stack([model.sentence_losses(batch["labels"], row.expand(5, -1)) for row in found.latents], 1)
    taken = [(table[row] - losses[row]).abs().argmin().item() for row in range(5)]
    assert sorted(taken) == [0, 1, 2, 3, 4] and all(row != other for row, other in enumerate(taken))
    torch.testing.assert_close(losses, table[torch.arange(5), torch.tensor(taken)])


def test_it_depends_on_neither_batches_nor_their_order_nor_their_process(make_model):
    model = make_model(posterior="gaussian")
    batch = make_batch([6, 6, 6, 6])
    found = infer(model, [batch])
    whole = with_another_s_latents(model, [batch], found)
    parts = [{name: values[rows] for name, values in batch.items()} for rows in ([2, 3], [0, 1])]
    other = infer(model, parts)
    torch.testing.assert_close(with_another_s_latents(model, parts, other), whole[[2, 3, 0, 1]])
    share = infer(model, parts[:1])
    torch.testing.assert_close(with_another_s_latents(model, parts[:1], share, found), whole[[2, 3]])


def test_the_other_of_a_sentence_that_comes_twice_is_a_different_one(make_model):
    model = make_model(posterior="gaussian")
    batch = {name: values[[0, 0, 1]] for name, values in make_batch([6, 5]).items()}
    found = infer(model, [batch])
    losses = with_another_s_latents(model, [batch], found)
    swapped = model.sentence_losses(batch["labels"], found.latents[[2, 2, 0]])
    torch.testing.assert_close(losses, swapped)


def test_a_decoder_that_ignores_its_latent_uses_nothing(make_model):
    model = make_model(posterior="gaussian")
    batch = make_batch([6, 9, 4])
    assert abs(elbo_metrics(infer_with_use(model, [batch])[0])["use"]) > 1e-3
    with torch.no_grad():
        model.decoder.latent_to_cell.weight.zero_()
        model.decoder.lstm.weight_ih_l0[:, -model.config.latent_size :] = 0
    assert elbo_metrics(infer_with_use(model, [batch])[0])["use"] == pytest.approx(0, abs=1e-5)


def test_what_is_read_once_only_or_has_no_other_is_refused(make_model):
    model, batch = make_model(posterior="gaussian"), make_batch([6, 9])
    with pytest.raises(ValueError, match="a second time"):
        infer_with_use(model, iter([batch]))
    with pytest.raises(ValueError, match="two sentences or more"):
        with_another_s_latents(model, [batch], infer(model, [batch]).rows(torch.tensor([0])))
    alone = {name: values[:1] for name, values in batch.items()}
    assert "use" not in elbo_metrics(infer_with_use(model, [alone])[1])
