"""The base of the models: initialisation, options of a call, and the losses of a decoder."""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel, StoppingCriteriaList
from transformers import initialization as init
from transformers.utils import ModelOutput

from .decoder_base import Decoder
from .labels import behind_the_start, words_to_predict
from .latent_memory import LatentMemory
from .layers import TopicVectors, input_dtype
from .noise import sentence_keys
from .normalisation import BatchStatistics
from .objectives import IGNORED, bag_of_words_losses, negative_elbo, reconstruction_loss
from .posteriors import Posterior
from .pretrained_decoder import LatentMap
from .stop_texts import StopTexts

DEFAULT_MAX_NEW_TOKENS = 128
Output = TypeVar("Output", bound=ModelOutput)


def initialise(module: nn.Module, scale: float | None, embedding_scale: float | None, forget_bias: float = 0.0) -> None:
    """Start values of one module: weights uniform in ± `scale`, word vectors in ± `embedding_scale`.

    `forget_bias` is added to the bias of an LSTM's forget gates, so that it keeps what it has read (Jozefowicz et al.
    2015).

    None stands for what PyTorch starts from: weights uniform in ± 1/√width of what they read (of a recurrent layer, of
    its state), word vectors N(0, 1). Convolutions, whose ReLUs would die of small weights, start as He et al. (2015)
    say.
    """
    if isinstance(module, nn.Embedding):
        if embedding_scale is None:
            init.normal_(module.weight)
        else:
            init.uniform_(module.weight, -embedding_scale, embedding_scale)
        if isinstance(module, TopicVectors):
            start = module.weight.detach().clone()
            start[0] = 0
            init.copy_(module.weight, start)
    elif isinstance(module, (BatchStatistics, Posterior, LatentMap, LatentMemory)):
        module.reset_parameters()
    elif isinstance(module, (nn.Linear, nn.RNNBase)):
        width = module.in_features if isinstance(module, nn.Linear) else module.hidden_size
        scale = 1 / math.sqrt(width) if scale is None else scale
        for parameter in module.parameters(recurse=False):
            init.uniform_(parameter, -scale, scale)
        if isinstance(module, nn.LSTM) and forget_bias:
            bias = module.get_parameter("bias_ih_l0")
            kept = bias.detach().clone()
            kept[module.hidden_size : 2 * module.hidden_size] += forget_bias
            init.copy_(bias, kept)
    elif isinstance(module, nn.Conv1d) and module.bias is not None:
        init.kaiming_uniform_(module.weight, nonlinearity="relu")
        init.zeros_(module.bias)


def _has_layers_to_compute_twice(model: Any) -> bool:
    """Whether a model has a pretrained part that takes gradient checkpointing, which loses a memory of z."""
    if any(isinstance(module, LatentMemory) for module in model.modules()):
        return False
    parts = (module for module in model.modules() if module is not model and isinstance(module, PreTrainedModel))
    return any(part.supports_gradient_checkpointing for part in parts)


def as_asked(output: Output, return_dict: bool | None, config) -> Output | tuple:
    """An output with its names or, where the call or else the configuration says so, as a tuple."""
    return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()


def wants_hidden_states(output_hidden_states: bool | None, config) -> bool:
    """Return the option of the call or, where it is None, that of the configuration."""
    return bool(config.output_hidden_states if output_hidden_states is None else output_hidden_states)


def wants_state(use_cache: bool | None, config) -> bool:
    """Whether the decoder's state is given out: as the call says, or else the configuration."""
    return bool(config.use_cache if use_cache is None else use_cache)


def renamed(old: str, new: str):
    """A method under the name that it had in version 0.1; a call of it warns and goes to the new one."""

    def method(self, *args, **kwargs):
        warnings.warn(f"{old} is called {new} now; the old name goes in version 0.3", FutureWarning, stacklevel=2)
        return getattr(self, new)(*args, **kwargs)

    method.__doc__ = f"The former name of `{new}`."
    return method


