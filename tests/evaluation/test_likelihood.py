"""The importance-weighted bound: exact where the truth is known, and the same however it is cut up."""

import math
from types import SimpleNamespace

import pytest
import torch

from hf_bnvae.evaluation import elbo, infer, likelihood, nll
from hf_bnvae.models.distributions import DiagonalGaussian
from hf_bnvae.models.noise import sentence_keys
from hf_bnvae.models.token_loss import LOGIT_BYTES_ON_A_CPU
from hf_bnvae.training.recipes import bf16_pays
from tests.helpers import make_batch


class LinearGaussian:
    """z ~ N(0, I), x ~ N(w·z, noise²), so that x ~ N(0, |w|² + noise²); sentence i stands for the number x_i."""

    def __init__(self, numbers, widen=1.0):
        self.numbers = numbers
        self.weights = torch.tensor([0.8, -0.5], dtype=torch.float64)
        self.noise = 0.6
        self.widen = widen
        self.training = False
        self.device = torch.device("cpu")
        self.config = SimpleNamespace(latent_size=2)
        self.decoder = SimpleNamespace(bytes_per_token=36)

    def eval(self):
        return self

    def train(self, mode=True):
        return self

    def true_nll(self):
        variance = self.weights.square().sum() + self.noise**2
        return 0.5 * (self.numbers**2 / variance + variance.log() + math.log(2 * math.pi))

    def noise_keys(self, input_ids, attention_mask, **kwargs):
        return sentence_keys(input_ids, attention_mask)

    def infer(self, input_ids, **kwargs):
        x = self.numbers[input_ids[:, 0]].unsqueeze(1)
        mean = x * self.weights / (self.weights.square().sum() + self.noise**2)
        return DiagonalGaussian(mean, torch.full_like(mean, 2 * math.log(self.widen)))

    def losses(self, labels, latents):
        x = self.numbers[labels[:, 0]].unsqueeze(1)
        return -torch.distributions.Normal(latents @ self.weights, self.noise).log_prob(x)


@pytest.fixture
def toy(monkeypatch):
    model = LinearGaussian(torch.linspace(-3, 3, 25, dtype=torch.float64))
    monkeypatch.setattr(likelihood, "sampled_losses", lambda model, labels, latents: model.losses(labels, latents))
    ids = torch.arange(25).unsqueeze(1)
    return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


def test_the_bound_reaches_the_true_likelihood_of_a_linear_gaussian_model(toy):
    model, batch = toy
    truth = float(model.true_nll().mean())
    judged = nll(model, [batch], num_samples=5000)
    assert judged["nll"] == pytest.approx(truth, abs=5e-3)
    assert judged["ppl"] == pytest.approx(math.exp(judged["nll"]))
    few = [sum(nll(model, [batch], samples, seed)["nll"] for seed in range(60)) / 60 for samples in (1, 10)]
    assert few[0] > few[1] > truth


def test_one_sample_is_enough_where_the_posterior_is_exact(toy):
    model, batch = toy
    model.weights = torch.tensor([0.8, 0.0], dtype=torch.float64)
    variance = model.weights.square().sum() + model.noise**2

    def exact(input_ids, **kwargs):
        x = model.numbers[input_ids[:, 0]].unsqueeze(1)
        logvar = torch.stack([(model.noise**2 / variance).log(), torch.zeros_like(variance)]).expand(len(x), 2)
        return DiagonalGaussian(x * model.weights / variance, logvar)

    model.infer = exact
    assert nll(model, [batch], num_samples=1)["nll"] == pytest.approx(float(model.true_nll().mean()), abs=1e-9)


@pytest.fixture
def trained(make_model):
    model = make_model(vocab_size=30)
    model.recompute_statistics([make_batch([5, 9, 7], vocab_size=30)])
    return model, make_batch([5, 9, 7, 4, 8, 6], vocab_size=30)


def test_sampled_losses_equal_the_loss_of_each_sample_alone(trained):
    model, batch = trained
    latents = torch.randn(6, 3, 4)
    found = likelihood.sampled_losses(model, batch["labels"], latents)
    for sentence in range(6):
        for sample in range(3):
            alone = model(labels=batch["labels"][[sentence]], latents=latents[[sentence], sample])
            torch.testing.assert_close(found[sentence, sample], alone.reconstruction_loss.detach())


