"""The folder of a run: checkpoints to go on from, and what may be replaced."""

from dataclasses import fields
from pathlib import Path

from transformers import PreTrainedConfig
from transformers.utils import logging

from ..errors import ParameterError
from ..training import check_same_run, keep_annealing, run_arguments
from ..training.checkpoints import holds_a_run, last_checkpoint, remove_broken, remove_run
from ..training.run_lock import lock
from .loading import DIALOGUE_MODELS, SENTENCE_MODELS, load_config
from .model_arguments import MethodArguments

logger = logging.get_logger(__name__)


def check_output_dir(output_dir: str, checkpoint: str | None, overwrite: bool = False) -> None:
    """Refuse a folder that holds another run than the one that `checkpoint` goes on with."""
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise ParameterError(f"`output_dir` {folder} is a file: name a folder")
    resumed = checkpoint is not None and Path(checkpoint).resolve().parent == folder.resolve()
    if not (resumed or overwrite) and holds_a_run(folder):
        go_on = (
            ", go on with that run by `resume_from_checkpoint` last" if last_checkpoint(folder, resumable=True) else ""
        )
        raise ParameterError(
            f"`output_dir` {folder} already holds a model or results: name another folder{go_on}, or replace it by "
            "`overwrite_output_dir` true"
        )


def begin_run(args, checkpoint: str | None, overwrite: bool) -> None:
    """Take the output folder for this run alone, and clear it of a former run that is to be replaced.

    The folder is looked at once more: another run may have ended there since the arguments were read.
    """
    if args.process_index == 0:
        lock(args.output_dir)
        check_output_dir(args.output_dir, checkpoint, overwrite)
        if overwrite:
            remove_run(args.output_dir)
        remove_broken(args.output_dir)


def record_arguments(trainer, checkpoint: str | None, streaming: bool = False, **others: str) -> None:
    """Give a trainer the arguments that its checkpoints record; refuse to resume a run that had others.

    Args:
        others: beside those of the trainer.
    """
    if checkpoint is not None:
        keep_annealing(checkpoint, trainer.args)
    trainer.run_arguments = run_arguments(trainer.args, trainer.train_dataset, streaming, trainer.eval_dataset) | others
    if checkpoint is not None:
        for sentence in check_same_run(checkpoint, trainer.run_arguments):
            logger.warning(sentence)


UNDECIDING = {"architectures", "dtype", "transformers_version", "is_encoder_decoder", "use_cache"}


def _what_decides(value):
    """A value of a configuration; of a nested one the fields that say what the network is.

    Of a model with an encoder and a decoder, such as T5, the encoder alone says that it is none.
    """
    if not isinstance(value, PreTrainedConfig):
        return value
    told = value.to_diff_dict()
    return {name: told[name] for name in told.keys() - UNDECIDING}


def check_same_model(config, checkpoint: str, arguments: MethodArguments) -> None:
    """Refuse to resume a checkpoint under arguments that would make another model of it."""
    called = f"`resume_from_checkpoint` {checkpoint}"
    saved = load_config(checkpoint, called, SENTENCE_MODELS | DIALOGUE_MODELS)
    if type(saved) is not type(config):
        raise ParameterError(
            f"{called}: the checkpoint is a {saved.model_type}, and `method` makes a {config.model_type}"
        )
    for name in [*(item.name for item in fields(arguments)), "topics", "decoder_lora"]:
        is_a_start = name.endswith("initializer_range") or name == "forget_bias"  # which weights have left
        decides = hasattr(config, name) and not is_a_start
        if not decides or _what_decides(getattr(saved, name)) == _what_decides(getattr(config, name)):
            continue
        if name.endswith("_config"):
            raise ParameterError(f"{called}: the arguments describe another {name} than the checkpoint has")
        raise ParameterError(
            f"{called}: the checkpoint has {name} {getattr(saved, name)} and the arguments say "
            f"{getattr(config, name)}; repeat those of the run"
        )
