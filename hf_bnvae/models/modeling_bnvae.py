"""LSTM text VAEs: the encoder with its posterior, and the whole model with its decoder."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput
from transformers.utils import ModelOutput

from .configuration_bnvae import BnVaeConfig
from .decoders import DECODERS, CnnState, Decoder, LatentDecoder, LstmState
from .distributions import DiagonalGaussian, LatentDistribution
from .layers import input_dtype, to_the_left
from .noise import keyed_noise, sentence_keys, with_hidden_words
from .normalisation import BatchStatistics
from .objectives import IGNORED, kl_objective, negative_elbo, reconstruction_loss, token_nll
from .posteriors import POSTERIORS, Posterior
from .refinement import RefinementSteps, refine

DEFAULT_MAX_NEW_TOKENS = 128
Output = TypeVar("Output", bound=ModelOutput)
REFINEMENT_SAMPLES = 1 << 40  # numbers of noise that no metric draws


@dataclass
class BnVaeModelOutput(ModelOutput):
    """What the encoder knows of a batch.

    Args:
        posterior_mean: μ of q(z|x), `(batch, latent_size)`.
        posterior_logvar: log σ² of q(z|x), `(batch, latent_size)`; None where the family has none (vmf).
        latents: samples of q(z|x), `(batch, num_samples, latent_size)`.
        kl: KL(q(z|x) ‖ p(z)) of each sentence in nats, `(batch,)`.
        hidden_states: the word vectors and the LSTM's states, where they are asked for.
    """

    posterior_mean: torch.Tensor | None = None
    posterior_logvar: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None

    @property
    def last_hidden_state(self) -> torch.Tensor | None:
        """What `generate(encoder_outputs=...)` counts sentences by."""
        return self.latents


@dataclass
class BnVaeOutput(ModelOutput):
    """What the whole model makes of a batch. Losses are means over sentences, in nats per sentence.

    Args:
        loss: reconstruction_loss + kl_weight · KL, the KL with its free bits; given `labels`.
        logits: `(batch · num_samples, length, vocab_size)`; left out in training with `labels` unless asked for,
            because the loss needs no logits of padding.
        reconstruction_loss: −log p(x|z) at the sampled z; given `labels`.
        kl: KL(q(z|x) ‖ p(z)), unweighted and whole.
        past_key_values: the decoder's state.
        posterior_mean, posterior_logvar, latents: as in `BnVaeModelOutput`.
        encoder_hidden_states, decoder_hidden_states: the word vectors and the states of each, where they are asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    past_key_values: LstmState | CnnState | None = None
    posterior_mean: torch.Tensor | None = None
    posterior_logvar: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    decoder_hidden_states: tuple[torch.Tensor, ...] | None = None


@dataclass
class Reading:
    """What the encoder's LSTM makes of a batch.

    Args:
        embedded: the word vectors, `(batch, length, embedding_size)`.
        states: `(batch, length, hidden_size)`.
        last: the state at the last word of each sentence, `(batch, hidden_size)`.
    """

    embedded: torch.Tensor
    states: torch.Tensor
    last: torch.Tensor


class BnVaePreTrainedModel(PreTrainedModel):
    config_class = BnVaeConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    accepts_loss_kwargs = False

    def _init_weights(self, module):
        initialise(module, self.config.initializer_range, self.config.embedding_initializer_range)


