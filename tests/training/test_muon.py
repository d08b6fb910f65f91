"""Muon: its step against a singular value decomposition and PyTorch's own, and AdamW for what it leaves."""

from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file
from transformers import set_seed

from hf_bnvae import build_model
from hf_bnvae.errors import ParameterError
from hf_bnvae.training import VaeTrainingArguments
from hf_bnvae.training.muon import MuonAdamW, matrices_of, orthogonal
from tests.helpers import StopAt
from tests.training.test_no_waiting import NoWaiting


@pytest.mark.parametrize("shape", [(3, 12, 5), (2, 5, 12), (1, 7, 7)])
def test_orthogonal_keeps_the_singular_vectors_and_makes_the_values_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    turned = left.mT @ orthogonal(matrices) @ right.mT
    values = turned.diagonal(dim1=1, dim2=2)
    assert torch.allclose(turned, torch.diag_embed(values), atol=1e-5)
    assert values.min() > 0.5 and values.max() < 1.5


def train(optimizer, weights, steps):
    """Steps along gradients that depend on the weights and on the number of the step."""
    for step in steps:
        for number, weight in enumerate(weights):
            generator = torch.Generator().manual_seed(100 * step + number)
            weight.grad = torch.randn(weight.shape, generator=generator) + 0.1 * weight.detach()
        optimizer.step()


def some_weights():
    torch.manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in ((8, 6), (8, 6), (6, 4), (6,), (4, 3, 2))]


def test_muon_takes_the_steps_of_pytorchs_and_adamw_those_of_the_rest():
    ours, theirs = some_weights(), some_weights()
    optimizer = MuonAdamW(ours, lr=0.1, weight_decay=0.3, momentum=0.8, fused=True)
    optimizer.move_to_muon(ours[:3])
    muon = torch.optim.Muon(theirs[:3], lr=0.1, weight_decay=0.3, momentum=0.8, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(theirs[3:], lr=0.1, weight_decay=0.3, fused=True)
    for step in range(4):
        before = [weight.detach().clone() for weight in ours]
        for to, weight in zip(ours, theirs, strict=True):
            weight.data.copy_(to)
        train(optimizer, ours, [step])
        train(muon, theirs[:3], [step])
        for weight, like in zip(theirs[3:], ours[3:], strict=True):
            weight.grad = like.grad
        adamw.step()
        for old, to, weight in zip(before, ours, theirs, strict=True):
            if weight in adamw.state:
                assert torch.equal(to, weight)
            else:  # PyTorch's iterates in bf16
                assert torch.allclose(to - old, weight - old, atol=0.05 * (to - old).abs().max().item())


def test_a_weight_of_more_dimensions_is_a_matrix_and_one_without_a_gradient_stays():
    weights = some_weights()
    flat = torch.nn.Parameter(weights[4].detach().flatten(1).clone())
    optimizer = MuonAdamW([weights[0], weights[4], flat], lr=0.1)
    optimizer.move_to_muon([weights[0], weights[4], flat])
    before = weights[0].detach().clone()
    weights[4].grad = torch.randn_like(weights[4])
    flat.grad = weights[4].grad.flatten(1)
    optimizer.step()
    assert torch.equal(weights[4].flatten(1), flat) and torch.equal(weights[0], before)


def test_a_step_of_muon_does_not_wait():
    weights = some_weights()
    optimizer = MuonAdamW(weights, lr=0.1, fused=True)
    optimizer.move_to_muon(weights[:3])
    train(optimizer, weights, [0])
    with NoWaiting():
        train(optimizer, weights, [1])


def test_a_loaded_state_goes_on_as_if_nothing_had_been(tmp_path):
    whole, half = some_weights(), some_weights()
    optimizers = []
    for weights in (whole, half):
        optimizers.append(MuonAdamW(weights, lr=0.1, weight_decay=0.1, fused=True))
        optimizers[-1].move_to_muon(weights[:3])
    train(optimizers[0], whole, range(6))
    train(optimizers[1], half, range(3))
    torch.save(optimizers[1].state_dict(), tmp_path / "optimizer.pt")
    loaded = deepcopy(half)
    fresh = MuonAdamW(loaded, lr=0.5, fused=True)
    fresh.move_to_muon(loaded[:3])
    fresh.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    train(fresh, loaded, range(3, 6))
    assert all(torch.equal(one, other) for one, other in zip(whole, loaded, strict=True))


@pytest.mark.parametrize("method", ["bn_vae", "cnn_vae", "lstm_lm", "bn_cvae"])
@pytest.mark.parametrize("tied", [False, True])
def test_muon_trains_layers_and_neither_word_vectors_nor_the_output(method, tied):
    options = {} if method == "bn_cvae" else {"tie_word_embeddings": tied}
    model = build_model(method, vocab_size=40, **options)
    names = {id(weight): name for name, weight in model.named_parameters()}
    chosen = {names[id(weight)] for weight in matrices_of(model)}
    left = {name for name, weight in model.named_parameters() if weight.dim() > 1} - chosen
    assert left and all("embedding" in name or name == "decoder.output.weight" for name in left)
    assert {"cnn_vae": "decoder.blocks.0.convolution.weight", "bn_cvae": "decoder.gru.weight_hh_l0"}.get(
        method, "decoder.lstm.weight_hh_l0"
    ) in chosen


def test_a_trainer_with_muon_learns_and_goes_on_from_a_checkpoint(make_trainer, tmp_path):
    options = {
        "muon": True,
        "optim": "adamw_torch_fused",
        "learning_rate": 0.02,
        "max_steps": 12,
        "save_steps": 6,
        "save_strategy": "steps",
    }
    options |= {"eval_strategy": "no", "load_best_model_at_end": False}
    set_seed(5)
    whole = make_trainer(output_dir=tmp_path / "whole", **options)
    whole.train()
    logs = [line["rec"] for line in whole.state.log_history if "rec" in line]
    assert logs[-1] < 0.8 * logs[0]
    by_muon = [group for group in whole.optimizer.param_groups if "momentum" in group]
    assert sum(len(group["params"]) for group in by_muon) == len(matrices_of(whole.model))
    set_seed(5)
    cut = make_trainer(output_dir=tmp_path / "cut", **options)
    cut.add_callback(StopAt(6))
    cut.train()
    again = make_trainer(output_dir=tmp_path / "cut", **options)
    again.train(resume_from_checkpoint=True)
    for folder in ("whole", "cut"):
        assert (tmp_path / folder / "checkpoint-12").is_dir()
    weights = [load_file(tmp_path / folder / "checkpoint-12" / "model.safetensors") for folder in ("whole", "cut")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_muon_with_another_optimiser_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="`muon` goes with `optim` adamw_torch_fused or adamw_torch, got sgd"):
        VaeTrainingArguments(output_dir=str(tmp_path), muon=True, optim="sgd")
