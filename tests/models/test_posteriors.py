"""Laws of the batch-normalised posterior: Eq. 5, Eq. 6, and what happens at the edges of arithmetic."""

import math

import pytest
import torch
import torch.multiprocessing

from hf_bnvae import BnVaeConfig
from hf_bnvae.models.distributions import DiagonalGaussian
from hf_bnvae.models.normalisation import FixedScaleBatchNorm
from hf_bnvae.models.posteriors import BatchNormPosterior

RAW_SCALES = [1e-8, 1e-5, 1e-2, 1.0, 1e3, 1e8]


def average_kl(mean, logvar=None):
    logvar = torch.zeros_like(mean) if logvar is None else logvar
    return DiagonalGaussian(mean, logvar).kl().sum(-1).mean()


@pytest.mark.parametrize("gamma", [0.3, 0.7, 2.0])
@pytest.mark.parametrize("scale", RAW_SCALES)
def test_training_output_has_mean_beta_and_std_gamma_at_any_raw_scale(scale, gamma):
    norm = FixedScaleBatchNorm(6, gamma)
    with torch.no_grad():
        norm.shift.copy_(torch.linspace(-1, 1, 6))
    output = norm(torch.randn(64, 6) * scale + 0.3 * scale)
    torch.testing.assert_close(output.mean(0), norm.shift, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.std(0, correction=0), torch.full((6,), gamma), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", RAW_SCALES)
@pytest.mark.parametrize("training", [True, False])
def test_kl_never_falls_under_the_bound_on_its_own_data(scale, training):
    gamma, shift = 0.7, 0.2
    norm = FixedScaleBatchNorm(8, gamma)
    torch.nn.init.constant_(norm.shift, shift)
    raw = torch.randn(200, 8) * scale
    norm.recompute_statistics(raw.split(32))
    norm.train(training)
    bound = 8 * (gamma**2 + shift**2) / 2
    assert average_kl(norm(raw)) >= bound * (1 - 1e-5)
    assert average_kl(norm(raw), torch.randn(200, 8)) > bound


def test_batch_statistics_are_the_biased_ones_of_eq_5():
    norm = FixedScaleBatchNorm(3, 0.5)
    raw = torch.randn(7, 3)
    expected = 0.5 * (raw - raw.mean(0)) / raw.var(0, correction=0).sqrt()
    torch.testing.assert_close(norm(raw), expected)
    torch.testing.assert_close(norm.running_var, raw.var(0, correction=0))


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e7])
@pytest.mark.parametrize("training", [True, False])
def test_a_dimension_without_variance_gives_beta_and_a_finite_gradient(constant, training):
    norm = FixedScaleBatchNorm(2, 0.7)
    torch.nn.init.constant_(norm.shift, 0.25)
    raw = torch.stack([torch.full((7,), constant), torch.randn(7)], 1).requires_grad_()
    norm.recompute_statistics([raw.detach()])
    norm.train(training)
    output = norm(raw)
    (output**3).sum().backward()
    torch.testing.assert_close(output[:, 0], torch.full((7,), 0.25), rtol=0, atol=0)
    assert torch.isfinite(output).all() and torch.isfinite(raw.grad).all()
    assert (raw.grad[:, 1] != 0).any()


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_gradient_is_that_of_the_formula(scale):
    norm = FixedScaleBatchNorm(3, 0.7).double()
    raw = (torch.randn(5, 3) * scale).requires_grad_()
    weights = torch.randn(5, 3)
    (norm(raw) * weights).sum().backward()
    exact = raw.detach().double().requires_grad_()
    normalised = (exact - exact.mean(0)) / exact.var(0, correction=0).sqrt()
    (0.7 * normalised * weights.double()).sum().backward()
    torch.testing.assert_close(raw.grad.double(), exact.grad, rtol=1e-4, atol=1e-5 / scale)


def test_a_training_batch_of_one_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="at least 2 sentences"):
        FixedScaleBatchNorm(3, 0.7)(torch.randn(1, 3))
    assert FixedScaleBatchNorm(3, 0.7).eval()(torch.randn(1, 3)).shape == (1, 3)


def test_recomputed_statistics_are_exact_and_do_not_depend_on_the_batches():
    raw = torch.randn(101, 4, dtype=torch.float64) * 3 + 50
    for size in (1, 7, 101):
        norm = FixedScaleBatchNorm(4, 0.7)
        norm.recompute_statistics(raw.split(size))
        torch.testing.assert_close(norm.running_mean, raw.mean(0).float())
        torch.testing.assert_close(norm.running_var, raw.var(0, correction=0).float())
    with pytest.raises(ValueError, match="at least 2 sentences, got 1"):
        norm.recompute_statistics([raw[:1]])


