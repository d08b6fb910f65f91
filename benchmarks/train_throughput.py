"""Model arithmetic per second of a training step over the machine's matrix peak, and BN-VAE's step over VAE's.

    python benchmarks/train_throughput.py

Both models take turns on the same batches (forward, backward, clipping, SGD), and the peak is measured between them,
so that every ratio comes from one run. Arithmetic: 6 × multiply-adds a token.
"""

import argparse
import random
import statistics

import torch
from measure import lengths_of, machine, matrix_peak, median_ratio, multiply_adds, random_batch, seconds

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration

SIZES = {
    "short_yelp 128/512/32": ("short_yelp", 10, {"embedding_size": 128, "hidden_size": 512, "vocab_size": 9114}),
    "ptb 256/256/32": ("ptb", 22, {"embedding_size": 256, "hidden_size": 256, "vocab_size": 10_002}),
    "ptb 512/1024/32": ("ptb", 22, {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 10_002}),
}


def step_of(model, bf16: bool):
    """A call that takes one training step of a model on a batch."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    weight = torch.tensor(1.0)

    def step(batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(**batch, kl_weight=weight).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=32, help="sentences in a batch")
    parser.add_argument("--steps", type=int, default=20, help="steps of each model")
    parser.add_argument("--bf16", action="store_true", help="autocast to bf16 (the peak stays the fp32 one)")
    args = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    print(machine())
    for name, (corpus, fallback, settings) in SIZES.items():
        lengths = random.choices(lengths_of(corpus, fallback), k=args.steps)
        configs = {name: BnVaeConfig(posterior=name, latent_size=32, **settings) for name in ("gaussian", "batch_norm")}
        steps = {name: step_of(BnVaeForConditionalGeneration(config), args.bf16) for name, config in configs.items()}
        flops = 6 * sum(multiply_adds(configs["gaussian"]))
        times: dict[str, list[float]] = {posterior: [] for posterior in steps}
        rates, peaks = [], []
        for number, length in enumerate([max(lengths), *lengths]):
            batch = random_batch(args.batch_size, length, settings["vocab_size"])
            for posterior, step in steps.items():
                step(batch)
                taken = seconds(lambda step=step, batch=batch: step(batch))
                if number:
                    times[posterior].append(taken)
                    rates.append(flops * args.batch_size * length / taken)
            peaks.append(matrix_peak(1))
        print(
            f"{name}, batch {args.batch_size}: {statistics.median(rates) / 1e9:.0f} GFLOP/s of a peak of "
            f"{max(peaks) / 1e9:.0f} (median {statistics.median(peaks) / 1e9:.0f}): share "
            f"{statistics.median(rates) / max(peaks):.2f} ({statistics.median(rates) / statistics.median(peaks):.2f} "
            f"of the median); BN-VAE step / VAE step {median_ratio(times['batch_norm'], times['gaussian']):.3f}"
        )


if __name__ == "__main__":
    main()
