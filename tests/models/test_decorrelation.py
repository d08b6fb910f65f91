"""The total correlation of the aggregated posterior, and the training loss that holds it down."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_bnvae import BnVaeConfig
from hf_bnvae.models.objectives import total_correlation
from tests.helpers import make_batch


def gaussians(rows):
    """Means and variances that differ from sentence to sentence, at other scales in every dimension."""
    scales = torch.tensor([0.1, 1.0, 30.0])
    return torch.randn(rows, 3) * scales + 5 * scales, torch.randn(rows, 3).exp() * scales**2


def correlated(rows):
    means, variances = gaussians(rows)
    means[:, 1] += 3 * means[:, 0]
    return means, variances


def test_it_is_the_sum_over_all_pairs_without_what_chance_gives():
    means, variances = correlated(9)
    total = 0.0
    for first in range(3):
        for second in range(3):
            if first == second:
                continue
            left, right = (means[:, i].double() - means[:, i].double().mean() for i in (first, second))
            noise = [float(variances[:, i].double().mean()) for i in (first, second)]
            spread = [float(side.square().mean()) for side in (left, right)]
            scale = (spread[0] + noise[0]) * (spread[1] + noise[1])
            total += (float((left * right).mean()) ** 2 - spread[0] * spread[1] / 8) / scale / 4
    assert float(total_correlation(means, variances)) == pytest.approx(total, rel=1e-4)


def test_it_is_half_the_log_determinant_to_second_order():
    """Of correlations that are small and of so many sentences that chance plays no part."""
    noise = torch.randn(20_000, 3, dtype=torch.float64)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(noise.T.cov(correction=0)), noise.T, upper=False).T
    white = white - white.mean(0)
    wanted = torch.tensor([[1.0, 0.1, -0.05], [0.1, 1.0, 0.08], [-0.05, 0.08, 1.0]], dtype=torch.float64)
    means = white @ torch.linalg.cholesky(wanted).T
    exact = -0.5 * float(torch.logdet(wanted))
    found = float(total_correlation(means.float(), torch.full_like(means, 1e-9).float()))
    assert found == pytest.approx(exact, rel=0.1) and exact > 5e-3


@pytest.mark.parametrize("rows", [3, 8])
def test_independent_dimensions_have_0_in_the_mean_over_batches(rows):
    found = torch.stack([total_correlation(torch.randn(rows, 4), torch.full((rows, 4), 1e-6)) for _ in range(2_000)])
    assert found.mean().abs() < 4 * found.std() / len(found) ** 0.5
    assert found.std() > 0.05


def test_no_shift_and_no_scale_of_a_dimension_changes_it():
    means, variances = correlated(12)
    scales, shifts = torch.tensor([1e-3, 1.0, 1e3]), torch.tensor([-1e-3, 20.0, 1e5])
    torch.testing.assert_close(
        total_correlation(means * scales + shifts, variances * scales**2),
        total_correlation(means, variances),
        rtol=1e-3,
        atol=1e-5,
    )


def test_a_descent_of_it_takes_the_correlations_away():
    means, variances = correlated(50)
    means.requires_grad_()
    before = total_correlation(means, variances).item()
    optimiser = torch.optim.Adam([means], lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        total_correlation(means, variances).backward()
        optimiser.step()
    assert total_correlation(means, variances).item() < 0.1 * before


def test_neither_smaller_means_nor_larger_variances_are_a_way_down():
    means, variances = correlated(50)
    scales, widths = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    total_correlation(means * scales, variances * widths).backward()
    torch.testing.assert_close(scales.grad, torch.zeros(3), rtol=0, atol=1e-5)
    assert widths.grad is None


def test_means_that_do_not_vary_and_a_batch_of_one_are_0_with_a_finite_gradient():
    for rows in (1, 5):
        means = torch.full((rows, 3), 0.7, requires_grad=True)
        found = total_correlation(means, torch.zeros(rows, 3))
        found.backward()
        assert found == 0 and torch.isfinite(means.grad).all()


def test_it_is_fp32_under_autocast():
    means, variances = correlated(12)
    with torch.autocast("cpu", torch.bfloat16):
        found = total_correlation(means, variances)
    torch.testing.assert_close(found, total_correlation(means, variances))


@pytest.mark.parametrize("posterior", ["gaussian", "batch_norm", "matched", "tied_scales", "delta", "du"])
def test_the_training_loss_holds_it_beside_the_kl_and_the_evaluation_does_not(make_model, posterior):
    model = make_model(posterior=posterior, decorrelation=3.0, encoder_initializer_range=1.0).train()
    batch = make_batch([5, 9, 2, 7])
    output = model(**batch, noise_seed=1, kl_weight=0.5)
    correlation = total_correlation(output.posterior_mean, output.posterior_logvar.exp())
    assert correlation.abs() > 1e-4
    torch.testing.assert_close(output.loss, output.reconstruction_loss + 0.5 * (output.kl + 3.0 * correlation))
    output = model.eval()(**batch, kl_weight=0.5)
    torch.testing.assert_close(output.loss, output.reconstruction_loss + 0.5 * output.kl)


def test_its_weight_is_a_number_of_at_least_0():
    with pytest.raises(StrictDataclassError, match="decorrelation must be a finite number of at least 0, got -1"):
        BnVaeConfig(decorrelation=-1)
