"""Peak memory of a training step and of the NLL over what whole logits in fp32 alone would take.

    python benchmarks/memory.py
    python benchmarks/memory.py --batch_sizes 32 1024 --lengths 80 --vocab_sizes 20000 --embedding_size 512 \
        --hidden_size 1024

Every product of batch, length and vocabulary is measured, on the CPU in a process of its own, and counted is what the
call adds to the memory that model, optimiser and Python hold before it. A ratio under 1 means that not even one copy of
the logits ever stood in memory.
"""

from itertools import product

import torch
from measure import MIB, apart, autocast, bytes_over, machine, parsed, parser_of, random_batch, set_tf32, write_figures
from train_throughput import step_of

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.evaluation import nll


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


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 64], help="sentences in a training step")
    parser.add_argument("--num_samples", type=int, nargs="+", default=[100, 500], help="importance samples K")
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 40], help="tokens a sentence")
    parser.add_argument("--vocab_sizes", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--embedding_size", type=int, default=128)
    parser.add_argument("--hidden_size", type=int, default=256)
    args = parsed(parser, argv)
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
