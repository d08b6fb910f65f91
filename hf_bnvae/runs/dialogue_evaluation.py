"""Evaluation of a trained model of dialogues on a split: its bounds, its NLL, its responses beside those of others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from torch.utils.data import DataLoader
from transformers.utils import logging

from ..data import (
    DialogueCollator,
    DialogueResponses,
    DialogueSampler,
    LengthBucketSampler,
    encode_dialogues,
    load_tokenizer,
)
from ..data.tokenizers import length_limit
from ..data.vocabularies import check_tokenizer
from ..errors import ParameterError
from ..evaluation import Inference, dialogue_metrics, infer_with_use
from ..evaluation.references import reference_responses
from .dialogue_data_arguments import DialogueDataArguments
from .evaluation_arguments import DialogueEvaluationArguments, ResponseArguments
from .loading import DIALOGUE_MODELS, load_model
from .metrics import evaluate_nll
from .responses import evaluate_sampled, load_others, write_samples
from .results import log_reports, of_split, unknown_shares
from .text_evaluation import write_scores

logger = logging.get_logger(__name__)


@dataclass
class ResponseBatches:
    """From responses to their batches.

    Args:
        batch_size: responses in a batch.
        collate: makes batches of rows.
    """

    batch_size: int
    collate: DialogueCollator

    def by_dialogue(self, rows: DialogueResponses) -> DataLoader:
        """Responses of one dialogue in the same batches, which encode its turns once."""
        return self._loader(rows, DialogueSampler(rows.dialogues, self.batch_size, shuffle=False))

    def by_length(self, rows: DialogueResponses) -> DataLoader:
        """Responses of like length in the same batches."""
        return self._loader(rows, LengthBucketSampler(rows.lengths, self.batch_size, shuffle=False))

    def order_by_length(self, rows: DialogueResponses) -> list[int]:
        """The numbers of the responses in the order of `by_length`."""
        sampler = LengthBucketSampler(rows.lengths, self.batch_size, shuffle=False)
        return [row for batch in sampler for row in batch]

    def _loader(self, rows: DialogueResponses, sampler) -> DataLoader:
        return DataLoader(rows, batch_sampler=sampler, collate_fn=self.collate)


def evaluate_dialogue_model(
    args: DialogueEvaluationArguments,
    data: DialogueDataArguments,
    wanted: ResponseArguments,
    report_results: Callable[[dict], None],
) -> None:
    """Evaluate a trained model of dialogues on a split, and write the files that `args` asks for.

    `scores_file` has a row for each response and `samples_file` what the model answers.

    Args:
        report_results: is called with the results before the samples are drawn.

    Raises:
        CorpusError: the data cannot be read.
        ParameterError: there is no such model or split.
    """
    if wanted.compare_with and args.samples_file is None:
        raise ParameterError("`compare_with` shows other models in `samples_file`: name one")
    if args.samples_file is not None and not wanted.num_cases:
        raise ParameterError("`samples_file` shows `num_cases` contexts, which is 0: raise it, or leave the file out")
    called = "`model_name_or_path`"
    vectors = wanted.load_word_vectors()
    model = load_model(args.model_name_or_path, called, DIALOGUE_MODELS).to(PartialState().device)
    tokenizer = load_tokenizer(args.model_name_or_path, called)
    check_tokenizer(model, tokenizer, f"{called} {args.model_name_or_path}")
    ours = Path(args.model_name_or_path).resolve().name
    others = load_others(wanted.compare_with, ours)
    corpus = args.corpus(data)
    config, length, trained_with = model.config, data.utterance_length(tokenizer), length_limit(tokenizer)
    if trained_with is not None and length != trained_with:
        logger.warning(
            f"Utterances are cut at {length} tokens and were cut at {trained_with} in the training of the model: "
            "figures of the two do not compare."
        )
    rows = encode_dialogues(corpus, tokenizer, length, config.context_turns, config.topics)[args.split]
    report = {args.split: corpus.reports[args.split]}
    log_reports(report)
    batches = ResponseBatches(args.batch_size, DialogueCollator(tokenizer.pad_token_id))
    inference, _ = infer_with_use(model, batches.by_dialogue(rows), args.seed)
    each: list[torch.Tensor] = []
    metrics = dialogue_metrics(inference) | {"sentences": len(rows)}
    metrics |= evaluate_nll(model, rows, batches.by_length, wanted, args.seed, progress=True, each=each)
    if wanted.num_responses:
        references = reference_responses(corpus, args.split, tokenizer)
        metrics |= evaluate_sampled(
            model, tokenizer, rows, batches.by_dialogue, references, wanted, vectors, args.seed, progress=True
        )
    report_results(of_split(args.split, metrics) | unknown_shares(report))
    if args.scores_file is not None and PartialState().is_main_process:
        texts = [dialogue.turns[turn].text for dialogue, turn in corpus.responses(args.split)]
        judged = rows.select(range(min(wanted.max_nll_samples or len(rows), len(rows)))) if each else None
        order = [] if judged is None else batches.order_by_length(judged)
        write_scores(response_scores(inference, texts, order, each), Path(args.scores_file))
    if args.samples_file is not None and PartialState().is_main_process:
        models = {ours: (model, tokenizer), **others}
        path = Path(args.samples_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_samples(path, corpus, args.split, models, data, wanted, args.seed)


def response_scores(inference: Inference, texts: list[str], order: list[int], each: list[torch.Tensor]) -> pd.DataFrame:
    """A row for each response, in their order, losses in nats.

    Args:
        inference: what the model says of them, and `texts` what they say.
        order: the responses whose NLL is known, in the order of `each`, the bounds of their batches.
    """
    posterior: Any = inference.posterior
    rec, kl, kl_prior = inference.reconstruction, inference.kl, posterior.prior.kl().sum(-1)
    columns = {"tokens": inference.tokens, "rec": rec, "kl": kl, "kl_prior": kl_prior, "elbo": rec + kl}
    if inference.other_reconstruction is not None:
        columns["use"] = inference.other_reconstruction - rec
    frame = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    if each:
        frame.insert(1, "nll", pd.Series(torch.cat(each).numpy(), index=order))
    frame["text"] = texts
    return frame
