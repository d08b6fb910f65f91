"""Evaluate a trained text VAE on sentences: ELBO, KL, mutual information, active units, use of the latent, NLL, texts.

hf-bnvae evaluate --model_name_or_path out --test_file test.txt
hf-bnvae evaluate --model_name_or_path out --test_file test.txt --scores_file scores.csv
hf-bnvae evaluate --model_name_or_path out --test_file test.txt --language_model lm
accelerate launch -m hf_bnvae.cli.evaluate --model_name_or_path out --dataset_name pydocs --nll_samples 100

`--scores_file` (csv or jsonl, by its ending) has a row for each sentence, in their order: `tokens` with the end symbol,
and in nats `nll` (the bound, where it was computed), `rec`, `kl`, `elbo` = rec + kl, and `use` = rec with another
sentence's latent less rec: how much the decoder takes from the latent; then the `text`. Several processes share out the
sentences, and give the numbers of one.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from torch.utils.data import DataLoader

from ..data import Corpus, LengthBucketSampler, VaeCollator, encode_corpus, load_tokenizer
from ..evaluation import Inference, elbo_metrics, infer_with_use
from ..hub.run_record import write_json
from ..runs.checks import check_least, check_output_file, check_seeds
from ..runs.data_arguments import DataArguments
from ..runs.evaluation_arguments import TextMetricArguments
from ..runs.loading import check_tokenizer, load_model
from ..runs.metrics import evaluate_nll, evaluate_texts
from ..runs.results import log_reports, unknown_shares
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .results import print_results
from .run import run

MODEL = "--model_name_or_path"
ENDINGS = (".csv", ".jsonl")


@dataclass
class EvaluationArguments:
    """What is evaluated."""

    model_name_or_path: str = field(metadata={"help": "folder of a checkpoint, or its Hub id"})
    split: str = field(
        default="test", metadata={"help": "the split to evaluate", "choices": ["train", "validation", "test"]}
    )
    batch_size: int = field(default=128, metadata={"help": "sentences in a batch"})
    seed: int = field(default=42, metadata={"help": "of the latent noise, which is keyed by sentence"})
    output_file: str | None = field(default=None, metadata={"help": "write the results here as JSON"})
    scores_file: str | None = field(
        default=None, metadata={"help": "write the scores of each sentence here, as csv or jsonl by the ending"}
    )

    def __post_init__(self):
        check_least(self, batch_size=1)
        check_seeds([self.seed], "--seed")
        check_output_file(self.scores_file, "--scores_file", ENDINGS)


@dataclass
class ShardedSplit:
    """A split as several processes share it out.

    Args:
        batch_size: sentences in a batch of each process.
        collate: makes batches of rows.
        state: of the processes.
    """

    batch_size: int
    collate: VaeCollator
    state: PartialState

    def is_sharded(self, dataset: Dataset) -> bool:
        """Whether each process has a part; fewer sentences than processes go to all of them whole."""
        return len(dataset) >= self.state.num_processes > 1

    def sampler(self, dataset: Dataset) -> LengthBucketSampler:
        options = {"num_processes": self.state.num_processes, "process_index": self.state.process_index}
        return LengthBucketSampler(
            dataset["length"][:], self.batch_size, shuffle=False, **options if self.is_sharded(dataset) else {}
        )

    def batches(self, dataset: Dataset) -> DataLoader:
        return DataLoader(dataset, batch_sampler=self.sampler(dataset), collate_fn=self.collate)

    def rows(self, dataset: Dataset) -> list[int]:
        """The rows of this process, in the order of its batches."""
        return [row for batch in self.sampler(dataset) for row in batch]

    def in_order(self, dataset: Dataset, values: torch.Tensor) -> torch.Tensor:
        """A value of each row of this process's batches as one of each row of the data set."""
        rows = self.rows(dataset)
        if self.is_sharded(dataset):
            rows, values = gather_object(rows), torch.cat(gather_object([values]))
        ordered = torch.empty(len(dataset), *values.shape[1:], dtype=values.dtype)
        ordered[torch.tensor(rows)] = values
        return ordered


@flags_named()
def main(argv: list[str] | None = None) -> None:
    args, data, wanted = parse_arguments(
        EvaluationArguments, DataArguments, TextMetricArguments, description=__doc__.splitlines()[0], argv=argv
    )
    state = PartialState()
    model = load_model(args.model_name_or_path).to(state.device)
    language_model = wanted.load_language_model(model.config.latent_size)
    tokenizer = load_tokenizer(args.model_name_or_path, MODEL)
    check_tokenizer(model, tokenizer, f"{MODEL} {args.model_name_or_path}")
    corpus = data.load()
    if args.split not in corpus.splits:
        raise UsageError(f"{corpus.name} has no {args.split} split: pass --{args.split}_file or another --split")
    dataset = encode_corpus(corpus, tokenizer, data.max_length)[args.split]
    report = {args.split: corpus.reports[args.split]}
    sharding = ShardedSplit(args.batch_size, VaeCollator(tokenizer.pad_token_id), state)

    own, inference = infer_with_use(model, sharding.batches(dataset), args.seed, sharding.is_sharded(dataset))
    results = elbo_metrics(inference) | {"sentences": len(dataset)}
    each: list[torch.Tensor] = []
    progress = state.is_main_process
    results |= evaluate_nll(model, dataset, sharding.batches, wanted, args.seed, progress, sharding.is_sharded, each)
    results |= evaluate_texts(
        model, tokenizer, dataset, sharding.batches, wanted, args.seed, progress, sharding.is_sharded, language_model
    )
    prefix = "eval" if args.split == "validation" else args.split
    results = {f"{prefix}_{name}": value for name, value in results.items()} | unknown_shares(report)
    scores = None
    if args.scores_file is not None:
        scores = sentence_scores(corpus, dataset, sharding, own, each, wanted.max_nll_samples, args)
    if state.is_main_process:
        log_reports(report)
        print_results(results)
        if args.output_file is not None:
            write_json(Path(args.output_file), results)
        if scores is not None:
            write_scores(scores, Path(args.scores_file))


def sentence_scores(
    corpus: Corpus,
    dataset: Dataset,
    sharding: ShardedSplit,
    own: Inference,
    each: list[torch.Tensor],
    most: int | None,
    args: EvaluationArguments,
) -> pd.DataFrame:
    """A row for each sentence, in their order.

    Args:
        own: what the model says of the sentences of this process.
        each: the bounds of its batches, of the first `most` sentences of the split.
    """
    columns = {"tokens": own.tokens, "rec": own.reconstruction, "kl": own.kl, "elbo": own.reconstruction + own.kl}
    columns = {name: sharding.in_order(dataset, values) for name, values in columns.items()}
    if own.other_reconstruction is not None:
        columns["use"] = sharding.in_order(dataset, own.other_reconstruction - own.reconstruction)
    frame = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    if each:
        evaluated = dataset.select(range(min(most or len(dataset), len(dataset))))
        frame.insert(1, "nll", pd.Series(sharding.in_order(evaluated, torch.cat(each)).numpy()))
    frame["text"] = corpus.splits[args.split]["text"][:]
    return frame


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    if path.suffix.lower() == ".csv":
        scores.to_csv(path, index=False, float_format="%.5f")
    else:
        scores.to_json(path, orient="records", lines=True, double_precision=5, force_ascii=False)


if __name__ == "__main__":
    run(main)
