"""The synthetic study: from sequences with a known latent to runs, figures and a report."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from transformers.utils import logging

from ..analysis import MeanSpace, MeanSpaceCallback, animate_training, draw_sweep, draw_training
from ..analysis.synthetic_study import Setting, StudyRun, study_report
from ..data import SyntheticCorpus, VaeCollator, spoken_words, synthetic_corpus
from ..errors import ParameterError
from ..evaluation import grid_posterior
from ..hub.run_record import write_json
from ..models import BnVaeConfig, BnVaeForConditionalGeneration
from ..training import SIZES, CollapseCallback, VaeTrainer, VaeTrainingArguments
from ..training.run_lock import lock, unlock
from .checks import check_folder_without_results, check_least, check_seeds

logger = logging.get_logger(__name__)

FIGURE_BATCH_SIZE = 32  # of Figure 1, as in the paper
HALVINGS = 4
FRAMES = 16
TRUE_GRID_POINTS = 251  # the generator's posteriors are narrower than those of trained models
RECIPE: dict[str, Any] = {
    "optim": "sgd",
    "learning_rate": 0.5,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
    "kl_schedule": "constant",
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "disable_tqdm": True,
}
START: dict[str, Any] = {
    "initializer_range": 0.1,
    "encoder_initializer_range": 0.1,
    "encoder_embedding_initializer_range": 0.1,
    "embedding_dropout": 0.0,
    "output_dropout": 0.0,
}


@dataclass
class StudyArguments:
    """What is trained, and where it is looked at."""

    output_dir: str = field(metadata={"help": "where the figures, the report and the numbers go"})
    gammas: list[float] = field(
        default_factory=lambda: [0.01, 0.1, 0.3, 0.7, 1.0], metadata={"help": "frozen scales of BN-VAE"}
    )
    batch_sizes: list[int] = field(default_factory=lambda: [16, 32, 64], metadata={"help": "sequences in a batch"})
    max_steps: int = field(default=800, metadata={"help": "optimiser steps of every run"})
    record_steps: list[int] = field(
        default_factory=list,
        metadata={"help": "columns of figure 1; by default 0, a sixteenth of the steps, an eighth, ..., all of them"},
    )
    points: int = field(default=500, metadata={"help": "validation sequences that the figures show"})
    train_sequences: int = field(default=16_000, metadata={"help": "validation and test have an eighth of them each"})
    processes: int = field(default=2, metadata={"help": "runs at a time, on one thread each"})
    seed: int = field(default=1, metadata={"help": "of the data and of every run"})

    def __post_init__(self):
        check_least(self, max_steps=1, points=2, processes=1)
        check_seeds([self.seed], "`seed`")
        check_folder_without_results(self.output_dir, "`output_dir`")
        if self.train_sequences < 8 * self.points:
            raise ParameterError(
                f"`points` {self.points} are validation sequences, an eighth of the training sequences: raise "
                f"`train_sequences` to {8 * self.points}"
            )
        for name, least in (("gammas", 0), ("batch_sizes", 1)):
            values = getattr(self, name)
            if not values or min(values) <= least or len(set(values)) < len(values):
                raise ParameterError(f"`{name}` must be different numbers above {least}, got {values}")
        if not self.record_steps:
            self.record_steps = [0, *(self.max_steps >> halvings for halvings in range(HALVINGS, -1, -1))]
        self.record_steps = sorted(set(self.record_steps))
        if not self.record_steps or not 0 <= self.record_steps[0] <= self.record_steps[-1] <= self.max_steps:
            raise ParameterError(f"`record_steps` must lie between 0 and `max_steps` {self.max_steps}")

    @property
    def figure_batch_size(self) -> int:
        """Of the two runs of Figure 1: the one that is nearest to the paper's."""
        return min(self.batch_sizes, key=lambda size: abs(size - FIGURE_BATCH_SIZE))

    def settings(self) -> list[Setting]:
        """Every run, in the order of the figures: the smallest γ stands above the VAE, which is without."""
        gammas: list[float | None] = [*sorted(self.gammas, reverse=True), None]
        return [Setting(gamma, size) for gamma in gammas for size in sorted(self.batch_sizes)]

    def steps_to_look_at(self, setting: Setting) -> set[int]:
        """The end, and of the two runs of Figure 1 also its columns and the frames of the animation."""
        shown = (max(self.gammas), None)
        if setting.batch_size != self.figure_batch_size or setting.gamma not in shown:
            return {self.max_steps}
        frames = range(0, self.max_steps, max(1, self.max_steps // FRAMES))
        return {self.max_steps, *self.record_steps, *frames}


def run_study(
    args: StudyArguments, command: str | None = None, say: Callable[[str], Any] = logger.info
) -> list[StudyRun]:
    """Draw the sequences, train every setting, and write the figures, `all_results.json` and `report.md`.

    Args:
        args: what is trained; `args.output_dir` is made where it is missing.
        command: what called for the study, for the head of the report.
        say: what is told of each run as it ends.

    Returns:
        The runs in the order of the figures.

    Raises:
        ParameterError: matplotlib is not installed, or another run writes into the folder.
    """
    if find_spec("matplotlib") is None:
        raise ParameterError("the study draws pictures: pip install 'hf-bnvae[figures]'")
    started = time.perf_counter()
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock(folder)
    corpus = synthetic_corpus(args.train_sequences, args.seed)
    data = describe_data(corpus, args)
    say(f"A sequence says {data['true_information']:.2f} nats of its z.")
    runs, spaces = {}, {}
    for setting, results, seen in train_all(args, corpus.splits):
        runs[setting], spaces[setting] = StudyRun(setting, results), seen
        say(
            f"[{len(runs)}/{len(args.settings())}] {setting.title}, batch size {setting.batch_size}: "
            f"KL {results['test_kl']:.3f}, correlation {results['correlation']:.2f}, {results['seconds']:.0f} s"
        )
    draw(args, spaces, np.array(corpus.splits["validation"]["latent"][: args.points]), folder)
    in_order = [runs[setting] for setting in args.settings()]
    seconds = time.perf_counter() - started
    write_json(
        folder / "all_results.json", {"data": data, "runs": [run.record() for run in in_order], "seconds": seconds}
    )
    report = study_report(in_order, data, command, args.max_steps, seconds)
    (folder / "report.md").write_text(report, encoding="utf-8")
    unlock(folder)
    return in_order


def describe_data(corpus: SyntheticCorpus, args: StudyArguments) -> dict[str, float]:
    """What the true posterior says of the sequences that the figures show."""
    shown = corpus.splits["validation"].select(range(args.points))
    words = spoken_words(torch.tensor(shown["input_ids"][:]))
    true = grid_posterior(corpus.generator, [{"labels": words}], TRUE_GRID_POINTS)
    return {
        "train_sequences": args.train_sequences,
        "points": args.points,
        "true_information": float(true.kl.mean()),
        "true_deviation": float(true.deviation.mean()),
        "true_correlation": float(np.corrcoef(true.mean, shown["latent"][:])[0, 1]),
    }


def train_all(args: StudyArguments, splits: dict[str, Dataset]) -> Iterator[tuple[Setting, dict, list[MeanSpace]]]:
    """Every run as it ends, the long ones begun first."""
    settings = sorted(args.settings(), key=lambda setting: (-len(args.steps_to_look_at(setting)), -setting.batch_size))
    everything = ([args] * len(settings), settings, [splits] * len(settings))
    if args.processes == 1:
        yield from map(train_setting, *everything)
        return
    # Not forked: a copy of a process with threads may wait for one that it does not have.
    with ProcessPoolExecutor(args.processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from pool.map(train_setting, *everything)


def train_setting(
    args: StudyArguments, setting: Setting, splits: dict[str, Dataset]
) -> tuple[Setting, dict[str, float], list[MeanSpace]]:
    """One run: its setting, its numbers, and where its points were at the steps that were looked at."""
    set_seed(args.seed)
    posterior: dict[str, Any] = {"posterior": "gaussian"} if setting.gamma is None else {"gamma": setting.gamma}
    trainer = VaeTrainer(
        BnVaeForConditionalGeneration(BnVaeConfig(**SIZES["synthetic"], **START, **posterior)),
        VaeTrainingArguments(
            output_dir=args.output_dir,
            per_device_train_batch_size=setting.batch_size,
            max_steps=args.max_steps,
            statistics_samples=args.train_sequences,
            seed=args.seed,
            **RECIPE,
        ),
        train_dataset=splits["train"],
        eval_dataset=splits["test"],
        data_collator=VaeCollator(pad_token_id=0),
    )
    for callback in (PrinterCallback, CollapseCallback):  # the report says it once for all runs
        trainer.remove_callback(callback)
    shown = splits["validation"].select(range(args.points))
    look = MeanSpaceCallback(trainer, trainer.get_eval_dataloader(shown), args.steps_to_look_at(setting))
    trainer.add_callback(look)
    trainer.train()
    metrics = trainer.evaluate(metric_key_prefix="test")
    metrics_shown = {f"test_{name}": metrics[f"test_{name}"] for name in ("elbo", "rec", "kl", "mi", "au", "agg_kl")}
    return setting, metrics_shown | look.spaces[-1].statistics() | {"seconds": trainer.stopwatch.seconds}, look.spaces


def draw(args: StudyArguments, spaces: dict[Setting, list[MeanSpace]], latents: np.ndarray, folder: Path) -> None:
    """The figures and the animation."""
    trainings = {
        setting.title: spaces[setting]
        for setting in (Setting(gamma, args.figure_batch_size) for gamma in (None, max(args.gammas)))
    }
    columns = {title: [space for space in seen if space.step in args.record_steps] for title, seen in trainings.items()}
    draw_training(columns, latents, folder / "figure1.png")
    animate_training(trainings, latents, folder / "animation.gif")
    sweep: dict[str, dict[int, MeanSpace]] = {}
    for setting in args.settings():
        sweep.setdefault(setting.title, {})[setting.batch_size] = spaces[setting][-1]
    draw_sweep(sweep, latents, folder / "figure2.png")
