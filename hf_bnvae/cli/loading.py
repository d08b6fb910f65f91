"""Models, tokenizers and word vectors that flags name."""

from collections.abc import Mapping

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig

from ..data.errors import first_line
from ..evaluation import WordVectors
from ..models import (
    BnCvaeConfig,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    LstmLMConfig,
)
from ..plans import MODELS
from ..training.pretrained_encoder import start_from_encoder
from ..training.word_vectors import start_from_vectors
from .errors import UsageError, one_sentence

SENTENCE_MODELS = {kind: MODELS[kind] for kind in (BnVaeConfig, LstmLMConfig)}
DIALOGUE_MODELS = {BnCvaeConfig: MODELS[BnCvaeConfig]}


def read_config(name: str, flag: str):
    """The configuration of any model; `flag` is what the user named it by."""
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except StrictDataclassError as error:
        raise UsageError(f"{flag}: its config.json is not valid: {one_sentence(error)}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{flag}: no model there ({first_line(error)})") from error


def load_config(name: str, flag: str, models: Mapping = SENTENCE_MODELS):
    """The configuration of one of our models; `flag` is what the user named it by."""
    config = read_config(name, flag)
    if type(config) not in models:
        wanted = " or ".join(kind.model_type for kind in models)
        raise UsageError(f"{flag} is a {config.model_type} model, and {wanted} is what belongs here")
    return config


def load_model(name: str, flag: str = "--model_name_or_path", models: Mapping = SENTENCE_MODELS):
    """A whole text VAE (or another of `models`) from a folder or the Hub, in evaluation mode."""
    flag = f"{flag} {name}"
    kind = models[type(load_config(name, flag, models))]
    try:
        model, loaded = kind.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{flag}: its weights cannot be read ({first_line(error)})") from error
    if loaded["missing_keys"]:
        raise UsageError(
            f"{flag} lacks weights of a whole model, {min(loaded['missing_keys'])} for one: was it saved from the "
            "encoder alone?"
        )
    ruined = next((name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()), None)
    if ruined is not None:
        raise UsageError(f"{flag}: its weight {ruined} holds numbers that are not finite; take an earlier checkpoint")
    return model.eval()


def check_tokenizer(model, tokenizer, flag: str) -> None:
    """Refuse a tokenizer that gives ids which the model does not have."""
    largest, size = max(tokenizer.get_vocab().values()), model.config.vocab_size
    if largest >= size:
        raise UsageError(
            f"{flag}: its tokenizer has the id {largest} and the model {size} words: they do not belong together"
        )


def take_pretrained_encoder(model: BnVaeForConditionalGeneration, name: str, reset_decoder: bool) -> str:
    """Start a new model from the encoder of a trained one. Returns what was taken, in one sentence."""
    source = load_model(name, "--pretrained_encoder")
    try:
        return start_from_encoder(model, source, name, reset_decoder)
    except ValueError as error:
        said = str(error).replace("this model has", "the flags say").replace("add reset_", "add --reset_")
        raise UsageError(f"--{said}") from error


def load_vectors(path: str | None, flag: str) -> WordVectors | None:
    """Word vectors from a file; None without one."""
    if path is None:
        return None
    try:
        return WordVectors.load(path)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


def take_word_vectors(model, tokenizer, path: str) -> str:
    """Start a model's word vectors from those of a file. Returns how many were known, in one sentence."""
    try:
        return start_from_vectors(model, tokenizer, WordVectors.load(path))
    except ValueError as error:
        said = str(error).replace("use embedding_size", "use --embedding_size")
        raise UsageError(f"--{said}" if said.startswith("initial") else f"--initial_word_vectors: {said}") from error
