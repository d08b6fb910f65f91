"""What a text VAE says of each sentence."""

import pytest
import torch

from hf_bnvae.evaluation import infer, with_another_s_latents
from tests.helpers import make_batch


def test_each_sentence_gets_the_latent_of_another_once(make_model):
    model = make_model(posterior="gaussian")
    batch = make_batch([6, 9, 4, 7, 5])
    found = infer(model, [batch])
    rows = [3, 0, 4, 1, 2]
    latents = torch.empty_like(found.latents)
    latents[torch.tensor(rows)] = found.latents
    losses = with_another_s_latents(model, [batch], latents, rows, seed=1)
    table = torch.stack([model.sentence_losses(batch["labels"], row.expand(5, -1)) for row in found.latents], 1)
    taken = [(table[row] - losses[row]).abs().argmin().item() for row in range(5)]
    assert sorted(taken) == [0, 1, 2, 3, 4] and all(row != other for row, other in enumerate(taken))
    torch.testing.assert_close(losses, table[torch.arange(5), torch.tensor(taken)])


def test_it_depends_on_neither_batches_nor_their_order(make_model):
    model = make_model(posterior="gaussian")
    batch = make_batch([6, 6, 6, 6])
    latents = infer(model, [batch]).latents
    whole = with_another_s_latents(model, [batch], latents, [0, 1, 2, 3])
    parts = [{name: values[rows] for name, values in batch.items()} for rows in ([2, 3], [0, 1])]
    torch.testing.assert_close(with_another_s_latents(model, parts, latents, [2, 3, 0, 1]), whole[[2, 3, 0, 1]])


def test_a_decoder_that_ignores_its_latent_uses_nothing(make_model):
    model = make_model(posterior="gaussian")
    with torch.no_grad():
        model.decoder.latent_to_cell.weight.zero_()
        model.decoder.lstm.weight_ih_l0[:, -model.config.latent_size :] = 0
    batch = make_batch([6, 9, 4])
    found = infer(model, [batch])
    use = with_another_s_latents(model, [batch], found.latents, [0, 1, 2]) - found.reconstruction
    torch.testing.assert_close(use, torch.zeros(3), atol=1e-5, rtol=0)


def test_one_sentence_has_no_other(make_model):
    with pytest.raises(ValueError, match="two sentences or more"):
        with_another_s_latents(make_model(), [], torch.zeros(1, 4), [0])
