"""Semi-amortised inference: its steps go down, and its gradients pass through them."""

import pytest
import torch

from hf_bnvae.models.refinement import RefinementSteps, _clipped, refine
from tests.helpers import make_batch


def quadratic_problem():
    """Smooth, not quadratic in λ, and with a parameter that bends it."""
    torch.manual_seed(3)
    parameter = torch.randn(4, dtype=torch.float64, requires_grad=True)
    start = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def losses(position, number):
        return ((position * parameter).tanh() + 0.1 * number).square().sum(1) + 0.5 * position.square().sum(1)

    return parameter, start, losses


def unrolled(start, losses, steps):
    position, velocity = start, torch.zeros_like(start)
    for number in range(steps.number):
        (gradient,) = torch.autograd.grad(losses(position, number).sum(), position, create_graph=True)
        velocity = steps.momentum * velocity + _clipped(gradient, steps.clip)
        position = position - steps.size * velocity
    return position


@pytest.mark.parametrize("clip", [100.0, 0.5])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_values_and_gradients_equal_those_of_the_unrolled_steps(clip, momentum):
    parameter, start, losses = quadratic_problem()
    steps = RefinementSteps(5, 0.3, momentum, clip)
    weights = torch.randn(3, 4, dtype=torch.float64)
    results = []
    for refined in (refine(start, losses, [parameter], steps), unrolled(start, losses, steps)):
        results.append((refined, *torch.autograd.grad((weights * refined).sum(), (start, parameter))))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_models_gradients_agree_with_finite_differences_through_the_steps(make_model):
    model = make_model(posterior="gaussian", refinement_steps=4, initializer_range=0.3)
    batch = make_batch([6, 9, 4, 7])

    def loss():
        posterior = model.infer(batch["input_ids"], batch["attention_mask"])
        reconstruction = model.sentence_losses(batch["labels"], posterior.mean)
        return (reconstruction + posterior.kl().sum(1)).mean()

    loss().backward()
    for name in ("model.lstm.weight_hh_l0", "model.posterior.mean.weight", "decoder.lstm.weight_ih_l0"):
        parameter = model.get_parameter(name)
        slope = parameter.grad.norm()
        direction = parameter.grad / slope
        values = []
        for distance in (1e-2, -1e-2):
            with torch.no_grad():
                parameter += distance * direction
                values.append(float(loss()))
                parameter -= distance * direction
        assert float(slope) == pytest.approx((values[0] - values[1]) / 2e-2, rel=0.02), name


@pytest.mark.parametrize("strength", [1, 2, 4, 8])
def test_refinement_lowers_the_loss_and_its_gradients_stay_sane_however_strongly_z_acts(make_model, strength):
    model = make_model(posterior="gaussian", refinement_steps=20)
    with torch.no_grad():
        model.decoder.lstm.weight_ih_l0[:, 8:] *= strength
    batch = make_batch([18, 25, 6, 21])
    noise = torch.randn(400, 1, 4, 4).unbind()

    def bound(posterior):
        latents = [posterior.rsample(noise=one.transpose(0, 1)).squeeze(1) for one in noise]
        losses = [model.sentence_losses(batch["labels"], z) for z in latents]
        return torch.stack(losses).mean(0) + posterior.kl().sum(1)

    plain = model.model.infer(batch["input_ids"], batch["attention_mask"])
    refined = model.infer(batch["input_ids"], batch["attention_mask"])
    with torch.no_grad():
        assert bound(refined).sum() < bound(plain).sum()
    assert not any(module.training for module in model.modules())
    model(**batch).loss.backward()
    norm = torch.stack([parameter.grad.norm() for parameter in model.model.parameters()]).norm()
    assert norm < 200


def test_in_evaluation_a_sentence_is_refined_alike_alone_and_in_a_batch(make_model):
    model = make_model(posterior="gaussian", refinement_steps=5)
    batch = make_batch([6, 9, 4])
    together = model.encode(batch["input_ids"], batch["attention_mask"])
    alone = model.encode(batch["input_ids"][2:, :4])
    torch.testing.assert_close(alone, together[2:], rtol=1e-4, atol=1e-5)


def test_it_also_works_in_inference_mode_and_generation_starts_from_it(make_model):
    model = make_model(posterior="gaussian", refinement_steps=5)
    batch = make_batch([6, 9, 4])
    expected = model.encode(batch["input_ids"], batch["attention_mask"])
    with torch.inference_mode():
        found = model.encode(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(found, expected)
    texts = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=5)
    assert torch.equal(texts, model.generate(latents=expected, max_new_tokens=5))
    assert torch.equal(texts, model.reconstruct(batch["input_ids"], batch["attention_mask"], max_new_tokens=5))
