"""The queue of trainings behind docs/results/: what is to be measured, what is done, and the next block of it.

    python benchmarks/evidence.py list                     (the blocks in order of worth, and how far each is)
    python benchmarks/evidence.py next                     (runs the first that is not done, into docs/results/evidence)
    python benchmarks/evidence.py run imdb_1 table2        (runs these)
    python benchmarks/evidence.py next --scale cpu         (the same at sizes for a laptop, into folders of their own)

A block ends within eight minutes on one H100, where its trainings share the card. For a machine without the corpora and
without a network:

    python benchmarks/evidence.py pack next build/data.tar.gz           (here: the corpora that the block reads)
    python benchmarks/evidence.py next --data build/data.tar.gz --archive results.tar.gz      (there)
    python benchmarks/evidence.py keep results.tar.gz                   (here: into docs/results/evidence)

The pairs_* blocks stand on pretrained networks, which `fetch_pretrained.py build/pretrained` fetches; its head says how
they travel.

A training counts as done when its results are kept. The archive is written anew after each training, so a block that is
cut off loses only the trainings that had not ended, and `next` runs those alone. What is kept of a training is small:
`all_results.json`, `run.json` (how it was made), `curves.csv` (its evaluations), the loss of each test sentence, and
`classification.json` where encoders are judged. No sentence of a corpus is kept.
"""

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import evidence_blocks
from evidence_blocks import ON_A_GPU, Block, Flags

from hf_bnvae.hub.run_record import write_json
from hf_bnvae.methods import DIALOGUE_METHODS, METHODS
from hf_bnvae.runs.comparison import Entry, parse_method
from hf_bnvae.training.checkpoints import last_checkpoint

ROOT = Path(__file__).parents[1]

RESULTS = ROOT / "docs" / "results" / "evidence"
DATA = Path(os.environ.get("BNVAE_DATA", ROOT.parent / "shared" / "data"))
PRETRAINED = ROOT / "build" / "pretrained"
SCALES = ("gpu", "cpu")
SECONDS = 480
KEPT = ("all_results.json", "run.json", "curves.csv", "test_nll.csv", "classification.json", "figures.txt")
CURVES = (
    "step",
    "epoch",
    "train_seconds",
    "eval_elbo",
    "eval_rec",
    "eval_kl",
    "eval_mi",
    "eval_au",
    "eval_agg_kl",
    "eval_use",
)
LABELS = (100, 500, 1_000, 2_000, 10_000)
LABELLED = 20_000
"""Training sentences among which the labelled ones are drawn."""
SCRIPTS = {"sentences": "run_lm.py", "dialogue": "run_dialogue.py"}
METHODS_OF = {"sentences": METHODS, "dialogue": DIALOGUE_METHODS}
MODEL = "model"
"""Folder of a training's model, inside its own, until the block has ended."""


class EvidenceError(Exception):
    """What cannot be run: one sentence with the remedy."""


def kept_folder(results: Path, scale: str, group: str, method: str, seed: int) -> Path:
    """Where the results of a training are kept. Neither a colon nor a blank stands in the name of a folder."""
    return results / scale / group / method.replace(":", ",").replace(" ", "_") / f"seed_{seed}"


def missing(block: Block, scale: str, results: Path) -> list[tuple[str, int]]:
    """The trainings of a block that have no results yet."""
    return [
        (method, seed)
        for method, seed in block.trainings()
        if not (kept_folder(results, scale, block.group, method, seed) / "all_results.json").is_file()
    ]


def blocks_at(scale: str) -> list[Block]:
    """The blocks that a scale has."""
    return [block for block in evidence_blocks.BLOCKS if scale == "gpu" or block.kind != "stage"]


