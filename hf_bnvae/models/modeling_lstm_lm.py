"""The language model beside the text VAEs: their decoder with no latent, an LSTM or a pretrained one."""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin

from .base_weights import BaseWeightsMixin
from .configuration_lstm_lm import LstmLMConfig
from .decoders import DECODERS, LstmState
from .distributions import DiagonalGaussian
from .model_outputs import LstmLMOutput
from .modeling_common import (
    DEFAULT_MAX_NEW_TOKENS,
    DecodingMixin,
    as_asked,
    initialise,
    wants_hidden_states,
    wants_state,
)
from .noise import with_hidden_words
from .objectives import IGNORED
from .pretrained_decoder import PretrainedState


class LstmLMForCausalLM(DecodingMixin, BaseWeightsMixin, PreTrainedModel, GenerationMixin):
    """A language model: a single-layer LSTM, or with a `config.decoder_config` any `AutoModelForCausalLM`.

    To the trainer and the metrics it is a text VAE with no latent dimensions: `infer` gives a distribution over no
    numbers, whose KL is 0, and the NLL is exact.
    """

    config_class = LstmLMConfig
    accepts_loss_kwargs = False
    base_model_prefix = ""
    decoder: Any
    main_input_name = "input_ids"

    def __init__(self, config: LstmLMConfig):
        super().__init__(config)
        self.decoder = DECODERS[config.decoder](config)
        self.post_init()
        self.generation_config.max_new_tokens = DEFAULT_MAX_NEW_TOKENS

    def _init_weights(self, module):
        config = self.config
        initialise(module, config.initializer_range, config.embedding_initializer_range, config.forget_bias)

    def get_input_embeddings(self):
        return self.decoder.embedding

    def set_input_embeddings(self, value):
        self.decoder.embedding = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        past_key_values: LstmState | PretrainedState | None = None,
        use_cache: bool | None = None,
        return_logits: bool | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        word_positions: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> LstmLMOutput | tuple:
        """Read `(batch, length)` tokens.

        Args:
            input_ids: `(batch, length)`, start symbol included.
            attention_mask: where it is 0 nothing is read, and the logits are those of the position before. In training
                nothing looks at it: pad on the right there, after everything that counts.
            labels: `(batch, length)`, which are shifted here as everywhere in Transformers, or without their first
                column `(batch, length − 1)`, as `VaeCollator` gives them; −100 on padding. Of the former, none counts
                that follows a position where `attention_mask` is 0. The loss is in nats per sentence.
            past_key_values: the state to go on from.
            use_cache: whether to give out the state; `config.use_cache` by default.
            return_logits: by default unless in training with `labels`.
            inputs_embeds: word vectors in the place of `input_ids`, `(batch, length, embedding_size)`.
            word_positions: where in the flattened labels the words are, `(words,)`. `VaeCollator` knows them; to look
                for them waits for a GPU.
            kwargs: `shift_labels` `(batch, length)`, the word after each position, may stand in the place of `labels`.
                It has no name of its own, because `Trainer` asks data for all arguments that are named like labels.

        Raises:
            ValueError: unless one of `input_ids` and `inputs_embeds` is given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            if self.training and input_ids is not None:
                input_ids = with_hidden_words(input_ids, self.config, kwargs.get("noise_seed"))
            inputs_embeds = self.decoder.embed(input_ids)
        if labels is not None and labels.size(1) == inputs_embeds.size(1):
            labels = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
            if attention_mask is not None:
                labels = labels.masked_fill(attention_mask[:, -labels.size(1) :] == 0, IGNORED)
        if kwargs.get("shift_labels") is not None:
            labels, word_positions = kwargs["shift_labels"], None
        latents = self._no_latents(inputs_embeds)
        if attention_mask is not None:
            attention_mask = attention_mask[:, -inputs_embeds.size(1) :]
        keeps_state = wants_state(use_cache, self.config) and (use_cache is not None or labels is None)
        if self.training or attention_mask is None or attention_mask.all():
            outputs, state = self.decoder.run(inputs_embeds, latents, past_key_values, keeps_state)
        else:
            outputs, state = self.decoder.run_where(
                inputs_embeds, attention_mask, latents, past_key_values, keeps_state
            )
        if return_logits is None:
            return_logits = not self.training or labels is None
        loss = kl = None
        if labels is not None:
            loss = self.reconstruction(outputs[:, : labels.size(1)], labels, word_positions)
            kl = torch.zeros_like(loss)
        output = LstmLMOutput(
            loss=loss,
            logits=self.decoder.logits(outputs) if return_logits else None,
            reconstruction_loss=loss,
            kl=kl,
            past_key_values=state if wants_state(use_cache, self.config) else None,
            hidden_states=(
                (inputs_embeds, outputs) if wants_hidden_states(output_hidden_states, self.config) else None
            ),
        )
        return as_asked(output, return_dict, self.config)

    def generate(self, inputs: torch.Tensor | None = None, **options):  # type: ignore[override]
        """Transformers' `generate`. An end symbol behind the prompt, which tokenizers put there, is not read."""
        inputs = options.pop("input_ids", None) if inputs is None else inputs
        if inputs is not None:
            options["attention_mask"] = self._prompt_mask(inputs, options.pop("attention_mask", None))
        return super().generate(inputs, **options)  # type: ignore[misc]

    def _prompt_mask(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Which words of `(batch, length)` prompts are read: no padding, and no end symbols behind the words.

        An end symbol that is the start as well is read where it stands in front.
        """
        config = self.config
        known = [] if config.eos_token_id is None else config.eos_token_id
        ends = torch.isin(inputs, torch.tensor(known, device=inputs.device))
        read = (ends | (inputs != config.pad_token_id) if mask is None else mask).long()
        starts = (read.cumsum(1) == 1) & (inputs == config.bos_token_id)
        words = read * (~ends | starts)
        return read * (words.flip(1).cumsum(1).flip(1) > 0)

    def infer(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs) -> DiagonalGaussian:
        """A distribution over no dimensions, `(batch, 0)`, for every sentence of `(batch, length)` token ids."""
        nothing = self._no_latents(input_ids)
        return DiagonalGaussian(nothing, nothing)

    def sample(self, num_samples: int = 1, **generation_options) -> torch.Tensor:
        """Token ids `(num_samples, length)` generated from the start symbol, by sampling unless told otherwise."""
        start = torch.full((num_samples, 1), self.config.bos_token_id, device=self.device)
        options = {"do_sample": True} | generation_options
        return self.generate(start, **options)  # type: ignore[misc,return-value]

    @staticmethod
    def _no_latents(inputs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(inputs), 0, device=inputs.device)


__all__ = ["LstmLMForCausalLM"]
