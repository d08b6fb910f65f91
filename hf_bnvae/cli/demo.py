"""Train a plain VAE, a BN-VAE and a matched VAE for as many steps each, and show which ones use their latent.

hf-bnvae demo --output_dir runs/demo
"""

import argparse
import json
from pathlib import Path

import torch
from transformers.hf_argparser import string_to_bool

from ..data import SentenceFactors, read_factors, toy_sentences
from ..pipelines import TextVaePipeline
from . import train
from .program import program_name

RATE = 12
RECIPE = {
    "dataset_name": "toy_sentences",
    "embedding_size": 64,
    "hidden_size": 128,
    "latent_size": 32,
    "embedding_dropout": 0.1,
    "output_dropout": 0.1,
    "num_train_epochs": 8,
    "kl_annealing_epochs": 2,
    "nll_samples": 100,
    "max_nll_samples": 500,
    "logging_steps": 100,
}
DEMO_METHODS = {
    "vae": ("VAE", {}),
    "bn_vae": ("BN-VAE", {"rate": RATE}),
    "matched_vae": ("matched VAE", {"rate": RATE}),
}
COLUMNS = {"NLL": "nll", "KL": "kl", "MI": "mi", "use": "use", "BLEU": "reconstruction_bleu"}
JUDGED = 500


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=program_name(), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--output_dir", default="runs/demo", help="a folder for each of the models goes in here")
    parser.add_argument("--num_train_epochs", type=float, default=RECIPE["num_train_epochs"], help="for all models")
    parser.add_argument("--seed", type=int, default=1, help="of all models")
    add_overwriting(parser)
    args = parser.parse_args(argv)
    shared = RECIPE | given(args)
    folders = {method: Path(args.output_dir) / method for method in DEMO_METHODS}
    for method, folder in folders.items():
        name, own = DEMO_METHODS[method]
        print(f"\n{name}", flush=True)
        flags = {"method": method, "output_dir": folder} | shared | own
        train.main([text for flag, value in flags.items() for text in (f"--{flag}", str(value))])
    test = toy_sentences()["test"]
    models = {method: TextVaePipeline.from_pretrained(str(folder)) for method, folder in folders.items()}
    print_table(folders, models, test)
    print_texts(models, test, args.seed)


def add_overwriting(parser: argparse.ArgumentParser) -> None:
    """The flag that the message on a folder with a run speaks of."""
    parser.add_argument(
        "--overwrite_output_dir",
        type=string_to_bool,
        nargs="?",
        const=True,
        default=False,
        help="replace the runs that output_dir holds",
    )


def given(args: argparse.Namespace) -> dict[str, object]:
    """What the flags of a demo say of every training."""
    return {name: getattr(args, name) for name in ("num_train_epochs", "seed", "overwrite_output_dir")}


def print_table(folders: dict[str, Path], models: dict[str, TextVaePipeline], test: list[SentenceFactors]) -> None:
    """What each model holds in its latent, what its decoder uses of it, and what that gives."""
    titles = [*COLUMNS, "kept", "grammar", "seconds"]
    print(f"\n{'test split of toy_sentences':<28}" + "".join(f"{title:>9}" for title in titles))
    for method, folder in folders.items():
        results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
        numbers = [results[f"test_{name}"] for name in COLUMNS.values()]
        numbers += [share_kept(models[method], test[:JUDGED]), share_in_grammar(models[method])]
        cells = "".join(f"{number:>9.2f}" for number in numbers)
        print(f"{DEMO_METHODS[method][0]:<28}{cells}{results['train_runtime']:>9.0f}")
    print(
        "NLL, KL, MI and use in nats per sentence. MI is what z holds about its sentence, use what the decoder takes "
        "from it.\nkept: share of the choices behind a sentence which its reconstruction makes again. grammar: share "
        f"of samples of the\nprior which the grammar could have made. Rate of BN-VAE and matched VAE: {RATE} nats."
    )


def share_kept(model: TextVaePipeline, sentences: list[SentenceFactors]) -> float:
    """Of the choices behind sentences, the share that their reconstructions make as well."""
    written = map(read_factors, model.reconstruct([item.sentence() for item in sentences]))
    shares = [item.share_of(other) for item, other in zip(sentences, written, strict=True)]
    return sum(shares) / len(shares)


def share_in_grammar(model: TextVaePipeline) -> float:
    """Of sentences drawn from the prior, the share that the grammar can make."""
    return sum(read_factors(text) is not None for text in model.sample(JUDGED, seed=1)) / JUDGED


def print_texts(models: dict[str, TextVaePipeline], test: list[SentenceFactors], seed: int) -> None:
    """Reconstructions of all models side by side; samples and an interpolation of the last."""
    sentences = [item.sentence() for item in test[:4]]
    print("\nTest sentences, and what each model says again from the posterior mean")
    rebuilt = {method: model.reconstruct(sentences) for method, model in models.items()}
    for number, sentence in enumerate(sentences):
        print(f"  {'':<12} {sentence}")
        for method, texts in rebuilt.items():
            print(f"  {DEMO_METHODS[method][0]:<12} {texts[number]}")
        print()
    torch.manual_seed(seed)
    *_, (method, model) = models.items()
    print(f"{DEMO_METHODS[method][0]}, samples from the prior")
    for text in model.sample(4, seed=seed):
        print(f"  {text}")
    print(f"\n{DEMO_METHODS[method][0]}, from one sentence to another")
    for text in [sentences[0], *model.interpolate(sentences[0], sentences[1], steps=7), sentences[1]]:
        print(f"  {text}")
