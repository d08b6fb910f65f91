"""Pretrained parts of a run: their weights, what of them is trained, and the states of a frozen encoder."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from transformers.utils import logging

from ..data import CorpusError, SentenceStates, TokenStore
from ..data.encoder_states import TokenRows
from ..data.errors import first_line
from ..data.kept_on_disk import cache_folder, kept_folder
from ..errors import ParameterError, last_line
from ..evaluation.text_order import TextBatches, encoded_batches
from ..models import BnVaeForConditionalGeneration, BnVaeModel
from ..models.base_weights import UNREAD
from ..models.pretrained_parts import positions_of, pretrained_parts
from ..training import VaeTrainingArguments
from ..training.resuming import digest
from .loading import load_config
from .model_arguments import ModelArguments

if TYPE_CHECKING:
    from .text_run import EncodedCorpus

STATES_BATCH_SIZE = 64
STATES = "states.npy"
STATES_FORMAT = 1  # of what is kept on disk; another one is computed anew

logger = logging.get_logger(__name__)


def replaced_parts(options: ModelArguments, checkpoint: str | None) -> tuple[str, ...]:
    """The parts of a new model whose networks `take_pretrained_parts` puts in the place of those it is made with."""
    named = {"encoder": options.encoder_name_or_path, "decoder": options.decoder_name_or_path}
    frozen_encoder = options.train_encoder == "frozen"
    return tuple(
        part
        for part, name in named.items()
        if name is not None and (checkpoint is None or (part == "encoder" and frozen_encoder))
    )


def take_pretrained_parts(model, options: ModelArguments, checkpoint: str | None) -> None:
    """Put the pretrained networks into a new model, freeze what is not to be trained, and leave out what is not saved.

    Args:
        checkpoint: whose weights the training takes up; its frozen encoder, and what it was saved without, is read
            before that. None for a new run.

    Raises:
        ParameterError: a network cannot be loaded.
    """
    saved = None if checkpoint is None else load_config(checkpoint, f"`resume_from_checkpoint` {checkpoint}")
    frozen = options.encoder_name_or_path is not None and options.train_encoder == "frozen"
    if checkpoint is not None and frozen:
        model.model.encoder = BnVaeModel.from_pretrained(checkpoint, dtype=torch.float32).encoder
    elif checkpoint is None:
        try:
            parts, _ = pretrained_parts(options.encoder_name_or_path, options.decoder_name_or_path, torch.float32)
        except ValueError as error:
            raise ParameterError(re.sub(r"^(\w+) ", r"`\1_name_or_path` ", first_line(error))) from error
        if "encoder" in parts:
            model.model.encoder = parts["encoder"]
        if "decoder" in parts:
            try:
                model.decoder.take(parts["decoder"])
            except ValueError as error:
                raise ParameterError(
                    f"`decoder_name_or_path` {options.decoder_name_or_path}: {first_line(error)}"
                ) from error
    if saved is not None:
        try:
            model.take_base_weights(saved)
        except ValueError as error:
            raise ParameterError(f"`resume_from_checkpoint` {checkpoint}: {last_line(error)}") from error
    if frozen:
        model.model.encoder.requires_grad_(False)
    if options.decoder_name_or_path is not None and options.train_decoder == "frozen":
        model.decoder.lm.requires_grad_(False)
    if not options.save_base:
        model.record_base(**options.bases)
        for name in ("encoder_base", "decoder_base"):
            if getattr(saved, name, None) is not None:
                setattr(model.config, name, getattr(saved, name))  # a name on the Hub may have another revision by now
        logger.warning(
            f"{model.left_out_bytes / 1e6:,.1f} MB of weights of {' and '.join(options.bases.values())} are not saved "
            "with the model, and are read from there when it is loaded"
        )


def check_positions(config, splits: Mapping[str, Any], max_length: int) -> None:
    """Refuse texts that are longer than a network has positions for.

    Args:
        max_length: tokens that texts were cut at. Of a `TokenStore`, which is not read for this, some may be as long.

    Raises:
        ParameterError: naming the longest that can be read.
    """
    of_z = sum(getattr(config, f"{name}_length", 0) for name in ("soft_prompt", "latent_memory"))
    parts = (("encoder", "input_ids", 0), ("decoder", "length", of_z))
    for part, column, beside in parts:
        network = getattr(config, f"{part}_config", None)
        positions = None if network is None else positions_of(network)
        for split, rows in splits.items():
            rows = rows.sentences if isinstance(rows, SentenceStates) else rows
            if positions is None or (isinstance(rows, Dataset) and column not in rows.column_names):
                continue
            longest = max_length
            if isinstance(rows, Dataset):
                lengths = rows.with_format("arrow")[column]
                longest = pc.max(pc.list_value_length(lengths) if column == "input_ids" else lengths).as_py()
            if longest + beside > positions:
                some = "have" if isinstance(rows, Dataset) else "may have"
                raise ParameterError(
                    f"texts of the split {split} {some} up to {longest} tokens, and the {part} has positions for "
                    f"{positions - beside}: cut texts by `max_length` {positions - beside}"
                )


def merge_adapters(model) -> None:
    """Add the low-rank adapters of a trained decoder to its weights, so that the model loads without peft.

    Where these weights are not saved the adapters stay apart.
    """
    if getattr(model.config, "decoder_lora", None) is not None and model.config.decoder_base is None:
        model.decoder.merge_lora()
        model.config.decoder_lora = None


def with_encoder_states(
    model: BnVaeForConditionalGeneration, encoded: "EncodedCorpus", args: VaeTrainingArguments
) -> None:
    """Give every split of a corpus the states of a frozen encoder, in the place of what it would read each epoch.

    They are kept in the cache of `datasets`, where the next run of the same encoder on the same texts finds them. Of
    several processes one computes them, and the others wait. A `TokenStore`, which may be larger than memory, is read
    by the encoder in every epoch.
    """
    torch.nn.Module.to(model.eval(), args.device)
    encoder = encoder_key(model.model)
    for split, dataset in encoded.splits.items():
        if isinstance(dataset, TokenStore):
            continue
        assert isinstance(dataset, Dataset)
        with args.main_process_first(desc="encoding"):
            encoded.splits[split] = SentenceStates(dataset, encoder_states(model.model, encoder, dataset, split))


def encoder_key(model: BnVaeModel) -> str:
    """A key of all that the states of an encoder depend on beside the tokens: its weights, and how it pools them."""
    hasher = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(torch.nn.Module.state_dict(model.get_submodule("encoder")).items()):
        if not name.startswith(UNREAD):
            hasher.update(name.encode())
            hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    config = model.config
    parts = [STATES_FORMAT, config.encoder_config.to_json_string(), config.encoder_pooling, config.encoder_normalised]
    return Hasher.hash([*parts, model.device.type, hasher.hexdigest()])


def encoder_states(model: BnVaeModel, encoder: str, dataset: Dataset, split: str) -> np.ndarray:
    """The states of the sentences of a split, `(sentences, width)` in fp32, from the cache or else computed now.

    Args:
        encoder: the `encoder_key` of the model.
        split: its name, for the log.
    """
    folder = cache_folder() / Hasher.hash([encoder, digest(dataset.select_columns("input_ids"))])
    batches = TextBatches(TokenRows(dataset), STATES_BATCH_SIZE, model.config.encoder_padding)
    vectors = encoded_batches(batches, lambda *batch: model.read(*batch).last, model.device, f"Encoding {split}")

    def make(partial_folder: Path) -> dict:
        write_rows(partial_folder / STATES, zip(batches.indices, vectors, strict=True), len(dataset))
        return {"rows": len(dataset)}

    try:
        found = kept_folder(folder, "states of the encoder", make, partial(np.load, mmap_mode="r"))
    except CorpusError as error:
        logger.warning(f"{split}: {error}. They stay in memory, and the next run computes them again.")
        return torch.cat(list(vectors))[batches.original_order].numpy()
    again = ", found there: the encoder does not read the texts again" if found else ""
    logger.warning(f"{split}: states of the encoder in {folder}{again}")
    return np.load(folder / STATES, mmap_mode="r")


def write_rows(path: Path, batches: Iterable[tuple[list[int], torch.Tensor]], count: int) -> None:
    """Write an npy file of `(count, width)` in fp32 from rows that come in another order, a batch in memory at a time.

    Args:
        batches: the numbers of some rows, and the rows, `(batch, width)`.
    """
    with path.open("wb") as file:
        start = None
        for numbers, rows in batches:
            values = rows.numpy().astype("<f4", copy=False)
            if start is None:
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, values.shape[1])}
                np.lib.format.write_array_header_1_0(file, header)
                start = file.tell()
            for number, row in zip(numbers, values, strict=True):
                file.seek(start + number * row.nbytes)
                file.write(row.tobytes())
