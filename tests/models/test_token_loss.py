"""The loss of words: the same in pieces as whole, in less memory, in every precision."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_bnvae import LstmLMConfig
from hf_bnvae.models import token_loss
from hf_bnvae.models.decoders import LstmDecoder
from hf_bnvae.models.objectives import IGNORED
from hf_bnvae.models.token_loss import summed_nll, token_losses, token_nll

ROWS, WIDTH, VOCABULARY = 200, 12, 31


@pytest.fixture(params=["in pieces", "whole"])
def pieces(request, monkeypatch):
    if request.param == "in pieces":
        monkeypatch.setattr(token_loss, "LOGIT_BYTES_ON_A_CPU", 4 * VOCABULARY * 64)


@pytest.fixture
def words():
    torch.manual_seed(0)
    return torch.randn(ROWS, WIDTH), torch.randn(VOCABULARY, WIDTH), torch.randint(VOCABULARY, (ROWS,))


def test_loss_and_gradients_are_those_of_whole_logits(pieces, words):
    features, weight, targets = words
    results = []
    for loss in (summed_nll, lambda *some: F.cross_entropy(some[0] @ some[1].T, some[2], reduction="sum")):
        ends = [features.clone().requires_grad_(), weight.clone().requires_grad_()]
        total = loss(*ends, targets)
        (0.3 * total).backward()
        results.append([total.detach(), *(end.grad for end in ends)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 1000])
def test_logits_in_columns_and_in_rows_give_the_same(words, scale):
    features, weight, targets = words
    found = []
    for piece in (token_loss._learn_in_columns, token_loss._learn_in_rows):
        gradients = torch.empty_like(features), torch.ones_like(weight)
        found.append((piece(scale * features, weight, targets, *gradients), *gradients))
    for columns, rows in zip(*found, strict=True):
        torch.testing.assert_close(columns, rows, rtol=1e-5, atol=1e-5 * scale)


def test_logits_in_columns_round_gradients_in_bf16_as_those_in_rows_do(words):
    features, weight, targets = words
    whole = torch.empty_like(features), torch.zeros_like(weight)
    token_loss._learn_in_rows(features, weight, targets, *whole)
    for piece in (token_loss._learn_in_columns, token_loss._learn_in_rows):
        gradients = torch.empty(ROWS, WIDTH, dtype=torch.bfloat16), torch.zeros_like(weight)
        piece(features.bfloat16(), weight.bfloat16(), targets, *gradients)
        for found, exact in zip(gradients, whole, strict=True):
            assert 0 < (found - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_frozen_has_no_gradient_and_changes_none(pieces, words, frozen):
    features, weight, targets = words
    both = [features.clone().requires_grad_(), weight.clone().requires_grad_()]
    one = [end.detach().clone().requires_grad_(place != frozen) for place, end in enumerate(both)]
    for ends in (both, one):
        summed_nll(*ends, targets).backward()
    assert one[frozen].grad is None
    torch.testing.assert_close(one[1 - frozen].grad, both[1 - frozen].grad)


def test_losses_of_words_are_those_of_whole_logits(pieces, words):
    features, weight, targets = words
    torch.testing.assert_close(token_losses(features, weight, targets), token_nll(features @ weight.T, targets))


def test_gradients_are_those_of_differences(pieces, words):
    features, weight, targets = (part.double() if part.is_floating_point() else part for part in words)
    features, weight = features[:3].requires_grad_(), weight.requires_grad_()
    torch.autograd.gradcheck(lambda *ends: summed_nll(*ends, targets[:3]), (features, weight), atol=1e-3, eps=1e-2)


def test_under_autocast_the_products_alone_are_in_bf16(words):
    features, weight, targets = words
    weight = weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        total = summed_nll(features, weight, targets)
    total.backward()
    assert total.dtype == weight.grad.dtype == torch.float32
    whole = summed_nll(features, weight, targets)
    assert 0 < (total - whole).abs() < 0.01 * whole


def test_ignored_words_count_nothing(pieces, words):
    features, weight, targets = words
    kept = torch.rand(ROWS) < 0.7
    some = [features.clone().requires_grad_(), weight.clone().requires_grad_()]
    summed_nll(*some, targets.where(kept, IGNORED)).backward()
    without = [features[kept].requires_grad_(), weight.clone().requires_grad_()]
    summed_nll(*without, targets[kept]).backward()
    torch.testing.assert_close(some[1].grad, without[1].grad)
    torch.testing.assert_close(some[0].grad[kept], without[0].grad)
    assert not some[0].grad[~kept].any()
    losses = token_losses(features, weight, targets.where(kept, IGNORED))
    torch.testing.assert_close(losses, token_nll(features @ weight.T, targets) * kept)


class Shapes(TorchDispatchMode):
    """The shapes that matrix products had."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.mm.default:
            self.seen.add((*args[0].shape, *args[1].shape))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("learning", [True, False])
def test_batches_of_any_number_of_words_take_products_of_few_shapes(learning):
    """Each new shape costs memory and time on a CPU in bf16."""
    decoder = LstmDecoder(LstmLMConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, embedding_size=4))
    outputs, targets = torch.randn(96, WIDTH), torch.randint(VOCABULARY, (96,))
    with Shapes() as shapes:
        for words in range(1, 97):
            if learning:
                decoder.summed_nll(outputs[:words], targets[:words]).backward()
            else:
                with torch.no_grad():
                    assert decoder.token_losses(outputs[:words], targets[:words]).shape == (words,)
    assert len(shapes.seen) <= 3 * (3 if learning else 1)


class Largest(TorchDispatchMode):
    """The elements of the largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("learning", [True, False])
def test_the_logits_never_exist_whole(monkeypatch, learning):
    monkeypatch.setattr(token_loss, "LOGIT_BYTES_ON_A_CPU", 4 * VOCABULARY * 64)
    features, targets = torch.randn(3000, 4), torch.randint(VOCABULARY, (3000,))
    weight = torch.randn(VOCABULARY, 4, requires_grad=learning)
    with Largest() as largest:
        if learning:
            summed_nll(features, weight, targets).backward()
        else:
            token_losses(features, weight, targets)
    assert largest.elements <= features.numel() < targets.numel() * VOCABULARY
