"""What the benchmarks share: the machine's matrix peak, the model's arithmetic, real or generated sentences."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hf_bnvae import BnVaeConfig

DATA = Path(os.environ.get("BNVAE_DATA", Path(__file__).parents[2] / "shared" / "data"))
PEAK_SIZE = 2048


def matrix_peak(repeats: int = 5) -> float:
    """The best rate of a square fp32 matrix product on this machine, in FLOP per second."""
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE)
    return 2 * PEAK_SIZE**3 / min(seconds(lambda: left @ right) for _ in range(repeats))


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def multiply_adds(config: BnVaeConfig) -> tuple[int, int]:
    """Multiply-adds a token of the encoder, and of the decoder with its output layer."""
    e, h, n, v = config.embedding_size, config.hidden_size, config.latent_size, config.vocab_size
    return 4 * h * (e + h), 4 * h * (e + n + h) + h * v


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def machine() -> str:
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def random_batch(batch_size: int, length: int, vocab_size: int) -> dict[str, torch.Tensor]:
    """Sentences of one length; `length` counts the end symbol and not the start."""
    input_ids = torch.randint(4, vocab_size, (batch_size, length + 1))
    input_ids[:, 0], input_ids[:, -1] = 1, 2
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "labels": input_ids[:, 1:].clone()}


def lengths_of(corpus: str, fallback: int) -> list[int]:
    """Lengths of a real corpus's training sentences, end symbol counted; without the data, one usual length."""
    path = DATA / {"short_yelp": "short_yelp/train.tsv", "ptb": "ptb/train.txt"}[corpus]
    if not path.is_file():
        print(f"{path} is not there: sentences of {fallback} tokens instead (set BNVAE_DATA)")
        return [fallback]
    with path.open(encoding="utf-8") as lines:
        return [len(line.rstrip("\n").split("\t")[-1].split()) + 1 for line in lines]
