"""von Mises-Fisher against its closed forms in Bessel functions."""

import math

import pytest
import torch

from hf_bnvae.models.distributions import (
    DiagonalGaussian,
    VonMisesFisher,
    log_normaliser,
    log_uniform_on_sphere,
    mean_resultant_length,
)

CASES = [(kappa, n) for kappa in (1, 13, 80, 500) for n in (2, 3, 5, 32, 200)]


def log_bessel_i(order: float, x: float) -> float:
    """log I_order(x) by its power series, whose terms are all positive."""
    terms = [
        (order + 2 * k) * math.log(x / 2) - math.lgamma(k + 1) - math.lgamma(k + order + 1) for k in range(int(x) + 400)
    ]
    largest = max(terms)
    return largest + math.log(sum(math.exp(term - largest) for term in terms))


def unit_vectors(rows: int, n: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, n), dim=1)


@pytest.mark.parametrize(("kappa", "n"), CASES)
def test_normaliser_resultant_length_and_kl_match_the_bessel_closed_forms(kappa, n):
    order = n / 2 - 1
    log_c = order * math.log(kappa) - n / 2 * math.log(2 * math.pi) - log_bessel_i(order, kappa)
    length = math.exp(log_bessel_i(order + 1, kappa) - log_bessel_i(order, kappa))
    assert log_normaliser(kappa, n) == pytest.approx(log_c, rel=1e-9, abs=1e-8)
    assert mean_resultant_length(kappa, n) == pytest.approx(length, rel=1e-8)
    area = math.log(2) + n / 2 * math.log(math.pi) - math.lgamma(n / 2)
    assert log_uniform_on_sphere(n) == pytest.approx(-area)
    divergence = VonMisesFisher(unit_vectors(3, n), float(kappa)).kl()
    torch.testing.assert_close(divergence, torch.full((3, 1), kappa * length + log_c + area), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kappa", "n"), CASES)
def test_samples_lie_on_the_sphere_with_the_right_resultant_length_about_the_mean(kappa, n):
    mean = unit_vectors(2, n)
    samples = VonMisesFisher(mean, float(kappa)).rsample(20_000)
    assert torch.isfinite(samples).all()
    torch.testing.assert_close(samples.norm(dim=-1), torch.ones(2, 20_000), rtol=1e-5, atol=1e-5)
    length = mean_resultant_length(kappa, n)
    cosines = (samples * mean.unsqueeze(1)).sum(-1)
    # Var(cos) = 1 − A² − (n−1)A/κ
    spread = math.sqrt(max(1e-12, 1 - length**2 - (n - 1) * length / kappa))
    torch.testing.assert_close(cosines.mean(1), torch.full((2,), length), rtol=0, atol=5 * spread / math.sqrt(20_000))
    assert cosines.std(1) == pytest.approx(torch.full((2,), spread), rel=0.05)
    away = samples.mean(1) - cosines.mean(1, keepdim=True) * mean
    assert away.norm(dim=1).max() < 5 * math.sqrt((1 - length**2) / 20_000) + 1e-6


def test_a_larger_share_of_noise_along_the_mean_brings_the_sample_nearer_and_never_breaks_it():
    mean = unit_vectors(1, 8)
    noise = torch.stack([scale * mean[0] for scale in (-9.0, -6.0, -1.0, 0.5, 6.0, 9.0)]).unsqueeze(0)
    noise = noise + 1e-3 * torch.randn(noise.shape)
    samples = VonMisesFisher(mean, 20.0).rsample(noise=noise)
    cosines = (samples * mean).sum(-1)[0]
    assert torch.isfinite(samples).all() and (cosines.diff() >= 0).all()


@pytest.mark.parametrize(("kappa", "n"), [(13, 32), (2, 3), (5, 2)])
def test_the_density_integrates_to_one_over_uniform_directions(kappa, n):
    generator = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(torch.randn(400_000, n, generator=generator, dtype=torch.float64), dim=1)
    posterior = VonMisesFisher(unit_vectors(1, n).double(), float(kappa))
    ratios = (posterior.log_prob(directions.unsqueeze(0))[0] - log_uniform_on_sphere(n)).exp()
    assert float(ratios.mean()) == pytest.approx(1, abs=5 * float(ratios.std()) / math.sqrt(400_000))


def test_the_gradient_of_an_expectation_is_that_of_turning_the_mean():
    """E[a·z] = A(κ) a·μ, so that its gradient on the sphere is A(κ) a, less its part along μ."""
    mean = unit_vectors(1, 5).requires_grad_()
    weights = torch.randn(5)
    posterior = VonMisesFisher(mean, 6.0)
    posterior.rsample(200_000).matmul(weights).mean().backward()
    tangent = weights - (weights @ mean[0].detach()) * mean[0].detach()
    expected = mean_resultant_length(6.0, 5) * tangent
    gradient = mean.grad[0]
    gradient = gradient - (gradient @ mean[0].detach()) * mean[0].detach()
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("posterior", [DiagonalGaussian(torch.randn(7, 4), torch.randn(7, 4)), "vmf"])
def test_all_pairs_together_equal_one_by_one(posterior):
    if posterior == "vmf":
        posterior = VonMisesFisher(unit_vectors(7, 4), 9.0)
    latents = posterior.rsample(1).squeeze(1)[:5]
    pairs = posterior.pairwise_log_prob(latents)
    one_by_one = posterior.log_prob(latents.unsqueeze(0).expand(7, -1, -1)).T
    torch.testing.assert_close(pairs.float(), one_by_one, rtol=1e-4, atol=1e-4)


def test_rows_are_picked_and_joined_with_what_is_no_tensor_kept():
    posterior = VonMisesFisher(unit_vectors(6, 3), 4.0)
    first, rest = (posterior.map(lambda tensor, rows=rows: tensor[rows]) for rows in (slice(2), slice(2, None)))
    joined = first.concatenate([rest])
    assert joined.kappa == 4.0 and torch.equal(joined.mean, posterior.mean)


def test_the_expectation_is_measured_in_the_priors_deviation():
    """Uniform directions have variance 1/n in each dimension: at a large κ every dimension has variance 1 over x."""
    posterior = VonMisesFisher(unit_vectors(20_000, 6), 500.0)
    variance = posterior.standardised_expectation.var(0)
    torch.testing.assert_close(variance, torch.full((6,), mean_resultant_length(500.0, 6) ** 2), rtol=0.05, atol=0)
