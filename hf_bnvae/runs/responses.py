"""Responses of dialogue models: their metrics, and what is shown of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers.utils import logging

from ..analysis import Case, write_case_study
from ..analysis.case_study import CONTEXT_SHOWN
from ..data import (
    DialogueCollator,
    DialogueCorpus,
    DialogueReport,
    DialogueResponses,
    DialogueSampler,
    encode_dialogues,
    load_tokenizer,
)
from ..data.batches import evenly_spaced
from ..errors import ParameterError
from ..evaluation import WordVectors, evaluate_responses, sample_responses
from ..hub.run_record import response_interpolation
from .evaluation_arguments import ResponseArguments
from .loading import DIALOGUE_MODELS, load_model

RESPONSES_SHOWN = 3
CONTEXTS_IN_A_BATCH = 128
KNOWN_ENOUGH = 0.8

logger = logging.get_logger(__name__)


def load_others(names: list[str], ours: str) -> dict[str, tuple]:
    """The models of `compare_with` with their tokenizers, by the names of their folders."""
    others: dict[str, tuple] = {}
    for name in names:
        folder = Path(name).resolve().name
        if folder == ours or folder in others:
            raise ParameterError(f"`compare_with` {name}: another model's folder is named {folder} too; rename one")
        model = load_model(name, "`compare_with`", DIALOGUE_MODELS)
        others[folder] = model, load_tokenizer(name, "`compare_with`")
    return others


def evaluate_sampled(
    model,
    tokenizer,
    dataset: DialogueResponses,
    make_batches: Callable,
    references: list[list[str]],
    wanted: ResponseArguments,
    vectors: WordVectors | None,
    seed: int,
    progress: bool,
) -> dict:
    """Metrics of `num_responses` responses to each context, which all processes sample together.

    `word_vectors_known` is the share of the words of the references that have a vector; a warning says where it is low.
    """
    if wanted.max_response_contexts is not None:
        dataset = dataset.select(range(min(wanted.max_response_contexts, len(dataset))))
        references = references[: len(dataset)]
    batches = make_batches(dataset)
    rows = [row for batch in batches.batch_sampler for row in batch]
    sampled = sample_responses(model, batches, tokenizer, wanted.num_responses, seed=seed, progress=progress)
    by_row = dict(gather_object(list(zip(rows, sampled, strict=True))))
    predictions = [by_row[row] for row in range(len(dataset))]
    metrics: dict = evaluate_responses(predictions, references, vectors)
    metrics |= {"response_contexts": len(dataset), "responses": wanted.num_responses}
    if vectors is not None:
        known = vectors.known_share(text for texts in references for text in texts)
        metrics |= {"word_vectors": vectors.name, "word_vectors_known": known}
        if known < KNOWN_ENOUGH and PartialState().is_main_process:
            logger.warning(
                f"The word vectors {vectors.name} know {known:.0%} of the words of the references, so that A-bow and "
                "E-bow say little: take others, or train them by hf-bnvae vectors with the tokenizer of the model."
            )
    return metrics


def write_samples(path: Path, corpus, split: str, models: dict, data, wanted: ResponseArguments, seed: int) -> None:
    """Write evenly spaced contexts of a split, their responses, and those of each model, as Markdown."""
    replies = corpus.responses(split)
    chosen = evenly_spaced(wanted.num_cases, len(replies))
    responses = {
        name: responses_to(model, tokenizer, corpus, split, chosen, data, RESPONSES_SHOWN, seed)
        for name, (model, tokenizer) in models.items()
    }
    write_case_study(path, [Case.of(*replies[index]) for index in chosen], responses)


def dialogue_examples(model, tokenizer, corpus: DialogueCorpus, split: str, data, quotes: int, seed: int) -> dict:
    """What the model writes: responses to evenly spaced contexts of a split, and one interpolation."""
    replies = corpus.responses(split)
    chosen = evenly_spaced(quotes, len(replies))
    responses = responses_to(model, tokenizer, corpus, split, chosen, data, RESPONSES_SHOWN, seed)
    cases = [Case.of(*replies[index]).last_turns(CONTEXT_SHOWN) for index in chosen]
    (first,) = batches_of(model, tokenizer, corpus, split, chosen[:1], data)
    return {
        "split": split,
        "responses": [
            {
                "context": [[turn.speaker, turn.text] for turn in case.context],
                "target": [case.response.speaker, case.response.text],
                "responses": texts,
            }
            for case, texts in zip(cases, responses, strict=True)
        ],
        "interpolation": response_interpolation(model, tokenizer, first, seed),
    }


def responses_to(
    model, tokenizer, corpus: DialogueCorpus, split: str, chosen: list[int], data, num_responses: int, seed: int
) -> list[list[str]]:
    """Responses of a model to some contexts of a split, in their order."""
    batches = batches_of(model, tokenizer, corpus, split, chosen, data)
    return sample_responses(model, batches, tokenizer, num_responses, seed)


def batches_of(model, tokenizer, corpus: DialogueCorpus, split: str, chosen: list[int], data) -> Iterator[dict]:
    """Batches of some responses of a split, in their order, as a model reads them."""
    config = model.config
    part = DialogueCorpus({split: corpus.splits[split]}, {split: DialogueReport()})
    length = data.utterance_length(tokenizer)
    rows = encode_dialogues(part, tokenizer, length, config.context_turns, config.topics)[split].select(chosen)
    sampler = DialogueSampler(rows.dialogues, CONTEXTS_IN_A_BATCH, shuffle=False)
    collate = DialogueCollator(tokenizer.pad_token_id)
    return (collate(rows.__getitems__(batch)) for batch in sampler)