def find_blocks(names: list[str], scale: str, results: Path) -> list[Block]:
    """Blocks by their names; `next` is the first that is not done."""
    known = {block.name: block for block in blocks_at(scale)}
    found = []
    for name in names:
        if name == "next":
            undone = next((block for block in blocks_at(scale) if missing(block, scale, results)), None)
            if undone is None:
                raise EvidenceError(f"every block is done at --scale {scale}")
            found.append(undone)
        elif name in known:
            found.append(known[name])
        else:
            raise EvidenceError(f"there is no block {name!r} at --scale {scale}; the blocks are {', '.join(known)}")
    return found


def command_flags(flags: Flags, data: Path, pretrained: Path = PRETRAINED) -> list[str]:
    """Flags as a command line has them; `{data}` is the folder of the corpora, `{pretrained}` that of networks."""
    places = {"{data}": str(data), "{pretrained}": str(pretrained)}
    line = []
    for name, value in flags.items():
        text = str(value).lower() if value is True else str(value)
        for place, folder in places.items():
            text = text.replace(place, folder)
        line += [f"--{name}", *(text.split(" ") if isinstance(value, str) else [text])]
    return line


@dataclass
class Worker:
    """Runs the trainings of a block and keeps their results.

    Args:
        block: what to run.
        scale: `gpu` or `cpu`.
        data: folder of the corpora.
        work: folder for models and logs.
        results: folder of what is kept.
        deadline: `time.monotonic()` at which what still runs is stopped.
        together: trainings that run side by side.
        archive: file that all results are written to after each training; None for no archive.
    """

    block: Block
    scale: str
    data: Path
    work: Path
    results: Path
    deadline: float
    together: int
    archive: Path | None
    locks: dict[Path, threading.Lock] = field(default_factory=dict)
    keeping: threading.Lock = field(default_factory=threading.Lock)

    def train(self, method: str, seed: int) -> str:
        """Train one method, judge it, and keep the results. Returns a sentence on how it went."""
        folder = kept_folder(self.work, self.scale, self.block.group, method, seed)
        started = time.monotonic()
        try:
            if self.block.kind == "stage":
                self.stage(method, folder)
            elif self.block.kind == "sentences":
                self.train_entry(parse_method(method), seed)
            else:
                own: Flags = dict(parse_method(method, METHODS_OF["dialogue"]).parameters)
                self.run(SCRIPTS["dialogue"], self.training_flags(own, seed) | going_on(folder / MODEL), folder)
            if self.block.kind == "sentences" and self.flags(seed).get("nll_samples") != 0:
                self.judge(folder)
            if self.block.classify and METHODS[str(dict(parse_method(method).parameters)["method"])].has_latent:
                self.classify(folder)
        except EvidenceError as error:
            return f"{method}, seed {seed}: {error}"
        with self.keeping:
            self.keep(method, seed, folder)
            if self.archive is not None:
                write_archive(self.results, self.archive)
        return f"{method}, seed {seed}: kept after {time.monotonic() - started:.0f} s"

    def train_entry(self, entry: Entry, seed: int) -> None:
        """Train an entry after what it is pretrained on; entries pretrained on the same model share its training."""
        folder = kept_folder(self.work, self.scale, self.block.group, entry.text, seed)
        with self.locks.setdefault(folder, threading.Lock()):
            if (folder / MODEL / "all_results.json").is_file():
                return
            flags: Flags = dict(entry.parameters)
            if entry.first is not None:
                self.train_entry(entry.first, seed)
                pretrained = kept_folder(self.work, self.scale, self.block.group, entry.first.text, seed) / MODEL
                flags |= {"pretrained_encoder": str(pretrained), "reset_decoder": "true"}
            self.run(SCRIPTS["sentences"], self.training_flags(flags, seed) | going_on(folder / MODEL), folder)

    def training_flags(self, own: Flags, seed: int) -> Flags:
        """The flags of one training, whose own are `own`."""
        flags = self.flags(seed)
        if self.block.kind == "sentences":
            # The NLL comes afterwards, with that of each sentence.
            flags = {name: value for name, value in flags.items() if name not in ("nll_bf16", "max_nll_samples")}
            flags |= {"nll_samples": 0} | (self.block.with_latent if METHODS[str(own["method"])].has_latent else {})
        return flags | own

    def flags(self, seed: int) -> Flags:
        flags = self.block.flags | (self.block.cpu if self.scale == "cpu" else ON_A_GPU)
        if self.block.kind == "dialogue":
            flags = {name: value for name, value in flags.items() if name != "nll_bf16"}
        common = {"dataset_name": f"{{data}}/{self.block.corpora[0]}", "seed": seed, "card_quotes": 0}
        return flags | common | {"disable_tqdm": True, "save_total_limit": 1}

    def judge(self, folder: Path) -> None:
        """The NLL of the test split, with that of each sentence."""
        names = ("dataset_name", "max_eval_samples", "nll_samples", "max_nll_samples", "nll_bf16")
        flags = {name: value for name, value in self.flags(0).items() if name in names}
        flags |= {"model_name_or_path": str(folder / MODEL), "seed": 0, "reconstruction_samples": 0}
        flags |= {"output_file": str(folder / "judged.json"), "scores_file": str(folder / "scores.csv")}
        line = [sys.executable, str(ROOT / "run_scripts" / "evaluate_lm.py"), *command_flags(flags, self.data)]
        self.call(line, folder / "judge.log")
        path = folder / MODEL / "all_results.json"
        results = json.loads(path.read_text(encoding="utf-8"))
        judged = json.loads((folder / "judged.json").read_text(encoding="utf-8"))
        write_json(path, results | {name: value for name, value in judged.items() if name not in results})
        with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
            rows = [(row["nll"], row.get("use", "")) for row in csv.DictReader(file) if row["nll"]]
        with (folder / MODEL / "test_nll.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [("nll", "use"), *(tuple(f"{float(value):.3f}" if value else "" for value in row) for row in rows)]
            )

    def classify(self, folder: Path) -> None:
        """A linear classifier on the posterior means, with few labels and with many."""
        sentences = int(str(self.flags(0).get("max_train_samples", LABELLED)))
        flags: Flags = {
            "model_name_or_path": f"model={folder / MODEL}",
            "dataset_name": f"{{data}}/{self.block.corpora[0]}",
            "num_labels_list": ",".join(str(labels) for labels in LABELS if labels <= sentences),
            "max_train_samples": min(LABELLED, sentences),
        }
        if "max_eval_samples" in self.flags(0):
            flags["max_eval_samples"] = self.flags(0)["max_eval_samples"]
        self.run("run_classification.py", flags, folder, output="classification")

    def run(self, script: str, flags: Flags, folder: Path, output: str = MODEL) -> None:
        """One script with its flags."""
        line = [sys.executable, str(ROOT / "run_scripts" / script), *command_flags(flags, self.data)]
        self.call([*line, "--output_dir", str(folder / output)], folder / f"{output}.log")

    def call(self, line: list[str], path: Path, **variables: str) -> None:
        """Run a command until its end or the block's, and write what it prints to a file.

        Raises:
            EvidenceError: it failed, or did not end in time.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        environment = os.environ | {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"} | variables
        with path.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                line, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            try:
                status = process.wait(max(0.0, self.deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise EvidenceError("the block's time was over") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if status != 0:
            said = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise EvidenceError(f"{Path(line[1]).name} failed: {said[-1] if said else f'status {status}'}")

    def stage(self, stage: str, folder: Path) -> None:
        """One stage of gpu.sh, which writes figures and a table."""
        left = str(int(self.deadline - time.monotonic()))
        variables = {"OUT_DIR": str(folder), "BUDGET": left, "PYTHON": sys.executable}
        self.call(["bash", str(ROOT / "benchmarks" / "gpu.sh"), stage], folder / "stage.log", **variables)
        if not (folder / f"{stage}.json").is_file():
            raise EvidenceError(f"no figures; {(folder / f'{stage}.txt').read_text(encoding='utf-8').strip()[-200:]}")

    def keep(self, method: str, seed: int, folder: Path) -> None:
        """Copy what is small of a training; `all_results.json`, which marks it as done, comes last."""
        model, kept = folder / MODEL, kept_folder(self.results, self.scale, self.block.group, method, seed)
        kept.mkdir(parents=True, exist_ok=True)
        if self.block.kind == "stage":
            shutil.copy(folder / f"{method}.txt", kept / "figures.txt")
            shutil.copy(folder / f"{method}.json", kept / "all_results.json")
            return
        record = json.loads((model / "run.json").read_text(encoding="utf-8"))
        state = json.loads((model / "trainer_state.json").read_text(encoding="utf-8"))
        described = {
            "command": f"python benchmarks/evidence.py run {self.block.name} --scale {self.scale}",
            "flags": self.flags(seed) | {"dataset_name": self.block.corpora[0]},
            "together": self.together,
            "best_step": state.get("best_global_step"),
        } | {name: record[name] for name in ("method", "hardware", "versions")}
        write_json(kept / "run.json", described | {"data": record["data"]["splits"]})
        write_curves(kept / "curves.csv", state["log_history"])
        if (model / "test_nll.csv").is_file():
            shutil.copy(model / "test_nll.csv", kept)
        classified = folder / "classification" / "all_results.json"
        if classified.is_file():
            shutil.copy(classified, kept / "classification.json")
        shutil.copy(model / "all_results.json", kept)


def going_on(folder: Path) -> Flags:
    """What a training is told where an earlier run of its block was cut off, and its models were kept."""
    if last_checkpoint(folder, resumable=True) is not None:
        return {"resume_from_checkpoint": "last"}
    return {"overwrite_output_dir": "true"} if folder.is_dir() else {}


def write_curves(path: Path, history: list[dict]) -> None:
    """The evaluations during a training, one a row."""
    rows = [line for line in history if "train_seconds" in line]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CURVES)
        for row in rows:
            writer.writerow([f"{row[name]:.6g}" if name in row else "" for name in CURVES])


def run_blocks(blocks: list[Block], args: argparse.Namespace) -> bool:
    """Run what is missing of some blocks. Returns whether all of it was kept."""
    deadline = time.monotonic() + args.seconds
    whole = True
    with tempfile.TemporaryDirectory() as temporary:
        data = unpacked(Path(args.data), Path(temporary) / "data")
        work = Path(args.work_dir or Path(temporary) / "work")
        for block in blocks:
            absent = [name for name in block.corpora if not (data / name).is_dir()]
            if absent:
                raise EvidenceError(
                    f"{data} has no {absent[0]}/, which block {block.name} reads: name its folder by --data"
                )
            absent = [name for name in block.pretrained if not (PRETRAINED / name).is_dir()]
            if absent:
                raise EvidenceError(
                    f"{PRETRAINED} has no {absent[0]}/, which block {block.name} stands on: run "
                    f"python benchmarks/fetch_pretrained.py {PRETRAINED}"
                )
            together = args.together or (block.together if args.scale == "gpu" else 1)
            archive = Path(args.archive) if args.archive else None
            worker = Worker(block, args.scale, data, work, Path(args.results_dir), deadline, together, archive)
            wanted = missing(block, args.scale, worker.results)
            print(f"{block.name}: {len(wanted)} of {len(list(block.trainings()))} to do", flush=True)
            with ThreadPoolExecutor(together) as pool:
                for sentence in pool.map(lambda one, worker=worker: worker.train(*one), wanted):
                    print(sentence, flush=True)
            whole = whole and not missing(block, args.scale, worker.results)
    return whole


def unpacked(data: Path, folder: Path) -> Path:
    """The folder of the corpora, which may come as an archive."""
    if data.is_dir():
        return data
    if not data.is_file():
        raise EvidenceError(
            f"--data {data} does not exist: name the folder of the corpora, or an archive made by `pack`"
        )
    with tarfile.open(data) as archive:
        archive.extractall(folder, filter="data")
    return folder


def pack(blocks: list[Block], data: Path, path: Path) -> None:
    """Write the corpora that some blocks read into one archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name in sorted({name for block in blocks for name in block.corpora}):
            if not (data / name).is_dir():
                raise EvidenceError(f"{data} has no {name}/: name the folder of the corpora by --data")
            archive.add(data / name, name)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB for {', '.join(block.name for block in blocks)}")


