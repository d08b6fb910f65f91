"""Train and evaluate a conditional VAE that answers in dialogues.

On the built-in small talk, on your own dialogues, and with one turn a column:

    hf-bnvae dialogue --dataset_name toy_dialogues --output_dir out
    accelerate launch -m hf_bnvae.cli.dialogue --method bn_cvae --train_file dialogues.jsonl --output_dir out
    hf-bnvae dialogue --train_file pairs.tsv --context_column context --response_column answer ...

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from pathlib import Path

from transformers import set_seed
from transformers.utils import logging

from ..data import (
    CorpusError,
    DialogueCollator,
    DialogueResponses,
    encode_dialogues,
)
from ..evaluation.references import reference_responses
from ..hub.records import write_json
from ..methods import DIALOGUE_METHODS, method_table
from ..models import BnCvaeForConditionalGeneration
from ..training import DialogueTrainer, DialogueTrainingArguments
from ..training.training_results import training_results
from .card_flags import CardArguments
from .dialogue_data_flags import DialogueDataArguments
from .dialogue_model_flags import DialogueModelArguments
from .evaluation import evaluate_trained_nll
from .evaluation_flags import ResponseArguments
from .flags import parse_arguments
from .loading import load_vectors, take_word_vectors
from .output_folder import (
    begin_run,
    check_output_dir,
    check_same_model,
    check_training,
    find_checkpoint,
    record_arguments,
)
from .publishing import push_to_hub, take_push_to_hub
from .responses import evaluate_sampled, load_others, write_examples, write_samples
from .results import command_of, log_reports, print_results, unknown_shares, write_run
from .run import run

logger = logging.get_logger(__name__)


def main(argv: list[str] | None = None) -> None:
    data, model_args, judge, card, args = parse_arguments(
        DialogueDataArguments,
        DialogueModelArguments,
        ResponseArguments,
        CardArguments,
        DialogueTrainingArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
    )
    if model_args.list_methods:
        print(method_table(DIALOGUE_METHODS))
        return
    checkpoint = find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    check_output_dir(args.output_dir, checkpoint, args.overwrite_output_dir)
    vectors = load_vectors(judge.word_vectors, "--word_vectors")
    ours = Path(args.output_dir).resolve().name
    others = load_others(judge.compare_with, ours)
    set_seed(args.seed)

    corpus = data.load()
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass --train_file")
    texts = [turn.text for dialogue in corpus.splits["train"] for turn in dialogue.turns]
    tokenizer = model_args.make_tokenizer(texts, checkpoint)
    config = model_args.config(tokenizer, corpus)
    if checkpoint is not None:
        check_same_model(config, checkpoint, model_args)
    encoded = encode_dialogues(corpus, tokenizer, data.max_utterance_length, config.context_turns, config.topics)
    log_reports(corpus.reports)
    check_training(args, config, corpus.name, len(encoded["train"]), "validation" in encoded)
    pushed = take_push_to_hub(args)
    model = BnCvaeForConditionalGeneration(config)
    if model_args.initial_word_vectors is not None and checkpoint is None:
        logger.warning(take_word_vectors(model, tokenizer, model_args.initial_word_vectors))
    model.generation_config.max_new_tokens = data.max_utterance_length - 1

    trainer = DialogueTrainer(
        model,
        args,
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("validation"),
        data_collator=DialogueCollator(tokenizer.pad_token_id),
        processing_class=tokenizer,
    )
    record_arguments(trainer, checkpoint)
    begin_run(args, checkpoint, args.overwrite_output_dir)
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    results = training_results(trainer, trained, corpus.reports["train"].tokens) | unknown_shares(corpus.reports)
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split in encoded:
            results |= judge_split(trainer, encoded[split], prefix, judge, last="test" not in encoded)
    last = next((split for split in ("test", "validation") if split in encoded), None)
    if last is not None and judge.num_responses:
        prefix = "eval" if last == "validation" else last
        found = evaluate_sampled(
            model,
            tokenizer,
            encoded[last],
            trainer.get_eval_dataloader,
            reference_responses(corpus, last, tokenizer),
            judge,
            vectors,
            args.seed,
            progress=not args.disable_tqdm and trainer.is_world_process_zero(),
        )
        results |= {f"{prefix}_{name}": value for name, value in found.items()}
    if trainer.is_world_process_zero():
        trainer.save_state()
        write_json(Path(args.output_dir) / "all_results.json", results)
        examples = {}
        if last is not None and card.card_quotes:
            examples = write_examples(model, tokenizer, corpus, last, data, card.card_quotes, args.seed)
        write_run(command_of("dialogue", argv, args), corpus, (data, model_args, card, args), examples, pushed)
        if last is None:
            logger.warning("There is neither a test nor a validation split: no response was judged or shown.")
        elif judge.num_cases:
            models = {ours: (model, tokenizer), **others}
            write_samples(Path(args.output_dir) / "samples.md", corpus, last, models, data, judge, args.seed)
        print_results(results)
        if pushed:
            push_to_hub(args)


def judge_split(trainer: DialogueTrainer, dataset: DialogueResponses, prefix: str, judge, last: bool) -> dict:
    """The bounds of a split, and its NLL if that is wanted."""
    metrics = trainer.evaluate(dataset, metric_key_prefix=prefix)
    names = ("elbo", "rec", "kl", "kl_prior", "use", "bow_loss", "rec_ppl")
    results = {f"{prefix}_{name}": metrics[f"{prefix}_{name}"] for name in names if f"{prefix}_{name}" in metrics}
    results[f"{prefix}_sentences"] = len(dataset)
    if prefix == "test" or last:
        judged = evaluate_trained_nll(trainer, dataset, trainer.get_likelihood_dataloader, judge)
        results |= {f"{prefix}_{name}": value for name, value in judged.items()}
    return results


if __name__ == "__main__":
    run(main)
