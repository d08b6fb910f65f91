"""Models, tokenizers and word vectors that arguments name."""

from collections.abc import Mapping

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig

from ..data.errors import first_line
from ..errors import ParameterError, last_line
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

SENTENCE_MODELS = {kind: MODELS[kind] for kind in (BnVaeConfig, LstmLMConfig)}
DIALOGUE_MODELS = {BnCvaeConfig: MODELS[BnCvaeConfig]}


def read_config(name: str, called: str):
    """The configuration of any model; `called` is what an error calls it."""
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except StrictDataclassError as error:
        raise ParameterError(f"{called}: its config.json is not valid: {last_line(error)}") from error
    except (OSError, ValueError) as error:
        raise ParameterError(f"{called}: no model there ({first_line(error)})") from error


def load_config(name: str, called: str, models: Mapping = SENTENCE_MODELS):
    """The configuration of one of our models; `called` is what an error calls it."""
    config = read_config(name, called)
    if type(config) not in models:
        wanted = " or ".join(kind.model_type for kind in models)
        raise ParameterError(f"{called} is a {config.model_type} model, and {wanted} is what belongs here")
    return config


def load_model(name: str, called: str = "`model_name_or_path`", models: Mapping = SENTENCE_MODELS):
    """A whole text VAE (or another of `models`) from a folder or the Hub, in evaluation mode."""
    called = f"{called} {name}"
    kind = models[type(load_config(name, called, models))]
    try:
        model, loaded = kind.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ParameterError(f"{called}: its weights cannot be read ({first_line(error)})") from error
    if loaded["missing_keys"]:
        raise ParameterError(
            f"{called} lacks weights of a whole model, {min(loaded['missing_keys'])} for one: was it saved from the "
            "encoder alone?"
        )
    ruined = next((name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()), None)
    if ruined is not None:
        raise ParameterError(
            f"{called}: its weight {ruined} holds numbers that are not finite; take an earlier checkpoint"
        )
    return model.eval()


def take_pretrained_encoder(model: BnVaeForConditionalGeneration, name: str, reset_decoder: bool) -> str:
    """Start a new model from the encoder of a trained one. Returns what was taken, in one sentence."""
    source = load_model(name, "`pretrained_encoder`")
    return start_from_encoder(model, source, name, reset_decoder)


def load_vectors(path: str, called: str) -> WordVectors:
    """Word vectors from a file; `called` is what an error calls it."""
    try:
        return WordVectors.load(path)
    except ValueError as error:
        raise ParameterError(f"{called}: {error}") from error


def take_word_vectors(model, tokenizer, path: str) -> str:
    """Start a model's word vectors from those of a file. Returns how many were known, in one sentence."""
    return start_from_vectors(model, tokenizer, load_vectors(path, "`initial_word_vectors`"))
