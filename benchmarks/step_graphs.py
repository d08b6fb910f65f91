"""Steps that are replayed as CUDA graphs beside steps that are not: tokens a second, and what they end at.

    python benchmarks/step_graphs.py --batch_sizes 32 64 256

`VaeTrainer` trains the same model on the same generated batches both times, with recipe fast. The first half of the
steps, in which graphs are recorded, is not timed. Graphs take padded batches, whose sums round otherwise. Without a GPU
of CUDA both train without graphs, which tries the script.
"""

import random
import tempfile

import torch
from convergence import Lap, shrunk, trainer_of
from measure import lengths_of, machine, parsed, parser_of, set_tf32, write_figures
from train_throughput import SIZES
from transformers import PrinterCallback

CORPORA = {"yahoo": "yahoo 512/1024/32", "ptb": "ptb 256/256/32"}


def measured(corpus: str, batch_size: int, precision: str, graphs: bool, args) -> tuple[float, torch.nn.Module, dict]:
    """Tokens a second in the second half of a training, its model, and what is known of its graphs."""
    name, fallback, settings = SIZES[CORPORA[corpus]]
    lengths = random.Random(1).choices(lengths_of(name, fallback), k=batch_size * args.steps)
    sizes = shrunk({"latent_size": 32, **settings}, args.share)
    lap = Lap(args.device, warm_up=args.steps // 2)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(sizes, batch_size, lengths, precision, lap, folder, cuda_graphs=graphs)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    started, ended = lap.marks
    known = trainer.graphs.results() if trainer.graphs is not None else {}
    return sum(lengths) / 2 / (ended - started), trainer.model, known


def compared(corpus: str, batch_size: int, precision: str, args) -> dict[str, float]:
    """Print a row, and return its figures."""
    set_tf32(precision)
    plain, model, _ = measured(corpus, batch_size, precision, False, args)
    graphed, other, known = measured(corpus, batch_size, precision, True, args)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    difference = max(float((one - two).detach().abs().max()) for one, two in pairs)
    names = ("train_graphs", "train_replayed_steps", "train_padding_share")
    graphs, replayed, padding = (known.get(name, 0) for name in names)
    print(
        f"{corpus:<8}{precision:<6}{batch_size:>6}{plain:>14,.0f}{graphed:>14,.0f}{graphed / plain:>8.2f}"
        f"{graphs:>8}{replayed:>10}{padding:>9.3f}{difference:>14.2g}",
        flush=True,
    )
    return {"tokens a second": plain, "with graphs": graphed, "ratio": graphed / plain, "difference": difference}


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 64], help="sentences in a batch")
    parser.add_argument("--corpora", nargs="+", choices=list(CORPORA), default=list(CORPORA), help="whose sizes")
    parser.add_argument("--steps", type=int, default=400, help="steps of each training")
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes")
    args = parsed(parser, argv)
    print(f"{machine(args.device)}, {args.steps} steps of BN-VAE each, by recipe fast")
    print(
        f"{'sizes':<8}{'':<6}{'batch':>6}{'tokens/s':>14}{'with graphs':>14}{'ratio':>8}{'graphs':>8}{'replayed':>10}"
        f"{'padding':>9}{'max |weight|':>14}"
    )
    figures = {}
    for corpus in args.corpora:
        for precision in args.precisions:
            if precision != "tf32":
                figures[f"{corpus} {precision}"] = {
                    f"batch {size}": compared(corpus, size, precision, args) for size in args.batch_sizes
                }
    print("max |weight|: the largest difference of a weight between the two trainings")
    write_figures(args.json_file, figures)


if __name__ == "__main__":
    main()
