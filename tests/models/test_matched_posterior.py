"""Laws of the matched posterior and of the rate: the prior's two moments, and a floor on the KL in nats."""

import math

import pytest
import torch
import torch.multiprocessing
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration, BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.models.normalisation import BatchUnitMean
from hf_bnvae.models.posteriors import MatchedPosterior
from hf_bnvae.models.rates import RATE_FIELDS
from tests.helpers import make_batch

SMALL_DIALOGUE = {
    "vocab_size": 20,
    "embedding_size": 8,
    "utterance_hidden_size": 6,
    "context_hidden_size": 10,
    "hidden_size": 8,
    "latent_size": 4,
}
SCALES = [1e-8, 1e-2, 1.0, 1e3, 1e8]
SHIFTS = [0.0, -1e4, 1e4]


def matched(rate=5.0, latent_size=4):
    return MatchedPosterior(BnVaeConfig(latent_size=latent_size, hidden_size=6, posterior="matched", rate=rate))


def heads(scale=1.0, shift=0.0, rows=64, latent_size=4):
    """What the two heads give: means at any scale, and log variances that differ, at any shift."""
    return torch.randn(rows, latent_size) * scale + 3 * scale, torch.randn(rows, latent_size) + shift


def assert_moments_are_the_prior_s(distribution):
    means, logvars = distribution.mean.double(), distribution.logvar.double()
    torch.testing.assert_close(means.mean(0), torch.zeros_like(means[0]), rtol=0, atol=1e-5)
    torch.testing.assert_close((means**2 + logvars.exp()).mean(0), torch.ones_like(means[0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("rate", [0.1, 8.0, 60.0])
def test_a_training_batch_has_the_prior_s_moments_and_a_kl_of_at_least_the_rate(scale, shift, rate):
    distribution = matched(rate)._distribution(*heads(scale, shift))
    assert_moments_are_the_prior_s(distribution)
    assert distribution.kl().double().sum(1).mean() >= rate * (1 - 1e-4)


def test_the_kl_is_the_rate_where_all_sentences_have_one_variance():
    mean, logvar = heads()
    distribution = matched(5.0)._distribution(mean, logvar[:1].expand_as(logvar))
    assert float(distribution.kl().sum(1).mean()) == pytest.approx(5.0, rel=1e-5)


def test_it_is_the_two_lines_of_the_law():
    mean, logvar = heads()
    square = 1 - math.exp(-2 * 5.0 / 4)
    distribution = matched(5.0)._distribution(mean, logvar)
    expected = math.sqrt(square) * (mean - mean.mean(0)) / mean.std(0, correction=0)
    torch.testing.assert_close(distribution.mean, expected)
    torch.testing.assert_close(distribution.logvar.exp(), (1 - square) * logvar.exp() / logvar.exp().mean(0))


def test_both_laws_hold_in_evaluation_on_the_data_of_the_statistics():
    posterior = matched(5.0)
    hidden = torch.randn(203, 6) * 3 + 1
    posterior.recompute_statistics(hidden.split(32))
    distribution = posterior.eval()(hidden)
    assert_moments_are_the_prior_s(distribution)
    assert distribution.kl().sum(1).mean() >= 5.0 * (1 - 1e-5)


def test_a_mean_without_variance_is_0_with_a_finite_gradient():
    mean, logvar = heads()
    mean[:, 0] = 0.1
    mean.requires_grad_()
    distribution = matched()._distribution(mean, logvar)
    distribution.kl().sum().backward()
    assert (distribution.mean[:, 0] == 0).all() and torch.isfinite(mean.grad).all()


def test_the_gradient_of_the_variance_is_that_of_the_formula():
    raw, weights = (torch.randn(7, 3) * 4).requires_grad_(), torch.randn(7, 3)
    (BatchUnitMean(3)(raw) * weights).sum().backward()
    exact = raw.detach().double().requires_grad_()
    ((exact - exact.exp().mean(0).log()) * weights.double()).sum().backward()
    torch.testing.assert_close(raw.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


def test_statistics_of_the_variance_are_exact_whatever_the_batches_and_survive_halving():
    raw = torch.randn(101, 4) * 3 + 300  # exp of it overflows
    expected = raw.double().logsumexp(0) - math.log(101)
    for size in (1, 7, 101):
        norm = BatchUnitMean(4)
        norm.recompute_statistics(raw.split(size))
        torch.testing.assert_close(norm.running_log_mean, expected.float())
    norm.to(torch.bfloat16)
    assert norm.running_log_mean.dtype == torch.float32
    torch.testing.assert_close(norm.running_log_mean, expected.float())


def test_the_running_average_of_the_variance_is_one_of_means_of_exp():
    norm, batches = BatchUnitMean(2), [torch.randn(5, 2) for _ in range(10)]
    for batch in batches:
        norm(batch)
    expected = torch.stack([batch.exp().mean(0) for batch in batches]).mean(0).log()
    torch.testing.assert_close(norm.running_log_mean, expected)  # the first ten weigh alike


def test_moments_are_fp32_under_autocast():
    posterior = matched()
    with torch.autocast("cpu", torch.bfloat16):
        distribution = posterior(torch.randn(64, 6) * 1e-4 + 1.0)  # in bf16 these states would all be 1
    assert distribution.mean.dtype == distribution.logvar.dtype == torch.float32
    assert_moments_are_the_prior_s(distribution)


def test_it_compiles_to_the_same_numbers():
    posterior, hidden = matched(), torch.randn(8, 6)
    compiled = torch.compile(posterior, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(hidden).logvar, posterior(hidden).logvar)


def _share_of_a_batch(rank, world_size, folder):
    store = torch.distributed.FileStore(f"{folder}/store", world_size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    torch.set_num_threads(1)
    mean, logvar, weights = torch.load(f"{folder}/data.pt", weights_only=True)
    rows = slice(0, 4) if rank == 0 else slice(4, 9)
    raw = [tensor[rows].clone().requires_grad_() for tensor in (mean, logvar)]
    posterior = matched(5.0, 3)
    distribution = posterior._distribution(*raw)
    ((distribution.mean + distribution.logvar) * weights[rows]).sum().backward()
    exact = BatchUnitMean(3)
    exact.recompute_statistics([logvar] if rank == 0 else [])  # a share may be empty
    logs = (posterior.variance_norm.running_log_mean, exact.running_log_mean)
    result = (distribution.mean.detach(), distribution.logvar.detach(), *(each.grad for each in raw), *logs)
    torch.save(result, f"{folder}/result{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_match_moments_like_one(tmp_path):
    mean, logvar = heads(rows=9, latent_size=3)
    weights = torch.randn(9, 3)
    torch.save((mean, logvar, weights), tmp_path / "data.pt")
    torch.multiprocessing.spawn(_share_of_a_batch, args=(2, str(tmp_path)), nprocs=2)
    shares = [torch.load(tmp_path / f"result{rank}.pt", weights_only=True) for rank in range(2)]
    raw = [mean.requires_grad_(), logvar.requires_grad_()]
    posterior = matched(5.0, 3)
    distribution = posterior._distribution(*raw)
    ((distribution.mean + distribution.logvar) * weights).sum().backward()
    whole = (distribution.mean.detach(), distribution.logvar.detach(), mean.grad, logvar.grad)
    for number, expected in enumerate(whole):
        found = torch.cat([share[number] for share in shares])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for *_, running, exact in shares:
        torch.testing.assert_close(running, posterior.variance_norm.running_log_mean)
        torch.testing.assert_close(exact, logvar.detach().logsumexp(0) - math.log(9))


# The rate


@pytest.mark.parametrize("posterior", RATE_FIELDS)
@pytest.mark.parametrize("rate", [0.5, 8.0, 64.0])
def test_the_rate_is_the_floor_on_the_kl_of_every_posterior_that_has_one(posterior, rate):
    assert BnVaeConfig(posterior=posterior, rate=rate).kl_lower_bound == pytest.approx(rate, rel=1e-6)


def test_a_rate_at_which_gamma_is_1_but_for_rounding_is_still_the_floor():
    config = BnVaeConfig(posterior="matched", rate=1000.0)
    assert config.gamma == 1 and config.kl_lower_bound == 1000
    distribution = MatchedPosterior(config)._distribution(*heads(latent_size=32))
    assert distribution.kl().sum(1).mean() >= 1000 * (1 - 1e-4)


@pytest.mark.parametrize(
    ("fields", "gamma"),
    [
        ({"rate": 8.0}, math.sqrt(2 * 8 / 32)),
        ({"posterior": "matched"}, math.sqrt(1 - math.exp(-2 * 8 / 32))),
        ({"posterior": "matched", "rate": 4.0}, math.sqrt(1 - math.exp(-2 * 4 / 32))),
        ({"rate": 8.0, "gamma": math.sqrt(0.5)}, math.sqrt(0.5)),
        ({}, 0.7),
    ],
)
def test_gamma_follows_from_the_rate(fields, gamma):
    assert BnVaeConfig(**fields).gamma == pytest.approx(gamma)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rate": 8.0, "gamma": 0.6}, "give one of the two"),
        ({"posterior": "gaussian", "rate": 8.0}, "rate must be None with the posterior gaussian"),
        ({"rate": -1.0}, "rate must be a finite number above 0"),
        ({"posterior": "matched", "gamma": 1.5}, "give one of the two"),
    ],
)
def test_a_rate_that_says_nothing_or_another_thing_is_refused(fields, said):
    with pytest.raises(StrictDataclassError, match=said):
        BnVaeConfig(**fields)


@pytest.mark.parametrize(
    ("made", "changes", "wanted"),
    [
        ({"rate": 8.0}, {"rate": 4.0}, {"rate": 4.0, "gamma": 0.5}),
        ({"rate": 8.0}, {"gamma": 0.4}, {"rate": None, "gamma": 0.4}),
        ({"rate": 8.0}, {"latent_size": 16}, {"rate": 8.0, "gamma": 1.0}),
        ({"gamma": 0.4}, {"latent_size": 16}, {"rate": None, "gamma": 0.4}),
        ({"posterior": "matched", "rate": 2.0}, {"rate": 3.0}, {"rate": 3.0}),
    ],
)
def test_what_is_changed_on_loading_wins(tmp_path, made, changes, wanted):
    BnVaeConfig(**made).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path, **changes)
    assert {name: getattr(loaded, name) for name in wanted} == wanted
    again = BnVaeConfig(**{**made, **{name: wanted.get(name, value) for name, value in changes.items()}, **wanted})
    assert loaded.kl_lower_bound == pytest.approx(again.kl_lower_bound)


def test_a_matched_model_comes_back_and_keeps_its_rate(make_model, tmp_path):
    model = make_model(posterior="matched", rate=3.0)
    model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    model.save_pretrained(tmp_path)
    loaded = BnVaeForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.config.rate == 3.0 and loaded.config.kl_lower_bound == pytest.approx(3.0)
    batch = make_batch([5, 7])
    assert torch.equal(loaded.encode(batch["input_ids"]), model.encode(batch["input_ids"]))
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_a_matched_recognition_network_has_the_moments_of_the_prior_of_each_context():
    model = BnCvaeForConditionalGeneration(BnCvaeConfig(**SMALL_DIALOGUE, posterior="matched", rate=3.0))
    torch.nn.init.normal_(model.model.prior.parameters_of.weight)
    torch.nn.init.normal_(model.model.posterior.mean.weight)
    torch.nn.init.normal_(model.model.posterior.logvar.weight)
    config = model.config
    context = torch.randn(50, config.context_size)
    response = torch.randn(50, config.encoding_size - config.context_size)
    posterior, prior = model.model.distributions(context, response)
    assert prior.logvar.std() > 0.1 and prior.mean.std() > 0.1
    deviation = (prior.logvar / 2).exp()
    in_units = type(prior)((posterior.mean - prior.mean) / deviation, posterior.logvar - prior.logvar)
    assert_moments_are_the_prior_s(in_units)
    assert posterior.kl().sum(1).mean() >= 3.0 * (1 - 1e-4)
    torch.testing.assert_close(posterior.kl(), in_units.kl(), rtol=1e-4, atol=1e-4)
    assert BnCvaeConfig(posterior="matched", rate=3.0).kl_lower_bound == pytest.approx(3.0)
