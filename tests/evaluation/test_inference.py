"""Metrics against closed forms, brute force and numerical integration."""

import math

import pytest
import torch

from hf_bnvae.evaluation import Inference, agg_kl, au, elbo, elbo_metrics, infer, inference, kl, mi, rec
from hf_bnvae.evaluation.inference import aggregate_log_prob
from hf_bnvae.models.distributions import DiagonalGaussian
from hf_bnvae.models.noise import _normal, keyed_noise, sentence_keys
from tests.helpers import make_batch


def inference_of(mean, logvar):
    posterior = DiagonalGaussian(mean, logvar)
    latents = posterior.rsample().squeeze(1)
    return Inference(
        posterior=posterior,
        latents=latents,
        kl=posterior.kl().sum(1),
        log_posterior=posterior.log_prob(latents.unsqueeze(1)).squeeze(1),
        reconstruction=torch.full((len(mean),), 2.0),
        tokens=torch.full((len(mean),), 4),
        keys=torch.arange(len(mean)),
        auxiliary_losses={},
    )


def test_aggregate_log_prob_equals_the_mixture_of_torch_distributions():
    mean, logvar, latents = torch.randn(7, 3) + 5, torch.randn(7, 3), torch.randn(11, 3)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(7, dtype=torch.float64)),
        torch.distributions.Independent(torch.distributions.Normal(mean.double(), (logvar.double() / 2).exp()), 1),
    )
    computed = aggregate_log_prob(DiagonalGaussian(mean, logvar), latents)
    torch.testing.assert_close(computed, mixture.log_prob(latents.double()))


def test_mutual_information_equals_numerical_integration_in_one_dimension():
    means, logvars = torch.tensor([-2.0, 0.0, 0.5, 3.0]), torch.tensor([-1.0, 0.3, -2.0, 0.0])
    grid = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
    components = torch.distributions.Normal(means.double(), (logvars.double() / 2).exp())
    densities = components.log_prob(grid.unsqueeze(1)).exp()
    aggregate = densities.mean(1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid)
    true_aggregate_kl = torch.trapezoid(aggregate * (aggregate.clamp(min=1e-300).log() - prior), grid)
    ratio = torch.where(densities > 0, densities, 1.0).log() - aggregate.clamp(min=1e-300).log().unsqueeze(1)
    true_mi = torch.trapezoid(densities * ratio, grid, dim=0).mean()
    repeated = inference_of(means.repeat(1000).unsqueeze(1), logvars.repeat(1000).unsqueeze(1))
    assert agg_kl(repeated) == pytest.approx(float(true_aggregate_kl), abs=0.06)
    assert mi(repeated) == pytest.approx(float(true_mi), abs=0.06)


def test_a_collapsed_posterior_has_no_kl_no_information_and_no_active_unit():
    collapsed = inference_of(torch.zeros(500, 4), torch.zeros(500, 4))
    assert kl(collapsed) == 0 and au(collapsed) == 0
    assert agg_kl(collapsed) == pytest.approx(0, abs=1e-6) and mi(collapsed) == pytest.approx(0, abs=1e-6)


def test_information_is_at_most_the_log_of_the_number_of_sentences():
    far_apart = inference_of(torch.arange(64.0).unsqueeze(1) * 100, torch.full((64, 1), -4.0))
    assert mi(far_apart) <= math.log(64) + 1e-6
    assert mi(far_apart) == pytest.approx(math.log(64), abs=1e-4)


def test_a_language_model_has_no_information_however_many_sentences_there_are(monkeypatch):
    monkeypatch.setattr(inference, "MOST_LATENTS", 20)
    assert mi(inference_of(torch.zeros(30, 0), torch.zeros(30, 0))) == 0


