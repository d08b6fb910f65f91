"""What test_processes.py launches: small trainings in batches of 12, shared by all processes of the launch.

Writes losses at every step, final weights, and the metrics of a split that no number of processes divides; and a run
of run_lm.py --streaming, whose folder says the same.
"""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration, BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.cli import train as train_command
from hf_bnvae.cli.run import run
from hf_bnvae.data import (
    DialogueCollator,
    VaeCollator,
    build_tokenizer,
    encode_dialogues,
    load_dialogues,
    tokens_on_disk,
)
from hf_bnvae.evaluation import nll
from hf_bnvae.training import DialogueTrainer, DialogueTrainingArguments, VaeTrainer, VaeTrainingArguments
from tests.helpers import make_batch

BATCH = 12
SIZES = {
    "hidden_size": 12,
    "embedding_size": 8,
    "latent_size": 4,
    "embedding_dropout": 0.0,
    "output_dropout": 0.0,
    "initializer_range": 0.2,
}
VAES = {
    "bn_vae": ({"posterior": "batch_norm"}, {"save_strategy": "steps", "save_steps": 27}),
    "fb_sum": ({"posterior": "gaussian", "free_bits": 3.0, "free_bits_mode": "sum"}, {}),
    "matched": ({"posterior": "matched", "decorrelation": 2.0}, {}),
    "accumulated": ({"posterior": "gaussian"}, {"gradient_accumulation_steps": 3, "equal_length": True}),
    "aggressive": ({"posterior": "gaussian"}, {"strategy": "aggressive", "max_steps": 12, "eval_steps": 6}),
}


STREAMED = [
    *("--streaming", "--gamma", "0.7", "--bf16", "false", "--use_cpu", "--seed", "1", "--disable_tqdm", "true"),
    *("--num_train_epochs", "3", "--kl_annealing_epochs", "1", "--nll_samples", "7", "--logging_steps", "1"),
    *("--optim", "sgd", "--learning_rate", "0.02", "--lr_scheduler_type", "constant", "--save_strategy", "steps"),
    *("--save_steps", "8", "--eval_strategy", "steps", "--eval_steps", "8", "--load_best_model_at_end", "false"),
    *("--save_total_limit", "5"),
    *(text for name, value in SIZES.items() for text in (f"--{name}", str(value))),
]


def settings(folder: Path, changes: dict) -> dict:
    """Of a training of 50 steps; the last batch of an epoch is a short one."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH // int(os.environ.get("WORLD_SIZE", 1)),
        "per_device_eval_batch_size": 4,
        "max_steps": 50,
        "kl_annealing_steps": 5,
        "learning_rate": 0.02,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 50,
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 1,
    } | changes


def sentences(count: int, seed: int) -> Dataset:
    lengths = [4 + (index * 5) % 7 for index in range(count)]
    batch = make_batch(lengths, seed=seed)
    ids = [row[:length].tolist() for row, length in zip(batch["input_ids"], lengths, strict=True)]
    return Dataset.from_dict({"input_ids": ids, "length": lengths})


def train(folder: Path, trainer, judged, checkpoint: Path | None = None) -> None:
    """Train and write everything; the NLL in shares of the data set."""
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    metrics = trainer.evaluate()
    shared = trainer.args.world_size > 1
    batches = getattr(trainer, "get_likelihood_dataloader", trainer.get_eval_dataloader)(judged)
    metrics |= nll(trainer.model, batches, num_samples=7, shared=shared)
    if trainer.is_world_process_zero():
        logs = [log for log in trainer.state.log_history if "loss" in log]
        numbers = {name: value for name, value in metrics.items() if not name.endswith(("_second", "_runtime"))}
        record = {"logs": logs, "metrics": numbers, "world_size": trainer.args.world_size}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(json.dumps(record))
        save_file(trainer.model.state_dict(), folder / "weights.safetensors")


def train_sentences(folder: Path, config: dict, changes: dict, checkpoint: Path | None = None) -> None:
    torch.manual_seed(0)
    model = BnVaeForConditionalGeneration(BnVaeConfig(vocab_size=40, **SIZES, **config))
    judged = sentences(17, seed=1)
    data = {"train_dataset": sentences(55, seed=0), "eval_dataset": judged, "data_collator": VaeCollator(0)}
    trainer = VaeTrainer(model, VaeTrainingArguments(**settings(folder, changes)), **data)
    train(folder, trainer, judged, checkpoint)


def stream(folder: Path, corpus: Path, *flags: str) -> None:
    """A training of several blocks an epoch, on token ids that the first process makes while the others wait."""
    tokens_on_disk.GROUP_ROWS, tokens_on_disk.BLOCK_ROWS = 8, 24
    batch = str(BATCH // int(os.environ.get("WORLD_SIZE", 1)))
    where = ["--dataset_name", str(corpus), "--output_dir", str(folder), "--per_device_train_batch_size", batch]
    train_command.main([*where, *STREAMED, *flags])


def main(root: Path, corpus: Path, earlier: Path | None = None) -> None:
    """Everything under `root`, and two trainings that go on from checkpoints under `earlier`."""
    for name, (config, changes) in VAES.items():
        train_sentences(root / name, config, changes)
    stream(root / "streamed", corpus)
    if earlier is not None:
        train_sentences(root / "resumed", *VAES["bn_vae"], earlier / "bn_vae" / "checkpoint-27")
        stream(root / "streamed_on", corpus, "--resume_from_checkpoint", str(earlier / "streamed" / "checkpoint-8"))

    corpus = load_dialogues("toy_dialogues", max_dialogues={"train": 12, "validation": 5})
    tokenizer = build_tokenizer([said.text for row in corpus.splits["train"] for said in row.turns])
    rows = encode_dialogues(corpus, tokenizer, 20, 4)
    widths = {"utterance_hidden_size": 8, "context_hidden_size": 8, "prior_hidden_size": 8}
    torch.manual_seed(0)
    model = BnCvaeForConditionalGeneration(BnCvaeConfig(vocab_size=len(tokenizer), **SIZES, **widths))
    arguments = DialogueTrainingArguments(**settings(root / "bn_cvae", {}))
    data = {
        "train_dataset": rows["train"],
        "eval_dataset": rows["validation"],
        "data_collator": DialogueCollator(0),
    }
    train(root / "bn_cvae", DialogueTrainer(model, arguments, **data), rows["validation"])


if __name__ == "__main__":
    run(lambda: main(*map(Path, sys.argv[1:])))
