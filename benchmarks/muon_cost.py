"""What Muon for the matrices adds to a training step that AdamW takes for all weights.

    python benchmarks/muon_cost.py
    python benchmarks/muon_cost.py --batch_sizes 256 --size "ptb 512/1024/32" --precisions bf16

Both optimisers take turns on the same batches (forward, backward, clipping, the optimiser), so that every ratio comes
from one run. On a GPU, where there is one.
"""

import random
import statistics

import torch
from measure import lengths_of, machine, median_ratio, parsed, parser_of, random_batch, seconds, write_figures
from train_throughput import SIZES, step_of

from hf_bnvae.plans import build_model

OPTIMISERS = ("adamw", "muon")


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--size", default="short_yelp 128/512/32", choices=list(SIZES), help="sizes and lengths")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[64, 256, 1024], help="sentences")
    parser.add_argument("--steps", type=int, default=10, help="steps of each optimiser at each batch")
    args = parsed(parser, argv)
    random.seed(0)
    torch.manual_seed(0)
    corpus, fallback, sizes = SIZES[args.size]
    lengths = random.choices(lengths_of(corpus, fallback), k=args.steps + 1)
    print(f"{args.size}, {machine(args.device)}")
    figures: dict[str, dict] = {}
    for precision in args.precisions:
        models = {name: build_model("bn_vae", **sizes).to(args.device) for name in OPTIMISERS}
        steps = {name: step_of(model, precision, name) for name, model in models.items()}
        for batch_size in args.batch_sizes:
            times: dict[str, list[float]] = {name: [] for name in OPTIMISERS}
            for number, length in enumerate(lengths):
                batch = random_batch(batch_size, length, sizes["vocab_size"], args.device)
                for name, step in steps.items():
                    taken = seconds(lambda step=step, batch=batch: step(batch), args.device)
                    if number:
                        times[name].append(taken)
            milliseconds = 1000 * statistics.median(times["adamw"])
            ratio = median_ratio(times["muon"], times["adamw"])
            figures.setdefault(precision, {})[batch_size] = {
                "adamw_milliseconds": milliseconds,
                "muon_over_adamw": ratio,
            }
            print(f"{precision}, batch {batch_size:>5}: AdamW {milliseconds:>8.1f} ms, Muon over AdamW {ratio:.3f}")
    write_figures(args.json_file, figures)


if __name__ == "__main__":
    main()
