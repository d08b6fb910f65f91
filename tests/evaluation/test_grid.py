"""The discretised posterior: exact where the truth is known, and the one of the decoder that it is given."""

import math

import pytest
import torch

from hf_bnvae.evaluation import discretised_posterior, grid_posterior
from tests.helpers import make_batch

WEIGHT, NOISE = 0.8, 0.3


@pytest.fixture
def scalar(make_model):
    return make_model(latent_size=1, posterior="gaussian"), make_batch([5, 9, 7, 4])


def test_a_linear_gaussian_model_has_the_posterior_of_the_textbook():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    grid = torch.linspace(-6, 6, 121, dtype=torch.float64)
    likelihood = torch.distributions.Normal(WEIGHT * grid, NOISE).log_prob(x.unsqueeze(1))
    found = discretised_posterior(likelihood, grid)
    variance = WEIGHT**2 + NOISE**2
    mean, deviation = WEIGHT * x / variance, NOISE / math.sqrt(variance)
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.deviation, torch.full_like(x, deviation))
    torch.testing.assert_close(found.kl, 0.5 * (mean**2 + deviation**2 - 1) - math.log(deviation), rtol=1e-5, atol=1e-5)
    evidence = torch.distributions.Normal(0.0, math.sqrt(variance)).log_prob(x)
    torch.testing.assert_close(found.nll, -evidence, rtol=1e-5, atol=1e-5)


def test_words_that_do_not_depend_on_z_leave_the_prior():
    found = discretised_posterior(torch.full((3, 81), -50.0), torch.linspace(-4, 4, 81))
    torch.testing.assert_close(found.mean, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(found.deviation, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.kl, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(found.nll, torch.full((3,), 50.0, dtype=torch.float64))


def test_it_is_bayes_rule_point_by_point(scalar):
    model, batch = scalar
    found = grid_posterior(model, [batch], points=9, reach=3.0)
    for sentence in range(4):
        joint = {}
        for z in (-3.0, -2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25, 3.0):
            said = model(labels=batch["labels"][[sentence]], latents=torch.tensor([[z]]))
            joint[z] = math.exp(-said.reconstruction_loss.item() - z**2 / 2)
        mean = sum(z * weight for z, weight in joint.items()) / sum(joint.values())
        assert float(found.mean[sentence]) == pytest.approx(mean, abs=1e-4)


def test_neither_batches_nor_a_finer_grid_change_it(scalar):
    model, batch = scalar
    whole = grid_posterior(model, [batch])
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    for other in (grid_posterior(model, halves), grid_posterior(model, [batch], points=300, reach=6.0)):
        torch.testing.assert_close(other.mean, whole.mean, rtol=0, atol=1e-3)
        torch.testing.assert_close(other.nll, whole.nll, rtol=0, atol=1e-3)


def test_the_model_stays_in_its_mode_and_has_one_latent_dimension(scalar, make_model):
    model, batch = scalar
    grid_posterior(model.train(), [batch], points=3)
    assert model.training
    with pytest.raises(ValueError, match="scalar latent"):
        grid_posterior(make_model(latent_size=2), [batch])
