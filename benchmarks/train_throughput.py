"""Training: tokens a second and the share of the matrix peak, by precision and batch, and BN-VAE's step over VAE's.

    python benchmarks/train_throughput.py
    python benchmarks/train_throughput.py --sizes "yahoo 512/1024/32" --batch_sizes 32 64 128 256 512 1024 --compile

The models take turns on the same batches (forward, backward, clipping, the optimiser), and the peak is measured between
them, so that every ratio comes from one run. On a GPU steps are timed in runs, with nothing waiting for the device in
between. Arithmetic: 6 × multiply-adds a token. Throughput levels off at the smallest batch within 5% of the
best. Yahoo's sentences are generated, at lengths around 80 tokens.
"""

import random
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from measure import (
    autocast,
    lengths_of,
    machine,
    matrix_peak,
    median_ratio,
    multiply_adds,
    parsed,
    parser_of,
    random_batch,
    seconds,
    set_tf32,
    write_figures,
)

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.training.muon import MuonAdamW, matrices_of

SIZES = {
    "short_yelp 128/512/32": ("short_yelp", 10, {"embedding_size": 128, "hidden_size": 512, "vocab_size": 9114}),
    "ptb 256/256/32": ("ptb", 22, {"embedding_size": 256, "hidden_size": 256, "vocab_size": 10_002}),
    "ptb 512/1024/32": ("ptb", 22, {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 10_002}),
    "yahoo 512/1024/32": ("yahoo", 80, {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 20_000}),
}
USUAL_SIZES = {"cpu": list(SIZES)[:3], "cuda": ["yahoo 512/1024/32", "ptb 256/256/32"]}
USUAL_BATCHES = {"cpu": [32], "cuda": [32, 64, 128, 256, 512, 1024]}
STEPS_TOGETHER = {"cpu": 1, "cuda": 10}
OPTIMISERS = {
    "adamw": "fused AdamW, as in the recipe fast",
    "muon": "Muon for the matrices, as in the recipe muon",
    "sgd": "SGD, as in the recipe paper",
}
POSTERIORS = ("gaussian", "batch_norm")
NEAR_THE_BEST = 0.95

Step = Callable[[dict[str, torch.Tensor]], None]


@dataclass
class Speed:
    """What one size does in one precision at one batch: medians over runs, the peak the best of those between them."""

    batch_size: int
    tokens: float
    flops: float
    peak: float
    batch_norm_ratio: float
    compiled_ratio: float | None


def step_of(model, precision: str = "fp32", optimiser: str = "adamw") -> Step:
    """A call that takes one training step of a model on a batch."""
    model.train()
    parameters = list(model.parameters())
    device = parameters[0].device
    update: torch.optim.Optimizer
    if optimiser == "sgd":
        update = torch.optim.SGD(parameters, lr=1e-3)
    elif optimiser == "muon":
        update = MuonAdamW(parameters, lr=1e-4, weight_decay=0.1, fused=True)
        update.move_to_muon(matrices_of(model))
    else:
        update = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1, fused=True)
    weight, seed = torch.tensor(1.0, device=device), torch.tensor(1, device=device)

    def step(batch):
        with autocast(precision, device):
            loss = model(**batch, kl_weight=weight, noise_seed=seed).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        update.step()
        update.zero_grad()

    return step


def take(step: Step, batches: Iterable[dict[str, torch.Tensor]]) -> None:
    for batch in batches:
        step(batch)


def steps_of(settings: dict, precision: str, args) -> dict[str, Step]:
    """A step of each posterior and, where that is asked for and works, of a compiled BN-VAE."""
    steps = {}
    for posterior in POSTERIORS:
        config = BnVaeConfig(posterior=posterior, latent_size=32, **settings)
        model = BnVaeForConditionalGeneration(config).to(args.device)
        steps[posterior] = step_of(model, precision, args.optimiser)
    if args.compile:
        torch.compiler.reset()
        compiled = step_of(torch.compile(model), precision, args.optimiser)
        try:
            for length in (7, 8):
                compiled(random_batch(32, length, settings["vocab_size"], args.device))
            steps["compiled"] = compiled
        except Exception as error:  # whatever a compiler may raise, the other figures are still worth having
            print(f"torch.compile fails here: {str(error).strip().splitlines()[0]}")
    return steps


