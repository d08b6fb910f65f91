"""Checkpoints of a run: which of them are whole, which is the last, and what lies in a folder of a former run."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, logging

from ..data.tokenizer_pair import SUBFOLDER
from ..errors import ParameterError

MARK_NAME = "checkpoint.json"
"""Written last into a checkpoint: the sizes of all its files. A checkpoint with it, and with them, is whole."""
RESULTS_NAME = "all_results.json"
OF_A_RUN = (
    CONFIG_NAME,
    RESULTS_NAME,
    TRAINER_STATE_NAME,
    "run.json",
    "training.png",
    "samples.md",
    "latent_space.html",
)
"""Files that the next run in a folder may not write, and that would then speak of the former one."""
PARTIAL_NAME = ".partial"
"""The folder in which a model is saved, before its files are moved out of it."""
ARGUMENTS_NAME = "run_arguments.json"
"""The arguments of a run, so that it is resumed under the same."""

logger = logging.get_logger(__name__)


class CheckpointError(ParameterError):
    """A checkpoint or a folder that cannot be used: one sentence with the remedy."""


def checkpoint_folders(output_dir: str | Path) -> list[Path]:
    """The folders `checkpoint-N` of a run, whole or not, by N."""
    folders = Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    numbered = [path for path in folders if path.is_dir() and re.fullmatch(r"\d+", path.name.rpartition("-")[2])]
    return sorted(numbered, key=lambda path: int(path.name.rpartition("-")[2]))


def write_mark(folder: str | Path) -> None:
    """Say that a checkpoint is whole; every process has written its part."""
    folder = Path(folder)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    partial = folder / f"{MARK_NAME}.partial"
    partial.write_text(json.dumps({"sizes": sizes}, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / MARK_NAME)


def fault(folder: str | Path) -> str | None:
    """What keeps a checkpoint from being resumed, in words; None for a whole one.

    One of version 0.1, which has no mark, is whole where all its parts are there and can be read.
    """
    folder = Path(folder)
    mark = read_json(folder / MARK_NAME)
    if isinstance(mark, dict) and isinstance(mark.get("sizes"), dict):
        faults = (_fault_of_file(folder / name, size) for name, size in mark["sizes"].items())
        return next((broken for broken in faults if broken is not None), None)
    if (folder / MARK_NAME).exists():
        return f"{MARK_NAME} cannot be read"
    if not isinstance(read_json(folder / TRAINER_STATE_NAME), dict):
        return f"{TRAINER_STATE_NAME} is missing or cannot be read"
    weights = unreadable_weights(folder)
    if weights is not None:
        return weights
    for name in (OPTIMIZER_NAME, SCHEDULER_NAME):
        if not zipfile.is_zipfile(folder / name):
            return f"{name} is missing or cut off"
    states = sorted(folder.glob("rng_state*.pth"))
    cut = next((path.name for path in states if not zipfile.is_zipfile(path)), None)
    if cut is not None:
        return f"{cut} is cut off"
    return None if states else "the random state is missing"


def _fault_of_file(path: Path, size: int) -> str | None:
    """What is wrong with a file of so many bytes, in words. A power loss may leave zeros in place of its content."""
    if not path.is_file():
        return f"{path.name} is missing"
    if path.stat().st_size != size:
        return f"{path.name} has {path.stat().st_size} bytes for {size}"
    reads = {".json": read_json, ".safetensors": is_whole, ".pt": zipfile.is_zipfile, ".pth": zipfile.is_zipfile}
    read = reads.get(path.suffix)
    return None if read is None or read(path) not in (None, False) else f"{path.name} cannot be read"


def unreadable_weights(folder: Path) -> str | None:
    """What is wrong with the weights of a model folder, in words; None where they can be read."""
    if (folder / SAFE_WEIGHTS_INDEX_NAME).is_file():
        return None
    return None if is_whole(folder / SAFE_WEIGHTS_NAME) else f"{SAFE_WEIGHTS_NAME} is missing or cut off"


def is_whole(weights: Path) -> bool:
    """Whether a safetensors file is there and its header fits its length: that of a copy that was cut off does not."""
    try:
        with safe_open(weights, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def has_finite_weights(folder: str | Path) -> bool:
    """Whether every weight of a checkpoint is a finite number."""
    try:
        with safe_open(Path(folder) / SAFE_WEIGHTS_NAME, "pt") as file:
            return all(bool(torch.isfinite(file.get_tensor(name)).all()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return False


def lacks_training_state(folder: str | Path) -> bool:
    """Whether a checkpoint holds a model alone (`save_only_model`), and no optimiser to go on with."""
    folder = Path(folder)
    optimisers = [*folder.glob("optimizer*"), *folder.glob("global_step*")]  # in one file, or in a shard a process
    return not (optimisers and any(folder.glob("rng_state*.pth")))


def last_checkpoint(output_dir: str | Path, finite: bool = False, resumable: bool = False) -> Path | None:
    """The newest whole checkpoint of a run; what is newer and broken is named in a warning.

    Args:
        finite: pass over checkpoints with weights or evaluations that are no finite numbers as well.
        resumable: pass over checkpoints that hold a model alone as well.
    """
    for folder in reversed(checkpoint_folders(output_dir)):
        broken = fault(folder)
        if broken is None and resumable and lacks_training_state(folder):
            continue
        if broken is None and not (finite and not (has_finite_weights(folder) and _judged_finite(folder))):
            return folder
        if broken is not None:
            logger.warning(f"{folder} is no whole checkpoint ({broken}): it is passed over.")
    return None


def _judged_finite(folder: Path) -> bool:
    """Whether the last evaluation before a checkpoint gave finite numbers."""
    state = read_json(folder / TRAINER_STATE_NAME)
    history = state.get("log_history", []) if isinstance(state, dict) else []
    losses = [line["eval_loss"] for line in history if "eval_loss" in line]
    return not losses or (isinstance(losses[-1], int | float) and abs(losses[-1]) < float("inf"))


def wanted_checkpoint(output_dir: str, wanted: str | bool | None) -> str | None:
    """The checkpoint folder to resume from: a path, or `last` (also `true`), the newest whole one of `output_dir`.

    Raises:
        CheckpointError: there is none, or it is not whole.
    """
    wanted = str(wanted or False)
    if wanted.lower() == "false":
        return None
    if wanted.lower() in ("last", "true"):
        checkpoint = last_checkpoint(output_dir, resumable=True)
        if checkpoint is None and last_checkpoint(output_dir) is not None:
            raise CheckpointError(
                f"`resume_from_checkpoint` {wanted}: the checkpoints in {output_dir} hold the model alone "
                "(`save_only_model`), and no optimiser to go on with: start another run"
            )
        if checkpoint is None:
            raise CheckpointError(
                f"`resume_from_checkpoint` {wanted}: there is no checkpoint in {output_dir}; start without it"
            )
        return str(checkpoint)
    if not (Path(wanted) / TRAINER_STATE_NAME).is_file():
        raise CheckpointError(
            f"`resume_from_checkpoint` {wanted}: no checkpoint there ({TRAINER_STATE_NAME} is missing)"
        )
    broken = fault(wanted)
    if broken is not None:
        raise CheckpointError(
            f"`resume_from_checkpoint` {wanted}: no whole checkpoint ({broken}); resume from 'last', or start again"
        )
    if lacks_training_state(wanted):
        raise CheckpointError(
            f"`resume_from_checkpoint` {wanted}: it lacks the optimiser or the random state to go on with "
            "(`save_only_model`): start another run"
        )
    return wanted


def best_checkpoint(resumed: str | Path, step: int | None) -> Path | None:
    """The checkpoint of the best step, beside the one that is resumed; None where it is not there any more."""
    if not step:
        return None
    folder = Path(resumed).resolve().parent / f"{PREFIX_CHECKPOINT_DIR}-{step}"
    return folder if folder.is_dir() and unreadable_weights(folder) is None else None


def holds_a_run(output_dir: str | Path) -> bool:
    """Whether a folder holds any model, results, or a whole checkpoint. What a kill left of a save is none of them."""
    folder = Path(output_dir)
    cut_off = (folder / PARTIAL_NAME).is_dir() and unreadable_weights(folder) is not None
    model = (folder / CONFIG_NAME).is_file() and not cut_off
    return (
        (folder / RESULTS_NAME).is_file()
        or model
        or any(not is_unfinished(path) and unreadable_weights(path) is None for path in checkpoint_folders(folder))
    )


def is_unfinished(folder: Path) -> bool:
    """Whether a checkpoint's save was cut off: the mark comes last, and before it, in version 0.1 last, the state.

    One that was saved to its end is not, even if it holds a model alone, or was damaged since.
    """
    return not (folder / MARK_NAME).exists() and not isinstance(read_json(folder / TRAINER_STATE_NAME), dict)


def remove_run(output_dir: str | Path) -> None:
    """Remove checkpoints, model, second tokenizer, results and pictures of a former run from a folder; else nothing."""
    folder = Path(output_dir)
    for path in checkpoint_folders(folder):
        shutil.rmtree(path)
    weights = [*folder.glob("model*.safetensors"), folder / SAFE_WEIGHTS_INDEX_NAME]
    for path in (*weights, *(folder / name for name in OF_A_RUN)):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / SUBFOLDER, ignore_errors=True)  # it would make a pair of the next run's tokenizer


def remove_broken(output_dir: str | Path) -> None:
    """Remove what a kill in the middle of a save left in a folder; what was saved to its end stays."""
    for path in checkpoint_folders(output_dir):
        if is_unfinished(path):
            shutil.rmtree(path)
    shutil.rmtree(Path(output_dir) / PARTIAL_NAME, ignore_errors=True)


def read_json(path: Path) -> object:
    """What a JSON file holds; None where it is not there or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
