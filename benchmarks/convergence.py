"""How long a Yahoo-sized BN-VAE trains: its speed by `VaeTrainer` on generated text, and the arithmetic from there.

    python benchmarks/convergence.py --batch_size 512

The recipe is fast, whose epochs stand for convergence, and the precision the last of --precisions. The first steps and
the statistics at the end are left out, an evaluation for each epoch is counted.
"""

import random
import statistics
import tempfile
import time
from dataclasses import fields

import torch
from measure import (
    YAHOO_LENGTH,
    machine,
    parsed,
    parser_of,
    seconds,
    set_tf32,
    synchronise,
    write_figures,
    yahoo_lengths,
)
from transformers import PrinterCallback, TrainerCallback

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.data import VaeCollator
from hf_bnvae.plans import resolve
from hf_bnvae.training import RECIPES, SIZES, VaeTrainer, VaeTrainingArguments

WARM_UP = 5
TRAINING_DOCUMENTS, VALIDATION_DOCUMENTS = 100_000, 10_000


class Lap(TrainerCallback):
    """When the device was done with the steps that warm up, and when with the last step."""

    def __init__(self, device: torch.device, warm_up: int = WARM_UP):
        self.device = device
        self.warm_up = warm_up
        self.marks: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in (self.warm_up, state.max_steps):
            synchronise(self.device)
            self.marks.append(time.perf_counter())


def recipe_for(kind: type) -> dict:
    """What the recipe says of a dataclass's fields."""
    names = {item.name for item in fields(kind)}
    return {name: value for name, value in RECIPES["fast"].items() if name in names}


def shrunk(sizes: dict[str, int], share: float) -> dict[str, int]:
    """A share of the sizes of a model, for a try."""
    return {name: max(16, round(size * share)) for name, size in sizes.items()}


def trainer_of(
    sizes: dict[str, int], batch_size: int, lengths: list[int], precision: str, lap: Lap, folder: str, **arguments
) -> VaeTrainer:
    """A trainer of a BN-VAE by recipe fast over generated sentences of these lengths, which it reads once."""
    from datasets import Dataset

    draw = random.Random(0)
    ids = [[1, *draw.choices(range(4, sizes["vocab_size"]), k=length - 1), 2] for length in lengths]
    rows = Dataset.from_dict({"input_ids": ids, "length": [len(row) for row in ids]})
    values = recipe_for(VaeTrainingArguments) | {
        "output_dir": folder,
        "per_device_train_batch_size": batch_size,
        "max_steps": len(lengths) // batch_size,
        "kl_annealing_epochs": 0.0,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
        "bf16": precision == "bf16",
        "use_cpu": lap.device.type == "cpu",
        **arguments,
    }
    return VaeTrainer(
        BnVaeForConditionalGeneration(BnVaeConfig(**recipe_for(BnVaeConfig) | sizes)),
        VaeTrainingArguments(**values),
        train_dataset=rows,
        data_collator=VaeCollator(0),
        callbacks=[lap],
    )


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--batch_size", type=int, default=32, help="sentences in a batch")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed")
    parser.add_argument("--share", type=float, default=1.0, help="of Yahoo's sizes")
    args = parsed(parser, argv)
    precision = args.precisions[-1]
    lengths = yahoo_lengths(args.batch_size * (args.steps + WARM_UP))
    lap = Lap(args.device)
    sizes = shrunk(SIZES["yahoo"], args.share)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(sizes, args.batch_size, lengths, precision, lap, folder)
        trainer.remove_callback(PrinterCallback)
        set_tf32(precision)
        trainer.train()
        evaluation = seconds(lambda: trainer.evaluate(trainer.train_dataset), args.device) / len(lengths)
    started, ended = lap.marks
    epochs = resolve("bn_vae", per_device_train_batch_size=args.batch_size).training["num_train_epochs"]
    rate = statistics.mean(lengths) * args.batch_size * args.steps / (ended - started)
    training = epochs * TRAINING_DOCUMENTS * YAHOO_LENGTH / rate
    evaluating = epochs * VALIDATION_DOCUMENTS * evaluation
    minutes = (training + evaluating) / 60
    print(f"{machine(args.device)}, {args.share:g} of Yahoo's sizes, {precision}, batch {args.batch_size}")
    print(f"{rate:,.0f} tokens/s over {args.steps} steps, {1 / evaluation:,.0f} documents/s in an evaluation")
    print(
        f"training: {epochs:g} epochs x {TRAINING_DOCUMENTS:,} documents x {YAHOO_LENGTH} tokens / "
        f"{rate:,.0f} tokens/s = {training / 60:.1f} minutes"
    )
    print(f"evaluations: {epochs:g} x {VALIDATION_DOCUMENTS:,} documents = {evaluating / 60:.1f} minutes")
    print(f"together {minutes:.1f} minutes")
    write_figures(args.json_file, {"tokens a second": rate, "minutes to convergence": minutes})


if __name__ == "__main__":
    main()