def initialise(module: nn.Module, scale: float | None, embedding_scale: float | None) -> None:
    """Start values of one module: weights uniform in ± `scale`, word vectors in ± `embedding_scale`.

    None stands for what PyTorch starts from: weights uniform in ± 1/√width of what they read (of a recurrent layer, of
    its state), word vectors N(0, 1). Convolutions, whose ReLUs would die of small weights, start as He et al. (2015)
    say.
    """
    if isinstance(module, nn.Embedding):
        if embedding_scale is None:
            init.normal_(module.weight)
        else:
            init.uniform_(module.weight, -embedding_scale, embedding_scale)
    elif isinstance(module, (nn.Linear, nn.RNNBase)):
        width = module.in_features if isinstance(module, nn.Linear) else module.hidden_size
        scale = 1 / math.sqrt(width) if scale is None else scale
        for parameter in module.parameters(recurse=False):
            init.uniform_(parameter, -scale, scale)
    elif isinstance(module, nn.Conv1d) and module.bias is not None:
        init.kaiming_uniform_(module.weight, nonlinearity="relu")
        init.zeros_(module.bias)
    elif isinstance(module, (BatchStatistics, Posterior)):
        module.reset_parameters()


def as_asked(output: Output, return_dict: bool | None, config) -> Output | tuple:
    """An output with its names or, where the call or else the configuration says so, as a tuple."""
    return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()


def wants_hidden_states(output_hidden_states: bool | None, config) -> bool:
    """What the call says, or else the configuration."""
    return bool(config.output_hidden_states if output_hidden_states is None else output_hidden_states)


def wants_state(use_cache: bool | None, config) -> bool:
    """Whether the decoder's state is given out: as the call says, or else the configuration."""
    return bool(config.use_cache if use_cache is None else use_cache)