def _asked_for(name: str, options: Mapping) -> Any:
    """An option of a call of `generate`, which may stand in a `generation_config`."""
    given = options.get(name)
    return getattr(options.get("generation_config"), name, None) if given is None else given


class DecodingMixin:
    """A model with a decoder: its output layer may be tied to the word vectors, and it gives sentence losses."""

    _is_stateful = True  # a state cannot go back to an earlier word, as assisted generation would have it
    _tied_weights_keys = {"decoder.output.weight": "decoder.embedding.weight"}
    config: Any
    decoder: Decoder

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def generate(self, inputs: torch.Tensor | None = None, **options):
        """Transformers' `generate`, in which `stop_strings` end a text of any `tokenizer`.

        A `max_length` of the call counts, not the `max_new_tokens` of `self.generation_config`.

        Raises:
            ValueError: for `output_attentions`, which a recurrent or convolutional model does not have, and for
                `stop_strings` without a `tokenizer`.
        """
        if _asked_for("output_attentions", options):
            raise ValueError(f"{type(self).__name__} has no attentions: leave out output_attentions")
        if _asked_for("max_length", options) is not None and _asked_for("max_new_tokens", options) is None:
            options["max_new_tokens"] = None
        if options.get("stop_strings") is not None:
            if options.get("tokenizer") is None:
                raise ValueError("stop_strings need the tokenizer, which says what tokens spell: pass it as tokenizer")
            prompt = options.get("decoder_input_ids") if self.config.is_encoder_decoder else inputs
            stop = StopTexts(
                options.pop("tokenizer"), options.pop("stop_strings"), 0 if prompt is None else prompt.size(1)
            )
            options["stopping_criteria"] = StoppingCriteriaList([*(options.get("stopping_criteria") or ()), stop])
        return super().generate(inputs, **options)  # type: ignore[misc]

    def prepare_inputs_for_generation(
        self, input_ids, next_sequence_length=None, past_key_values=None, *args, **kwargs
    ):
        """Prepare a step of generation; of tokens that begin with those of a given state only the new ones are read.

        Without a state, which some decoders never give, all are.
        """
        if past_key_values is None:
            next_sequence_length = None
        elif next_sequence_length is None:
            read = past_key_values.get_seq_length()
            if read < input_ids.size(1):
                next_sequence_length = input_ids.size(1) - read
        return super().prepare_inputs_for_generation(  # type: ignore[misc]
            input_ids, next_sequence_length, past_key_values, *args, **kwargs
        )

    def get_output_embeddings(self):
        return self.decoder.output

    def set_output_embeddings(self, value):
        self.decoder.output = value

    def post_init(self):
        super().post_init()  # type: ignore[misc]
        self.supports_gradient_checkpointing = _has_layers_to_compute_twice(self)
        if self.config.tie_word_embeddings:
            # A checkpoint does not hold the tied weight twice; told so, `Trainer` does not warn of it.
            self._keys_to_ignore_on_save = {*(self._keys_to_ignore_on_save or ()), *self._tied_weights_keys}

    def resize_token_embeddings(self, *args, **kwargs):
        """See `PreTrainedModel`; a model on a pretrained part has two vocabularies.

        Raises:
            ValueError: for such a model, where a number of tokens does not say whose it is.
        """
        chosen = {getattr(self.config, part, None) for part in ("encoder", "decoder")}
        if (args or kwargs) and "pretrained" in chosen:
            raise ValueError(
                "a model on a pretrained part reads one vocabulary and writes another: resize that of the pretrained "
                "encoder or decoder before the model is made of them"
            )
        return super().resize_token_embeddings(*args, **kwargs)  # type: ignore[misc]

    def _resize_token_embeddings(self, new_num_tokens, pad_to_multiple_of=None, mean_resizing=True):
        embeddings = super()._resize_token_embeddings(  # type: ignore[misc]
            new_num_tokens, pad_to_multiple_of, mean_resizing
        )
        self._resize_others(embeddings.num_embeddings, mean_resizing)
        return embeddings

    def _resize_others(self, vocab_size: int, mean_resizing: bool) -> None:
        """Give what else has a row a word as many rows."""
        bag = self.words_of_z
        if bag is not None:
            bag[-1] = self._get_resized_lm_head(bag[-1], vocab_size, mean_resizing=mean_resizing)  # type: ignore[attr-defined]

    @property
    def words_of_z(self) -> nn.Sequential | None:
        """The layers `bag_of_words`, from what the decoder knows of a text to logits of its words in any order."""
        return getattr(self, "bag_of_words", None)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """The words of `labels` behind the start symbol, without their last column, padding restored."""
        return behind_the_start(words_to_predict(labels, self.config), self.config)

    def decoder_states(self, decoder_input_ids: torch.Tensor, conditions: torch.Tensor, state=None) -> tuple:
        """The decoder's hidden states `(batch, length, hidden_size)` over tokens, and the state to go on from."""
        return self.decoder(decoder_input_ids, conditions, state, use_cache=state is not None)

    def noise_keys(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs) -> torch.Tensor:
        """Keys `(batch,)` of the noise of an evaluation: see `noise.sentence_keys`."""
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        return sentence_keys(input_ids, attention_mask)

    def auxiliary_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses of each sentence beside its own, `(batch,)` nats by name: `bow_loss`, where the model has it."""
        bag = self.words_of_z
        return {} if bag is None else {"bow_loss": bag_of_words_losses(bag(conditions.to(input_dtype(bag[0]))), labels)}

    def mean_auxiliary_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same as means over sentences."""
        return {name: losses.mean() for name, losses in self.auxiliary_losses(labels, conditions).items()}

    side_losses = renamed("side_losses", "auxiliary_losses")

    def training_loss(self, reconstruction, kl, kl_weight, *, bow_loss=None, **auxiliary):
        """The loss of a training from its parts, each a mean over sentences in nats, as tensors or as numbers:
        rec + kl_weight · KL + bow_weight · the bag of words; `decorrelation` is not among them."""
        loss = negative_elbo(reconstruction, kl, kl_weight)
        return loss if bow_loss is None else loss + self.config.bow_weight * bow_loss

    def reconstruction(
        self, outputs: torch.Tensor, labels: torch.Tensor, word_positions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """−log p(x|z) of hidden states `(batch, length, hidden_size)` at `(batch, length)` labels, a mean over
        sentences. No logits of padding are computed."""
        if word_positions is None:
            word_positions = (labels.flatten() != IGNORED).nonzero().squeeze(1)
        words = outputs.flatten(0, 1).index_select(0, word_positions)
        total = self.decoder.summed_nll(words, labels.flatten().index_select(0, word_positions))
        return reconstruction_loss(total, len(labels))

    def sentence_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """−log p(x|z) of `(batch, length)` labels at `(batch, latent_size)` latents: `(batch,)` nats.

        No logits of padding are computed.
        """
        labels = words_to_predict(labels, self.config)
        outputs, _ = self.decoder_states(behind_the_start(labels, self.config), conditions)
        words = labels != IGNORED
        losses = torch.zeros(labels.shape, device=labels.device)
        losses = losses.masked_scatter(words, self.decoder.token_losses(outputs[words], labels[words]))
        return losses.sum(1)


class EncoderDecoderMixin(DecodingMixin):
    """A whole model, which has its encoder in `model`."""

    model: Any

    def get_encoder(self, *args, **kwargs):
        return self.model

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.model.set_input_embeddings(value)

    def recompute_statistics(self, batches: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """See the encoder's own."""
        self.model.recompute_statistics(batches)


def is_kind(model: object, *kinds: type) -> bool:
    """Whether a model is of one of our classes, or of the same class from the code that a checkpoint carries."""
    names = {kind.__name__ for kind in kinds}
    ours = isinstance(model, PreTrainedModel) and getattr(model.config, "hf_bnvae_version", None) is not None
    return isinstance(model, kinds) or (ours and type(model).__name__ in names)
