r"""Train several methods on the same data, and put them side by side: tables, a csv file, pictures.

    hf-bnvae compare --methods vae,bn_vae:gamma=0.6,ae+fb_vae:free_bits=4 --seeds 1,2,3 \
        --dataset_name pydocs --num_train_epochs 8 --output_dir runs/comparison

A method is NAME, NAME:FLAG=VALUE:FLAG=VALUE (a list as "VALUE VALUE"), or FIRST+THEN, where THEN starts from the
encoder of FIRST and a new decoder. Every other flag is one of `hf-bnvae train`, and the same for all, but that a
language model goes without those of an encoder or a latent. Flags may stand in a YAML file, named first. What is done
is not done again: run the command once more after an interruption, or with more methods and seeds.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from ..analysis import Run, draw_rate_distortion, read_run, write_comparison
from ..analysis.comparison import RunError
from ..data import CorpusError
from ..hub.run_record import command_line, write_json
from ..methods import METHODS
from ..runs.checks import check_output_folder, check_seeds, whole_numbers
from ..runs.comparison import SET_FOR_EACH_RUN, Entry, parse_method, refuse_publishing
from ..runs.data_arguments import EMBEDDING_FILES
from ..runs.model_arguments import OF_A_TOKENIZER
from ..training import VaeTrainingArguments
from ..training.checkpoints import last_checkpoint, read_json
from ..training.run_lock import ENDS_WITH_PARENT, lock
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .program import called_as, program_name
from .run import run
from .train import ARGUMENTS
from .yaml_file import all_flags, flag_values, name_of

TRAIN = [sys.executable, "-m", "hf_bnvae.cli", "train"]
WITH_A_LATENT = (
    "encoder_name_or_path",
    "encoder_config",
    "encoder_pooling",
    "encoder_normalised",
    "train_encoder",
    "soft_prompt_length",
    "latent_memory_length",
    "decoder_skip",
    "free_bits",
    "decorrelation",
    "bow_weight",
    "language_model",
    "prior_samples",
    *EMBEDDING_FILES.values(),
)
"""Flags of a latent, of what it is read from and of draws of its prior, that a language model does not have."""
OF_A_BASE = ("save_base", "no_save_base")
"""Flags of frozen weights, of which a language model has none where it trains its whole decoder."""


@flags_named()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--methods", required=True, nargs="+", help="separated by commas or spaces")
    parser.add_argument("--seeds", default=["1"], nargs="+", help="separated by commas or spaces")
    parser.add_argument("--output_dir", required=True, help="folder of the comparison; the runs are under runs/ in it")
    args, shared = parser.parse_known_args(all_flags(argv))
    methods = ",".join(args.methods)
    entries = [parse_method(text) for text in methods.split(",")]
    seeds = whole_numbers(",".join(args.seeds), "--seeds")
    check_seeds(seeds, "--seeds")
    for flag, items in (("--methods", [entry.text for entry in entries]), ("--seeds", seeds)):
        if len(set(items)) < len(items):
            raise UsageError(f"{flag} names one of them twice")
    if find_spec("matplotlib") is None:
        raise UsageError("a comparison draws pictures: pip install matplotlib")
    output_dir = Path(args.output_dir)
    check_output_folder(args.output_dir, "--output_dir")
    check_shared(shared)
    for entry in entries:
        check_entry(entry, output_dir, shared)
    take_folder(output_dir, shared)

    runs, failures = [], []
    wanted = [(entry, seed) for entry in entries for seed in seeds]
    for number, (entry, seed) in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {entry.text}, seed {seed}: ", end="", flush=True)
        try:
            runs.append(train_entry(entry, seed, output_dir, shared))
        except RunFailed as failure:
            failures.append(f"{entry.text}, seed {seed}, failed: {failure}")
            print(f"failed: {failure}", flush=True)
        else:
            shown = (f"{name} {round(value, 2) + 0.0:.2f}" for name, value in runs[-1].results.items())
            print(", ".join(shown), flush=True)
    if not runs:
        raise UsageError(f"no run of {methods} succeeded; their output is in run.log under {output_dir}/runs")
    command = command_line(called_as("compare", argv), sys.argv[1:] if argv is None else argv)
    write_comparison(runs, output_dir, command, failures)
    draw_rate_distortion(runs, output_dir / "rate_distortion.png")
    print((output_dir / "comparison.md").read_text(encoding="utf-8"))
    if failures:
        raise UsageError(f"{len(failures)} of {len(wanted)} runs failed: {failures[0]}")


def check_shared(shared: list[str]) -> None:
    """Refuse flags that the comparison sets itself."""
    for flag in shared:
        name = name_of(flag) if flag.startswith("--") else ""
        if name in SET_FOR_EACH_RUN:
            raise UsageError(f"{flag}: a comparison sets this flag for each run itself")
        refuse_publishing(name)


class LaterArguments(VaeTrainingArguments):
    """Arguments of a run in a process of its own, which takes the device that this one leaves alone."""

    def __post_init__(self):
        self.use_cpu, self.ddp_backend = True, None
        super().__post_init__()

    def _check_the_device(self) -> None:
        """The run does."""


def check_entry(entry: Entry, output_dir: Path, shared: list[str]) -> None:
    """Refuse, before anything is trained, flags that a run of an entry would refuse."""
    if entry.first is not None:
        check_entry(entry.first, output_dir, shared)
    try:
        parse_arguments(*ARGUMENTS, LaterArguments, description="", argv=flags_of(entry, 1, output_dir, shared))
    except (UsageError, CorpusError) as error:
        raise UsageError(f"--methods {entry.text}: {error}") from error


def take_folder(output_dir: Path, shared: list[str]) -> None:
    """Lock the folder of a comparison; refuse one whose runs had other flags."""
    lock(output_dir)
    record = output_dir / "flags.json"
    begun = any(next(output_dir.rglob(name), None) for name in ("all_results.json", "trainer_state.json"))
    if begun and record.is_file():
        before = read_json(record)
        if not isinstance(before, list):
            raise UsageError(
                f"{record} cannot be read: remove it if the runs there were made with the flags of this command, or "
                "name another folder by --output_dir"
            )
        if before != shared:
            said = shlex.join(map(str, before))
            raise UsageError(
                f"--output_dir {output_dir} holds runs made with other flags ({said}): repeat those flags, or name "
                "another folder"
            )
    write_json(record, shared)


def read_by(entry: Entry, shared: list[str]) -> list[str]:
    """The flags that all share, and for a language model those among them that it reads."""
    if METHODS[dict(entry.parameters)["method"]].has_latent:
        return shared
    kept = _without(shared, WITH_A_LATENT)
    said = flag_values(kept) | dict(entry.parameters)
    unread: tuple[str, ...] = ()
    if "decoder_name_or_path" in said:
        unread += OF_A_TOKENIZER
    elif "decoder_config" not in said:
        unread += ("pretrained_learning_rate",)
    if "decoder_name_or_path" not in said or said.get("train_decoder") == "full":
        unread += OF_A_BASE
    return _without(kept, unread)


def _without(flags: list[str], names: tuple[str, ...]) -> list[str]:
    """Flags, and the values behind them, but for some by their names."""
    kept, reads = [], True
    for text in flags:
        if text.startswith("--"):
            reads = name_of(text) not in names
        if reads:
            kept.append(text)
    return kept


def flags_of(entry: Entry, seed: int, output_dir: Path, shared: list[str]) -> list[str]:
    """The flags of a run. What an entry says comes last, and so wins over what all share."""
    folder = entry.folder(output_dir, seed)
    own = [text for name, value in entry.parameters for text in (f"--{name}", *value.split())]
    own += ["--seed", str(seed), "--output_dir", str(folder), "--push_to_hub", "false"]
    if entry.first is not None:
        own += ["--pretrained_encoder", str(entry.first.folder(output_dir, seed)), "--reset_decoder", "true"]
    return [*read_by(entry, shared), *own]


class RunFailed(Exception):
    """The last line that a run printed, or what is wrong with its files."""


def train_entry(entry: Entry, seed: int, output_dir: Path, shared: list[str]) -> Run:
    """Train an entry, and before it what it is pretrained on, unless that is done."""
    folder = entry.folder(output_dir, seed)
    flags = flags_of(entry, seed, output_dir, shared)
    seconds = 0.0
    if entry.first is not None:
        seconds = train_entry(entry.first, seed, output_dir, shared).seconds
    if not (folder / "all_results.json").is_file():
        if last_checkpoint(folder, resumable=True) is not None:
            flags += ["--resume_from_checkpoint", "last"]
        elif folder.is_dir():  # what a kill left before the first checkpoint, or before the results
            flags += ["--overwrite_output_dir", "true"]
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with (folder / "run.log").open("w", encoding="utf-8") as log:
            environment = os.environ | {ENDS_WITH_PARENT: "1"}
            done = subprocess.run([*TRAIN, *flags], stdout=log, stderr=subprocess.STDOUT, env=environment)
        if done.returncode != 0:
            lines = (folder / "run.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise RunFailed(lines[-1] if lines else f"exit status {done.returncode}")
        print(f"{time.perf_counter() - started:.0f} s, ", end="", flush=True)
    try:
        return read_run(folder, entry.text, seed, seconds)
    except RunError as error:
        raise RunFailed(str(error)) from error


if __name__ == "__main__":
    run(main)
