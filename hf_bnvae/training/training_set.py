"""What a training set must be for a training to mean something."""

from ..data import CorpusError
from ..errors import ParameterError
from .arguments import VaeTrainingArguments


def check_training_set(args: VaeTrainingArguments, config, name: str, examples: int, has_validation: bool) -> None:
    """Refuse what would fail, or mean nothing, once training has begun.

    Args:
        config: of the model.
        name: of the corpus.
        examples: number of its training examples.
        has_validation: whether it has a validation split.

    Raises:
        CorpusError: the corpus has too few examples, or no validation split.
        ParameterError: the batch is too small.
    """
    if config.normalises_batches:
        if args.train_batch_size * args.world_size < 2:
            raise ParameterError(
                f"`per_device_train_batch_size` {args.per_device_train_batch_size} leaves nothing to normalise "
                f"over: use at least 2 with the posterior {config.posterior}"
            )
        if examples < 2:
            raise CorpusError(f"{name} has one training example: the posterior {config.posterior} needs at least 2")
    if examples < args.world_size:
        raise CorpusError(
            f"{name} has {examples} training examples for {args.world_size} processes: start fewer of them"
        )
    if not has_validation and args.eval_strategy != "no":
        raise CorpusError(
            f"{name} has no validation split: pass a `validation_file`, put a part of the training split aside by "
            "`validation_split_percentage` 5, or pass the `eval_strategy` no"
        )
