"""Train and judge a text VAE on sentences.

On the built-in corpus, on your own file, and on two processes:

    python run_scripts/run_lm.py --dataset_name pydocs --output_dir out
    accelerate launch run_scripts/run_lm.py --train_file my.txt --validation_file dev.txt --output_dir out
    accelerate launch --config_file run_scripts/accelerate_configs/cpu_2_processes.yaml run_scripts/run_lm.py run.yaml

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from pathlib import Path

from script_utils import (
    DataArguments,
    JudgeArguments,
    ModelArguments,
    UsageError,
    check_output_dir,
    check_same_model,
    find_checkpoint,
    judge_nll,
    load_config,
    parse_arguments,
    print_results,
    run_main,
    start_from,
    write_json,
)
from transformers import set_seed
from transformers.utils import logging

from hf_bnvae import BnVaeForConditionalGeneration, LstmLMForCausalLM
from hf_bnvae.data import Corpus, CorpusError, VaeCollator, build_tokenizer, encode_corpus, load_tokenizer
from hf_bnvae.methods import METHODS, method_table
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

logger = logging.get_logger("hf_bnvae.run_lm")


def main(argv: list[str] | None = None) -> None:
    data, model_args, judge, args = parse_arguments(
        DataArguments,
        ModelArguments,
        JudgeArguments,
        VaeTrainingArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
    )
    if model_args.list_methods:
        print(method_table())
        return
    checkpoint = find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    check_output_dir(args.output_dir, checkpoint)
    if args.strategy == "aggressive" and not METHODS[model_args.method].has_latent:
        raise UsageError(f"--strategy aggressive trains an encoder, and --method {model_args.method} has none")
    if model_args.pretrained_encoder is not None:
        load_config(model_args.pretrained_encoder, f"--pretrained_encoder {model_args.pretrained_encoder}")
    set_seed(args.seed)

    corpus = data.load()
    if "train" not in corpus.splits:
        raise CorpusError(f"{corpus.name} has no training split: pass --train_file")
    tokenizer = make_tokenizer(model_args, corpus, checkpoint)
    encoded = encode_corpus(corpus, tokenizer, data.max_length)
    for split, report in corpus.reports.items():
        logger.warning(f"{split}: {report}")
    config = model_args.config(tokenizer)
    if checkpoint is not None:
        check_same_model(config, checkpoint)
    if config.normalises_batches:
        if args.train_batch_size * args.world_size < 2:
            raise UsageError(
                f"--per_device_train_batch_size {args.per_device_train_batch_size} leaves nothing to normalise over: "
                f"use at least 2 with the posterior {config.posterior}"
            )
        if len(encoded["train"]) < 2:
            raise CorpusError(
                f"{corpus.name} has one training sentence: the posterior {config.posterior} needs at least 2"
            )
    if "validation" not in encoded and args.eval_strategy != "no":
        raise CorpusError(
            f"{corpus.name} has no validation split: pass --validation_file, or --eval_strategy no together with "
            "--load_best_model_at_end false"
        )
    model = BnVaeForConditionalGeneration(config) if config.latent_size else LstmLMForCausalLM(config)
    if model_args.pretrained_encoder is not None and checkpoint is None:
        logger.warning("Starting from " + start_from(model, model_args.pretrained_encoder, model_args.reset_decoder))
    model.generation_config.max_new_tokens = max(encoded["train"]["length"])

    trainer = VaeTrainer(
        model,
        args,
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("validation"),
        data_collator=VaeCollator(tokenizer.pad_token_id),
        processing_class=tokenizer,
    )
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    results = training_results(trainer, trained, corpus)
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if split in encoded:
            results |= judge_split(trainer, encoded[split], prefix, judge, last="test" not in encoded)
    if trainer.is_world_process_zero():
        trainer.save_state()
        write_json(Path(args.output_dir) / "all_results.json", results)
        trainer.create_model_card(model_name=Path(args.output_dir).name)
        print_results(results)
    if args.push_to_hub:
        trainer.push_to_hub()


def make_tokenizer(model_args: ModelArguments, corpus: Corpus, checkpoint: str | None):
    """The tokenizer of what the run goes on from, an existing one by name, or one built from the training split."""
    started_from = checkpoint or model_args.pretrained_encoder
    if started_from is not None:
        return load_tokenizer(started_from)
    if model_args.tokenizer not in ("word", "bpe"):
        return load_tokenizer(model_args.tokenizer)
    return build_tokenizer(
        corpus.splits["train"]["text"],
        model_args.tokenizer,
        model_args.vocab_size,
        model_args.min_count,
        model_args.split_punctuation,
    )


def training_results(trainer: VaeTrainer, trained, corpus: Corpus) -> dict:
    """Speed and size of the training, with the seconds that evaluations and statistics took of it."""
    metrics = trained.metrics
    training_seconds = trainer.stopwatch.seconds
    return {
        "train_loss": metrics["train_loss"],
        "train_runtime": metrics["train_runtime"],
        "train_seconds_without_evaluation": training_seconds,
        "train_evaluation_seconds": trainer.seconds["evaluation"],
        "train_statistics_seconds": trainer.seconds["statistics"],
        "train_last_statistics_seconds": trainer.seconds["last_statistics"],
        "train_tokens_per_second": metrics["epoch"] * corpus.reports["train"].tokens / training_seconds,
        "train_steps": trained.global_step,
        "train_epochs": metrics["epoch"],
        "train_sentences": len(trainer.train_dataset),
        "train_tokens": corpus.reports["train"].tokens,
        "world_size": trainer.args.world_size,
        "seed": trainer.args.seed,
        "vocab_size": trainer.model.config.vocab_size,
    }


def judge_split(trainer: VaeTrainer, dataset, prefix: str, judge: JudgeArguments, last: bool) -> dict:
    """Every metric of a split; the NLL, which costs K decoder passes, on the test split, or on the last there is."""
    metrics = trainer.evaluate(dataset, metric_key_prefix=prefix)
    names = ("elbo", "rec", "kl", "mi", "au", "agg_kl")
    results = {f"{prefix}_{name}": metrics[f"{prefix}_{name}"] for name in names}
    results[f"{prefix}_sentences"] = len(dataset)
    if prefix == "test" or last:
        progress = not trainer.args.disable_tqdm and trainer.is_world_process_zero()
        judged = judge_nll(trainer.model, dataset, trainer.get_eval_dataloader, judge, trainer.args.seed, progress)
        results |= {f"{prefix}_{name}": value for name, value in judged.items()}
    return results


if __name__ == "__main__":
    run_main(main)
