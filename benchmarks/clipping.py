"""Whether clipping the gradient of the whole model at once lets its encoder starve its decoder, or the other way round.

    python benchmarks/clipping.py --train_file train.tsv --test_file test.tsv --recipe paper --num_train_epochs 15

Two arms for each seed: one norm for the whole model, as every training clips, and one for each half. A row says how
many steps were clipped, the median of the encoder's norm over the decoder's, and what the trained model is worth.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from measure import machine

import hf_bnvae
from hf_bnvae.training import RECIPES, VaeTrainer


def clips(apart: bool, seen: list[tuple[float, float]]):
    """A method for `VaeTrainer` that notes the norms of encoder (with its posterior) and decoder, then clips."""

    def clip(self, model):
        limit, clip_ = self.args.max_grad_norm, self.accelerator.clip_grad_norm_
        inner = self.accelerator.unwrap_model(model)
        decoder = list(inner.decoder.parameters())
        others = {id(weight) for weight in decoder}
        encoder = [weight for weight in inner.parameters() if id(weight) not in others]
        if apart:
            norms = clip_(encoder, limit), clip_(decoder, limit)
        else:
            norms = clip_(encoder, float("inf")), clip_(decoder, float("inf"))
            clip_(inner.parameters(), limit)
        seen.append((float(norms[0]), float(norms[1])))
        return (norms[0].square() + norms[1].square()).sqrt()

    return clip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--test_file", required=True)
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--method", default="bn_vae")
    parser.add_argument("--num_train_epochs", type=float, default=15)
    parser.add_argument("--kl_annealing_epochs", type=float, default=5)
    parser.add_argument("--max_train_samples", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args(argv)
    print(f"{machine()}, {args.method}, recipe {args.recipe}, 64/128/16, {args.max_train_samples} sentences")
    print(f"{'seed':>4} {'clipped':<9}{'steps':>7}{'share':>7}{'encoder/decoder':>17}{'ELBO':>8}{'NLL':>8}{'MI':>7}")
    for seed in args.seeds:
        for apart in (False, True):
            seen: list[tuple[float, float]] = []
            VaeTrainer._clip_grad_norm = clips(apart, seen)
            with tempfile.TemporaryDirectory() as folder:
                hf_bnvae.train(
                    train_file=args.train_file,
                    validation_file=args.test_file,
                    test_file=args.test_file,
                    method=args.method,
                    recipe=args.recipe,
                    num_train_epochs=args.num_train_epochs,
                    kl_annealing_epochs=args.kl_annealing_epochs,
                    max_train_samples=args.max_train_samples,
                    embedding_size=64,
                    hidden_size=128,
                    latent_size=16,
                    nll_samples=50,
                    max_nll_samples=500,
                    seed=seed,
                    output_dir=folder,
                )
                found = json.loads((Path(folder) / "all_results.json").read_text())
            limit = RECIPES[args.recipe]["max_grad_norm"]
            clipped = [
                encoder > limit or decoder > limit if apart else encoder**2 + decoder**2 > limit**2
                for encoder, decoder in seen
            ]
            ratio = statistics.median(encoder / decoder for encoder, decoder in seen)
            print(
                f"{seed:>4} {'apart' if apart else 'together':<9}{len(seen):>7}{statistics.mean(clipped):>7.2f}"
                f"{ratio:>17.3f}{found['test_elbo']:>8.2f}{found['test_nll']:>8.2f}{found['test_mi']:>7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
