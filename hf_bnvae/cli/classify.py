"""Evaluate encoders by a linear classifier on their vectors, trained on few labels and on many (the paper's Table 3).

    hf-bnvae classify --model_name_or_path out --train_file train.tsv --test_file test.tsv \
        --label_column label --num_labels_list 100,500,1000,2000,10000 --output_dir out_classification
    hf-bnvae classify --model_name_or_path runs/comparison/runs/*/seed_1 NAME=MODEL \
        --dataset_name my_folder --output_dir table

A model is a folder or a Hub id, with NAME= before it where the folder does not name its row: a text VAE, whose vector
of a sentence is the posterior mean, a model of sentence-transformers, or any other encoder, whose states are averaged
over the sentence. With --finetune true the encoders of text VAEs are trained along with the classifier.
"""

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ..analysis.classification_table import (
    BAG_OF_WORDS,
    MAJORITY,
    ROW_NAMES,
    ClassificationSettings,
    flat_results,
    results_page,
)
from ..evaluation.classification import (
    ClassificationTask,
    Predict,
    counting_words,
    evaluate_samples,
    most_frequent,
    read_task,
)
from ..hub.run_record import command_line, write_json
from ..runs.checks import check_folder_without_results, check_least, check_seeds, whole_numbers
from ..runs.data_arguments import DataArguments
from ..runs.sentence_encoders import check_model, finetuned_classifier, probed_classifier
from ..training.run_lock import lock, unlock
from ..visible import visible
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .program import called_as
from .run import run
from .yaml_file import all_flags

FLAG = "--model_name_or_path"
FINETUNING_FLAGS = ("num_train_epochs", "learning_rate", "per_device_train_batch_size")


@dataclass
class ClassificationArguments:
    """What is evaluated, and on how many labels."""

    model_name_or_path: list[str] = field(metadata={"help": "folders of models or Hub ids, or NAME=MODEL"})
    output_dir: str = field(metadata={"help": "where all_results.json and results.md go"})
    num_labels_list: list[str] = field(
        default_factory=lambda: ["100,500,1000,2000,10000"],
        metadata={"help": "labelled sentences to learn from, separated by commas"},
    )
    balanced: bool = field(default=False, metadata={"help": "learn from as many sentences of each class"})
    seeds: list[str] = field(
        default_factory=lambda: ["1,2,3,4,5"], metadata={"help": "of the labelled samples, separated by commas"}
    )
    standardise: bool = field(
        default=True, metadata={"help": "give every dimension of the vectors variance 1; else quiet ones count less"}
    )
    batch_size: int = field(default=128, metadata={"help": "sentences to encode at once"})
    finetune: bool = field(default=False, metadata={"help": "train text VAEs along with the classifier on them"})
    num_train_epochs: float = field(default=10.0, metadata={"help": "finetune: passes over the labelled sentences"})
    learning_rate: float = field(default=3e-3, metadata={"help": "finetune: of AdamW, decaying linearly"})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "finetune: sentences in a batch"})

    def __post_init__(self):
        check_least(self, batch_size=1, num_train_epochs=0, learning_rate=0, per_device_train_batch_size=1)
        for name in FINETUNING_FLAGS:
            if not self.finetune and getattr(self, name) != getattr(type(self), name):
                raise UsageError(f"--{name} is read with --finetune true only: leave it out")
        if self.finetune and not self.standardise:
            raise UsageError("--standardise false is read without --finetune only: leave it out")
        if self.sizes()[0] < 2:
            raise UsageError(f"--num_labels_list must be at least 2 each, got {self.sizes()[0]}")
        check_seeds(self.sample_seeds(), "--seeds")
        check_folder_without_results(self.output_dir, "--output_dir")

    def sizes(self) -> list[int]:
        return sorted(set(whole_numbers(",".join(self.num_labels_list), "--num_labels_list")))

    def sample_seeds(self) -> list[int]:
        return sorted(set(whole_numbers(",".join(self.seeds), "--seeds")))

    def settings(self) -> ClassificationSettings:
        """What the table says of the classifiers."""
        return ClassificationSettings(self.sizes(), self.sample_seeds(), self.balanced, self.standardise, self.finetune)

    def models(self) -> dict[str, str]:
        """The model of each row. Without a name a row has that of the folder, or, over `seed_N`, of the one above."""
        by_row: dict[str, str] = {}
        for text in self.model_name_or_path:
            row, equals, model = text.partition("=")
            if not equals or "/" in row or Path(text).exists():
                path = Path(text).resolve()
                row, model = (path.parent if re.fullmatch(r"seed_\d+", path.name) else path).name, text
            if row in by_row or row in ROW_NAMES:
                raise UsageError(f"{FLAG}: two rows would have the name {row}: say NAME=MODEL")
            by_row[row] = model
        return by_row


@flags_named()
def main(argv: list[str] | None = None) -> None:
    args, data = parse_arguments(ClassificationArguments, DataArguments, description=__doc__.splitlines()[0], argv=argv)
    if find_spec("sklearn") is None:
        raise UsageError("classification takes scikit-learn: pip install 'hf-bnvae[classification]'")
    models = args.models()
    for model in models.values():
        check_model(model, args.finetune)
    settings = args.settings()
    task = read_task(data.load(), settings.sizes, settings.seeds, settings.balanced)
    print(
        f"{task.num_classes:,} classes; {len(task.texts):,} of {task.train_sentences:,} training sentences are in a "
        f"sample, and {len(task.test_texts):,} to evaluate on"
    )
    lock(args.output_dir)
    rows: dict[str, Predict] = {name: classifier(model, task, data.max_length, args) for name, model in models.items()}
    rows |= {MAJORITY: most_frequent(task), BAG_OF_WORDS: counting_words(task)}
    scores = {name: evaluate_samples(name, predict, task) for name, predict in rows.items()}
    folder = Path(args.output_dir)
    write_json(folder / "all_results.json", flat_results(scores, task, settings))
    page = results_page(scores, task, settings, command_line(called_as("classify", argv), all_flags(argv)))
    (folder / "results.md").write_text(page, encoding="utf-8")
    unlock(folder)
    print(visible(page))


def classifier(name: str, task: ClassificationTask, max_length: int, args: ClassificationArguments) -> Predict:
    """The classifier that the flags ask for, on one model."""
    if not args.finetune:
        return probed_classifier(name, task, max_length, args.batch_size, args.standardise)
    training = {flag: getattr(args, flag) for flag in FINETUNING_FLAGS}
    training |= {"output_dir": args.output_dir, "per_device_eval_batch_size": args.batch_size}
    return finetuned_classifier(name, task, max_length, args.sample_seeds()[0], **training)


if __name__ == "__main__":
    run(main)
