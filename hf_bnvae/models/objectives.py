"""The training objective: every term of every loss, in nats per sentence."""

from functools import cache

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from transformers.utils import logging

from .kernels import softmax_rows

logger = logging.get_logger(__name__)

IGNORED = -100
LOGIT_BYTES_ON_A_CPU = 24 << 20  # what stays near its caches
LOGIT_BYTES_ELSEWHERE = 512 << 20  # enough rows to keep a GPU busy
ROWS_TOGETHER = 64  # a product whose rows start anywhere in memory is a third slower
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
    losses, _ = _losses_and_slopes(F.linear(features, weight), targets, False)
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
        by_features = torch.empty_like(features) if for_features else None
        by_weight = torch.zeros(weight.shape, device=weight.device) if for_weight else None
        total = torch.zeros((), device=features.device)
        rows = _rows_at_once(weight)
        with torch.autocast(features.device.type, enabled=False):
            for start in range(0, len(features), rows):
                some = features[start : start + rows]
                wanted = targets[start : start + rows].clamp(min=0)
                losses, slopes = _losses_and_slopes(some @ weight.T, wanted, for_features or for_weight)
                total += losses.masked_fill_(ignored[start : start + rows], 0).sum()
                if for_features:
                    torch.mm(slopes, weight, out=by_features[start : start + rows])
                if for_weight and dtype == torch.float32:
                    by_weight.addmm_(slopes.T, some)
                elif for_weight:
                    by_weight += slopes.T @ some
        if for_features:
            by_features.masked_fill_(ignored.unsqueeze(1), 0)
        ctx.save_for_backward(by_features, by_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        gradients = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return *((by if by is None else (by * slope).to(dtype)) for by, dtype in gradients), None, None


def _losses_and_slopes(
    logits: torch.Tensor, targets: torch.Tensor, learning: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """−log softmax of `(rows, vocab_size)` logits at targets, fp32, and when learning its slopes, in the logits' type.

    The logits are overwritten.
    """
    if logits.device.type == "cuda" and _has_kernels(logits.device):
        return softmax_rows(logits, targets, learning), logits if learning else None
    targets = targets.unsqueeze(1)
    log_probs = F.log_softmax(logits, 1, dtype=torch.float32)
    losses = -log_probs.gather(1, targets).squeeze(1)
    if not learning:
        return losses, None
    slopes = log_probs.exp_().scatter_add_(1, targets, log_probs.new_full(targets.shape, -1.0))
    return losses, slopes.to(logits.dtype)


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
    """What the logits that are computed together may take."""
    return LOGIT_BYTES_ON_A_CPU if device.type == "cpu" else LOGIT_BYTES_ELSEWHERE


def reconstruction_loss(token_losses: torch.Tensor, num_sentences: int) -> torch.Tensor:
    """Token losses summed over each sentence and averaged over sentences."""
    return token_losses.sum() / num_sentences


def kl_objective(kl: torch.Tensor, free_bits: float = 0.0, free_bits_mode: str = "dim") -> torch.Tensor:
    """The KL term of the loss from terms `(batch, latent_size)`: summed over dimensions, averaged over sentences.

    With free bits λ (Kingma et al. 2016) what lies under the threshold costs nothing more and has no gradient, in
    every sentence for itself: Σ_i max(λ/n, KL_i) in the mode `"dim"`, max(λ, KL) in the mode `"sum"`.
    """
    if free_bits > 0 and free_bits_mode == "dim":
        kl = kl.clamp(min=free_bits / kl.size(-1))
    total = kl.sum(-1)
    if free_bits > 0 and free_bits_mode == "sum":
        total = total.clamp(min=free_bits)
    return total.mean()


def cvae_divergence(kl: torch.Tensor, kl_prior: torch.Tensor, prior_kl_weight: float) -> torch.Tensor:
    """The KL term of a CVAE: KL(q ‖ p) + weight · KL(p ‖ r), the bound of Eq. 11 at weight 1 and Eq. 10 at weight 0.

    With r = N(0, I) the sum at weight 1 is Eq. 12 with −2 in the place of its −1, and 0 at q = p = r only.
    """
    return kl + prior_kl_weight * kl_prior


def bag_of_words_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """−log probability of every word of `(batch, length)` labels, in any order, under one `(batch, vocab_size)`
    distribution for each row (Zhao et al. 2017): `(batch,)` nats."""
    words = labels != IGNORED
    chosen = logits.float().log_softmax(-1).gather(1, labels.masked_fill(~words, 0))
    return -(chosen * words).sum(1)


def negative_elbo(reconstruction: torch.Tensor, kl: torch.Tensor, kl_weight: float | torch.Tensor) -> torch.Tensor:
    """rec + weight · KL (Eq. 1 with its sign turned, at weight 1)."""
    return reconstruction + kl_weight * kl
