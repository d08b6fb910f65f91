"""The cost of one training step of each method over that of the plain VAE.

    python benchmarks/method_cost.py

All methods take turns on the same batches (forward, backward, clipping, fused AdamW) and every ratio is to the VAE's
step on the same batch, so that they come from one run. The aggressive strategy is not a step of another kind but more
of them: its cost is in the training times of run_scripts/compare.py.
"""

import argparse
import random
import statistics

import torch
from measure import lengths_of, machine, median_ratio, random_batch, seconds
from train_throughput import SIZES, step_of

from hf_bnvae.methods import METHODS
from hf_bnvae.plans import build_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="short_yelp 128/512/32", choices=sorted(SIZES), help="sizes and lengths")
    parser.add_argument("--batch_size", type=int, default=32, help="sentences in a batch")
    parser.add_argument("--steps", type=int, default=20, help="steps of each method")
    parser.add_argument("--skip", nargs="*", default=["agg_vae"], help="methods to leave out")
    args = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    corpus, fallback, sizes = SIZES[args.size]
    steps = {name: step_of(build_model(name, **sizes)) for name in METHODS if name not in args.skip}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number, length in enumerate(random.choices(lengths_of(corpus, fallback), k=args.steps + 1)):
        batch = random_batch(args.batch_size, length, sizes["vocab_size"])
        for name, step in steps.items():
            step(batch)
            taken = seconds(lambda step=step, batch=batch: step(batch))
            if number:
                times[name].append(taken)
    print(f"{args.size}, batch {args.batch_size}, {machine()}")
    for name, taken in times.items():
        print(f"{name:<16}{1000 * statistics.median(taken):>8.1f} ms{median_ratio(taken, times['vae']):>8.3f} over vae")


if __name__ == "__main__":
    main()
