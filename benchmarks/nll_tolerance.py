"""What `--nll_tolerance` saves on trained models, and by how much the NLL then differs from that of all K samples.

    python benchmarks/nll_tolerance.py runs/demo/vae runs/demo/bn_vae      (after `make demo`)

A row for each tolerance: the samples of a sentence in the mean, the time over that of all K (the two take turns), the
NLL, and the difference of a sentence's bound from that of all K: in the mean and by its root mean square.
"""

import argparse
import statistics
from pathlib import Path

import torch
from measure import machine, seconds
from torch.utils.data import DataLoader

from hf_bnvae.data import LengthBucketSampler, VaeCollator, encode_corpus, load_corpus, load_tokenizer
from hf_bnvae.evaluation import nll
from hf_bnvae.runs.loading import load_model


def batches_of(folder: str, dataset_name: str, sentences: int) -> list[dict[str, torch.Tensor]]:
    """The first sentences of a test split, in batches of like length."""
    tokenizer = load_tokenizer(folder, folder)
    corpus = load_corpus(dataset_name, max_samples={"test": sentences}, splits=("test",))
    rows = encode_corpus(corpus, tokenizer, 200)["test"]
    sampler = LengthBucketSampler(rows["length"][:], 32, shuffle=False)
    return list(DataLoader(rows, batch_sampler=sampler, collate_fn=VaeCollator(tokenizer.pad_token_id)))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="of trained text VAEs")
    parser.add_argument("--dataset_name", default="toy_sentences", help="whose test split is judged")
    parser.add_argument("--sentences", type=int, default=50, help="the first so many of it")
    parser.add_argument("--num_samples", type=int, default=500, help="K")
    parser.add_argument("--tolerances", type=float, nargs="+", default=[0.1, 0.2, 0.5], help="in nats")
    parser.add_argument("--repeats", type=int, default=3, help="times")
    args = parser.parse_args(argv)
    print(f"{machine()}, K = {args.num_samples}, {args.sentences} sentences of {args.dataset_name}")
    print(f"{'model':<14}{'tolerance':>10}{'samples':>9}{'time':>7}{'NLL':>9}{'mean':>8}{'rms':>7}")
    for folder in args.folders:
        model, batches = load_model(folder, folder), batches_of(folder, args.dataset_name, args.sentences)

        def judged(tolerance: float | None, model=model, batches=batches) -> tuple[dict, torch.Tensor]:
            each: list[torch.Tensor] = []
            return nll(model, batches, args.num_samples, each=each, tolerance=tolerance), torch.cat(each)

        found, whole = judged(None)
        print(f"{Path(folder).name:<14}{'-':>10}{args.num_samples:>9}{1:>7.2f}{found['nll']:>9.3f}{0:>8.3f}{0:>7.3f}")
        for tolerance in args.tolerances:
            found, bounds = judged(tolerance)
            times = [
                seconds(lambda tolerance=tolerance: judged(tolerance)) / seconds(lambda: judged(None))
                for _ in range(args.repeats)
            ]
            print(
                f"{'':<14}{tolerance:>10g}{found['nll_samples_used']:>9.0f}{statistics.median(times):>7.2f}"
                f"{found['nll']:>9.3f}{(bounds - whole).mean():>8.3f}{(bounds - whole).square().mean().sqrt():>7.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
