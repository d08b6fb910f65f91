"""A whole run on dialogues, from the corpus to the trained model, its results, its responses and its card."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase, set_seed
from transformers.utils import logging

from ..data import CorpusError, DialogueCollator, DialogueCorpus, DialogueResponses, encode_dialogues
from ..evaluation import WordVectors
from ..evaluation.references import reference_responses
from ..hub.run_record import write_json
from ..models import BnCvaeConfig, BnCvaeForConditionalGeneration
from ..training import DialogueTrainer, DialogueTrainingArguments
from ..training.run_lock import given_back
from ..training.training_results import training_results
from ..training.training_set import check_training_set
from .base_run import Run, split_metrics
from .dialogue_data_arguments import DialogueDataArguments
from .dialogue_model_arguments import DialogueModelArguments
from .evaluation_arguments import ResponseArguments
from .loading import take_word_vectors
from .metrics import evaluate_trained_nll
from .output_folder import begin_run, check_same_model, record_arguments
from .publishing import take_push_to_hub
from .responses import dialogue_examples, evaluate_sampled, load_others, write_samples
from .results import log_reports, unknown_shares, write_run

DIALOGUE_METRICS = ("elbo", "rec", "kl", "kl_prior", "use", "bow_loss", "rec_ppl")
SAMPLES_NAME = "samples.md"

logger = logging.get_logger(__name__)


@dataclass
class DialogueRun(Run):
    """The arguments of a run on dialogues.

    Args:
        dialogues: the data themselves, in a shape that `data.load_dialogues` takes, in place of those that `data`
            names.
    """

    data: DialogueDataArguments
    model: DialogueModelArguments
    metrics: ResponseArguments
    training: DialogueTrainingArguments
    dialogues: Any = None


@dataclass
class EncodedDialogues:
    """Dialogues with their token ids.

    Args:
        corpus: the dialogues and the reports of each split.
        splits: the responses of each split with their contexts, as token ids.
        tokenizer: what made them.
        config: of the model that reads them.
    """

    corpus: DialogueCorpus
    splits: dict[str, DialogueResponses]
    tokenizer: PreTrainedTokenizerBase
    config: BnCvaeConfig

    @property
    def last_split(self) -> str | None:
        """The split whose responses are evaluated and shown; None where there is but the training split."""
        return next((split for split in ("test", "validation") if split in self.splits), None)


@dataclass
class ResponseComparison:
    """Word vectors for the metrics of responses, and other models whose responses are shown with those of the run.

    Args:
        vectors: word vectors for A-bow and E-bow; None for none.
        others: other trained models with their tokenizers, by the names of their folders.
    """

    vectors: WordVectors | None
    others: dict[str, tuple]


def train_dialogue_model(run: DialogueRun) -> tuple[DialogueTrainer, dict]:
    """Train a model of dialogues, evaluate it, and write model, tokenizer, results and card to its output folder.

    Returns:
        The trainer, whose model is the trained one, and the results by their names.

    Raises:
        CorpusError: the data cannot be read or trained on.
        ParameterError: two values do not go together, or one names what is not there.
        HubError: the run was to be published and was not.
    """
    args = run.training
    checkpoint = run.checkpoint()
    compared = ResponseComparison(
        run.metrics.load_word_vectors(),
        load_others(run.metrics.compare_with, run.folder.resolve().name),
    )
    set_seed(args.seed)
    encoded = encode_dialogue_run(run, checkpoint)
    corpus, splits = encoded.corpus, encoded.splits
    check_training_set(args, encoded.config, corpus.name, len(splits["train"]), "validation" in splits)
    published = take_push_to_hub(args)
    trainer = make_dialogue_trainer(run, start_dialogue_model(run, encoded, checkpoint), encoded)
    record_arguments(trainer, checkpoint)
    with given_back(run.folder):
        begin_run(args, checkpoint, args.overwrite_output_dir)
        trained = trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
        results = training_results(trainer, trained, corpus.reports["train"].tokens) | unknown_shares(corpus.reports)
        results |= evaluate_dialogue_run(run, trainer, encoded, compared.vectors)
        if trainer.is_world_process_zero():
            write_dialogue_results(run, trainer, encoded, results, compared, published)
    return trainer, results


def encode_dialogue_run(run: DialogueRun, checkpoint: str | None) -> EncodedDialogues:
    """Read the corpus, make the tokenizer and the configuration, and encode every split.

    The tokenizer's `model_max_length` is then where utterances are cut.

    Args:
        checkpoint: whose tokenizer the run takes; None to make one.
    """
    corpus = run.data.load(run.dialogues)
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass `train_file`")
    texts = [turn.text for dialogue in corpus.splits["train"] for turn in dialogue.turns]
    tokenizer = run.model.make_tokenizer(texts, checkpoint, run.tokenizer)
    config = run.model.config(tokenizer, corpus)
    if checkpoint is not None:
        check_same_model(config, checkpoint, run.model)
    tokenizer.model_max_length = length = run.data.utterance_length()
    splits = encode_dialogues(corpus, tokenizer, length, config.context_turns, config.topics or ())
    log_reports(corpus.reports)
    return EncodedDialogues(corpus, splits, tokenizer, config)


def start_dialogue_model(
    run: DialogueRun, encoded: EncodedDialogues, checkpoint: str | None
) -> BnCvaeForConditionalGeneration:
    """A new model, with the word vectors that the run starts from unless it goes on from a checkpoint."""
    model = BnCvaeForConditionalGeneration(encoded.config)
    if run.model.initial_word_vectors is not None and checkpoint is None:
        logger.warning(take_word_vectors(model, encoded.tokenizer, run.model.initial_word_vectors))
    model.generation_config.max_new_tokens = run.data.utterance_length() - 1
    return model


def make_dialogue_trainer(run: DialogueRun, model, encoded: EncodedDialogues) -> DialogueTrainer:
    """The trainer of a run."""
    return DialogueTrainer(
        model,
        run.training,
        train_dataset=encoded.splits["train"],
        eval_dataset=encoded.splits.get("validation"),
        data_collator=DialogueCollator(encoded.tokenizer.pad_token_id),
        processing_class=encoded.tokenizer,
        callbacks=list(run.callbacks),
    )


def evaluate_dialogue_run(
    run: DialogueRun, trainer: DialogueTrainer, encoded: EncodedDialogues, vectors: WordVectors | None
) -> dict:
    """The bounds of every split; on the last one also the NLL, and the metrics of sampled responses."""
    results: dict = {}
    last = encoded.last_split
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split not in encoded.splits:
            continue
        rows = encoded.splits[split]
        metrics = split_metrics(trainer, rows, prefix, DIALOGUE_METRICS)
        if split == last:
            metrics |= evaluate_trained_nll(trainer, rows, trainer.get_likelihood_dataloader, run.metrics)
            if run.metrics.num_responses:
                metrics |= sampled_metrics(run, trainer, encoded, split, vectors)
        results |= {f"{prefix}_{name}": value for name, value in metrics.items()}
    return results


def sampled_metrics(
    run: DialogueRun, trainer: DialogueTrainer, encoded: EncodedDialogues, split: str, vectors: WordVectors | None
) -> dict:
    """The metrics of responses that the model samples to the contexts of a split."""
    return evaluate_sampled(
        trainer.model,
        encoded.tokenizer,
        encoded.splits[split],
        trainer.get_eval_dataloader,
        reference_responses(encoded.corpus, split, encoded.tokenizer),
        run.metrics,
        vectors,
        run.training.seed,
        progress=not run.training.disable_tqdm and trainer.is_world_process_zero(),
    )


def write_dialogue_results(
    run: DialogueRun,
    trainer: DialogueTrainer,
    encoded: EncodedDialogues,
    results: dict,
    compared: ResponseComparison,
    published: bool,
) -> None:
    """Write the results, the record of the run, its card and its samples, and publish them where that is wanted."""
    model, tokenizer, corpus = trainer.model, encoded.tokenizer, encoded.corpus
    seed, last = run.training.seed, encoded.last_split
    trainer.save_state()
    write_json(run.folder / "all_results.json", results)
    examples = {}
    if last is not None and run.card.card_quotes:
        examples = dialogue_examples(model, tokenizer, corpus, last, run.data, run.card.card_quotes, seed)
    write_run(run.command, corpus, (run.data, run.model, run.card, run.training), examples, published)
    if last is None:
        logger.warning("There is neither a test nor a validation split: no response was judged or shown.")
    elif run.metrics.num_cases:
        models = {run.folder.resolve().name: (model, tokenizer), **compared.others}
        write_samples(run.folder / SAMPLES_NAME, corpus, last, models, run.data, run.metrics, seed)
    run.end(results, published)