def test_information_of_many_sentences_takes_some_latents_whatever_their_order(monkeypatch):
    whole = inference_of(torch.randn(3000, 2), torch.full((3000, 2), -1.0))
    expected = mi(whole)
    monkeypatch.setattr(inference, "MOST_LATENTS", 1000)
    held = []

    def counted(posterior, latents):
        held.append((len(posterior.mean), len(latents)))
        return aggregate_log_prob(posterior, latents)

    monkeypatch.setattr(inference, "aggregate_log_prob", counted)
    assert mi(whole) == pytest.approx(expected, abs=0.05)
    order = torch.randperm(3000)
    assert mi(whole.rows(order)) == pytest.approx(mi(whole), abs=1e-9)
    assert set(held) == {(3000, 1000)}


def test_active_units_are_those_whose_mean_varies_by_more_than_a_hundredth():
    column = torch.tensor([-1.0, 1.0]).repeat(50)
    scales = torch.tensor([0.0, 0.0999, 0.1001, 1.0])  # variances 0, just under, just over 0.01, and 1
    assert au(inference_of(column.unsqueeze(1) * scales + 7, torch.zeros(100, 4))) == 2


def test_elbo_is_rec_plus_kl_and_everything_is_reported():
    inference = inference_of(torch.randn(20, 3), torch.randn(20, 3))
    metrics = elbo_metrics(inference)
    assert set(metrics) == {"elbo", "rec", "kl", "mi", "au", "agg_kl"}
    assert metrics["elbo"] == elbo(inference) == rec(inference) + kl(inference)
    assert metrics["mi"] == mi(inference) and rec(inference) == 2.0


def test_inference_agrees_with_the_model_and_ignores_order_and_batch_size(make_model):
    model = make_model()
    model.recompute_statistics([make_batch([5, 9, 7])])
    lengths = [5, 9, 7, 4, 8, 6]
    whole = make_batch(lengths)
    expected = infer(model, [whole], seed=3)
    order = [4, 0, 5, 2, 1, 3]
    shuffled = [{name: value[rows] for name, value in whole.items()} for rows in (order[:1], order[1:4], order[4:])]
    found = infer(model.train(), shuffled, seed=3)
    assert model.training
    for name in ("mean", "logvar"):
        there, here = getattr(found.posterior, name), getattr(expected.posterior, name)
        torch.testing.assert_close(there, here[order], rtol=1e-5, atol=1e-5)
    for name in ("latents", "kl", "log_posterior", "reconstruction"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name)[order], rtol=1e-5, atol=1e-5)
    losses = [
        model.eval()(labels=whole["labels"][[row]], latents=expected.latents[[row]]).loss.item() for row in range(6)
    ]
    torch.testing.assert_close(expected.reconstruction, torch.tensor(losses))
    assert elbo(infer(model, [whole], seed=4)) != elbo(expected)


def test_keyed_noise_is_normal_and_belongs_to_sentence_sample_and_seed():
    batch = make_batch([9] * 400, vocab_size=1000)
    keys = sentence_keys(batch["input_ids"], batch["attention_mask"])
    assert len(keys.unique()) == 400
    noise = keyed_noise(keys, range(50), 8)
    assert noise.shape == (400, 50, 8)
    flat = noise.flatten()
    assert abs(flat.mean()) < 0.01 and abs(flat.var() - 1) < 0.02 and abs((flat**4).mean() - 3) < 0.15
    correlations = torch.corrcoef(noise.flatten(1).T[:40])
    assert (correlations - torch.eye(40)).abs().max() < 0.25
    assert torch.equal(keyed_noise(keys[7:9], range(10, 20), 8), noise[7:9, 10:20])
    assert not torch.equal(keyed_noise(keys, range(50), 8, seed=1), noise)


def test_noise_is_finite_and_symmetric_at_its_extremes():
    extremes = _normal(torch.tensor([0, -1]))  # all bits 0, all bits 1
    assert torch.isfinite(extremes).all() and extremes[0] == -extremes[1] and 5 < extremes[1] < 6


def test_padding_does_not_change_a_key():
    narrow, wide = make_batch([5, 7]), make_batch([5, 7], width=12)
    assert torch.equal(
        sentence_keys(narrow["input_ids"], narrow["attention_mask"]),
        sentence_keys(wide["input_ids"], wide["attention_mask"]),
    )
