"""Evaluation of a trained text VAE on a split of sentences, which several processes may share out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from torch.utils.data import DataLoader

from ..data import Corpus, LengthBucketSampler, SentenceStates, VaeCollator, encode_corpus, load_tokenizer
from ..data.vocabularies import check_tokenizer
from ..errors import ParameterError
from ..evaluation import Inference, elbo_metrics, infer_with_use
from .data_arguments import EMBEDDING_FILES, DataArguments
from .embeddings import Embeddings
from .evaluation_arguments import EvaluationArguments, TextMetricArguments
from .loading import load_model
from .metrics import evaluate_nll, evaluate_texts
from .pretrained import check_positions
from .results import log_reports, of_split, unknown_shares


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

    def is_sharded(self, dataset: Dataset | SentenceStates) -> bool:
        """Whether each process has a part; fewer sentences than processes go to all of them whole."""
        return len(dataset) >= self.state.num_processes > 1

    def sampler(self, dataset: Dataset | SentenceStates) -> LengthBucketSampler:
        options = {"num_processes": self.state.num_processes, "process_index": self.state.process_index}
        return LengthBucketSampler(
            dataset["length"][:], self.batch_size, shuffle=False, **options if self.is_sharded(dataset) else {}
        )

    def batches(self, dataset: Dataset | SentenceStates) -> DataLoader:
        return DataLoader(dataset, batch_sampler=self.sampler(dataset), collate_fn=self.collate)

    def rows(self, dataset: Dataset | SentenceStates) -> list[int]:
        """The rows of this process, in the order of its batches."""
        return [row for batch in self.sampler(dataset) for row in batch]

    def in_order(self, dataset: Dataset | SentenceStates, values: torch.Tensor) -> torch.Tensor:
        """A value of each row of this process's batches as one of each row of the data set."""
        rows = self.rows(dataset)
        if self.is_sharded(dataset):
            rows, values = gather_object(rows), torch.cat(gather_object([values]))
        ordered = torch.empty(len(dataset), *values.shape[1:], dtype=values.dtype)
        ordered[torch.tensor(rows)] = values
        return ordered


def evaluate_text_model(
    args: EvaluationArguments, data: DataArguments, wanted: TextMetricArguments
) -> tuple[dict, pd.DataFrame | None]:
    """Evaluate a trained text VAE on a split, with all processes that there are.

    Returns:
        The results by their names, and where `args.scores_file` asks for them the scores of each sentence.

    Raises:
        CorpusError: the data cannot be read.
        ParameterError: there is no such model or split, or a text is longer than the model reads.
    """
    state = PartialState()
    called = "`model_name_or_path`"
    model = load_model(args.model_name_or_path, called).to(state.device)
    language_model = wanted.load_language_model(model.config.latent_size)
    tokenizer = load_tokenizer(args.model_name_or_path, called)
    check_tokenizer(model, tokenizer, f"{called} {args.model_name_or_path}")
    corpus = args.corpus(data)
    embeddings = embeddings_of_split(model.config, data, corpus, args.split)
    rows: Dataset | SentenceStates = encode_corpus(corpus, tokenizer, data.max_length)[args.split]
    check_positions(model.config, {args.split: rows}, data.max_length)
    if embeddings is not None:
        rows = embeddings.beside(rows, corpus, args.split)
    split = ShardedSplit(args.batch_size, VaeCollator(tokenizer.pad_token_id), state)
    own, inference = infer_with_use(model, split.batches(rows), args.seed, split.is_sharded(rows))
    each: list[torch.Tensor] = []
    metrics = elbo_metrics(inference) | {"sentences": len(rows)}
    shared = (wanted, args.seed, state.is_main_process, split.is_sharded)
    metrics |= evaluate_nll(model, rows, split.batches, *shared, each)
    metrics |= evaluate_texts(model, tokenizer, rows, split.batches, *shared, language_model)
    report = {args.split: corpus.reports[args.split]}
    scores = None
    if args.scores_file is not None:
        texts = corpus.splits[args.split]["text"][:]
        scores = sentence_scores(rows, texts, split, own, each, wanted.max_nll_samples)
    if state.is_main_process:
        log_reports(report)
    return of_split(args.split, metrics) | unknown_shares(report), scores


def embeddings_of_split(config, data: DataArguments, corpus: Corpus, split: str) -> Embeddings | None:
    """The embeddings of the sentences of a split, for a model that reads these; None for any other model.

    Raises:
        CorpusError: they cannot be read.
        ParameterError: they are missing, or are not those of the sentences, or of another model than it learnt from; or
            the model reads words.
    """
    files = data.embedding_files()
    if getattr(config, "encoder", None) != "given":
        if files:
            name = EMBEDDING_FILES[next(iter(files))]
            raise ParameterError(f"`{name}` is read by a model that was trained on embeddings only: leave it out")
        return None
    source = corpus.origins[split].split
    name = EMBEDDING_FILES[source]
    if source not in files:
        raise ParameterError(f"`model_name_or_path` reads embeddings of the texts: name those of {split} by `{name}`")
    embeddings = Embeddings({source: files[source]})
    if embeddings.width != config.encoder_hidden_size:
        raise ParameterError(
            f"`{name}` has {embeddings.width} numbers in a row, and the model learnt from "
            f"{config.encoder_hidden_size}: give embeddings of the same encoder"
        )
    embeddings.check(corpus, [split])
    return embeddings


def sentence_scores(
    dataset: Dataset | SentenceStates,
    texts: list[str],
    split: ShardedSplit,
    own: Inference,
    each: list[torch.Tensor],
    most: int | None,
) -> pd.DataFrame:
    """A row for each sentence, in their order.

    Args:
        dataset: the encoded split, and `texts` its sentences.
        own: what the model says of the sentences of this process.
        each: the bounds of its batches, of the first `most` sentences of the split.
    """
    columns = {"tokens": own.tokens, "rec": own.reconstruction, "kl": own.kl, "elbo": own.reconstruction + own.kl}
    columns = {name: split.in_order(dataset, values) for name, values in columns.items()}
    if own.other_reconstruction is not None:
        columns["use"] = split.in_order(dataset, own.other_reconstruction - own.reconstruction)
    frame = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    if each:
        evaluated = dataset.select(range(min(most or len(dataset), len(dataset))))
        frame.insert(1, "nll", pd.Series(split.in_order(evaluated, torch.cat(each)).numpy()))
    frame["text"] = texts
    return frame


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """Write the scores of sentences as csv or as lines of JSON, by the ending of the file; its folder may be new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".csv":
        scores.to_csv(path, index=False, float_format="%.5f")
    else:
        scores.to_json(path, orient="records", lines=True, double_precision=5, force_ascii=False)
