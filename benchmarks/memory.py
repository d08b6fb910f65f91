"""Peak memory of a training step and of the NLL over what whole logits in fp32 alone would take.

    python benchmarks/memory.py
    python benchmarks/memory.py --batch_sizes 32 1024 --lengths 80 --vocab_sizes 20000 --embedding_size 512 \
        --hidden_size 1024
    python benchmarks/memory.py --streaming 100 2000     (instead: run_lm.py --streaming on so many MB of text)

Every product of batch, length and vocabulary is measured, on the CPU in a process of its own, and counted is what the
call adds to the memory that model, optimiser and Python hold before it. A ratio under 1 means that not even one copy of
the logits ever stood in memory.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import torch
from measure import MIB, apart, autocast, bytes_over, machine, parsed, parser_of, random_batch, set_tf32, write_figures
from train_throughput import step_of

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.evaluation import nll

RUN_LM = Path(__file__).parents[1] / "run_scripts" / "run_lm.py"


def training_step(device: torch.device, precision: str, batch_size: int, length: int, settings: dict) -> int:
    """Bytes that a step adds; one on two short sentences comes first and makes the optimiser's state."""
    set_tf32(precision)
    step = step_of(BnVaeForConditionalGeneration(BnVaeConfig(**settings)).to(device), precision)
    step(random_batch(2, 2, settings["vocab_size"], device))
    batch = random_batch(batch_size, length, settings["vocab_size"], device)
    return bytes_over(lambda: step(batch), device)


def likelihood(device: torch.device, precision: str, num_samples: int, length: int, settings: dict) -> int:
    """Bytes that the NLL of one sentence adds."""
    set_tf32(precision)
    model = BnVaeForConditionalGeneration(BnVaeConfig(**settings)).eval().to(device)
    with autocast(precision, device):
        nll(model, [random_batch(1, 2, settings["vocab_size"], device)], 2)
        batch = random_batch(1, length, settings["vocab_size"], device)
        return bytes_over(lambda: nll(model, [batch], num_samples), device)


# What is measured, by the word for what stands beside length and vocabulary, and the flag that says how many.
WORKLOADS = {
    "training step": (training_step, "batch", "batch_sizes"),
    "NLL of a sentence": (likelihood, "K", "num_samples"),
}


def write_text(folder: Path, megabytes: int) -> None:
    """Training sentences of 5 to 35 of 20,000 words in four files, and some to validate on."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(20_000)]
    for name, size in (*((f"train-{shard}", megabytes * 10**6 // 4) for shard in range(4)), ("valid", 10_000)):
        with (folder / f"{name}.txt").open("w", encoding="utf-8") as file:
            while file.tell() < size:
                pool = draw.choices(words, k=10_000)
                starts = (draw.randrange(9_900) for _ in range(1_000))
                file.writelines(" ".join(pool[start : start + draw.randint(5, 35)]) + "\n" for start in starts)


def streamed(megabytes: int) -> tuple[int, dict]:
    """Peak memory of a short training on so much text, without holes in the heap (see `apart`), and its results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder, megabytes)
        flags = "--streaming --hidden_size 64 --embedding_size 64 --max_steps 100 --nll_samples 0 --disable_tqdm true"
        command = [sys.executable, RUN_LM, "--dataset_name", folder, "--output_dir", folder / "out", *flags.split()]
        environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache"), "MALLOC_MMAP_THRESHOLD_": str(MIB)}
        with (folder / "log").open("w") as log:
            _, status, usage = os.wait4(subprocess.Popen(command, env=environment, stdout=log, stderr=log).pid, 0)
        if status:
            sys.exit((folder / "log").read_text()[-3000:])
        return usage.ru_maxrss * 1024, json.loads((folder / "out" / "all_results.json").read_text())


def streamed_figures(sizes: list[int]) -> dict[str, float]:
    print(f"{'MB of text':>12}{'sentences':>12}{'tokens':>14}{'peak MiB':>10}{'seconds':>9}")
    peaks = []
    for megabytes in sizes:
        started = time.perf_counter()
        peak, results = streamed(megabytes)
        peaks.append(peak)
        print(
            f"{megabytes:>12,}{results['train_sentences']:>12,}{results['train_tokens']:>14,}{peak / MIB:>10,.0f}"
            f"{time.perf_counter() - started:>9.0f}",
            flush=True,
        )
    print(f"the largest peak over the smallest: {max(peaks) / min(peaks):.3f}")
    return {"largest peak over smallest": max(peaks) / min(peaks)}


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 64], help="sentences in a training step")
    parser.add_argument("--num_samples", type=int, nargs="+", default=[100, 500], help="importance samples K")
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 40], help="tokens a sentence")
    parser.add_argument("--vocab_sizes", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--embedding_size", type=int, default=128)
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--streaming", type=int, nargs="+", metavar="MB", help="trainings on so much text, instead")
    args = parsed(parser, argv)
    if args.streaming:
        print(machine(args.device))
        write_figures(args.json_file, streamed_figures(args.streaming))
        return
    print(f"{machine(args.device)}, {args.embedding_size}/{args.hidden_size}/32")
    figures = {}
    for name, (workload, count, flag) in WORKLOADS.items():
        for precision in args.precisions:
            print(f"\n{name}, {precision}\n{count:>6}{'length':>8}{'V':>8}{'MiB':>10}{'over logits in fp32':>21}")
            ratios = []
            for rows, length, vocab_size in product(getattr(args, flag), args.lengths, args.vocab_sizes):
                sizes = {"embedding_size": args.embedding_size, "hidden_size": args.hidden_size, "latent_size": 32}
                settings = sizes | {"vocab_size": vocab_size}
                added = apart(workload, args.device, precision, rows, length, settings)
                ratios.append(added / (4 * rows * length * vocab_size))
                print(
                    f"{rows:>6}{length:>8}{vocab_size:>8,}{added / MIB:>10,.0f}{ratios[-1]:>21.2f}",
                    flush=True,
                )
            figures[f"{name}, {precision}: memory over logits in fp32, at the largest"] = ratios[-1]
    write_figures(args.json_file, figures)


if __name__ == "__main__":
    main()
