"""The cross-entropy of an output layer, whose logits never exist whole, in nats a token."""

from functools import cache

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from transformers.utils import logging

from .kernels import softmax_rows
from .objectives import IGNORED

logger = logging.get_logger(__name__)

LOGIT_BYTES_ON_A_CPU = 8 << 20  # what stays near its caches, and what malloc keeps from one piece to the next
LOGIT_BYTES_ELSEWHERE = 512 << 20  # enough rows to keep a GPU busy
ROWS_TOGETHER = 64  # a product whose rows start anywhere in memory is a third slower
TYPES_IN_COLUMNS = (torch.float32, torch.bfloat16)  # sums over a vocabulary may be too large for fp16
ROWS_IN_STEPS_OF = 32  # a CPU prepares a bf16 product of a new height at length, and keeps it


def token_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """−log p(token) in nats of `(rows, vocab_size)` logits at `(rows,)` targets: `(rows,)`, fp32."""
    return F.cross_entropy(logits.float(), targets, reduction="none")


def filled_rows(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`(rows, width)` outputs and `(rows,)` targets, on a CPU with zeros and `IGNORED` behind them.

    A training then has few different numbers of rows, whatever the number of words in a batch.
    """
    if outputs.device.type != "cpu":
        return outputs, targets
    missing = -len(targets) % ROWS_IN_STEPS_OF
    return F.pad(outputs, (0, 0, 0, missing)), F.pad(targets, (0, missing), value=IGNORED)


def token_losses(features: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """What `token_nll` gives for the logits of `(rows, width)` features under an output layer's weight, without
    gradients, and 0 at targets that are `IGNORED`: the logits never exist whole."""
    rows = _rows_at_once(weight)
    piece = _losses_on_a_cpu if weight.device.type == "cpu" else _losses_elsewhere
    pieces = zip(features.split(rows), targets.clamp(min=0).split(rows), strict=True)
    losses = torch.cat([piece(some, weight, wanted) for some, wanted in pieces])
    return losses.masked_fill_(targets == IGNORED, 0)


def _losses_on_a_cpu(features: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logits on their side, a column a token: that product is the faster one, and its exponentials can overwrite it."""
    logits = (weight @ features.T).float()
    at_targets = logits.gather(0, targets.unsqueeze(0)).squeeze(0)
    largest = logits.amax(0)
    return logits.sub_(largest).exp_().sum(0).log_() + largest - at_targets


def _losses_elsewhere(features: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    losses, _ = _losses_and_gradients(F.linear(features, weight), targets, False)
    return losses


def summed_nll(features: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ −log p(token) in nats of `(rows, width)` features under an output layer's weight, a scalar in fp32.

    Targets that are `IGNORED` count nothing and have no gradient.

    The logits never exist whole: gradients are computed along with the losses, some rows at a time, so that nothing is
    computed twice either. Under autocast the products are in its precision, the softmax and the sums in fp32.
    """
    return _SummedNll.apply(features, weight, targets, product_dtype(features))


def product_dtype(tensor: torch.Tensor) -> torch.dtype:
    """In what a matrix product of the tensor is taken here: autocast's type where it is on."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


class _SummedNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, weight, targets, dtype):
        ctx.dtypes = features.dtype, weight.dtype
        for_features, for_weight = ctx.needs_input_grad[:2]
        ignored = targets == IGNORED
        features, weight = features.to(dtype).masked_fill(ignored.unsqueeze(1), 0), weight.to(dtype)
        features_gradient = torch.empty_like(features) if for_features else None
        weight_gradient = torch.zeros(weight.shape, device=weight.device) if for_weight else None
        total = torch.zeros((), device=features.device)
        rows = _rows_at_once(weight)
        in_columns = weight.device.type == "cpu" and dtype in TYPES_IN_COLUMNS
        piece = _learn_in_columns if in_columns else _learn_in_rows
        with torch.autocast(features.device.type, enabled=False):
            for start in range(0, len(features), rows):
                part = slice(start, start + rows)
                gradient = features_gradient[part] if for_features else None
                losses = piece(features[part], weight, targets[part].clamp(min=0), gradient, weight_gradient)
                total += losses.masked_fill_(ignored[part], 0).sum()
        if for_features:
            features_gradient.masked_fill_(ignored.unsqueeze(1), 0)
        ctx.save_for_backward(features_gradient, weight_gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, output_gradient):
        features_gradient, weight_gradient = (
            gradient if gradient is None else (gradient * output_gradient).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return features_gradient, weight_gradient, None, None


def _learn_in_rows(features, weight, targets, features_gradient, weight_gradient) -> torch.Tensor:
    """−log softmax of the logits at targets `(rows,)`, fp32; gradients go where there are tensors for them.

    That of the features is written, that of the weight is added.
    """
    learning = features_gradient is not None or weight_gradient is not None
    losses, gradients = _losses_and_gradients(features @ weight.T, targets, learning)
    if gradients is not None and features_gradient is not None:
        torch.mm(gradients, weight, out=features_gradient)
    if gradients is not None and weight_gradient is not None:
        _add_product(weight_gradient, gradients.T, features)
    return losses


def _learn_in_columns(features, weight, targets, features_gradient, weight_gradient) -> torch.Tensor:
    """As `_learn_in_rows`, up to a fifth faster on a CPU: logits on their side, a column a token, whose exponentials
    take their place; the softmax's division is left to the small tensors that these are multiplied by."""
    logits, targets = (weight @ features.T).float(), targets.unsqueeze(0)
    at_targets = logits.gather(0, targets)
    largest = logits.amax(0, keepdim=True)
    totals = logits.sub_(largest).exp_().sum(0, keepdim=True)
    losses = (totals.log() + largest - at_targets).squeeze(0)
    gradients, totals = logits.scatter_add_(0, targets, -totals).to(weight.dtype), totals.T
    if features_gradient is not None:
        features_gradient.copy_((gradients.T @ weight) / totals)
    if weight_gradient is not None:
        _add_product(weight_gradient, gradients, (features / totals).to(weight.dtype))
    return losses


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add a product to a total in fp32."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    else:
        total += left @ right


def _losses_and_gradients(
    logits: torch.Tensor, targets: torch.Tensor, learning: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """−log softmax of `(rows, vocab_size)` logits at targets, fp32.

    When learning its gradients come too, in the logits' type. The logits are overwritten.
    """
    if logits.device.type == "cuda" and _has_kernels(logits.device):
        return softmax_rows(logits, targets, learning), logits if learning else None
    targets = targets.unsqueeze(1)
    log_probs = F.log_softmax(logits, 1, dtype=torch.float32)
    losses = -log_probs.gather(1, targets).squeeze(1)
    if not learning:
        return losses, None
    gradients = log_probs.exp_().scatter_add_(1, targets, log_probs.new_full(targets.shape, -1.0))
    return losses, gradients.to(logits.dtype)


@cache
def _has_kernels(device: torch.device) -> bool:
    """Whether our Triton kernels run here; Triton may be missing, or find no compiler."""
    try:
        softmax_rows(torch.zeros(1, 1, device=device), torch.zeros(1, dtype=torch.long, device=device), True)
    except Exception as error:  # of whatever kind: the same without it is only slower
        logger.warning("The loss is computed without Triton, more slowly: %s", str(error).strip().partition("\n")[0])
        return False
    return True


def _rows_at_once(weight: torch.Tensor) -> int:
    """Rows whose logits are computed together, a whole multiple of `ROWS_TOGETHER`."""
    return max(1, logit_bytes(weight.device) // (4 * len(weight) * ROWS_TOGETHER)) * ROWS_TOGETHER


def logit_bytes(device: torch.device) -> int:
    """The bytes that the logits of one piece may take."""
    return LOGIT_BYTES_ON_A_CPU if device.type == "cpu" else LOGIT_BYTES_ELSEWHERE
