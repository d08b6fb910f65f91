"""Train the three dialogue models of the paper on the built-in small talk, and show what their latents are good for.

hf-bnvae demo-dialogue --output_dir runs/demo_dialogue
"""

import argparse
import json
from pathlib import Path

from . import dialogue
from .demo import add_overwriting, given
from .program import program_name
from .run import run

DEMO_METHODS = ("cvae", "cvae_bow", "bn_cvae")
RECIPE = {
    "dataset_name": "toy_dialogues",
    "embedding_size": 64,
    "utterance_hidden_size": 64,
    "context_hidden_size": 96,
    "hidden_size": 96,
    "latent_size": 16,
    "num_train_epochs": 8,
    "kl_annealing_epochs": 2,
    "logging_steps": 50,
}
COLUMNS = {
    "rec_ppl": "rec. PPL",
    "kl": "KL",
    "kl_prior": "KL prior",
    "bleu_precision": "BLEU prec.",
    "bleu_recall": "BLEU rec.",
    "distinct_1": "distinct-1",
    "average_length": "length",
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=program_name(), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--output_dir", default="runs/demo_dialogue", help="a folder for each model goes in here")
    parser.add_argument("--num_train_epochs", type=float, default=RECIPE["num_train_epochs"], help="for all models")
    parser.add_argument("--seed", type=int, default=1, help="of all models")
    add_overwriting(parser)
    args = parser.parse_args(argv)
    folders: dict[str, Path] = {}
    for method in DEMO_METHODS:
        print(f"\n{method}", flush=True)
        folder = Path(args.output_dir) / method
        settings = RECIPE | given(args)
        flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        compared = ["--compare_with", *map(str, folders.values())] if folders else []
        dialogue.main(["--method", method, "--output_dir", str(folder), *flags, *compared])
        folders[method] = folder
    print(f"\n{'test split of toy_dialogues':<28}" + "".join(f"{title:>12}" for title in COLUMNS.values()))
    for method, folder in folders.items():
        results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
        print(f"{method:<28}" + "".join(f"{results[f'test_{name}']:>12.2f}" for name in COLUMNS))
    print("KL in nats per response; BLEU-4 in percent over 10 responses to each context.")
    print(f"Responses side by side: {folder / 'samples.md'}")


if __name__ == "__main__":
    run(main)
