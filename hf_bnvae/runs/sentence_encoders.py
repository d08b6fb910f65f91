"""Any encoder of sentences as a classifier: a linear one on its vectors, or a text VAE trained along with one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer, set_seed
from transformers.utils import has_file, logging

from ..data import load_tokenizer
from ..data.encoded_texts import encode_texts
from ..data.errors import first_line
from ..errors import ParameterError
from ..evaluation import encode_in_order
from ..evaluation.classification import ClassificationTask, Predict, finetuning, probing
from ..models import BnCvaeConfig, BnVaeConfig, BnVaeForSequenceClassification, BnVaeModel, LstmLMConfig
from ..models.pretrained_parts import longest_text
from .loading import load_model, read_config

CALLED = "`model_name_or_path`"

logger = logging.get_logger(__name__)


def probed_classifier(
    name: str, task: ClassificationTask, max_length: int, batch_size: int, standardise: bool
) -> Predict:
    """A linear classifier on the vectors of a frozen encoder."""
    vectors = encode(name, task.texts + task.test_texts, max_length, batch_size)
    sample, test = np.split(vectors, [len(task.texts)])
    return probing(sample, test, task, standardise)


def finetuned_classifier(name: str, task: ClassificationTask, max_length: int, seed: int, **training) -> Predict:
    """A text VAE trained along with a classifier on its posterior mean.

    Args:
        seed: of the classifier's start.
        training: fields of `TrainingArguments`.
    """
    tokenizer = load_tokenizer(name, CALLED)
    set_seed(seed)
    model = load_ours(BnVaeForSequenceClassification, name, num_labels=task.num_classes)
    max_length = longest_text(model.config.encoder_config, max_length)
    ids, test_ids = (token_ids(texts, tokenizer, max_length) for texts in (task.texts, task.test_texts))
    return finetuning(model, tokenizer, ids, test_ids, task, **training)


def check_model(name: str, finetune: bool) -> None:
    """Refuse what no vectors can come from, before anything is read or trained."""
    called = f"{CALLED} {name}"
    if is_sentence_transformer(name):
        if find_spec("sentence_transformers") is None:
            raise ParameterError(f"{called} takes sentence-transformers: pip install 'hf-bnvae[sentence-transformers]'")
        kind = "sentence-transformers"
    else:
        config = read_config(name, called)
        kind = config.model_type
        if isinstance(config, (LstmLMConfig, BnCvaeConfig)):
            raise ParameterError(
                f"{called} is a {kind} model, which has no latent of a sentence alone: name a text VAE"
            )
        if getattr(config, "encoder", None) == "given":
            raise ParameterError(f"{called} reads embeddings and no sentences: name a model with an encoder")
    if finetune and kind != BnVaeConfig.model_type:
        raise ParameterError(f"{called} is a {kind} model, and `finetune` trains text VAEs (bnvae) only")


def is_sentence_transformer(name: str) -> bool:
    """Whether a model is one of sentence-transformers."""
    try:
        return has_file(name, "modules.json")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{CALLED} {name}: no model there ({first_line(error)})") from error


def encode(name: str, texts: list[str], max_length: int, batch_size: int) -> np.ndarray:
    """A vector of each text, `(texts, width)`: the posterior mean of a text VAE, the mean state of other encoders."""
    device = PartialState().device
    if is_sentence_transformer(name):
        from sentence_transformers import SentenceTransformer

        with loading(name):
            model = SentenceTransformer(name, device=str(device))
        model.max_seq_length = min(max_length, model.max_seq_length or max_length)
        return model.encode(texts, batch_size=batch_size)
    config = read_config(name, f"{CALLED} {name}")
    if isinstance(config, BnVaeConfig):
        tokenizer = load_tokenizer(name, CALLED)
        # A refined posterior takes the decoder; any other needs no more of a checkpoint than the encoder.
        model = load_model(name) if config.refinement_steps else load_ours(BnVaeModel, name)
        vectors_of = model.encode
    else:
        with loading(name):
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model = AutoModel.from_pretrained(name, trust_remote_code=False)
        model = model.get_encoder() if config.is_encoder_decoder else model
        vectors_of = partial(mean_state, model)
    model.eval().to(device)
    network = config.encoder_config if isinstance(config, BnVaeConfig) else config
    rows = token_ids(texts, tokenizer, longest_text(network, max_length))
    return encode_in_order(rows, vectors_of, batch_size, tokenizer.pad_token_id, device).numpy()


@torch.no_grad()
def mean_state(model, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states averaged over the tokens of each sentence, `(batch, width)`."""
    states = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    weights = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def token_ids(texts: list[str], tokenizer, max_length: int) -> list[list[int]]:
    """Token ids of texts, cut to `max_length` and to what the encoder reads."""
    max_length = min(max_length, tokenizer.model_max_length)
    rows, cut = encode_texts(texts, tokenizer, max_length)
    if any(cut):
        logger.warning(f"{sum(cut):,} of {len(texts):,} sentences have more than {max_length} tokens and were cut.")
    return rows


def load_ours(kind, name: str, **options):
    """A part of a text VAE from any checkpoint that holds its encoder."""
    with loading(name):
        model, loaded = kind.from_pretrained(name, output_loading_info=True, **options)
    missing = {key for key in loaded["missing_keys"] if not key.startswith("classifier.")}
    if missing:
        raise ParameterError(f"{CALLED} {name} lacks weights of the encoder, {min(missing)} for one")
    return model


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Say in one sentence what could not be loaded."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ParameterError(f"{CALLED} {name}: it cannot be loaded ({first_line(error)})") from error
