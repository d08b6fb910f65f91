"""LSTM text VAEs: the encoder with its posterior, and the whole model with its decoder."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from .base_weights import BaseWeightsMixin
from .configuration_bnvae import BnVaeConfig
from .decoder_base import LatentDecoder
from .decoders import DECODERS, CnnState, LstmState
from .distributions import DiagonalGaussian, LatentDistribution
from .encoders import ENCODER_INPUTS, ENCODERS, EncoderOutput
from .labels import behind_the_start, words_of_inputs, words_to_predict
from .latent_generation import LatentGenerationMixin
from .layers import input_dtype, modes_kept, to_the_left, words_read
from .model_outputs import BnVaeModelOutput, BnVaeOutput
from .modeling_common import (
    DEFAULT_MAX_NEW_TOKENS,
    EncoderDecoderMixin,
    as_asked,
    initialise,
    wants_hidden_states,
    wants_state,
)
from .noise import keyed_noise, sentence_keys, state_keys, with_hidden_words
from .objectives import IGNORED, kl_objective, reconstruction_loss, total_correlation
from .posteriors import POSTERIORS
from .pretrained_parts import FromPretrainedPartsMixin
from .refinement import refine_posterior
from .token_loss import token_nll


class BnVaePreTrainedModel(BaseWeightsMixin, PreTrainedModel):
    """What the text VAEs share: their configuration, and where their weights start."""

    config_class = BnVaeConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    accepts_loss_kwargs = False

    def _init_weights(self, module):
        config = self.config
        initialise(module, config.initializer_range, config.embedding_initializer_range, config.forget_bias)


class BnVaeModel(BnVaePreTrainedModel):
    """The inference network: an encoder (`config.encoder`) and the posterior over latents.

    Where the posterior is refined, that takes the decoder: this is the unrefined one.

    Example:

        model = AutoModel.from_pretrained(folder)
        vectors = model.encode(**tokenizer(texts, padding=True, return_tensors="pt"))
    """

    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^bag_of_words\."]

    def __init__(self, config: BnVaeConfig):
        super().__init__(config)
        self.encoder_kind = ENCODERS[config.encoder]
        for name, layer in self.encoder_kind.layers(config).items():
            self.add_module(name, layer)
        self.posterior = POSTERIORS[config.posterior](config)
        self.post_init()

    def _init_weights(self, module):
        config = self.config
        ranges = config.encoder_initializer_range, config.encoder_embedding_initializer_range
        initialise(module, *ranges, config.forget_bias)

    def get_input_embeddings(self):
        return self.encoder_kind.get_embedding(self)

    def set_input_embeddings(self, value):
        self.encoder_kind.set_embedding(self, value)

    def infer(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
        **kwargs,
    ) -> LatentDistribution:
        """The posterior q(z|x) of `(batch, length)` token ids, padded on either side, or of states `(batch, width)`."""
        return self.posterior(self.read(input_ids, attention_mask, encoder_states=encoder_states).last)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        num_samples: int = 1,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        noise_seed: int | torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BnVaeModelOutput | tuple:
        """Infer the posterior of `(batch, length)` token ids and draw `num_samples` latents of it.

        In evaluation, and wherever a `noise_seed` is given, the draws are keyed by the sentence, so that the same
        sentence always gives the same ones; `encode(sample=True)` draws afresh. Given `latents` `(batch, latent_size)`,
        they are handed through and nothing is inferred: `generate(latents=z)` relies on that. In the place of token ids
        `inputs_embeds` `(batch, length, embedding_size)` may stand, all of whose positions count without a mask.
        """
        if latents is not None:
            output = BnVaeModelOutput(latents=latents.unsqueeze(1))
        else:
            encoded = self.read(input_ids, attention_mask, inputs_embeds, encoder_states)
            posterior = self.posterior(encoded.last)
            output = BnVaeModelOutput(
                posterior_mean=posterior.mean,
                posterior_logvar=getattr(posterior, "logvar", None),
                latents=posterior.rsample(
                    num_samples,
                    self.keyed_noise(range(num_samples), noise_seed, input_ids, attention_mask, encoder_states),
                ),
                kl=posterior.kl().sum(-1),
                hidden_states=(
                    (encoded.embedded, encoded.states)
                    if wants_hidden_states(output_hidden_states, self.config)
                    else None
                ),
            )
        return as_asked(output, return_dict, self.config)

    @torch.no_grad()
    def encode(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sample: bool = False,
        encoder_states: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Latents of sentences, `(batch, latent_size)`: the posterior mean, or one sample of the posterior."""
        return _chosen_latents(self.infer(input_ids, attention_mask, encoder_states=encoder_states), sample)

    @torch.no_grad()
    def recompute_statistics(self, batches: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """Make the stored normalisation statistics the exact ones of a data set, by an encoder-only pass.

        They are of the encoder as an evaluation reads with it, without dropout.

        Args:
            batches: mappings with `input_ids` and, where there is padding, `attention_mask`, or with
                `encoder_states`. Under `torch.distributed` each process passes its own share.

        Raises:
            ValueError: when the batches hold fewer than two sentences.
        """
        if self.posterior.normalisations:
            with modes_kept(self):
                self.eval()
                self.posterior.recompute_statistics(
                    self.read(**{name: batch[name].to(self.device) for name in ENCODER_INPUTS if name in batch}).last
                    for batch in batches
                )

    def read(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
    ) -> EncoderOutput:
        """Encode `(batch, length)` token ids, padded on either side, or word vectors.

        Args:
            encoder_states: states `(batch, width)` that were computed before, instead of either.

        Raises:
            ValueError: unless one of the three is given.
        """
        given = [item is not None for item in (input_ids, inputs_embeds, encoder_states)]
        if not any(given):
            raise ValueError("the encoder needs input_ids, or inputs_embeds or encoder_states in their place")
        if sum(given) > 1:
            raise ValueError("give either input_ids, inputs_embeds or encoder_states, not two of them")
        if encoder_states is not None:
            return EncoderOutput(None, None, encoder_states)
        return self.encoder_kind.encode(self, input_ids, attention_mask, inputs_embeds)

    def noise_keys(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Keys `(batch,)` of the noise of an evaluation: of labels where states may be given, else of what is read."""
        if labels is not None and self.config.encoder != "lstm":
            return sentence_keys(labels, labels != IGNORED)
        if encoder_states is not None:
            return state_keys(encoder_states)
        if input_ids is None:
            raise ValueError("noise is keyed by input_ids or encoder_states: give one of them")
        words = words_read(input_ids, self.config.encoder_padding) if attention_mask is None else attention_mask
        return sentence_keys(input_ids, words)

    def keyed_noise(
        self,
        samples: range,
        noise_seed: int | torch.Tensor | None,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        encoder_states: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Noise keyed by the sentence, `(batch, samples, latent_size)`; None in training with no seed given, and for
        word vectors."""
        if (input_ids is None and encoder_states is None) or (self.training and noise_seed is None):
            return None
        keys = self.noise_keys(input_ids, attention_mask, encoder_states)
        return keyed_noise(keys, samples, self.config.latent_size, 0 if noise_seed is None else noise_seed)

    def train(self, mode: bool = True):
        """See `nn.Module`; a frozen encoder stays in evaluation mode, in which it always gives the same states."""
        super().train(mode)
        encoder = getattr(self, "encoder", None)
        if encoder is not None and not any(parameter.requires_grad for parameter in encoder.parameters()):
            encoder.eval()
        return self


class BnVaeForConditionalGeneration(  # type: ignore[misc]
    FromPretrainedPartsMixin, LatentGenerationMixin, EncoderDecoderMixin, BnVaePreTrainedModel, GenerationMixin
):
    """The whole text VAE: p(z), q(z|x) and p(x|z).

    `generate(input_ids)` reconstructs from the posterior mean, `generate(latents=z)` decodes z; both take every
    option of `transformers`' own `generate`.
    """

    decoder: LatentDecoder

    def __init__(self, config: BnVaeConfig):
        super().__init__(config)
        self.model = BnVaeModel(config)
        self.decoder = DECODERS[config.decoder](config)  # type: ignore[assignment]
        self.bag_of_words = None
        if config.bow_weight > 0:
            self.bag_of_words = nn.Sequential(nn.Linear(config.latent_size, config.vocab_size))
        self.post_init()
        self.generation_config.max_new_tokens = DEFAULT_MAX_NEW_TOKENS

    def _resize_others(self, vocab_size, mean_resizing):
        embedding = self.decoder.embedding
        self.decoder.embedding = self._get_resized_embeddings(embedding, vocab_size, mean_resizing=mean_resizing)
        super()._resize_others(vocab_size, mean_resizing)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        encoder_outputs: BnVaeModelOutput | BaseModelOutput | None = None,
        past_key_values: LstmState | CnnState | None = None,
        num_samples: int = 1,
        kl_weight: float | torch.Tensor | None = None,
        use_cache: bool | None = None,
        return_logits: bool | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        noise_seed: int | torch.Tensor | None = None,
        word_positions: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BnVaeOutput | tuple:
        """One pass of encoder, posterior and decoder.

        In evaluation, and wherever a `noise_seed` is given, the latents are keyed by the words of a sentence: the same
        `input_ids` always give the same losses, whatever their place in a batch or their process. Latents of
        `inputs_embeds` are drawn afresh.

        Args:
            input_ids: `(batch, length)`, start and end symbols included.
            attention_mask: `(batch, length)`; by default everything but padding.
            decoder_input_ids: `(batch, length)`; by default `labels` shifted right behind the start symbol, or, without
                `labels`, `input_ids` without their last column, their padding moved behind them.
            labels: `(batch, length)` of the words to predict, the end symbol included; −100 on padding. A start symbol
                in front of all rows, as in `labels=input_ids`, is dropped.
            latents: `(batch, latent_size)` to decode instead of the encoder's, or several of each sentence,
                `(batch, num_samples, latent_size)`.
            encoder_outputs: decode its posterior mean instead of a sample (generation).
            past_key_values: the state to go on from.
            num_samples: latents drawn for each sentence; the losses are averaged over them.
            kl_weight: weight of the KL in `loss`; `config.kl_weight` by default.
            use_cache: whether to give out the decoder's state; `config.use_cache` by default.
            return_logits: by default unless in training with `labels`.
            inputs_embeds: the encoder's word vectors in the place of `input_ids`, `(batch, length, embedding_size)`.
            encoder_states: what the encoder made of sentences before, `(batch, width)`, in the place of `input_ids`.
            noise_seed: of latents keyed by the sentence.
            word_positions: where in the flattened labels the words are, `(words,)`. `VaeCollator` knows them; to look
                for them waits for a GPU.
            decoder_attention_mask: where it is 0 the decoder reads nothing, `(batch, length)` of the tokens so far.

        Raises:
            ValueError: where nothing says what the encoder or what the decoder reads.
        """
        encoded = divergence = None
        parts: dict[str, Any] = {}
        if kl_weight is None:
            kl_weight = self.config.kl_weight
        if latents is not None:
            latents = latents if latents.dim() == 3 else latents.unsqueeze(1)
        elif encoder_outputs is not None:
            mean = getattr(encoder_outputs, "posterior_mean", None)
            latents = encoder_outputs[0] if mean is None else mean.unsqueeze(1)
        else:
            encoded = self.model.read(input_ids, attention_mask, inputs_embeds, encoder_states)
            posterior = self._posterior_of(encoded, input_ids, attention_mask, kl_weight, noise_seed)
            noise = self.model.keyed_noise(range(num_samples), noise_seed, input_ids, attention_mask, encoder_states)
            latents = posterior.rsample(num_samples, noise)
            terms = posterior.kl()
            divergence = kl_objective(terms, self.config.free_bits, self.config.free_bits_mode)
            if self.training and self.config.decorrelation > 0 and isinstance(posterior, DiagonalGaussian):
                correlation = total_correlation(posterior.mean, posterior.logvar.exp())
                divergence = divergence + self.config.decorrelation * correlation
                parts["total_correlation"] = correlation
            parts |= {"posterior_mean": posterior.mean, "posterior_logvar": getattr(posterior, "logvar", None)}
            parts["kl"] = kl_objective(terms)

        if labels is not None and decoder_input_ids is not None:
            labels = words_of_inputs(labels, decoder_input_ids, self.config)
        elif labels is not None:
            labels = words_to_predict(labels, self.config, in_front=word_positions is not None)
            decoder_input_ids = behind_the_start(labels, self.config)
        elif decoder_input_ids is None:
            decoder_input_ids = self._usual_decoder_input_ids(input_ids, attention_mask)
        if self.training:
            decoder_input_ids = with_hidden_words(decoder_input_ids, self.config, noise_seed)
        samples = latents.size(1)
        if samples > 1:
            decoder_input_ids = decoder_input_ids.repeat_interleave(samples, 0)
            labels = labels.repeat_interleave(samples, 0) if labels is not None else None
            word_positions = None
        keeps_state = wants_state(use_cache, self.config) and (use_cache is not None or labels is None)
        outputs, state = self.decoder.read_masked(
            decoder_input_ids, latents.flatten(0, 1), past_key_values, decoder_attention_mask, keeps_state
        )

        if return_logits is None:
            return_logits = not self.training or labels is None
        logits = self.decoder.logits(outputs) if return_logits else None
        if labels is not None:
            parts |= self._losses(outputs, logits, labels, word_positions, latents, divergence, kl_weight)
        cache = state if wants_state(use_cache, self.config) else None
        output = BnVaeOutput(logits=logits, past_key_values=cache, latents=latents, **parts)
        if wants_hidden_states(output_hidden_states, self.config):
            output["decoder_hidden_states"] = (self.decoder.embed(decoder_input_ids), outputs)
            if encoded is not None:
                output["encoder_hidden_states"] = (encoded.embedded, encoded.states)
        return as_asked(output, return_dict, self.config)

    def _usual_decoder_input_ids(self, input_ids, attention_mask) -> torch.Tensor:
        if input_ids is not None and self.config.shares_vocabulary:
            mask = words_read(input_ids, self.config.pad_token_id) if attention_mask is None else attention_mask
            return to_the_left(input_ids, mask)[:, :-1]
        others = ", decoder_input_ids or input_ids" if self.config.shares_vocabulary else " or decoder_input_ids"
        raise ValueError(f"the decoder needs labels{others}")

    def _losses(self, outputs, logits, labels, word_positions, latents, divergence, kl_weight) -> dict:
        """The loss and its parts; no logits of padding are computed where none are given."""
        if logits is None:
            reconstruction = self.reconstruction(outputs, labels, word_positions)
        else:
            words = labels != IGNORED
            reconstruction = reconstruction_loss(token_nll(logits[words], labels[words]), len(labels))
        if divergence is None:
            return {"loss": reconstruction, "reconstruction_loss": reconstruction}
        auxiliary = self.mean_auxiliary_losses(labels, latents.flatten(0, 1))
        loss = self.training_loss(reconstruction, divergence, kl_weight, **auxiliary)
        return {"loss": loss, "reconstruction_loss": reconstruction, **auxiliary}

    def infer(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        kl_weight: float | torch.Tensor = 1.0,
        encoder_states: torch.Tensor | None = None,
        **kwargs,
    ) -> LatentDistribution:
        """The posterior q(z|x) of `(batch, length)` token ids, padded on the right.

        The encoder's, or what `config.refinement_steps` gradient steps on the ELBO with this KL weight make of it.
        In the place of token ids may stand states `(batch, width)`.

        Raises:
            ValueError: for such states where the posterior is refined.
        """
        encoded = self.model.read(input_ids, attention_mask, encoder_states=encoder_states)
        return self._posterior_of(encoded, input_ids, attention_mask, kl_weight)

    def _posterior_of(
        self, encoded: EncoderOutput, input_ids, attention_mask, kl_weight, noise_seed=None
    ) -> LatentDistribution:
        posterior = self.model.posterior(encoded.last)
        if self.config.refinement_steps == 0 or not isinstance(posterior, DiagonalGaussian):
            return posterior
        if input_ids is None:
            raise ValueError("a refined posterior needs input_ids: inputs_embeds do not say what to reconstruct")
        return refine_posterior(self, posterior, input_ids, attention_mask, kl_weight, noise_seed)

    def noise_keys(self, *args, **kwargs):
        """See the encoder's own."""
        return self.model.noise_keys(*args, **kwargs)

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        """log p(z) of latents `(..., latent_size)` in nats, `(...)`."""
        return self.model.posterior.log_prior(latents)

    @torch.no_grad()
    def encode(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sample: bool = False,
        encoder_states: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Latents of sentences, `(batch, latent_size)`: the posterior mean, or one sample of the posterior."""
        return _chosen_latents(self.infer(input_ids, attention_mask, encoder_states=encoder_states), sample)


class BnVaeForSequenceClassification(BnVaePreTrainedModel):
    """A linear classifier on the posterior mean, with as many outputs as `config.num_labels`.

    The posterior stays in evaluation mode: its normalisation keeps the statistics that it came with, so that batches of
    any size train, and what is trained is what is evaluated.
    """

    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^bag_of_words\."]

    def __init__(self, config: BnVaeConfig):
        super().__init__(config)
        self.model = BnVaeModel(config)
        self.classifier = nn.Linear(config.latent_size, config.num_labels or 2)
        self.post_init()

    def train(self, mode: bool = True):
        """See `nn.Module`; the posterior stays in evaluation mode."""
        super().train(mode)
        self.model.posterior.eval()
        return self

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        encoder_states: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput | tuple:
        """Logits `(batch, num_labels)` of sentences.

        Args:
            input_ids, attention_mask, inputs_embeds, encoder_states: see `BnVaeModel`.
            labels: `(batch,)` classes, or numbers with one output, or `(batch, num_labels)` for several labels each;
                `config.problem_type` says which where the labels do not.
        """
        encoded = self.model.read(input_ids, attention_mask, inputs_embeds, encoder_states)
        mean = self.model.posterior(encoded.last).mean
        logits = self.classifier(mean.to(input_dtype(self.classifier)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        output = SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=(
                (encoded.embedded, encoded.states) if wants_hidden_states(output_hidden_states, self.config) else None
            ),
        )
        return as_asked(output, return_dict, self.config)


def _chosen_latents(posterior: LatentDistribution, sample: bool) -> torch.Tensor:
    return posterior.rsample(1).squeeze(1) if sample else posterior.mean


__all__ = ["BnVaeForConditionalGeneration", "BnVaeForSequenceClassification", "BnVaeModel", "BnVaePreTrainedModel"]
