"""Train a plain VAE and a BN-VAE of the same size for the same number of steps, and show which one uses its latent.

hf-bnvae demo --output_dir runs/demo
"""

import argparse
import json
from pathlib import Path

import torch

from ..data import load_tokenizer, pydocs_splits
from . import train
from .loading import load_model
from .program import program_name
from .run import run

RECIPE = {
    "dataset_name": "pydocs",
    "min_count": 2,
    "embedding_size": 128,
    "hidden_size": 128,
    "latent_size": 16,
    "num_train_epochs": 8,
    "kl_annealing_epochs": 4,
    "nll_samples": 100,
    "logging_steps": 50,
}
METHODS = {"vae": "VAE", "bn_vae": "BN-VAE (0.7)"}
COLUMNS = ("NLL", "KL", "MI", "AU", "seconds")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=program_name(), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--output_dir", default="runs/demo", help="a folder for each of the two models goes in here")
    parser.add_argument("--num_train_epochs", type=float, default=RECIPE["num_train_epochs"], help="for both models")
    parser.add_argument("--seed", type=int, default=1, help="of both models")
    args = parser.parse_args(argv)
    flags = RECIPE | {"num_train_epochs": args.num_train_epochs, "seed": args.seed}
    folders = {method: Path(args.output_dir) / method for method in METHODS}
    for method, folder in folders.items():
        print(f"\n{METHODS[method]}", flush=True)
        arguments = {"method": method, "output_dir": folder, **flags}
        train.main([text for name, value in arguments.items() for text in (f"--{name}", str(value))])
    print_table({method: json.loads((folder / "all_results.json").read_text()) for method, folder in folders.items()})
    show_bound(folders["bn_vae"])
    show_sentences(folders["bn_vae"], args.seed)


def print_table(results: dict[str, dict]) -> None:
    print(f"\n{'test split of pydocs':<24}" + "".join(f"{name:>10}" for name in COLUMNS))
    for method, result in results.items():
        numbers = [result["test_nll"], result["test_kl"], result["test_mi"]]
        print(
            f"{METHODS[method]:<24}"
            + "".join(f"{number:>10.2f}" for number in numbers)
            + f"{result['test_au']:>7}/{RECIPE['latent_size']}"
            + f"{result['train_runtime']:>10.0f}"
        )
    print(f"NLL, KL and MI in nats per sentence; NLL with K = {RECIPE['nll_samples']} samples; seconds of training.")


def show_bound(folder: Path) -> None:
    """The KL on the sentences that the normalisation statistics come from, where the bound of Eq. 6 holds exactly."""
    model, tokenizer = load_model(str(folder)), load_tokenizer(str(folder))
    sentences = sorted(pydocs_splits()["train"], key=len)
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(sentences), 256):
            batch = tokenizer(sentences[start : start + 256], padding=True, return_tensors="pt")
            total += float(model.model.infer(batch["input_ids"], batch["attention_mask"]).kl().sum())
    print(
        f"The bound n·γ²/2 on BN-VAE's KL is {model.config.kl_lower_bound:.2f}; the training sentences, on whose "
        f"statistics it holds, have {total / len(sentences):.2f}."
    )


def show_sentences(folder: Path, seed: int) -> None:
    """Three test sentences with their reconstructions, and three samples from the prior."""
    model, tokenizer = load_model(str(folder)), load_tokenizer(str(folder))
    sentences = sorted(pydocs_splits()["test"], key=len)[50:350:100]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    rebuilt = model.reconstruct(batch["input_ids"], batch["attention_mask"], num_beams=5)
    print("\nBN-VAE, test sentences and their reconstructions from the posterior mean")
    for sentence, text in zip(sentences, tokenizer.batch_decode(rebuilt, skip_special_tokens=True), strict=True):
        print(f"  in   {sentence}\n  out  {text}")
    torch.manual_seed(seed)
    print("\nBN-VAE, samples from the prior")
    for text in tokenizer.batch_decode(model.sample(3, num_beams=5), skip_special_tokens=True):
        print(f"  {text}")


if __name__ == "__main__":
    run(main)
