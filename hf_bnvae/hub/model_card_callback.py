"""A callback that leaves the results, the record and the model card of a training in its output folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub.utils import validate_repo_id
from transformers import TrainerCallback, TrainerState
from transformers.utils import logging

from ..data.batches import VaeCollator
from ..data.encoded_texts import encode_texts
from .cards import CARD_METRICS, CardError, write_card
from .run_record import RECORD_NAME, hardware, sentence_examples, versions, write_json

MAX_LENGTH = 512

logger = logging.get_logger(__name__)


class ModelCardCallback(TrainerCallback):
    """Writes `all_results.json`, `run.json` and the model card when a training ends, from what the trainer knows.

    Any `VaeTrainer` can carry it. The results are of the weights that the training ends with: those of the best model
    under `load_best_model_at_end`, or else those of an evaluation at the last step. `trainer.save_model()` then saves
    the model beside the card.

    Args:
        method: the name of the method, a row of `methods.METHODS` or `methods.DIALOGUE_METHODS`.
        license: of the model, by its id on the Hub.
        language: of the data, by its ISO 639 code, or several of them.
        base_model: the id on the Hub of the model that the training started from, or several of them.
        data: `name`, `hub_id` and `license` of the data.
        command: how the training was started, as a shell reads it.
        sentences: texts that the card shows with their reconstructions.
        repo_id: where the model will be on the Hub, `USER/NAME`.

    Raises:
        ValueError: for a `repo_id` that no repository can have.
    """

    def __init__(
        self,
        method: str | None = None,
        license: str | None = None,
        language: str | Sequence[str] | None = None,
        base_model: str | Sequence[str] | None = None,
        data: Mapping | None = None,
        command: str | None = None,
        sentences: Sequence[str] = (),
        repo_id: str | None = None,
    ):
        given = {
            "method": method,
            "license": license,
            "language": [language] if isinstance(language, str) else None if language is None else list(language),
            "base_model": base_model if base_model is None or isinstance(base_model, str) else list(base_model),
            "data": data,
            "command": command,
        }
        self.record = {name: value for name, value in given.items() if value is not None}
        self.sentences = list(sentences)
        if repo_id is not None:
            validate_repo_id(repo_id)
        self.repo_id = repo_id

    def on_train_end(self, args, state, control, model=None, processing_class=None, train_dataloader=None, **kwargs):
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        results = training_summary(args, state, model.config)
        if train_dataloader is not None:
            results["train_sentences"] = len(train_dataloader.dataset)
        record = self.record | {"versions": versions(), "hardware": hardware(args)}
        if processing_class is not None and model.config.model_type != "bncvae":
            record["examples"] = self._examples(model, processing_class, args.seed)
        write_json(folder / "all_results.json", results)
        write_json(folder / RECORD_NAME, record)
        state.save_to_json(str(folder / "trainer_state.json"))
        try:
            write_card(folder, self.repo_id, config=model.config)
        except CardError as error:  # the training is over, and its model not saved yet
            logger.warning(f"There is no model card: {error}")

    def _examples(self, model, tokenizer, seed: int) -> dict:
        """What the model writes, see `run_record.sentence_examples`."""
        batch = None
        if self.sentences and model.config.latent_size and getattr(model.config, "encoder", None) != "given":
            rows, _ = encode_texts(self.sentences, tokenizer, MAX_LENGTH)
            batch = VaeCollator(tokenizer.pad_token_id)([{"input_ids": ids} for ids in rows])
        return sentence_examples(model, tokenizer, self.sentences, batch, seed)


def training_summary(args, state: TrainerState, config) -> dict:
    """The metrics of the weights that a training ends with, if they were judged, and its size, as results name them."""
    ends_with_best = args.load_best_model_at_end and state.best_model_checkpoint is not None
    step = state.best_global_step if ends_with_best else state.global_step
    judged = [row for row in state.log_history if "eval_elbo" in row and row["step"] == step]
    names = {f"eval_{name}" for name in CARD_METRICS}
    return {name: value for row in judged[-1:] for name, value in row.items() if name in names} | {
        "train_steps": state.global_step,
        "train_epochs": state.epoch,
        "world_size": args.world_size,
        "seed": args.seed,
        "vocab_size": config.vocab_size,
    }
