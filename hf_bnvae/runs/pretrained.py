"""Pretrained parts of a run: their weights, what of them is trained, and the states of a frozen encoder."""

from typing import TYPE_CHECKING

import torch
from datasets import Dataset
from transformers.utils import logging

from ..data import SentenceStates
from ..errors import ParameterError, last_line
from ..evaluation.text_order import encode_in_order
from ..models import BnVaeForConditionalGeneration, BnVaeModel
from ..models.pretrained_parts import pretrained_parts
from ..training import VaeTrainingArguments
from .model_arguments import ModelArguments

if TYPE_CHECKING:
    from .text_run import EncodedCorpus

STATES_BATCH_SIZE = 64

logger = logging.get_logger(__name__)


def take_pretrained_parts(model, options: ModelArguments, checkpoint: str | None) -> None:
    """Put the pretrained networks into a new model, and freeze what is not to be trained.

    Args:
        checkpoint: whose weights the training takes up; its frozen encoder is read before that. None for a new run.

    Raises:
        ParameterError: a network cannot be loaded.
    """
    frozen = options.encoder_name_or_path is not None and options.train_encoder == "frozen"
    if checkpoint is not None and frozen:
        model.model.encoder = BnVaeModel.from_pretrained(checkpoint, dtype=torch.float32).encoder
    elif checkpoint is None:
        try:
            parts, _ = pretrained_parts(options.encoder_name_or_path, options.decoder_name_or_path, torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise ParameterError(f"`encoder_name_or_path` or `decoder_name_or_path`: {last_line(error)}") from error
        if "encoder" in parts:
            model.model.encoder = parts["encoder"]
        if "decoder" in parts:
            model.decoder.take(parts["decoder"])
    if frozen:
        model.model.encoder.requires_grad_(False)
    if options.decoder_name_or_path is not None and options.train_decoder == "frozen":
        model.decoder.lm.requires_grad_(False)


def merge_adapters(model) -> None:
    """Add the low-rank adapters of a trained decoder to its weights, so that the model loads without peft."""
    if getattr(model.config, "decoder_lora", None) is not None:
        model.decoder.merge_lora()
        model.config.decoder_lora = None


def with_encoder_states(
    model: BnVaeForConditionalGeneration, encoded: "EncodedCorpus", args: VaeTrainingArguments
) -> None:
    """Give every split of a corpus the states of a frozen encoder, in the place of what it would read each epoch."""
    torch.nn.Module.to(model.eval(), args.device)
    for split, dataset in encoded.splits.items():
        assert isinstance(dataset, Dataset)
        rows, padding = dataset["input_ids"][:], model.config.encoder_padding
        states = encode_in_order(
            rows,
            lambda ids, mask: model.model.read(ids, mask).last,
            STATES_BATCH_SIZE,
            padding,
            model.device,
            f"Encoding {split}",
        )
        encoded.splits[split] = SentenceStates(dataset, states.numpy())
