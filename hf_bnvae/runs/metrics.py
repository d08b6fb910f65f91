"""Metrics of a trained model as the arguments of a run ask for them."""

from collections.abc import Callable, Sized
from pathlib import Path

import torch

from ..data.batches import evenly_spaced
from ..evaluation import evaluate_reconstructions, nll, sample_ppl
from ..evaluation.inference import perplexity
from .evaluation_arguments import LikelihoodArguments, TextMetricArguments


def evaluate_trained_nll(trainer, dataset, make_batches, wanted: LikelihoodArguments) -> dict:
    """`evaluate_nll` of the model that a trainer ends with, shared out to its processes."""
    progress = not trainer.args.disable_tqdm and trainer.is_world_process_zero()
    return evaluate_nll(trainer.model, dataset, make_batches, wanted, trainer.args.seed, progress, trainer.is_sharded)


def evaluate_nll(
    model,
    dataset,
    make_batches,
    wanted: LikelihoodArguments,
    seed: int,
    progress: bool,
    is_sharded: Callable[[Sized], bool] = lambda rows: False,
    each: list[torch.Tensor] | None = None,
) -> dict:
    """`nll`, `ppl` and `word_ppl` with what they were computed on; nothing where `nll_samples` is 0.

    `ppl` is per token of the decoder, whose tokens are its own. `word_ppl` = exp(total nll / total words) compares over
    tokenizers: a word is what white space separates, and the end of a text counts as one. Where no words were counted,
    as in dialogues, it is left out.

    With a tolerance `nll_samples` is the most that a sentence takes, and `nll_samples_used` what it took in the mean.

    Args:
        dataset: an encoded split, with a column `words` where there is to be a `word_ppl`.
        make_batches: from a data set to its batches.
        wanted: what is asked for.
        is_sharded: whether `make_batches` gives this process a part of a data set only.
        each: a list that gets the losses of the sentences, a tensor a batch.
    """
    if wanted.nll_samples <= 0:
        return {}
    if wanted.max_nll_samples is not None:
        dataset = dataset.select(range(min(wanted.max_nll_samples, len(dataset))))
    with torch.autocast(model.device.type, torch.bfloat16, enabled=wanted.nll_bf16):
        metrics = nll(
            model,
            make_batches(dataset),
            wanted.nll_samples,
            seed=seed,
            progress=progress,
            shared=is_sharded(dataset),
            each=each,
            tolerance=wanted.nll_tolerance,
        )
    if "words" in getattr(getattr(dataset, "sentences", dataset), "column_names", ()):
        metrics["word_ppl"] = perplexity(metrics["nll"] * len(dataset), sum(dataset["words"][:]))
    samples = wanted.nll_samples if model.config.latent_size else 1
    metrics |= {"nll_sentences": len(dataset), "nll_samples": samples}
    return metrics if wanted.nll_tolerance is None else metrics | {"nll_tolerance": wanted.nll_tolerance}


def evaluate_texts(
    model,
    tokenizer,
    dataset,
    make_batches,
    wanted: TextMetricArguments,
    seed: int,
    progress: bool,
    is_sharded: Callable[[Sized], bool],
    language_model: tuple | None,
) -> dict:
    """`reconstruction_bleu`, `exact_match` and, given a language model, `sample_ppl`; nothing without a latent."""
    if not model.config.latent_size:
        return {}
    metrics: dict = {}
    if wanted.reconstruction_samples:
        part = dataset.select(evenly_spaced(wanted.reconstruction_samples, len(dataset)))
        metrics |= evaluate_reconstructions(model, make_batches(part), tokenizer, is_sharded(part), progress)
        metrics["reconstruction_sentences"] = len(part)
    if language_model is not None and wanted.prior_samples is not None:
        scorer, scorer_tokenizer = language_model
        scorer.to(model.device)
        metrics["sample_ppl"] = sample_ppl(model, tokenizer, scorer, scorer_tokenizer, wanted.prior_samples, seed)
        metrics["prior_samples"], metrics["language_model"] = (
            wanted.prior_samples,
            Path(wanted.language_model or "").name,
        )
    return metrics
