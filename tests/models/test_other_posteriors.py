"""δ-VAE's floor, the moments of tied scales, DU-VAE's floor and scale, the sphere's prior, free bits."""

import math

import pytest
import torch

from hf_bnvae import BnVaeConfig
from hf_bnvae.models.objectives import kl_objective
from hf_bnvae.models.posteriors import DU_SMALLEST_VARIANCE, POSTERIORS, feasible_deviations


def posterior_of(name, **settings):
    config = BnVaeConfig(vocab_size=20, hidden_size=6, latent_size=4, posterior=name, **settings)
    module = POSTERIORS[name](config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("delta", [1e-3, 0.1, 0.25, 2.0])
def test_the_ends_of_the_feasible_interval_are_roots(delta):
    smallest, largest = feasible_deviations(delta)
    for deviation in (smallest, largest):
        assert 2 * math.log(deviation) - deviation**2 + 2 * delta + 1 == pytest.approx(0, abs=1e-9)
    assert smallest < 1 < largest


@pytest.mark.parametrize("delta", [0.1, 0.15, 0.2, 0.25])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_delta_holds_in_every_dimension_for_any_encoder_output_with_finite_gradients(delta, scale):
    posterior = posterior_of("delta", delta=delta)
    raw = [(scale * torch.randn(500, 4)).requires_grad_() for _ in range(2)]
    distribution = posterior._distribution(*raw)
    divergence = distribution.kl()
    assert (divergence >= delta).all()
    (divergence.sum() + distribution.rsample().square().sum()).backward()
    for tensor in raw:
        assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() < 1e4


@pytest.mark.parametrize("variance", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_a_constant_variance_holds_its_floor_for_any_encoder_output_and_no_more_at_a_mean_of_0(variance, scale):
    config = BnVaeConfig(latent_size=4, posterior="constant_variance", variance=variance)
    raw = scale * torch.randn(200, 4)
    distribution = posterior_of("constant_variance", variance=variance)._distribution(raw)
    torch.testing.assert_close(distribution.logvar.exp(), torch.full_like(raw, variance))
    divergence = distribution.kl().sum(1)
    torch.testing.assert_close(divergence, config.kl_lower_bound + raw.square().sum(1) / 2)


def test_tied_scales_have_the_priors_second_moment_in_every_dimension():
    posterior = posterior_of("tied_scales", tau=0.4).train()
    distribution = posterior(torch.randn(300, 6) * 7 + 2)
    moments = distribution.mean.square().mean(0) + distribution.logvar.exp().mean(0)
    torch.testing.assert_close(moments, torch.ones(4), rtol=1e-5, atol=1e-5)
    assert distribution.kl().sum(1).mean() >= -4 / 2 * math.log(1 - 0.4)
    config = BnVaeConfig(latent_size=4, posterior="tied_scales", tau=0.4)
    assert config.kl_lower_bound == pytest.approx(-2 * math.log(0.6))


def test_tied_scales_keep_their_moments_in_evaluation_on_the_data_of_their_statistics():
    posterior = posterior_of("tied_scales")
    hidden = torch.randn(200, 6) * 3 + 1
    posterior.recompute_statistics(hidden.split(32))
    distribution = posterior.eval()(hidden)
    moments = distribution.mean.square().mean(0) + distribution.logvar.exp().mean(0)
    torch.testing.assert_close(moments, torch.ones(4), rtol=1e-5, atol=1e-5)


def test_du_keeps_its_variance_floor_and_the_root_mean_square_of_its_scales():
    posterior = posterior_of("du", gamma=0.6, variance_dropout=0.5).train()
    torch.nn.init.zeros_(posterior.shift)
    distribution = posterior(torch.randn(400, 6))
    variance = distribution.logvar.exp()
    assert (variance >= DU_SMALLEST_VARIANCE * (1 - 1e-5)).all()
    dropped = (variance <= DU_SMALLEST_VARIANCE * (1 + 1e-5)).float().mean()
    assert 0.4 < dropped < 0.6
    scales = distribution.mean.detach().std(0, correction=0)
    assert float(scales.square().mean().sqrt()) == pytest.approx(0.6, rel=1e-4) and scales.std() > 0.01
    posterior.eval()
    hidden = torch.randn(3, 6)
    assert torch.equal(posterior(hidden).logvar, posterior(hidden).logvar)


def test_the_prior_of_the_sphere_is_uniform_on_it():
    posterior = posterior_of("vmf")
    draws = posterior.sample_prior(50_000)
    torch.testing.assert_close(draws.norm(dim=1), torch.ones(50_000))
    torch.testing.assert_close(draws.T @ draws / 50_000, torch.eye(4) / 4, rtol=0, atol=0.01)
    assert posterior(torch.randn(3, 6)).log_prior(draws[:3]).tolist() == pytest.approx([-math.log(2 * math.pi**2)] * 3)


@pytest.mark.parametrize("mode", ["dim", "sum"])
def test_free_bits_have_no_gradient_under_their_threshold_and_the_whole_one_above(mode):
    terms = torch.tensor([[0.2, 0.9], [0.1, 0.3], [2.0, 0.4]], requires_grad=True)
    kl_objective(terms, 1.0, mode).backward()
    threshold = {"dim": terms > 0.5, "sum": (terms.sum(1, keepdim=True) > 1.0).expand(-1, 2)}[mode]
    torch.testing.assert_close(terms.grad, threshold.float() / 3)


def test_free_bits_are_granted_per_sentence_before_averaging():
    terms = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    assert float(kl_objective(terms)) == 2.0
    assert float(kl_objective(terms, 2.0, "sum")) == 3.0
    assert float(kl_objective(terms, 2.0, "dim")) == 3.5


def test_the_gradient_of_tied_scales_is_bounded_where_the_sign_of_sigma_turns():
    posterior = posterior_of("tied_scales").eval()
    raw = [torch.randn(1000, 4).requires_grad_(), (1e-3 * torch.randn(1000, 4)).requires_grad_()]
    posterior._distribution(*raw).kl().sum().backward()
    assert torch.isfinite(raw[1].grad).all() and raw[1].grad.abs().max() < 20
