"""What a training step in fp32 on a CPU spends its time on, and what its parts reach of the matrix peak, on one thread.

    python benchmarks/step_profile.py

The model is the recipe fast's, the optimiser fused AdamW. The peak is the best rate of a square product, taken between
the steps. `columns/rows` is the step as it is over one whose output layer takes logits a row a token; the two take
turns.
"""

import argparse
import statistics

import torch
from measure import machine, matrix_peak, median_ratio, multiply_adds, random_batch, seconds
from torch.profiler import ProfilerActivity, profile
from train_throughput import SIZES, step_of

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.models import token_loss
from hf_bnvae.training import RECIPES

USUAL_SIZES = ("short_yelp 128/512/32", "ptb 256/256/32", "ptb 512/1024/32")
FIELDS = ("tie_word_embeddings", "embedding_dropout", "output_dropout", "locked_dropout", "initializer_range")
PARTS = {
    "LSTM forward": ("mkldnn_rnn_layer", "lstm"),
    "LSTM backward": ("mkldnn_rnn_layer_backward",),
    "products": ("mm", "addmm", "addmm_", "bmm"),
    "softmax": ("exp_", "amax", "sub_", "sum", "log", "scatter_add_", "gather", "_log_softmax", "_SummedNll"),
    "AdamW": ("_fused_adamw_", "_fused_adam_"),
    "clipping": ("linalg_vector_norm", "_foreach_norm", "_foreach_mul_", "mul_"),
    "word vectors": ("embedding_dense_backward", "index_select", "embedding"),
}
OF_PART = {name: part for part, names in PARTS.items() for name in names}


def shares(step, batch, steps: int) -> dict[str, float]:
    """The share of each part in the time of a step."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            step(batch)
    totals = dict.fromkeys((*PARTS, "the rest"), 0.0)
    for event in found.key_averages():
        totals[OF_PART.get(event.key.removeprefix("aten::"), "the rest")] += event.self_cpu_time_total
    return {part: total / sum(totals.values()) for part, total in totals.items()}


def share_of_the_peak(step, batch, steps: int, flops: int) -> float:
    """The rate of the model's arithmetic over that of a square product, the two in turns."""
    return statistics.median(flops / seconds(lambda: step(batch)) / matrix_peak(1) for _ in range(steps))


def ratio_to_rows(step, batch, steps: int) -> float:
    """A step over one whose logits stand a row a token."""
    columns, rows = token_loss._learn_in_columns, token_loss._learn_in_rows
    times: dict = {columns: [], rows: []}
    try:
        for _ in range(steps):
            for piece, taken in times.items():
                token_loss._learn_in_columns = piece
                taken.append(seconds(lambda: step(batch)))
    finally:
        token_loss._learn_in_columns = columns
    return median_ratio(times[columns], times[rows])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=USUAL_SIZES, help="by default three")
    parser.add_argument("--batch_size", type=int, default=32, help="sentences")
    parser.add_argument("--steps", type=int, default=20, help="steps of each kind")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{machine()}, fp32, batch {args.batch_size}, fused AdamW\n")
    columns = ("columns/rows", "of the peak", *PARTS, "the rest")
    print(f"{'size':<22}" + "".join(f"{name:>{len(name) + 2}}" for name in columns))
    for name in args.sizes:
        _, length, sizes = SIZES[name]
        config = BnVaeConfig(
            posterior="batch_norm",
            latent_size=32,
            **sizes,
            **{field: RECIPES["fast"][field] for field in FIELDS},
        )
        step = step_of(BnVaeForConditionalGeneration(config))
        batch = random_batch(args.batch_size, length, sizes["vocab_size"])
        step(batch)
        flops = 6 * arithmetic(config) * args.batch_size * length
        figures = {
            "columns/rows": ratio_to_rows(step, batch, args.steps),
            "of the peak": share_of_the_peak(step, batch, args.steps, flops),
            **shares(step, batch, args.steps),
        }
        print(f"{name:<22}" + "".join(f"{figures[name]:>{len(name) + 2}.2f}" for name in columns), flush=True)


def arithmetic(config: BnVaeConfig) -> int:
    """Multiply-adds a token, where the output layer is tied to word vectors of another width."""
    encoder, decoder = multiply_adds(config)
    if config.tie_word_embeddings and config.embedding_size != config.hidden_size:
        width = config.embedding_size
        decoder += config.hidden_size * width + (width - config.hidden_size) * config.vocab_size
    return encoder + decoder


if __name__ == "__main__":
    main()
