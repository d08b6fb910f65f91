"""The 500-sample NLL: sentences a second, the share of the matrix peak by precision, and its peak memory.

    python benchmarks/nll_throughput.py
    python benchmarks/nll_throughput.py --memory     (K = 500, V = 20,000, 100 tokens, 512/1024/32)

Arithmetic: 2 × multiply-adds a token of the decoder, for every sample, and of the encoder once. In bf16 the call stands
under autocast, and the last column says in what the matrix products were really taken.
"""

import statistics

import torch
from measure import (
    autocast,
    machine,
    matrix_peak,
    multiply_adds,
    parsed,
    parser_of,
    peak_bytes,
    random_batch,
    seconds,
    set_tf32,
    write_figures,
)
from torch.utils._python_dispatch import TorchDispatchMode

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.evaluation import nll

SIZES = {
    "short_yelp 128/512/32": (10, {"embedding_size": 128, "hidden_size": 512, "vocab_size": 9114}),
    "ptb 256/256/32": (22, {"embedding_size": 256, "hidden_size": 256, "vocab_size": 10_002}),
    "ptb 512/1024/32": (22, {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 10_002}),
    "yahoo 512/1024/32": (80, {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 20_000}),
}
USUAL_SIZES = {"cpu": list(SIZES)[:3], "cuda": ["yahoo 512/1024/32", "ptb 256/256/32"]}
USUAL_SENTENCES = {"cpu": 2, "cuda": 32}
USUAL_BATCHES = {"cpu": 1, "cuda": 4}
PRODUCTS = ("mm", "addmm", "bmm", "_cudnn_rnn", "mkldnn_rnn_layer")


class ProductTypes(TorchDispatchMode):
    """Collects in what types the matrix products under it are taken."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.__name__.partition(".")[0] in PRODUCTS:
            self.names.add(str(args[0].dtype).removeprefix("torch."))
        return function(*args, **(kwargs or {}))


def size_figures(name: str, args) -> dict[str, float]:
    """Print the rows of one size, and return what a summary says of it."""
    length, settings = SIZES[name]
    model = BnVaeForConditionalGeneration(BnVaeConfig(latent_size=32, **settings)).eval().to(args.device)
    encoder, decoder = multiply_adds(model.config)
    flops = 2 * length * (encoder + decoder * args.num_samples)
    bf16_peak = matrix_peak(5, args.device, "bf16") if "bf16" in args.precisions else None
    figures = {}
    for precision in args.precisions:
        rates, peaks = [], []
        for number in range(args.repeats + 1):
            batches = [random_batch(args.sentences, length, settings["vocab_size"]) for _ in range(args.batches)]
            set_tf32(precision)
            with autocast(precision, args.device):
                if not number:
                    with ProductTypes() as types:
                        nll(model, batches[:1], args.num_samples)
                    continue
                taken = seconds(lambda batches=batches: nll(model, batches, args.num_samples), args.device)
            rates.append(args.batches * args.sentences / taken)
            peaks.append(matrix_peak(2, args.device, precision))
        rate, peak = statistics.median(rates), max(peaks)
        print(
            f"{name:<22}{length:>7}{precision:>10}{rate:>13,.2f}{flops * rate / 1e9:>11,.0f}{peak / 1e9:>11,.0f}"
            f"{flops * rate / peak:>8.2f}"
            + (f"{flops * rate / bf16_peak:>9.2f}" if bf16_peak else f"{'-':>9}")
            + f"  {' and '.join(sorted(types.names))}",
            flush=True,
        )
        figures[f"{precision}: sentences a second"] = rate
        figures[f"{precision}: share of its peak"] = flops * rate / peak
        if bf16_peak:
            figures[f"{precision}: share of the bf16 peak"] = flops * rate / bf16_peak
    return figures


def print_peak_memory(device: torch.device) -> None:
    settings = {"embedding_size": 512, "hidden_size": 1024, "vocab_size": 20_000}
    model = BnVaeForConditionalGeneration(BnVaeConfig(latent_size=32, **settings)).eval().to(device)
    nll(model, [random_batch(1, 100, 20_000)], 500)
    counted = "weights included" if device.type == "cuda" else "python and weights included"
    print(f"K 500, V 20,000, 100 tokens, 512/1024/32: peak memory {peak_bytes(device) / 2**30:.2f} GiB, {counted}")


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), help="by default three on a CPU, two on a GPU")
    parser.add_argument("--num_samples", type=int, default=500, help="importance samples K")
    parser.add_argument("--sentences", type=int, help="sentences a batch; 2 on a CPU, 32 on a GPU")
    parser.add_argument("--batches", type=int, help="batches that are timed together; 1 on a CPU, 4 on a GPU")
    parser.add_argument("--repeats", type=int, default=3, help="times")
    parser.add_argument("--memory", action="store_true", help="measure peak memory at the largest size instead")
    args = parsed(parser, argv)
    args.sentences = args.sentences or USUAL_SENTENCES[args.device.type]
    args.batches = args.batches or USUAL_BATCHES[args.device.type]
    torch.manual_seed(0)
    print(machine(args.device))
    if args.memory:
        print_peak_memory(args.device)
        return
    print(f"\n{args.sentences} sentences a batch, K = {args.num_samples}")
    print(
        f"{'size':<22}{'tokens':>7}{'precision':>10}{'sentences/s':>13}{'GFLOP/s':>11}{'peak':>11}{'share':>8}"
        f"{'of bf16':>9}  products in"
    )
    sizes = args.sizes or USUAL_SIZES[args.device.type]
    write_figures(args.json_file, {name: size_figures(name, args) for name in sizes})


if __name__ == "__main__":
    main()
