"""A resumed run goes on under what it was started with: the comparison of the two."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from ..data import DialogueResponses, SentenceStates, TokenStore
from .arguments import VaeTrainingArguments
from .checkpoints import ARGUMENTS_NAME, CheckpointError, read_json
from .schedules import most_annealing

MUST_STAY = (
    "seed",
    "data_seed",
    "optim",
    "muon",
    "learning_rate",
    "pretrained_learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "optim_args",
    "lr_scheduler_kwargs",
    "kl_schedule",
    "kl_annealing_epochs",
    "kl_annealing_steps",
    "strategy",
    "gradient_accumulation_steps",
    "equal_length",
    "run_length",
    "metric_for_best_model",
    "plateau_patience",
    "plateau_start_epoch",
    "plateau_max_halvings",
)
MAY_CHANGE = ("num_train_epochs", "max_steps", "max_grad_norm", "bf16", "fp16")
TRAINED_PARTS = ("train_encoder", "train_decoder")
"""What of pretrained parts is trained, where there are any."""
DATA = {
    "train": ("trained on", "max_train_samples"),
    "validation": ("chose its best model by", "max_eval_samples"),
}
"""What a run did with the examples of a split, and the argument that cuts them."""
ROWS_AT_ONCE = 10_000
LENGTHS = ("num_train_epochs", "max_steps")


def run_arguments(args: VaeTrainingArguments, dataset, streaming: bool = False, validation=None) -> dict:
    """The arguments of a run that its result depends on, for `VaeTrainer.run_arguments`.

    Args:
        dataset: the encoded training set.
        streaming: whether it is read from disk in blocks, whose order is another.
        validation: the encoded validation set, by which the best model is chosen; None where there is none.
    """
    names = {item.name for item in dataclasses.fields(args)}
    arguments = {name: _plain(getattr(args, name)) for name in (*MUST_STAY, *MAY_CHANGE) if name in names}
    return {
        # First: the learning rate may follow it.
        "sentences_a_step": args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
        **arguments,
        "streaming": streaming,
        "train_examples": len(dataset),
        "train_digest": digest(dataset),
        "validation_examples": 0 if validation is None else len(validation),
        "validation_digest": None if validation is None else digest(validation),
    }


def digest(dataset) -> str:
    """A digest of an encoded training set: equal for equal token ids and embeddings, wherever their files lie.

    States of a frozen encoder do not count: they differ in their last digits from machine to machine.
    """
    if isinstance(dataset, TokenStore):
        return Path(dataset.folder).name
    hasher = hashlib.blake2b(digest_size=16)
    if isinstance(dataset, SentenceStates):
        if dataset.are_data:
            for block in dataset.blocks():
                hasher.update(block.tobytes())
        dataset = dataset.sentences
    if isinstance(dataset, DialogueResponses):
        hasher.update(repr((dataset.utterances, dataset.speakers, dataset.responses)).encode())
    elif isinstance(dataset, Dataset):
        for table in dataset.with_format("arrow").iter(ROWS_AT_ONCE):
            for column in ("input_ids", "labels"):
                if column in table.column_names and pa.types.is_list(table.schema.field(column).type):
                    rows = table[column].combine_chunks()
                    for numbers in (rows.flatten(), rows.value_lengths()):
                        hasher.update(numbers.to_numpy(zero_copy_only=False).tobytes())
    return hasher.hexdigest()


def keep_annealing(checkpoint: str | Path, args: VaeTrainingArguments) -> None:
    """Let a run that goes on for more epochs keep an annealing that followed from the former, see `plans.resolve`."""
    before = read_json(Path(checkpoint) / ARGUMENTS_NAME)
    if isinstance(before, dict) and before.get("num_train_epochs", args.num_train_epochs) != args.num_train_epochs:
        annealing = before.get("kl_annealing_epochs")
        if annealing == most_annealing(args.kl_schedule, before["num_train_epochs"]):
            args.kl_annealing_epochs = annealing


def check_same_run(checkpoint: str | Path, arguments: Mapping) -> list[str]:
    """Compare the arguments of a run with those of its checkpoint. A checkpoint of version 0.1 has none.

    Returns:
        Sentences on what may be another and is.

    Raises:
        CheckpointError: something else is another; the sentence names the parameter.
    """
    before = read_json(Path(checkpoint) / ARGUMENTS_NAME)
    if not isinstance(before, dict):
        return []
    for name in TRAINED_PARTS:
        if before.get(name, arguments.get(name)) != arguments.get(name):
            raise CheckpointError(
                f"`resume_from_checkpoint` {checkpoint}: its run had {name} {before.get(name)} and this one has "
                f"{arguments.get(name)}; repeat the run's own, or start another run"
            )
    length = "max_utterance_length" if "run_length" in arguments else "max_length"
    for split, (did, most) in DATA.items():
        number, digest_name = f"{split}_examples", f"{split}_digest"
        if any(before.get(name, arguments.get(name)) != arguments.get(name) for name in (number, digest_name)):
            raise CheckpointError(
                f"`resume_from_checkpoint` {checkpoint}: its run {did} {before[number]:,} examples, which are not "
                f"the {arguments[number]:,} of this one: repeat its data, {most} and {length}"
            )
    by_steps = arguments.get("kl_annealing_steps") is not None
    for name, value in arguments.items():
        unread = by_steps and name == "kl_annealing_epochs"
        if unread or name in MAY_CHANGE or before.get(name, value) == value:
            continue
        shown = "sentences in a step" if name == "sentences_a_step" else name
        raise CheckpointError(
            f"`resume_from_checkpoint` {checkpoint}: its run had {shown} {before[name]} and this one has {value}; "
            "repeat the run's own, or start another run"
        )
    for name in LENGTHS:
        old, new = before.get(name), arguments.get(name)
        if old and new and 0 < new < old:
            raise CheckpointError(
                f"`resume_from_checkpoint` {checkpoint}: its run had {name} {old:g}, and {new:g} is less: name no less"
            )
    changed = [
        name for name in MAY_CHANGE if name in arguments and before.get(name, arguments[name]) != arguments[name]
    ]
    return [f"The resumed run had {name} {before[name]} and goes on with {arguments[name]}." for name in changed]


def _plain(value: object) -> object:
    """As JSON gives it back."""
    return getattr(value, "value", value)
