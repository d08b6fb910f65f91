"""What runs on sentences and on dialogues share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..hub import Published
from ..training import VaeTrainer
from ..training.checkpoints import wanted_checkpoint
from .card_arguments import CardArguments
from .output_folder import check_output_dir
from .publishing import push_to_hub


@dataclass
class Run:
    """The arguments of a run.

    Args:
        data: where the texts come from.
        model: what the model is.
        metrics: how it is evaluated.
        card: what the card says and the run cannot know.
        training: how it is trained.
        command: what the card shows as the command of the run; None for none.
        report: is called with the results before the run is published.
        report_published: is called with the address of the published run.
        tokenizer: of the run, in place of the one that `model` describes.
        callbacks: of the trainer, beside its own.
    """

    data: Any
    model: Any
    metrics: Any
    card: CardArguments
    training: Any
    command: str | None = None
    report: Callable[[dict], None] | None = None
    report_published: Callable[[Published], None] | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    callbacks: Sequence[Any] = ()

    @property
    def folder(self) -> Path:
        """The output folder. Its name is that of the model beside others."""
        return Path(str(self.training.output_dir))

    def checkpoint(self) -> str | None:
        """The checkpoint that the run goes on from, if any; refuses an output folder that it may not use."""
        args = self.training
        checkpoint = wanted_checkpoint(args.output_dir, args.resume_from_checkpoint)
        check_output_dir(args.output_dir, checkpoint, args.overwrite_output_dir)
        return checkpoint

    def end(self, results: dict, published: bool) -> None:
        """Report the results, and publish the output folder where that is wanted."""
        if self.report is not None:
            self.report(results)
        if published:
            address = push_to_hub(self.training)
            if self.report_published is not None:
                self.report_published(address)


def split_metrics(trainer: VaeTrainer, dataset: Any, prefix: str, names: tuple[str, ...]) -> dict:
    """The metrics of a split, by their names without its prefix, and the number of its texts as `sentences`."""
    metrics = trainer.evaluate(dataset, metric_key_prefix=prefix)
    present = {name: metrics[f"{prefix}_{name}"] for name in names if f"{prefix}_{name}" in metrics}
    return present | {"sentences": len(dataset)}
