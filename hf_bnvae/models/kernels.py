"""Triton's part in the objectives: what is done to logits on a GPU, where memory is the limit, in one kernel.

Triton comes with PyTorch's builds for GPUs.
"""

import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

# What is read together, and the warps that do it: the fastest of several on an H200, for losses alone and with slopes.
SHAPES = {False: (2048, 4), True: (4096, 8)}


if triton is not None:

    @triton.jit
    def _softmax_rows(logits, targets, losses, width, slopes: tl.constexpr, at_once: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        target = tl.load(targets + row)
        values = logits + row * width
        at_target = tl.load(values + target).to(tl.float32)  # before anything overwrites it
        largest = tl.full((), -float("inf"), tl.float32)
        total = tl.full((), 0.0, tl.float32)
        for start in range(0, width, at_once):
            columns = start + tl.arange(0, at_once)
            some = tl.load(values + columns, mask=columns < width, other=-float("inf")).to(tl.float32)
            found = tl.maximum(largest, tl.max(some, 0))
            total = total * tl.exp(largest - found) + tl.sum(tl.exp(some - found), 0)
            largest = found
        log_total = largest + tl.log(total)
        tl.store(losses + row, log_total - at_target)
        if slopes:
            for start in range(0, width, at_once):
                columns = start + tl.arange(0, at_once)
                some = tl.load(values + columns, mask=columns < width, other=-float("inf")).to(tl.float32)
                slope = tl.exp(some - log_total) - tl.where(columns == target, 1.0, 0.0)
                tl.store(values + columns, slope.to(logits.dtype.element_ty), mask=columns < width)


def softmax_rows(logits: torch.Tensor, targets: torch.Tensor, slopes: bool) -> torch.Tensor:
    """−log softmax of contiguous `(rows, vocab_size)` logits at `(rows,)` targets: `(rows,)`, fp32.

    With `slopes` the losses' derivatives, softmax − one-hot, take the place of the logits.

    Raises:
        ImportError: without Triton.
    """
    if triton is None:
        raise ImportError("Triton is not installed")
    rows, width = logits.shape
    losses = torch.empty(rows, dtype=torch.float32, device=logits.device)
    most, warps = SHAPES[slopes]
    at_once = min(most, triton.next_power_of_2(width))
    if rows:
        with torch.cuda.device_of(logits):  # Triton launches on the current GPU
            _softmax_rows[(rows,)](logits, targets, losses, width, slopes=slopes, at_once=at_once, num_warps=warps)
    return losses
