"""Our Triton kernels give what plain PyTorch gives. They run on a GPU, or anywhere under TRITON_INTERPRET=1."""

import os

import pytest
import torch
import torch.nn.functional as F

from hf_bnvae.models.kernels import softmax_rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("kernels need a GPU, or TRITON_INTERPRET=1", allow_module_level=True)
pytest.importorskip("triton", reason="Triton is not installed")


@pytest.mark.parametrize("slopes", [False, True])
@pytest.mark.parametrize("width", [1, 31, 4096, 9_114])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_have_the_losses_and_slopes_of_their_softmax(dtype, width, slopes):
    torch.manual_seed(0)
    logits = (10 * torch.randn(7, width, device=DEVICE)).to(dtype)
    targets = torch.randint(width, (7,), device=DEVICE)
    whole = logits.double().requires_grad_()
    expected = F.cross_entropy(whole, targets, reduction="none")
    expected.sum().backward()
    given = logits.clone()
    losses = softmax_rows(given, targets, slopes)
    torch.testing.assert_close(losses, expected.float(), rtol=1e-5, atol=1e-5)
    rounding = {"rtol": 2**-7, "atol": 1e-6} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(given, whole.grad.to(dtype) if slopes else logits, **rounding)


def test_no_rows_have_no_losses():
    losses = softmax_rows(torch.empty(0, 5, device=DEVICE), torch.empty(0, dtype=torch.long, device=DEVICE), True)
    assert losses.shape == (0,)