class DecodingMixin:
    """What a model with a decoder has: an output layer that may be tied to the word vectors, and sentence losses."""

    _is_stateful = True  # a state cannot go back to an earlier word, as assisted generation would have it
    _tied_weights_keys = {"decoder.output.weight": "decoder.embedding.weight"}
    config: Any
    decoder: Decoder

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def generate(self, *args, **options):
        """Transformers' `generate`.

        Raises:
            ValueError: for `output_attentions`, which a recurrent or convolutional model does not have.
        """
        asked = options.get("output_attentions") or getattr(options.get("generation_config"), "output_attentions", None)
        if asked:
            raise ValueError(f"{type(self).__name__} has no attentions: leave out output_attentions")
        return super().generate(*args, **options)  # type: ignore[misc]

    def prepare_inputs_for_generation(
        self, input_ids, next_sequence_length=None, past_key_values=None, *args, **kwargs
    ):
        """What a step of generation reads; of tokens that begin with those of a given state, the new ones alone."""
        if next_sequence_length is None and past_key_values is not None:
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
        if self.config.tie_word_embeddings:
            # A checkpoint does not hold the tied weight twice; told so, `Trainer` does not warn of it.
            self._keys_to_ignore_on_save = {*(self._keys_to_ignore_on_save or ()), *self._tied_weights_keys}

    def _resize_token_embeddings(self, new_num_tokens, pad_to_multiple_of=None, mean_resizing=True):
        embeddings = super()._resize_token_embeddings(  # type: ignore[misc]
            new_num_tokens, pad_to_multiple_of, mean_resizing
        )
        self._resize_others(embeddings.num_embeddings, mean_resizing)
        return embeddings

    def _resize_others(self, vocab_size: int, mean_resizing: bool) -> None:
        """Give what else has a row a word as many rows; nothing has in most models."""

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """`labels` behind the start symbol, without their last column, padding restored."""
        start = labels.new_full((labels.size(0), 1), self.config.decoder_start_token_id)
        shifted = torch.cat([start, labels[:, :-1]], 1)
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)

    def decoder_states(self, decoder_input_ids: torch.Tensor, conditions: torch.Tensor, state=None) -> tuple:
        """The decoder's hidden states `(batch, length, hidden_size)` over tokens, and the state to go on from."""
        return self.decoder(decoder_input_ids, conditions, state)

    def noise_keys(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs) -> torch.Tensor:
        """What the noise of an evaluation is keyed by, `(batch,)`: see `noise.sentence_keys`."""
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        return sentence_keys(input_ids, attention_mask)

    def side_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses of each sentence beside its own, `(batch,)`; none in most models."""
        return {}

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
        outputs, _ = self.decoder_states(self.prepare_decoder_input_ids_from_labels(labels), conditions)
        words = labels != IGNORED
        losses = torch.zeros(labels.shape, device=labels.device)
        losses = losses.masked_scatter(words, self.decoder.token_losses(outputs[words], labels[words]))
        return losses.sum(1)


class EncoderDecoderMixin(DecodingMixin):
    """What a whole model has that stands on an encoder, its `model`."""

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


class BnVaeModel(BnVaePreTrainedModel):
    """The inference network: word vectors, a single-layer LSTM, and the posterior over latents.

    Where the posterior is refined (`config.refinement_steps`), that takes the decoder: this is the unrefined one.

    Example:

        model = AutoModel.from_pretrained(folder)
        vectors = model.encode(**tokenizer(texts, padding=True, return_tensors="pt"))
    """

    _keys_to_ignore_on_load_unexpected = [r"^decoder\."]

    def __init__(self, config: BnVaeConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.posterior = POSTERIORS[config.posterior](config)
        self.post_init()

    def _init_weights(self, module):
        config = self.config
        initialise(module, config.encoder_initializer_range, config.encoder_embedding_initializer_range)

    def get_input_embeddings(self):
        return self.embedding

    def set_input_embeddings(self, value):
        self.embedding = value

    def infer(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> LatentDistribution:
        """The posterior q(z|x) of `(batch, length)` token ids, padded on either side."""
        return self.posterior(self.read(input_ids, attention_mask).last)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        num_samples: int = 1,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        noise_seed: int | torch.Tensor | None = None,
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
            reading = self.read(input_ids, attention_mask, inputs_embeds)
            posterior = self.posterior(reading.last)
            output = BnVaeModelOutput(
                posterior_mean=posterior.mean,
                posterior_logvar=getattr(posterior, "logvar", None),
                latents=posterior.rsample(
                    num_samples, self.keyed_noise(input_ids, attention_mask, range(num_samples), noise_seed)
                ),
                kl=posterior.kl().sum(-1),
                hidden_states=(
                    (reading.embedded, reading.states)
                    if wants_hidden_states(output_hidden_states, self.config)
                    else None
                ),
            )
        return as_asked(output, return_dict, self.config)

    @torch.no_grad()
    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, sample: bool = False, **kwargs
    ) -> torch.Tensor:
        """Latents of sentences, `(batch, latent_size)`: the posterior mean, or one sample of the posterior."""
        return _chosen_latents(self.infer(input_ids, attention_mask), sample)

    @torch.no_grad()
    def recompute_statistics(self, batches: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """Make the stored normalisation statistics the exact ones of a data set, by an encoder-only pass.

        Does nothing for a posterior that stores none.

        Args:
            batches: mappings with `input_ids` and, where there is padding, `attention_mask`. Under
                `torch.distributed` each process passes its own share.

        Raises:
            ValueError: when the batches hold fewer than two sentences.
        """
        if self.posterior.normalisations:
            self.posterior.recompute_statistics(
                self.read(batch["input_ids"].to(self.device), _moved(batch.get("attention_mask"), self.device)).last
                for batch in batches
            )

    def read(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> Reading:
        """The LSTM over `(batch, length)` token ids, padded on either side, or over word vectors.

        Raises:
            ValueError: for neither or both.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("the encoder needs input_ids, or inputs_embeds in their place")
            if attention_mask is None:
                attention_mask = input_ids != self.config.pad_token_id
            inputs_embeds = self.embedding(to_the_left(input_ids, attention_mask))
        elif input_ids is not None:
            raise ValueError("give either input_ids or inputs_embeds, not both")
        elif attention_mask is None:
            attention_mask = torch.ones(inputs_embeds.shape[:2], device=inputs_embeds.device)
        else:
            inputs_embeds = to_the_left(inputs_embeds, attention_mask)
        states, _ = self.lstm(inputs_embeds)
        last = (attention_mask.long().sum(-1) - 1).clamp(min=0)
        return Reading(inputs_embeds, states, states[torch.arange(states.size(0), device=states.device), last])

    def keyed_noise(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        samples: range,
        noise_seed: int | torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Noise keyed by the sentence, `(batch, samples, latent_size)`; None in training with no seed given, and
        without token ids."""
        if input_ids is None or (self.training and noise_seed is None):
            return None
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        keys = sentence_keys(input_ids, attention_mask)
        return keyed_noise(keys, samples, self.config.latent_size, 0 if noise_seed is None else noise_seed)


class BnVaeForConditionalGeneration(EncoderDecoderMixin, BnVaePreTrainedModel, GenerationMixin):
    """The whole text VAE: p(z), q(z|x) and p(x|z).

    `generate(input_ids)` reconstructs from the posterior mean, `generate(latents=z)` decodes z; both take every
    option of `transformers`' own `generate`.
    """

    decoder: LatentDecoder

    def __init__(self, config: BnVaeConfig):
        super().__init__(config)
        self.model = BnVaeModel(config)
        self.decoder = DECODERS[config.decoder](config)
        self.post_init()
        self.generation_config.max_new_tokens = DEFAULT_MAX_NEW_TOKENS

    def _resize_others(self, vocab_size, mean_resizing):
        embedding = self.decoder.embedding
        self.decoder.embedding = self._get_resized_embeddings(embedding, vocab_size, mean_resizing=mean_resizing)

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
                `labels`, `input_ids` without their last column.
            labels: `(batch, length)` of the words to predict, the end symbol included and the start symbol not; −100
                on padding.
            latents: `(batch, latent_size)` to decode instead of the encoder's, or several of each sentence,
                `(batch, num_samples, latent_size)`.
            encoder_outputs: decode its posterior mean instead of a sample (generation).
            past_key_values: the state to go on from.
            num_samples: latents drawn for each sentence; the losses are averaged over them.
            kl_weight: weight of the KL in `loss`; `config.kl_weight` by default.
            use_cache: whether to give out the decoder's state; `config.use_cache` by default.
            return_logits: by default unless in training with `labels`.
            inputs_embeds: the encoder's word vectors in the place of `input_ids`, `(batch, length, embedding_size)`.
            word_positions: where in the flattened labels the words are, `(words,)`. `VaeCollator` knows them; to look
                for them waits for a GPU.
            decoder_attention_mask: where it is 0 the decoder reads nothing, `(batch, length)` of the tokens so far.
        """
        reading = None
        posterior_mean = posterior_logvar = kl = divergence = None
        if kl_weight is None:
            kl_weight = self.config.kl_weight
        if latents is not None:
            latents = latents if latents.dim() == 3 else latents.unsqueeze(1)
        elif encoder_outputs is not None:
            mean = getattr(encoder_outputs, "posterior_mean", None)
            latents = encoder_outputs[0] if mean is None else mean.unsqueeze(1)
        else:
            reading = self.model.read(input_ids, attention_mask, inputs_embeds)
            posterior = self._posterior_of(reading, input_ids, attention_mask, kl_weight, noise_seed)
            posterior_mean, posterior_logvar = posterior.mean, getattr(posterior, "logvar", None)
            noise = self.model.keyed_noise(input_ids, attention_mask, range(num_samples), noise_seed)
            latents = posterior.rsample(num_samples, noise)
            terms = posterior.kl()
            kl = kl_objective(terms)
            divergence = kl_objective(terms, self.config.free_bits, self.config.free_bits_mode)

        if decoder_input_ids is None:
            if labels is not None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            elif input_ids is not None:
                decoder_input_ids = input_ids[:, :-1]
            else:
                raise ValueError("the decoder needs labels, decoder_input_ids or input_ids")
        if self.training:
            decoder_input_ids = with_hidden_words(decoder_input_ids, self.config, noise_seed)
        samples = latents.size(1)
        if samples > 1:
            decoder_input_ids = decoder_input_ids.repeat_interleave(samples, 0)
            labels = labels.repeat_interleave(samples, 0) if labels is not None else None
            word_positions = None
        outputs, state = self._decoded(
            decoder_input_ids, latents.flatten(0, 1), past_key_values, decoder_attention_mask
        )

        if return_logits is None:
            return_logits = not self.training or labels is None
        logits = self.decoder.logits(outputs) if return_logits else None
        loss = reconstruction = None
        if labels is not None:
            if logits is None:
                reconstruction = self.reconstruction(outputs, labels, word_positions)
            else:
                words = labels != IGNORED
                reconstruction = reconstruction_loss(token_nll(logits[words], labels[words]), len(labels))
            loss = reconstruction
            if divergence is not None:
                loss = negative_elbo(reconstruction, divergence, kl_weight)

        output = BnVaeOutput(
            loss=loss,
            logits=logits,
            reconstruction_loss=reconstruction,
            kl=kl,
            past_key_values=state if wants_state(use_cache, self.config) else None,
            posterior_mean=posterior_mean,
            posterior_logvar=posterior_logvar,
            latents=latents,
        )
        if wants_hidden_states(output_hidden_states, self.config):
            output["decoder_hidden_states"] = (self.decoder.embedding(decoder_input_ids), outputs)
            if reading is not None:
                output["encoder_hidden_states"] = (reading.embedded, reading.states)
        return as_asked(output, return_dict, self.config)

    def _decoded(self, decoder_input_ids, latents, state, mask) -> tuple:
        """The decoder over tokens, of which `mask` may leave some out: their outputs and the new state."""
        if mask is not None:
            mask = mask[:, -decoder_input_ids.size(1) :].repeat_interleave(len(latents) // len(mask), 0)
            if not mask.all():
                return self.decoder.run_where(self.decoder.embedding(decoder_input_ids), mask, latents, state)
        return self.decoder(decoder_input_ids, latents, state)

    def infer(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        kl_weight: float | torch.Tensor = 1.0,
        **kwargs,
    ) -> LatentDistribution:
        """The posterior q(z|x) of `(batch, length)` token ids, padded on the right.

        The encoder's, or what `config.refinement_steps` gradient steps on the ELBO with this KL weight make of it.
        """
        return self._posterior_of(self.model.read(input_ids, attention_mask), input_ids, attention_mask, kl_weight)

    def _posterior_of(
        self, reading: Reading, input_ids, attention_mask, kl_weight, noise_seed=None
    ) -> LatentDistribution:
        posterior = self.model.posterior(reading.last)
        if self.config.refinement_steps == 0 or not isinstance(posterior, DiagonalGaussian):
            return posterior
        if input_ids is None:
            raise ValueError("a refined posterior needs input_ids: inputs_embeds do not say what to reconstruct")
        return self._refined(posterior, input_ids, attention_mask, kl_weight, noise_seed)

    def _refined(self, posterior, input_ids, attention_mask, kl_weight, noise_seed) -> DiagonalGaussian:
        if torch.is_inference_mode_enabled():
            # The steps need gradients, which neither this mode nor the tensors made in it have.
            with torch.inference_mode(False), torch.no_grad():
                mask = attention_mask if attention_mask is None else attention_mask.clone()
                return self._refined(posterior.map(torch.clone), input_ids.clone(), mask, kl_weight, noise_seed)
        config = self.config
        mask = input_ids != config.pad_token_id if attention_mask is None else attention_mask.bool()
        labels = input_ids[:, 1:].masked_fill(~mask[:, 1:], IGNORED)
        samples = range(REFINEMENT_SAMPLES, REFINEMENT_SAMPLES + config.refinement_steps)
        noise = self.model.keyed_noise(input_ids, mask, samples, noise_seed)
        if noise is None:
            noise = torch.randn(len(input_ids), len(samples), config.latent_size, device=input_ids.device)

        def losses(position: torch.Tensor, number: int) -> torch.Tensor:
            candidate = DiagonalGaussian(*position.chunk(2, 1))
            sides = len(position) // len(labels)
            step_noise = noise[:, number : number + 1].repeat(sides, 1, 1)
            # Differences of gradients leave nothing of bf16's eight bits.
            with _without_dropout(self.decoder), torch.autocast(input_ids.device.type, enabled=False):
                rec = self.sentence_losses(labels.repeat(sides, 1), candidate.rsample(noise=step_noise).squeeze(1))
            return rec + kl_weight * candidate.kl().sum(1)

        steps = RefinementSteps(
            config.refinement_steps,
            config.refinement_step_size,
            config.refinement_momentum,
            config.refinement_clip,
        )
        start = torch.cat([posterior.mean, posterior.logvar], 1)
        refined = refine(start, losses, list(self.decoder.parameters()), steps)
        return DiagonalGaussian(*refined.chunk(2, 1))

    def log_prior(self, latents: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats; the last dimension is summed out."""
        return self.model.posterior.log_prior(latents)

    @torch.no_grad()
    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, sample: bool = False, **kwargs
    ) -> torch.Tensor:
        """Latents of sentences, `(batch, latent_size)`: the posterior mean, or one sample of the posterior."""
        return _chosen_latents(self.infer(input_ids, attention_mask), sample)

    def generate(self, inputs: torch.Tensor | None = None, **options):  # type: ignore[override]
        """Transformers' `generate`; token ids are reconstructed from the mean of their posterior, refined if it is.

        Args:
            latents: `(batch, latent_size)` to decode instead, or what a model gave of each sentence,
                `(batch, num_samples, latent_size)`, of which all are decoded, those of a sentence in a row.

        Raises:
            ValueError: for latents of another shape.
        """
        if options.get("latents") is not None:
            options["latents"] = self._flat_latents(options["latents"])
        inputs = options.pop("input_ids", None) if inputs is None else inputs
        if self.config.refinement_steps > 0 and inputs is not None:
            options["latents"] = self.encode(inputs, options.pop("attention_mask", None))
            inputs = None
        return super().generate(inputs, **options)  # type: ignore[misc]

    def _flat_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """`(rows, latent_size)` of `(batch, latent_size)` or `(batch, num_samples, latent_size)`."""
        size = self.config.latent_size
        if latents.dim() not in (2, 3) or latents.size(-1) != size:
            wanted = f"(batch, {size}) or (batch, num_samples, {size})"
            hint = "; latents[None] makes a batch of one" if latents.shape == (size,) else ""
            raise ValueError(f"latents must be {wanted}, got {tuple(latents.shape)}{hint}")
        return latents.flatten(0, -2)

    def decode(self, latents: torch.Tensor, **generation_options) -> torch.Tensor:
        """Token ids `(batch, length)` generated from `(batch, latent_size)`."""
        return self.generate(latents=latents.to(self.device), **generation_options)  # type: ignore[misc,return-value]

    def reconstruct(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **generation_options
    ) -> torch.Tensor:
        """Token ids generated from the posterior mean of each sentence."""
        return self.decode(self.encode(input_ids, attention_mask), **generation_options)

    def sample_prior(self, num_samples: int = 1, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draws of the prior p(z), `(num_samples, latent_size)`, on the device of the model."""
        return self.model.posterior.sample_prior(num_samples, generator)

    def sample(
        self, num_samples: int = 1, generator: torch.Generator | None = None, **generation_options
    ) -> torch.Tensor:
        """Token ids `(num_samples, length)` generated from draws of the prior."""
        return self.decode(self.sample_prior(num_samples, generator), **generation_options)

    def interpolate(
        self, a: torch.Tensor, b: torch.Tensor, steps: int = 5, mode: str = "slerp", **generation_options
    ) -> torch.Tensor:
        """Token ids `(steps, length)` generated along the way from a to b, both ends included.

        Args:
            a, b: two latents `(latent_size,)`, or the token ids `(length,)` of two sentences.
            mode: `"slerp"` along the arc, on which Gaussian latents keep their usual length, or `"linear"`.
        """
        a, b = (end if end.is_floating_point() else self.encode(end.unsqueeze(0).to(self.device))[0] for end in (a, b))
        return self.decode(interpolate_latents(a, b, steps, mode), **generation_options)


class BnVaeForSequenceClassification(BnVaePreTrainedModel):
    """A linear classifier on the posterior mean, with as many outputs as `config.num_labels`.

    The posterior stays in evaluation mode: its normalisation keeps the statistics that it came with, so that batches of
    any size train, and what is trained is what is evaluated.
    """

    _keys_to_ignore_on_load_unexpected = [r"^decoder\."]

    def __init__(self, config: BnVaeConfig):
        super().__init__(config)
        self.model = BnVaeModel(config)
        self.classifier = nn.Linear(config.latent_size, config.num_labels or 2)
        self.post_init()

    def train(self, mode: bool = True):
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
        return_dict: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput | tuple:
        """Logits `(batch, num_labels)` of sentences.

        Args:
            input_ids, attention_mask, inputs_embeds: see `BnVaeModel`.
            labels: `(batch,)` classes, or numbers with one output, or `(batch, num_labels)` for several labels each;
                `config.problem_type` says which where the labels do not.
        """
        reading = self.model.read(input_ids, attention_mask, inputs_embeds)
        mean = self.model.posterior(reading.last).mean
        logits = self.classifier(mean.to(input_dtype(self.classifier)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        output = SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=(
                (reading.embedded, reading.states) if wants_hidden_states(output_hidden_states, self.config) else None
            ),
        )
        return as_asked(output, return_dict, self.config)


def is_kind(model: object, *kinds: type) -> bool:
    """Whether a model is of one of our classes, or of the same class from the code that a checkpoint carries."""
    names = {kind.__name__ for kind in kinds}
    ours = isinstance(model, PreTrainedModel) and getattr(model.config, "hf_bnvae_version", None) is not None
    return isinstance(model, kinds) or (ours and type(model).__name__ in names)


def interpolate_latents(a: torch.Tensor, b: torch.Tensor, steps: int, mode: str = "slerp") -> torch.Tensor:
    """`(steps, latent_size)` points from a to b, spherical or linear.

    Where the two directions are parallel or one of the ends is 0 there is no arc, and the path is linear.

    Raises:
        ValueError: for fewer than two steps or an unknown mode.
    """
    if steps < 2:
        raise ValueError(f"an interpolation needs at least 2 steps, got {steps}")
    if mode not in ("slerp", "linear"):
        raise ValueError(f"mode must be 'slerp' or 'linear', got {mode!r}")
    share = torch.linspace(0, 1, steps, device=a.device, dtype=a.dtype).unsqueeze(1)
    norms = a.norm() * b.norm()
    cosine = (a @ b / norms).clamp(-1, 1) if norms > 0 else torch.ones_like(norms)
    angle = torch.arccos(cosine)
    if mode == "linear" or math.isclose(float(torch.sin(angle)), 0.0, abs_tol=1e-4):
        return (1 - share) * a + share * b
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


@contextmanager
def _without_dropout(decoder: Decoder) -> Iterator[None]:
    """The decoder without dropout, yet in training mode, without which some LSTM kernels have no gradient."""
    modes = {module: module.training for module in decoder.modules()}
    for module in modes:
        module.training = not isinstance(module, nn.Dropout)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _chosen_latents(posterior: LatentDistribution, sample: bool) -> torch.Tensor:
    return posterior.rsample(1).squeeze(1) if sample else posterior.mean


def _moved(tensor: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    return tensor if tensor is None else tensor.to(device)


__all__ = ["BnVaeForConditionalGeneration", "BnVaeForSequenceClassification", "BnVaeModel", "BnVaePreTrainedModel"]