def write_archive(results: Path, path: Path) -> None:
    """Every kept file of `results`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
        with tarfile.open(fileobj=partial, mode="w:gz") as archive:
            for name in KEPT:
                for found in sorted(results.rglob(name)):
                    archive.add(found, str(found.relative_to(results)))
        os.replace(partial.name, path)


def keep(path: Path, results: Path) -> None:
    """Unpack an archive of results; what is there already stays."""
    with tarfile.open(path) as archive:
        for member in archive:
            if Path(member.name).name not in KEPT or not member.isfile():
                raise EvidenceError(f"{path}: {member.name!r} is not a result: was it made by --archive?")
            if not (results / member.name).exists():
                archive.extract(member, results, filter="data")
                print(results / member.name)


def print_queue(scale: str, results: Path) -> None:
    for block in blocks_at(scale):
        total, left = len(list(block.trainings())), len(missing(block, scale, results))
        state = "done" if not left else f"{total - left}/{total}"
        print(f"{block.name:<24}{state:>6}  {block.group}: {', '.join(block.methods)}; seeds {block.seeds}")


def parser() -> argparse.ArgumentParser:
    """The command line: list, next, run, pack, keep."""
    ours = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = ours.add_subparsers(dest="command", required=True)
    helps = {
        "list": "the blocks, in order of worth",
        "next": "run the first block that is not done",
        "run": "run blocks by their names",
        "pack": "put the corpora that a block reads into an archive",
        "keep": "unpack the results of a run elsewhere",
    }
    made = {name: commands.add_parser(name, help=words, allow_abbrev=False) for name, words in helps.items()}
    made["run"].add_argument("blocks", nargs="+", help="their names")
    made["pack"].add_argument("block", help="its name, or next")
    made["pack"].add_argument("archive", help="file to write")
    made["keep"].add_argument("archive", help="what --archive wrote")
    for name, command in made.items():
        command.add_argument("--results_dir", default=str(RESULTS), help="where results are kept")
        if name != "keep":
            command.add_argument("--scale", choices=SCALES, default="gpu", help="sizes of the paper, or of a laptop")
        if name in ("next", "run", "pack"):
            command.add_argument("--data", default=str(DATA), help="folder of the corpora, or what `pack` wrote")
    for command in (made["next"], made["run"]):
        command.add_argument("--archive", help="write what is kept into this archive as well, after each training")
        command.add_argument("--work_dir", help="keep models and logs here; by default they are deleted")
        command.add_argument("--seconds", type=float, help="stop what still runs after so many")
        command.add_argument(
            "--together", type=int, help="trainings side by side; by default what the block says, or 1"
        )
    return ours


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    results = Path(args.results_dir)
    try:
        if args.command == "list":
            print_queue(args.scale, results)
        elif args.command == "pack":
            pack(find_blocks([args.block], args.scale, results), Path(args.data), Path(args.archive))
        elif args.command == "keep":
            keep(Path(args.archive), results)
        else:
            args.seconds = args.seconds or (SECONDS if args.scale == "gpu" else float("inf"))
            names = args.blocks if args.command == "run" else ["next"]
            if not run_blocks(find_blocks(names, args.scale, results), args):
                sys.exit("not all of it is done: run the same command again for the rest")
    except EvidenceError as error:
        sys.exit(f"evidence.py: error: {error}")


if __name__ == "__main__":
    main()
