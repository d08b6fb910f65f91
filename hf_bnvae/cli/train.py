"""Train and evaluate a text VAE on sentences.

On the built-in corpus, on your own file, and on two processes:

    hf-bnvae train --dataset_name pydocs --output_dir out
    accelerate launch -m hf_bnvae.cli.train --train_file my.txt --validation_file dev.txt --output_dir out
    accelerate launch --config_file run_scripts/accelerate_configs/cpu_2_processes.yaml -m hf_bnvae.cli.train run.yaml

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from pathlib import Path

from transformers import set_seed
from transformers.utils import logging

from ..data import Corpus, CorpusError, VaeCollator, encode_corpus
from ..data.batches import evenly_spaced
from ..hub.records import sentence_examples, write_json
from ..methods import METHODS, method_table
from ..models import BnVaeForConditionalGeneration, LstmLMForCausalLM
from ..training import VaeTrainer, VaeTrainingArguments
from ..training.strategies import STRATEGIES
from ..training.training_results import training_results
from .card_flags import CardArguments
from .data_flags import TrainingDataArguments
from .errors import flags_named
from .evaluation import evaluate_texts, evaluate_trained_nll
from .evaluation_flags import TextMetricArguments
from .flags import parse_arguments
from .loading import load_config, take_pretrained_encoder, take_word_vectors
from .model_flags import ModelArguments
from .output_folder import (
    begin_run,
    check_output_dir,
    check_same_model,
    check_training,
    find_checkpoint,
    record_arguments,
)
from .publishing import push_to_hub, take_push_to_hub
from .results import log_reports, print_results, unknown_shares, write_run
from .run import run

logger = logging.get_logger(__name__)


def main(argv: list[str] | None = None) -> None:
    data, model_args, judge, card, args = parse_arguments(
        TrainingDataArguments,
        ModelArguments,
        TextMetricArguments,
        CardArguments,
        VaeTrainingArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
    )
    if model_args.list_methods:
        print(method_table())
        return
    checkpoint = find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    check_output_dir(args.output_dir, checkpoint, args.overwrite_output_dir)
    with flags_named():
        STRATEGIES[args.strategy]().check(args, model_args.method, data.streaming)
    if model_args.pretrained_encoder is not None:
        load_config(model_args.pretrained_encoder, f"--pretrained_encoder {model_args.pretrained_encoder}")
    language_model = judge.load_language_model(model_args.latent_size if METHODS[model_args.method].has_latent else 0)
    set_seed(args.seed)

    corpus = data.load()
    started_from = checkpoint or model_args.pretrained_encoder
    if data.streaming:
        sources = data.sources()
        tokenizer = model_args.make_tokenizer(data.texts(sources), started_from)
        with args.main_process_first(desc="tokenising"):
            train = data.store(sources, tokenizer)
        encoded = {"train": train} | encode_corpus(corpus, tokenizer, data.max_length)
        corpus.reports["train"], longest = train.report, data.max_length
        logger.warning(f"Token ids of the training split: {train.folder}")
    else:
        if "train" not in corpus.splits:
            raise CorpusError(f"{corpus.name} has no training split: pass --train_file")
        tokenizer = model_args.make_tokenizer(corpus.splits["train"]["text"], started_from)
        encoded = encode_corpus(corpus, tokenizer, data.max_length)
        longest = max(encoded["train"]["length"])
    log_reports(corpus.reports, "" if started_from else model_args.tokenizer)
    config = model_args.config(tokenizer)
    if checkpoint is not None:
        check_same_model(config, checkpoint, model_args)
    check_training(args, config, corpus.name, len(encoded["train"]), "validation" in encoded)
    pushed = take_push_to_hub(args)
    model = BnVaeForConditionalGeneration(config) if config.latent_size else LstmLMForCausalLM(config)
    if model_args.pretrained_encoder is not None and checkpoint is None:
        logger.warning(
            "Starting from " + take_pretrained_encoder(model, model_args.pretrained_encoder, model_args.reset_decoder)
        )
    if model_args.initial_word_vectors is not None and checkpoint is None:
        logger.warning(take_word_vectors(model, tokenizer, model_args.initial_word_vectors))
    model.generation_config.max_new_tokens = longest

    trainer = VaeTrainer(
        model,
        args,
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("validation"),
        data_collator=VaeCollator(tokenizer.pad_token_id),
        processing_class=tokenizer,
    )
    record_arguments(trainer, checkpoint, data.streaming)
    begin_run(args, checkpoint, args.overwrite_output_dir)
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    results = training_results(trainer, trained, corpus.reports["train"].tokens) | unknown_shares(corpus.reports)
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split in encoded:
            last = prefix == "test" or "test" not in encoded
            results |= judge_split(trainer, encoded[split], prefix, judge, language_model, last)
    if trainer.is_world_process_zero():
        trainer.save_state()
        write_json(Path(args.output_dir) / "all_results.json", results)
        examples = write_examples(trainer, corpus, encoded, card.card_quotes)
        write_run("train", argv, corpus, (data, model_args, card, args), examples, pushed)
        print_results(results)
        if pushed:
            push_to_hub(args)


def write_examples(trainer: VaeTrainer, corpus: Corpus, encoded: dict, quotes: int) -> dict:
    """What the model writes: from its prior, and of sentences that lie far apart in the last split there is."""
    split = next(split for split in ("test", "validation", "train") if split in encoded)
    chosen = evenly_spaced(quotes, len(encoded[split])) if split in corpus.splits else []
    texts = [corpus.splits[split][place]["text"] for place in chosen]
    batch = trainer.data_collator(list(encoded[split].select(chosen))) if chosen else None
    found = sentence_examples(trainer.model, trainer.processing_class, texts, batch, trainer.args.seed)
    return found | {"split": split}


def judge_split(
    trainer: VaeTrainer, dataset, prefix: str, judge: TextMetricArguments, language_model: tuple | None, last: bool
) -> dict:
    """Every metric of a split; on the last one the NLL, which costs K decoder passes, and what it writes."""
    metrics = trainer.evaluate(dataset, metric_key_prefix=prefix)
    names = ("elbo", "rec", "kl", "mi", "au", "agg_kl", "use")
    results = {f"{prefix}_{name}": metrics[f"{prefix}_{name}"] for name in names if f"{prefix}_{name}" in metrics}
    results[f"{prefix}_sentences"] = len(dataset)
    if not last:
        return results
    judged = evaluate_trained_nll(trainer, dataset, trainer.get_eval_dataloader, judge)
    judged |= evaluate_texts(
        trainer.model,
        trainer.processing_class,
        dataset,
        trainer.get_eval_dataloader,
        judge,
        trainer.args.seed,
        not trainer.args.disable_tqdm and trainer.is_world_process_zero(),
        trainer.shares,
        language_model,
    )
    return results | {f"{prefix}_{name}": value for name, value in judged.items()}


if __name__ == "__main__":
    run(main)
