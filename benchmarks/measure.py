"""What the benchmarks share: devices and precisions, the clock, the matrix peak, memory, arithmetic, sentences."""

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from hf_bnvae import BnVaeConfig
from hf_bnvae.hub.run_record import cpu_name
from hf_bnvae.training.recipes import bf16_pays

DATA = Path(os.environ.get("BNVAE_DATA", Path(__file__).parents[2] / "shared" / "data"))
CPU = torch.device("cpu")
PRECISIONS = ("fp32", "tf32", "bf16")
PEAK_SIZES = {"cpu": 2048, "cuda": 8192}
PRODUCTS_TOGETHER = {"cpu": 1, "cuda": 10}
YAHOO_LENGTH, LONGEST = 80, 200
MIB = 1 << 20


def parser_of(documentation: str) -> argparse.ArgumentParser:
    """A parser with the flags of every benchmark that runs on a GPU as well."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        help="fp32 (without TF32), tf32 (GPUs only), bf16 (autocast); by default what the device is fast in",
    )
    parser.add_argument("--json_file", type=Path, help="write the figures here as well")
    return parser


def parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """The flags, with precisions that the device has."""
    args = parser.parse_args(argv)
    on_gpu = args.device.type == "cuda"
    if args.precisions is None:
        args.precisions = ["fp32", *(["tf32"] if on_gpu else []), *(["bf16"] if bf16_pays() else [])]
    if "tf32" in args.precisions and not on_gpu:
        parser.error("--precisions tf32 is for GPUs: leave it out")
    if "bf16" in args.precisions and not bf16_pays():
        parser.error("--precisions bf16: this machine does not multiply in bf16, leave it out")
    return args


def write_figures(path: Path | None, figures: dict) -> None:
    """Figures by name, for the summary of gpu.sh."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def machine(device: torch.device = CPU) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    threads = torch.get_num_threads()
    return f"{name}, {threads} CPU thread{'s' if threads > 1 else ''}, torch {torch.__version__}"


def set_tf32(precision: str) -> None:
    """Allow TF32 in that precision alone: cuDNN's LSTMs use it for fp32 unless they are told not to."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device = CPU) -> float:
    """Time of a call, until the device has done what the call gave it to do."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def matrix_peak(repeats: int = 5, device: torch.device = CPU, precision: str = "fp32") -> float:
    """The best rate of a square matrix product on this machine, in FLOP per second."""
    set_tf32(precision)
    size, together = PEAK_SIZES[device.type], PRODUCTS_TOGETHER[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    product = torch.empty_like(left)

    def multiply():
        for _ in range(together):
            torch.matmul(left, right, out=product)

    if device.type == "cuda":
        multiply()
    return together * 2 * size**3 / min(seconds(multiply, device) for _ in range(repeats))


def peak_bytes(device: torch.device = CPU) -> int:
    """The most memory that this process held at once; on a GPU, in tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bytes_over(call: Callable[[], object], device: torch.device = CPU) -> int:
    """By how much a call raises the peak of memory over what was held before; on the CPU, over the peak before."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else peak_bytes(device)
    call()
    return peak_bytes(device) - before


def apart(call: Callable, device: torch.device, *arguments):
    """What `call(device, *arguments)` returns, on the CPU in a new process, whose peak of memory is the call's own.

    There glibc gives large blocks back at once: by default holes in its heap count as well, at random.
    """
    if device.type == "cuda":
        return call(device, *arguments)
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(MIB))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hf_bnvae", "hf_bnvae.training"])
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(call, device, *arguments).result()


def multiply_adds(config: BnVaeConfig) -> tuple[int, int]:
    """Multiply-adds a token of the encoder, and of the decoder with its output layer."""
    e, h, n, v = config.embedding_size, config.hidden_size, config.latent_size, config.vocab_size
    return 4 * h * (e + h), 4 * h * (e + n + h) + h * v


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def random_batch(batch_size: int, length: int, vocab_size: int, device: torch.device = CPU) -> dict[str, torch.Tensor]:
    """Sentences of one length; `length` counts the end symbol and not the start."""
    input_ids = torch.randint(4, vocab_size, (batch_size, length + 1), device=device)
    input_ids[:, 0], input_ids[:, -1] = 1, 2
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "labels": input_ids[:, 1:].clone(),
        "word_positions": torch.arange(batch_size * length, device=device),
    }


def yahoo_lengths(count: int) -> list[int]:
    """Lengths spread as those of Yahoo's answers are: 80 tokens in the mean, 200 at most."""
    draw = random.Random(0)
    return [min(LONGEST, max(2, round(draw.gammavariate(4, YAHOO_LENGTH / 4)))) for _ in range(count)]


def lengths_of(corpus: str, fallback: int) -> list[int]:
    """Lengths of a real corpus's training sentences, end symbol counted; without the data, one usual length."""
    if corpus == "yahoo":
        return yahoo_lengths(10_000)
    path = DATA / {"short_yelp": "short_yelp/train.tsv", "ptb": "ptb/train.txt"}[corpus]
    if not path.is_file():
        print(f"{path} is not there: sentences of {fallback} tokens instead (set BNVAE_DATA)")
        return [fallback]
    with path.open(encoding="utf-8") as lines:
        return [len(line.rstrip("\n").split("\t")[-1].split()) + 1 for line in lines]
