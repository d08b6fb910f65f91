"""What a `VaeTrainer` is given: looked at, and brought into shape, before Transformers sees it."""

from typing import Any

import torch
from transformers.trainer_utils import IntervalStrategy

from ..data import DialogueCollator, VaeCollator, encoded_rows, with_token_ids
from ..data.errors import first_line
from ..data.tokenizer_pair import writing_tokenizer
from ..data.vocabularies import check_tokenizer
from ..errors import ParameterError
from .arguments import DialogueTrainingArguments, VaeTrainingArguments, check_checkpointing, refuse_unread


def ready_inputs(model: Any, args: Any, trainer: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a trainer, with its data sets as token ids and with a collator.

    Args:
        model: None where `model_init` makes it.
        args: what the trainer was given as its arguments.
        trainer: its class, which says what its arguments and its collator are.
        given: its keyword arguments.

    Raises:
        CorpusError: a data set cannot be trained on.
        ParameterError: something else cannot be used; the sentence names it.
    """
    kind = trainer.ARGUMENTS
    if not isinstance(args, kind):
        raise ParameterError(
            f"`args` must be {kind.__name__}, which hold what a VAE needs besides, got {type(args).__name__}: make "
            f"hf_bnvae.training.{kind.__name__} of the same values"
        )
    if "tokenizer" in given:
        raise ParameterError("`tokenizer` is called `processing_class` in a trainer: give it by that name")
    tokenizer, config = given.get("processing_class"), getattr(model, "config", None)
    if tokenizer is not None and config is not None:
        try:
            check_tokenizer(model, tokenizer, "`processing_class`")
        except ParameterError as error:
            size = max(writing_tokenizer(tokenizer).get_vocab().values()) + 1
            raise ParameterError(f"{error}; those of a configuration with vocab_size {size} do") from error
    ready = dict(given)
    for name in ("train_dataset", "eval_dataset"):
        if ready.get(name) is not None:
            ready[name] = with_rows(ready[name], args, name, tokenizer)
    if ready.get("eval_dataset") is None and args.eval_strategy != IntervalStrategy.NO:
        raise ParameterError(
            f"`eval_strategy` {args.eval_strategy.value} needs an `eval_dataset`: give one, or the `eval_strategy` no"
        )
    pads = config if tokenizer is None else tokenizer
    if ready.get("data_collator") is None and pads is not None:
        ready["data_collator"] = trainer.COLLATOR(pads.pad_token_id)
    check_checkpointing(args, model)
    refuse_unread(name for name, value in ready.items() if value is not None)
    check_collator(ready.get("data_collator"), ready.get("train_dataset"))
    return ready


def with_rows(data: Any, args: VaeTrainingArguments, name: str, tokenizer: Any = None) -> Any:
    """A data set, or each of several by name, in a shape to draw batches from."""
    if isinstance(args, DialogueTrainingArguments):
        _check_responses(data, name)
        return data
    if isinstance(data, dict) and name != "train_dataset":
        names = {key: f"{name}[{key!r}]" for key in data}
        rows = {key: with_token_ids(each, tokenizer, names[key]) for key, each in data.items()}
        return {key: encoded_rows(each, names[key], tokenizer=tokenizer) for key, each in rows.items()}
    drawn = args.max_steps * args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    most = drawn if name == "train_dataset" and drawn > 0 else None
    return encoded_rows(with_token_ids(data, tokenizer, name, most), name, most, tokenizer)


def _check_responses(data: Any, name: str) -> None:
    """Refuse data sets that are no responses with their contexts."""
    for each in data.values() if isinstance(data, dict) else [data]:
        if not hasattr(each, "dialogues"):
            raise ParameterError(
                f"`{name}` must be DialogueResponses, got {type(each).__name__}: make them by "
                "hf_bnvae.data.encode_dialogues of what load_dialogues reads, or train by hf_bnvae.train_dialogue"
            )


def check_collator(collator: Any, rows: Any) -> None:
    """Refuse a collator of the caller's whose batches have no labels; it is tried on two rows.

    Raises:
        ParameterError: they have none, or it fails.
    """
    if rows is None or isinstance(collator, VaeCollator | DialogueCollator):
        return
    called, remedy = f"`data_collator` {type(collator).__name__}", "leave it out, or take hf_bnvae.data.VaeCollator"
    try:
        with torch.random.fork_rng(devices=[]):
            batch = collator(rows.__getitems__(list(range(min(2, len(rows))))))
    except Exception as error:  # whatever the caller's own code raises
        raise ParameterError(f"{called} makes no batch of the training set ({first_line(error)}): {remedy}") from error
    if "labels" not in batch:
        raise ParameterError(f"{called} gives no labels, the words that the decoder is to write: {remedy}")
