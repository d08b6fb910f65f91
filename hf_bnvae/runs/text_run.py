"""A whole run on sentences, from the corpus to the trained model, its results and its card."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, set_seed
from transformers.utils import logging

from ..data import Corpus, CorpusError, SentenceStates, TokenStore, VaeCollator, encode_corpus
from ..data.batches import evenly_spaced
from ..data.python_data import EXAMPLES_AT_ONCE
from ..errors import ParameterError
from ..hub.run_record import sentence_examples, write_json
from ..methods import METHODS
from ..models import BnVaeForConditionalGeneration, LstmLMForCausalLM
from ..models.layers import networks_without_weights
from ..models.lora import check_peft
from ..training import VaeTrainer, VaeTrainingArguments
from ..training.arguments import check_checkpointing
from ..training.run_lock import given_back
from ..training.strategies import STRATEGIES
from ..training.training_results import training_results
from ..training.training_set import check_training_set
from .base_run import Run, split_metrics
from .data_arguments import EMBEDDING_FILES, TrainingDataArguments
from .embeddings import Embeddings
from .evaluation_arguments import TextMetricArguments
from .loading import load_config, take_pretrained_encoder, take_word_vectors
from .metrics import evaluate_texts, evaluate_trained_nll
from .model_arguments import ModelArguments
from .output_folder import begin_run, check_same_model, record_arguments
from .pretrained import (
    check_positions,
    merge_adapters,
    replaced_parts,
    take_pretrained_parts,
    with_encoder_states,
)
from .publishing import take_push_to_hub
from .results import log_reports, unknown_shares, write_run

SENTENCE_METRICS = ("elbo", "rec", "kl", "mi", "au", "agg_kl", "use", "bow_loss")
SPLITS = {"validation": "eval", "test": "test"}
"""The splits that are evaluated, and what stands in front of their results."""

logger = logging.get_logger(__name__)


@dataclass
class TextRun(Run):
    """The arguments of a run on sentences.

    Args:
        sentences: the data themselves, in a shape that `data.load_corpus` takes, in place of those that `data` names.
        embeddings: by split those of the sentences, in a shape that `data.encoder_states.read_embeddings` takes, in
            place of files that `data` names.
    """

    data: TrainingDataArguments
    model: ModelArguments
    metrics: TextMetricArguments
    training: VaeTrainingArguments
    sentences: Any = None
    embeddings: Mapping[str, Any] | None = None


@dataclass
class EncodedCorpus:
    """A corpus with its token ids.

    Args:
        corpus: the sentences and the reports of each split.
        splits: the token ids of each split.
        tokenizer: what made them.
        longest: the number of tokens of the longest sentence, both ends counted.
    """

    corpus: Corpus
    splits: dict[str, Dataset | TokenStore | SentenceStates]
    tokenizer: PreTrainedTokenizerBase
    longest: int


def train_text_model(run: TextRun) -> tuple[VaeTrainer, dict]:
    """Train a model of sentences, evaluate it, and write model, tokenizer, results and card to its output folder.

    Returns:
        The trainer, whose model is the trained one, and the results by their names.

    Raises:
        CorpusError: the data cannot be read or trained on.
        ParameterError: two values do not go together, or one names what is not there.
        HubError: the run was to be published and was not.
    """
    run, embeddings = with_embeddings(run)
    checkpoint = check_run(run)
    has_latent = METHODS[run.model.method].has_latent
    language_model = run.metrics.load_language_model(run.model.latent_size if has_latent else 0)
    set_seed(run.training.seed)
    encoded = encode_text_run(run, checkpoint or run.model.pretrained_encoder, embeddings)
    config = run.model.config(encoded.tokenizer)
    if checkpoint is not None:
        check_same_model(config, checkpoint, run.model)
    splits = encoded.splits
    check_positions(config, splits, run.data.max_length)
    check_training_set(run.training, config, encoded.corpus.name, len(splits["train"]), "validation" in splits)
    published = take_push_to_hub(run.training)
    model = start_text_model(run, config, encoded, checkpoint)
    check_checkpointing(run.training, model)  # before an encoder reads the corpus
    if run.model.encoder_name_or_path is not None and run.model.train_encoder == "frozen":
        with_encoder_states(model, encoded, run.training)
    trainer = make_text_trainer(run, model, encoded)
    record_arguments(trainer, checkpoint, run.data.streaming, **run.model.trained_parts)
    with given_back(run.folder):
        begin_run(run.training, checkpoint, run.training.overwrite_output_dir)
        trained = trainer.train(resume_from_checkpoint=checkpoint)
        merge_adapters(trainer.model)
        trainer.save_model()
        reports = encoded.corpus.reports
        results = training_results(trainer, trained, reports["train"].tokens) | unknown_shares(reports)
        results |= evaluate_text_run(run, trainer, encoded, language_model)
        if trainer.is_world_process_zero():
            write_text_results(run, trainer, encoded, results, published)
    return trainer, results


def with_embeddings(run: TextRun) -> tuple[TextRun, Embeddings | None]:
    """The run on a model that reads embeddings, with these, where there are any; else the run as it is.

    Raises:
        CorpusError: they cannot be read.
        ParameterError: they do not go with the model.
    """
    files, at_hand = run.data.embedding_files(), run.embeddings or {}
    if not files and not at_hand:
        if run.model.encoder == "given":
            raise ParameterError("`encoder` given reads states of sentences: name a file of them by `embeddings_file`")
        return run, None
    name = EMBEDDING_FILES[next(iter(files))] if files else "embeddings"
    if run.data.streaming:
        raise ParameterError(f"`{name}` has a row for each text, whose order `streaming` does not keep: leave it out")
    if "train" not in {*files, *at_hand}:
        raise ParameterError(f"`{name}` comes without those of the training texts: give them, by `embeddings_file`")
    embeddings = Embeddings(files, at_hand)
    return replace(run, model=run.model.on_embeddings(embeddings.width)), embeddings


def check_run(run: TextRun) -> str | None:
    """Refuse what cannot be trained, before any work. Returns the checkpoint that the run goes on from, if any."""
    args = run.training
    checkpoint = run.checkpoint()
    STRATEGIES[args.strategy]().check(args, run.model.method, run.data.streaming)
    encoder = run.model.pretrained_encoder
    if encoder is not None:
        load_config(encoder, f"`pretrained_encoder` {encoder}")
        if run.tokenizer is not None:
            raise ParameterError("`pretrained_encoder` has a tokenizer of its own: leave out either it or `tokenizer`")
    if run.model.trained_parts.get("train_decoder") == "lora":
        try:
            check_peft()
        except ValueError as error:
            raise ParameterError(f"`train_decoder` lora: {error}, or train it full or frozen") from error
    folders = [name for name in run.model.bases.values() if Path(name).is_dir()]
    if args.push_to_hub and not run.model.save_base and folders:
        raise ParameterError(
            f"`save_base` false leaves out weights that lie in the folder {folders[0]}, which nobody else has: leave "
            "it out with `push_to_hub`, or name a model on the Hub"
        )
    return checkpoint


def encode_text_run(run: TextRun, started_from: str | None, embeddings: Embeddings | None = None) -> EncodedCorpus:
    """Read the corpus, make the tokenizer and encode every split.

    Args:
        started_from: the checkpoint or the model whose tokenizer the run takes; None to make a tokenizer.
        embeddings: of the sentences, where the model reads these.
    """
    data = run.data
    corpus = data.load(run.sentences)
    if embeddings is not None:
        embeddings.check(corpus)
    if data.streaming:
        sources = data.sources()
        tokenizer = run.model.make_tokenizer(data.texts(sources), started_from, run.tokenizer)
        with run.training.main_process_first(desc="tokenising"):
            train = data.store(sources, tokenizer)
        splits = {"train": train} | encode_corpus(corpus, tokenizer, data.max_length)
        corpus.reports["train"], longest = train.report, data.max_length
        logger.warning(f"Token ids of the training split: {train.folder}")
    else:
        if "train" not in corpus.splits:
            raise CorpusError(f"{corpus.name} has no training split: pass `train_file`")
        texts = (text for rows in corpus.splits["train"].iter(EXAMPLES_AT_ONCE) for text in rows["text"])
        tokenizer = run.model.make_tokenizer(texts, started_from, run.tokenizer)
        splits = encode_corpus(corpus, tokenizer, data.max_length)
        longest = max(splits["train"]["length"][:])
        if embeddings is not None:
            splits = {split: embeddings.beside(rows, corpus, split) for split, rows in splits.items()}
    log_reports(corpus.reports, "" if started_from else run.model.tokenizer)
    return EncodedCorpus(corpus, splits, tokenizer, longest)


def start_text_model(run: TextRun, config, encoded: EncodedCorpus, checkpoint: str | None):
    """A new model, with the weights that the run starts from unless it goes on from a checkpoint."""
    options = run.model
    with networks_without_weights(*replaced_parts(options, checkpoint)):
        model = BnVaeForConditionalGeneration(config) if config.latent_size else LstmLMForCausalLM(config)
    if isinstance(model, BnVaeForConditionalGeneration) and options.pretrained_encoder and checkpoint is None:
        taken = take_pretrained_encoder(model, options.pretrained_encoder, options.reset_decoder)
        logger.warning(f"Starting from {taken}")
    if options.is_pretrained:
        take_pretrained_parts(model, options, checkpoint)
    if options.initial_word_vectors is not None and checkpoint is None:
        logger.warning(take_word_vectors(model, encoded.tokenizer, options.initial_word_vectors))
    model.generation_config.max_new_tokens = encoded.longest
    return model


def make_text_trainer(run: TextRun, model, encoded: EncodedCorpus) -> VaeTrainer:
    """The trainer of a run."""
    return VaeTrainer(
        model,
        run.training,
        train_dataset=encoded.splits["train"],
        eval_dataset=encoded.splits.get("validation"),
        data_collator=VaeCollator(encoded.tokenizer.pad_token_id),
        processing_class=encoded.tokenizer,
        callbacks=list(run.callbacks),
    )


def evaluate_text_run(run: TextRun, trainer: VaeTrainer, encoded: EncodedCorpus, language_model: tuple | None) -> dict:
    """The results of every split; on the last one also the NLL, which costs K decoder passes, and what it writes."""
    results: dict = {}
    present = [split for split in SPLITS if split in encoded.splits]
    for split in present:
        dataset, prefix = encoded.splits[split], SPLITS[split]
        split_results = split_metrics(trainer, dataset, prefix, SENTENCE_METRICS)
        if split == present[-1]:
            split_results |= evaluate_trained_nll(trainer, dataset, trainer.get_eval_dataloader, run.metrics)
            split_results |= evaluate_texts(
                trainer.model,
                trainer.processing_class,
                dataset,
                trainer.get_eval_dataloader,
                run.metrics,
                trainer.args.seed,
                not trainer.args.disable_tqdm and trainer.is_world_process_zero(),
                trainer.is_sharded,
                language_model,
            )
        results |= {f"{prefix}_{name}": value for name, value in split_results.items()}
    return results


def write_text_results(
    run: TextRun, trainer: VaeTrainer, encoded: EncodedCorpus, results: dict, published: bool
) -> None:
    """Write the results, the record of the run and the model card, and publish them where that is wanted."""
    trainer.save_state()
    write_json(run.folder / "all_results.json", results)
    examples = text_examples(trainer, encoded, run.card.card_quotes)
    arguments = (run.data, run.model, run.card, run.training)
    write_run(run.command, encoded.corpus, arguments, examples, published)
    run.end(results, published)


def text_examples(trainer: VaeTrainer, encoded: EncodedCorpus, quotes: int) -> dict:
    """What the model writes: samples of its prior, and reconstructions of evenly spaced sentences of the last split.

    Args:
        quotes: how many sentences of the data are shown with their reconstructions.
    """
    split = next(split for split in ("test", "validation", "train") if split in encoded.splits)
    texts = encoded.corpus.splits
    chosen = evenly_spaced(quotes, len(encoded.splits[split])) if split in texts else []
    batch = trainer.data_collator(list(encoded.splits[split].select(chosen))) if chosen else None
    sentences = [texts[split][index]["text"] for index in chosen]
    examples = sentence_examples(trainer.model, trainer.processing_class, sentences, batch, trainer.args.seed)
    return examples | {"split": split}
