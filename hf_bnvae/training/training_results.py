"""Speed and size of a finished training, for `all_results.json`."""


def training_results(trainer, trained, tokens: int) -> dict:
    """Speed and size of a training, with the seconds that evaluations and statistics took of it.

    Those of a resumed run are of all the processes that it took.

    Args:
        trainer: the `VaeTrainer` that trained.
        trained: what its `train` returned.
        tokens: predicted tokens of the training set.
    """
    metrics = trained.metrics
    training_seconds = trainer.stopwatch.seconds
    return {
        "train_loss": metrics["train_loss"],
        "train_runtime": trainer.stopwatch.earlier_runtime + metrics["train_runtime"],
        "train_seconds_without_evaluation": training_seconds,
        "train_evaluation_seconds": trainer.seconds["evaluation"],
        "train_statistics_seconds": trainer.seconds["statistics"],
        "train_last_statistics_seconds": trainer.seconds["last_statistics"],
        "train_tokens_per_second": metrics["epoch"] * tokens / training_seconds,
        "train_steps": trained.global_step,
        "train_epochs": metrics["epoch"],
        "train_sentences": len(trainer.train_dataset),
        "train_tokens": tokens,
        "world_size": trainer.args.world_size,
        "seed": trainer.args.seed,
        "vocab_size": trainer.model.config.vocab_size,
        **({} if trainer.graphs is None else trainer.graphs.results()),
    }
