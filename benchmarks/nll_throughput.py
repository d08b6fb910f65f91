"""Model arithmetic per second of the 500-sample NLL over the machine's matrix peak, and its peak memory.

    python benchmarks/nll_throughput.py
    python benchmarks/nll_throughput.py --memory     (K = 500, V = 20,000, 100 tokens, 512/1024/32)

Arithmetic: 2 × multiply-adds a token of the decoder, for every sample, and of the encoder once.
"""

import argparse
import resource
import statistics

import torch
from measure import machine, matrix_peak, multiply_adds, random_batch, seconds

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.evaluation import nll

SIZES = {
    "short_yelp 128/512/32, 10 tokens": (10, {"embedding_size": 128, "hidden_size": 512, "vocab_size": 9114}),
    "ptb 256/256/32, 22 tokens": (22, {"embedding_size": 256, "hidden_size": 256, "vocab_size": 10_002}),
    "ptb 512/1024/32, 22 tokens": (22, {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 10_002}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_samples", type=int, default=500, help="importance samples K")
    parser.add_argument("--sentences", type=int, default=2, help="sentences a batch")
    parser.add_argument("--repeats", type=int, default=3, help="batches of each size")
    parser.add_argument("--memory", action="store_true", help="measure peak memory at the largest size instead")
    args = parser.parse_args()
    torch.manual_seed(0)
    print(machine())
    if args.memory:
        settings = {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 20_000}
        model = BnVaeForConditionalGeneration(BnVaeConfig(latent_size=32, **settings)).eval()
        nll(model, [random_batch(1, 100, 20_000)], 500)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(f"K 500, V 20,000, 100 tokens, 512/1024/32: peak memory {peak:.2f} GiB, python and weights included")
        return
    for name, (length, settings) in SIZES.items():
        model = BnVaeForConditionalGeneration(BnVaeConfig(latent_size=32, **settings)).eval()
        encoder, decoder = multiply_adds(model.config)
        flops = 2 * args.sentences * length * (encoder + decoder * args.num_samples)
        rates, peaks = [], []
        for _ in range(args.repeats):
            batch = random_batch(args.sentences, length, settings["vocab_size"])
            rates.append(flops / seconds(lambda model=model, batch=batch: nll(model, [batch], args.num_samples)))
            peaks.append(matrix_peak(2))
        print(
            f"{name}, K {args.num_samples}: {statistics.median(rates) / 1e9:.0f} GFLOP/s of a peak of "
            f"{max(peaks) / 1e9:.0f} (median {statistics.median(peaks) / 1e9:.0f}): share "
            f"{statistics.median(rates) / max(peaks):.2f} ({statistics.median(rates) / statistics.median(peaks):.2f} "
            "of the median)"
        )


if __name__ == "__main__":
    main()