def speed(steps: dict[str, Step], settings: dict, precision: str, batch_size: int, lengths: list[int], args) -> Speed:
    """Time the steps in turns, in runs of several on a GPU, each run after one that warms up."""
    set_tf32(precision)
    together = STEPS_TOGETHER[args.device.type]
    times: dict[str, list[float]] = {name: [] for name in steps}
    tokens, peaks = [], []
    take(steps["batch_norm"], [random_batch(batch_size, max(lengths), settings["vocab_size"], args.device)])
    for start in range(0, len(lengths), together):
        run = lengths[start : start + together]
        batches = [random_batch(batch_size, length, settings["vocab_size"], args.device) for length in run]
        tokens.append(batch_size * sum(run))
        for name, step in steps.items():
            take(step, batches)
            times[name].append(seconds(lambda step=step, batches=batches: take(step, batches), args.device))
        peaks.append(matrix_peak(1, args.device, precision))
    rate = median_ratio(tokens, times["batch_norm"])
    config = BnVaeConfig(latent_size=32, **settings)
    compiled = median_ratio(times["compiled"], times["batch_norm"]) if "compiled" in times else None
    ratio = median_ratio(times["batch_norm"], times["gaussian"])
    return Speed(batch_size, rate, 6 * sum(multiply_adds(config)) * rate, max(peaks), ratio, compiled)


def levelling(speeds: list[Speed]) -> Speed:
    """The smallest batch near the best throughput."""
    best = max(found.tokens for found in speeds)
    return next(found for found in speeds if found.tokens >= NEAR_THE_BEST * best)


def print_row(precision: str, found: Speed, bf16_peak: float | None) -> None:
    print(
        f"{precision:<10}{found.batch_size:>6}{found.tokens:>12,.0f}{found.flops / 1e9:>11,.0f}"
        f"{found.peak / 1e9:>11,.0f}{found.flops / found.peak:>8.2f}"
        + (f"{found.flops / bf16_peak:>9.2f}" if bf16_peak else f"{'-':>9}")
        + f"{found.batch_norm_ratio:>12.3f}"
        + (f"{found.compiled_ratio:>17.3f}" if found.compiled_ratio else ""),
        flush=True,
    )


def size_figures(name: str, args) -> dict[str, float]:
    """Print the table of one size, and return what a summary says of it."""
    corpus, fallback, settings = SIZES[name]
    lengths = random.Random(0).choices(lengths_of(corpus, fallback), k=args.steps)
    bf16_peak = matrix_peak(5, args.device, "bf16") if "bf16" in args.precisions else None
    print(f"\n{name}, V = {settings['vocab_size']:,}, {statistics.mean(lengths):.0f} tokens a sentence")
    print(
        f"{'precision':<10}{'batch':>6}{'tokens/s':>12}{'GFLOP/s':>11}{'peak':>11}{'share':>8}{'of bf16':>9}"
        f"{'BN-VAE/VAE':>12}" + (f"{'compiled/eager':>17}" if args.compile else "")
    )
    figures, first = {}, {}
    for precision in args.precisions:
        speeds = []
        steps = steps_of(settings, precision, args)
        for batch_size in args.batch_sizes:
            try:
                speeds.append(speed(steps, settings, precision, batch_size, lengths, args))
            except torch.OutOfMemoryError:
                print(f"{precision:<10}{batch_size:>6}: out of memory")
                break
            print_row(precision, speeds[-1], bf16_peak)
        if not speeds:
            continue
        level, first[precision] = levelling(speeds), speeds[0]
        print(f"{precision} levels off at batch {level.batch_size}: {level.tokens:,.0f} tokens/s")
        figures[f"{precision}: batch at which it levels off"] = level.batch_size
        figures[f"{precision}: tokens a second there"] = level.tokens
        if bf16_peak:
            figures[f"{precision}: share of the bf16 peak there"] = level.flops / bf16_peak
        figures[f"{precision}: BN-VAE's step over VAE's there"] = level.batch_norm_ratio
        if level.compiled_ratio:
            figures[f"{precision}: compiled step over eager there"] = level.compiled_ratio
    for faster in ("tf32", "bf16"):
        if {"fp32", faster} <= first.keys():
            ratio = first[faster].tokens / first["fp32"].tokens
            print(f"batch {args.batch_sizes[0]}: {faster} over fp32 {ratio:.2f}")
            figures[f"{faster} over fp32 at batch {args.batch_sizes[0]}"] = ratio
    return figures


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), help="by default three on a CPU, two on a GPU")
    parser.add_argument("--batch_sizes", type=int, nargs="+", help="sentences; 32 on a CPU, 32 to 1024 on a GPU")
    parser.add_argument("--steps", type=int, default=20, help="steps of each model at each batch")
    parser.add_argument("--optimiser", choices=list(OPTIMISERS), default="adamw")
    parser.add_argument("--compile", action="store_true", help="also a BN-VAE that went through torch.compile")
    args = parsed(parser, argv)
    args.sizes = args.sizes or USUAL_SIZES[args.device.type]
    args.batch_sizes = sorted(args.batch_sizes or USUAL_BATCHES[args.device.type])
    torch.manual_seed(0)
    print(f"{machine(args.device)}, {OPTIMISERS[args.optimiser]}")
    write_figures(args.json_file, {name: size_figures(name, args) for name in args.sizes})


if __name__ == "__main__":
    main()
