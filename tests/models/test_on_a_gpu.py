"""A GPU computes what a CPU computes, and no step waits for it."""

import copy

import pytest
import torch

from hf_bnvae.data import DialogueCollator, DialogueResponses
from hf_bnvae.evaluation import nll
from hf_bnvae.methods import METHODS
from hf_bnvae.plans import build_model
from tests.helpers import make_batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SIZES = {"vocab_size": 40, "embedding_size": 16, "hidden_size": 32, "initializer_range": 0.3}
NO_DROPOUT = {"embedding_dropout": 0.0, "output_dropout": 0.0}
BATCH = make_batch([4 + (index * 5) % 7 for index in range(24)])
WITHOUT_LATENT = "lstm_lm"
UTTERANCES = [[1, *(4 + (turn * 7 + place) % 30 for place in range(1 + turn % 5)), 2] for turn in range(20)]


def model_of(name: str):
    """A model of a method, with nothing random in it but the noise of the latents."""
    torch.manual_seed(0)
    if name == "bn_cvae":
        return build_model(name, vocab_size=40, embedding_size=16, hidden_size=32)
    return build_model(name, **SIZES, **NO_DROPOUT, latent_size=8, variance_dropout=0.0)


def batch_of(name: str) -> dict:
    if name != "bn_cvae":
        return BATCH
    turns = len(UTTERANCES)
    rows = DialogueResponses(UTTERANCES, [turn % 2 for turn in range(turns)], [0] * turns, [1] * turns, [5, 9, 12], 4)
    return DialogueCollator(0)(rows.__getitems__(range(3)))


def step(model, batch: dict, device: str, bf16: bool = False):
    """The loss of a training step, with the noise of a seed, and every gradient of it."""
    model = copy.deepcopy(model).to(device).train()
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        loss = model(**batch, kl_weight=0.7, noise_seed=1).loss
    loss.backward()
    return loss.detach().cpu(), {name: weight.grad.cpu() for name, weight in model.named_parameters()}


@pytest.fixture(autouse=True)
def without_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("name", [*METHODS, "bn_cvae"])
def test_loss_and_gradients_are_those_of_the_cpu(name):
    model = model_of(name)
    loss, gradients = step(model, batch_of(name), "cuda")
    expected_loss, expected = step(model, batch_of(name), "cpu")
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-5)
    for weight, gradient in gradients.items():
        assert (gradient - expected[weight]).norm() < 3e-3 * expected[weight].norm() + 1e-5, weight


@pytest.mark.parametrize("name", ["vae", "bn_vae", "cnn_vae", WITHOUT_LATENT])
def test_bf16_stays_near_fp32(name):
    model = model_of(name)
    loss, _ = step(model, batch_of(name), "cuda", bf16=True)
    expected, _ = step(model, batch_of(name), "cuda")
    assert loss.dtype == torch.float32
    assert loss != expected
    torch.testing.assert_close(loss, expected, rtol=5e-3, atol=0)


@pytest.mark.parametrize("name", ["bn_vae", "vmf_vae", WITHOUT_LATENT])
def test_the_likelihood_is_that_of_the_cpu(name):
    model = model_of(name).eval()
    expected = nll(model, [BATCH], 20)
    assert nll(model.to("cuda"), [BATCH], 20) == pytest.approx(expected, rel=1e-4)


# Gradient steps that refine a posterior look for the words of a batch in each of them.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "sa_vae"])
def test_no_step_waits_for_the_gpu(name):
    model = model_of(name).to("cuda").train()
    batch = {key: tensor.to("cuda") for key, tensor in batch_of(name).items()}
    words = (batch["labels"] != -100).flatten().nonzero().squeeze(1)
    weight, seed = torch.tensor(0.7, device="cuda"), torch.tensor(1, device="cuda")
    for mode in ("default", "error"):
        torch.cuda.set_sync_debug_mode(mode)
        try:
            model(**batch, word_positions=words, kl_weight=weight, noise_seed=seed).loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