def test_running_average_follows_training_batches():
    norm = FixedScaleBatchNorm(2, 0.7)
    for _ in range(300):
        norm(torch.randn(256, 2) * 2 + 5)
    torch.testing.assert_close(norm.running_mean, torch.full((2,), 5.0), rtol=0.05, atol=0)
    torch.testing.assert_close(norm.running_var, torch.full((2,), 4.0), rtol=0.1, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_stay_exact_when_the_weights_are_halved(dtype):
    norm = FixedScaleBatchNorm(2, 0.7)
    norm.recompute_statistics([torch.randn(50, 2) + 1.2345])
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    norm.to(dtype)
    assert norm.shift.dtype == dtype
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]) and buffer.dtype == before[name].dtype, name


def test_statistics_are_fp32_under_autocast():
    config = BnVaeConfig(vocab_size=10, embedding_size=4, hidden_size=16, latent_size=4)
    posterior = BatchNormPosterior(config)
    hidden = torch.randn(64, 16) * 1e-4 + 1.0  # in bf16 these states would all be 1
    with torch.autocast("cpu", torch.bfloat16):
        inferred = posterior(hidden)
    assert inferred.mean.dtype == inferred.logvar.dtype == torch.float32
    torch.testing.assert_close(inferred.mean.std(0, correction=0), torch.full((4,), 0.7), rtol=1e-4, atol=0)


def test_gamma_is_no_parameter_and_no_buffer():
    norm = FixedScaleBatchNorm(2, 0.7)
    assert set(dict(norm.named_parameters())) == {"shift"}
    assert set(dict(norm.named_buffers())) == {"running_mean", "running_var", "num_batches_tracked"}


def test_it_compiles_to_the_same_numbers():
    norm = FixedScaleBatchNorm(4, 0.7)
    raw = torch.randn(8, 4)
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(raw), norm(raw))


def _share_of_a_batch(rank, world_size, folder):
    store = torch.distributed.FileStore(f"{folder}/store", world_size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    torch.set_num_threads(1)
    raw, weights = torch.load(f"{folder}/data.pt", weights_only=True)
    rows = slice(0, 4) if rank == 0 else slice(4, 9)
    mine = raw[rows].clone().requires_grad_()
    norm = FixedScaleBatchNorm(3, 0.7)
    output = norm(mine)
    (output * weights[rows]).sum().backward()
    exact = FixedScaleBatchNorm(3, 0.7)
    exact.recompute_statistics([raw[rows]])
    result = (output.detach(), mine.grad, norm.running_var, exact.running_var)
    torch.save(result, f"{folder}/result{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_normalise_like_one(tmp_path):
    raw, weights = torch.randn(9, 3) + 4, torch.randn(9, 3)
    torch.save((raw, weights), tmp_path / "data.pt")
    torch.multiprocessing.spawn(_share_of_a_batch, args=(2, str(tmp_path)), nprocs=2)
    shares = [torch.load(tmp_path / f"result{rank}.pt", weights_only=True) for rank in range(2)]
    alone = raw.clone().requires_grad_()
    norm = FixedScaleBatchNorm(3, 0.7)
    output = norm(alone)
    (output * weights).sum().backward()
    torch.testing.assert_close(torch.cat([share[0] for share in shares]), output.detach())
    torch.testing.assert_close(torch.cat([share[1] for share in shares]), alone.grad, rtol=1e-4, atol=1e-6)
    for share in shares:
        torch.testing.assert_close(share[2], norm.running_var)
        torch.testing.assert_close(share[3], raw.var(0, correction=0))


def test_kl_and_log_prob_agree_with_torch_distributions():
    posterior = DiagonalGaussian(torch.randn(5, 3), torch.randn(5, 3))
    reference = torch.distributions.Normal(posterior.mean, (posterior.logvar / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(posterior.kl(), torch.distributions.kl_divergence(reference, prior))
    latents = posterior.rsample(4)
    assert latents.shape == (5, 4, 3)
    expected = reference.log_prob(latents.transpose(0, 1)).sum(-1).T
    torch.testing.assert_close(posterior.log_prob(latents), expected)
    torch.testing.assert_close(DiagonalGaussian(latents, latents).log_prior(latents), prior.log_prob(latents).sum(-1))


def test_samples_have_the_posteriors_moments():
    posterior = DiagonalGaussian(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(4.0)]]))
    samples = posterior.rsample(100_000)[0]
    torch.testing.assert_close(samples.mean(0), posterior.mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(samples.var(0), posterior.logvar[0].exp(), atol=0.06, rtol=0)