def test_the_bound_ignores_order_batches_and_the_memory_that_it_gets(trained):
    model, batch = trained
    expected = nll(model, [batch], num_samples=40)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    pieces = [{name: value[rows] for name, value in batch.items()} for rows in order.split(2)]
    for batches, memory in (
        (pieces, None),
        ([batch], LOGIT_BYTES_ON_A_CPU + 9999),
    ):
        found = nll(model, batches, num_samples=40, memory_bytes=memory)
        assert found["nll"] == pytest.approx(expected["nll"], rel=1e-5)
        assert found["ppl"] == pytest.approx(expected["ppl"], rel=1e-4)


def bounds(model, batches, tolerance, num_samples=200, **options):
    """Bounds in one tensor, and the samples used in the mean."""
    each = []
    found = nll(model, batches, num_samples, each=each, tolerance=tolerance, **options)
    return torch.cat(each), found.get("nll_samples_used")


def test_no_tolerance_takes_all_samples_and_a_huge_one_the_fewest(trained):
    model, batch = trained
    all_of_them, unsaid = bounds(model, [batch], None)
    none, used = bounds(model, [batch], 0)
    torch.testing.assert_close(none, all_of_them)
    assert unsaid is None and used == 200
    fewest, used = bounds(model, [batch], math.inf)
    torch.testing.assert_close(fewest, bounds(model, [batch], None, 16)[0])
    assert used == likelihood.FEWEST_SAMPLES == 16
    assert bounds(model, [batch], math.inf, 7)[1] == 7


def test_where_a_sentence_stops_depends_on_nothing_but_itself(trained):
    model, batch = trained
    together, used = bounds(model, [batch], 0.15)
    assert 16 < used < 200
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    pieces = [{name: value[rows] for name, value in batch.items()} for rows in order.split(2)]
    for memory in (None, LOGIT_BYTES_ON_A_CPU + 9999):
        apart, used_apart = bounds(model, pieces, 0.15, memory_bytes=memory)
        torch.testing.assert_close(apart, together[order])
        assert used_apart == pytest.approx(used)


@pytest.mark.parametrize("tolerance", [0.3, 0.1, 0.03])
def test_a_bound_that_stops_early_is_as_near_to_the_truth_as_it_says(toy, tolerance):
    model, batch = toy
    model.widen = 1.3
    errors = []
    for seed in range(20):
        found, used = bounds(model, [batch], tolerance, 5000, seed=seed)
        assert used < 5000
        errors.append(found - model.true_nll())
    assert torch.stack(errors).square().mean().sqrt() < 1.2 * tolerance
    assert torch.stack(errors).abs().max() < 6 * tolerance


def test_the_standard_error_is_that_of_many_means_of_weights():
    weights = torch.randn(4000, 64).mul(0.5)
    sums = torch.stack([weights.logsumexp(1), (2 * weights).logsumexp(1)])
    errors = likelihood.standard_error(sums, 64)
    assert errors.square().mean().sqrt() == pytest.approx(float(sums[0].std()), rel=0.1)
    one = weights[0].exp().double()
    assert float(errors[0]) == pytest.approx(float(one.std() / 64**0.5 / one.mean()), rel=1e-4)


@pytest.mark.parametrize("tolerance", [-0.1, math.nan])
def test_a_tolerance_is_at_least_0(trained, tolerance):
    model, batch = trained
    with pytest.raises(ValueError, match="tolerance must be at least 0 nats"):
        nll(model, [batch], tolerance=tolerance)


def test_it_lies_under_the_elbo_and_perplexity_counts_the_end_symbol(trained):
    model, batch = trained
    judged = nll(model, [batch], num_samples=200)
    assert judged["nll"] < elbo(infer(model, [batch]))
    words = sum(length - 1 for length in (5, 9, 7, 4, 8, 6))
    assert judged["ppl"] == pytest.approx(math.exp(judged["nll"] * 6 / words))


def test_the_mode_of_the_model_is_left_as_it_was(trained):
    model, batch = trained
    nll(model.train(), [batch], num_samples=2)
    assert model.training
    with pytest.raises(ValueError, match="no batches"):
        nll(model, [])


@pytest.mark.skipif(not bf16_pays(), reason="this machine has no products in bf16")
def test_in_bf16_it_is_nearly_the_same(make_model):
    model, batch = make_model(), make_batch([5, 7, 9])
    exact = nll(model, [batch], 20)["nll"]
    with torch.autocast("cpu", torch.bfloat16):
        assert 0 < abs(nll(model, [batch], 20)["nll"] - exact) < 0.01 * exact
