"""A conditional VAE for dialogue: the context with its prior, the recognition network, and the response's decoder."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from .configuration_bncvae import BnCvaeConfig
from .decoders import GruDecoder, GruState
from .dialogue_batch import DialogueBatch, dialogue_batch
from .distributions import ConditionalGaussian, DiagonalGaussian
from .interpolation import interpolate_latents
from .labels import behind_the_start, words_of_inputs, words_to_predict
from .latents import latents_of
from .layers import TopicVectors, to_the_left
from .model_outputs import BnCvaeModelOutput, BnCvaeOutput
from .modeling_common import (
    DEFAULT_MAX_NEW_TOKENS,
    EncoderDecoderMixin,
    as_asked,
    initialise,
    renamed,
    wants_hidden_states,
    wants_state,
)
from .noise import keyed_noise, with_hidden_words
from .normalisation import recompute_statistics
from .objectives import IGNORED, cvae_divergence, kl_objective, reconstruction_loss
from .posteriors import POSTERIORS
from .prior_network import PriorNetwork


class BnCvaePreTrainedModel(PreTrainedModel):
    """What the dialogue models share: their configuration, and where their weights start."""

    config_class = BnCvaeConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    accepts_loss_kwargs = False

    def _init_weights(self, module):
        initialise(module, self.config.initializer_range, self.config.embedding_initializer_range)


class BnCvaeModel(BnCvaePreTrainedModel):
    """Context encoder, prior network and recognition network.

    A batch comes in one of two forms:

    - `input_ids` `(batch, turns, length)`, the utterances of each context, oldest first (or `(batch, length)` for
      contexts of one utterance);
    - as `DialogueCollator` makes it, every utterance once in `input_ids` `(utterances, length)`, with `context_index`,
      `own_turns` and `response_index` as in `DialogueBatch`: consecutive responses share most of their contexts.

    Where `own_turns` is not given, the speakers take turns and the last one is the other. The response is what
    `response_index` says, or `labels`.
    """

    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^bag_of_words\."]

    def __init__(self, config: BnCvaeConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        width = config.utterance_hidden_size
        self.utterance_gru = nn.GRU(config.embedding_size, width, batch_first=True, bidirectional=True)
        self.context_gru = nn.GRU(2 * width + 1, config.context_hidden_size, batch_first=True)
        self.topic_embedding = TopicVectors(len(config.topics) + 1, config.topic_size) if config.topics else None
        self.posterior = POSTERIORS[config.posterior](config)
        self.prior = PriorNetwork(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.embedding

    def set_input_embeddings(self, value):
        self.embedding = value

    def read(
        self, batch: DialogueBatch, topic_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Encode each context `(batch, context_size)`, each response `(batch, 2 · width)` where it is known,
        and the turns of each context `(batch, turns, 2 · width)`."""
        vectors = self._read_utterances(batch.input_ids, batch.attention_mask)
        present = batch.context_index >= 0
        turns = vectors[batch.context_index.clamp(min=0)] * present.unsqueeze(-1)
        spoken = torch.cat([turns, (batch.own_turns * present).unsqueeze(-1).to(turns.dtype)], -1)
        lengths = present.sum(1).clamp(min=1)
        packed = pack_padded_sequence(spoken, lengths.cpu(), batch_first=True, enforce_sorted=False)
        context = self.context_gru(packed)[1].squeeze(0)
        if self.topic_embedding is not None:
            if topic_ids is None:
                topic_ids = torch.zeros(len(context), dtype=torch.long, device=context.device)
            context = torch.cat([context, self.topic_embedding(topic_ids)], 1)
        return context, None if batch.response_index is None else vectors[batch.response_index], turns

    def _read_utterances(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last states of both directions, `(utterances, 2 · width)`; no padding is read, on whichever side."""
        lengths = mask.long().sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(to_the_left(input_ids, mask), lengths, batch_first=True, enforce_sorted=False)
        _, states = self.utterance_gru(PackedSequence(self.embedding(packed.data), *packed[1:]))
        return torch.cat([states[0], states[1]], 1)

    def posterior_and_prior(
        self, batch: DialogueBatch, topic_ids: torch.Tensor | None = None
    ) -> tuple[ConditionalGaussian | None, DiagonalGaussian, torch.Tensor]:
        """The posterior where the response is known, the prior, and the context `(batch, context_size)`."""
        context, response, _ = self.read(batch, topic_ids)
        return *self.distributions(context, response), context

    beliefs = renamed("beliefs", "posterior_and_prior")

    def distributions(
        self, context: torch.Tensor, response: torch.Tensor | None
    ) -> tuple[ConditionalGaussian | None, DiagonalGaussian]:
        """The posterior, where there are responses, and the prior, of what `read` gives."""
        prior = self.prior(context)
        if response is None:
            return None, prior
        posterior = self.posterior(torch.cat([context, response], 1))
        mean, logvar = posterior.mean, posterior.logvar
        if self.posterior.in_prior_units:
            mean, logvar = prior.mean + (0.5 * prior.logvar).exp() * mean, prior.logvar + logvar
        return ConditionalGaussian(mean, logvar, prior.mean, prior.logvar, context), prior

    def prior_of(self, input_ids: torch.Tensor, topic_ids: torch.Tensor | None = None, **inputs) -> DiagonalGaussian:
        """p(z|x) of the contexts of a batch in either form."""
        return self.posterior_and_prior(dialogue_batch(self.config, input_ids, **inputs), topic_ids)[1]

    def keyed_noise(
        self, batch: DialogueBatch, num_samples: int, noise_seed: int | torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Noise keyed by context and response, `(batch, num_samples, latent_size)`; None in training with no seed."""
        if self.training and noise_seed is None:
            return None
        seed = 0 if noise_seed is None else noise_seed
        return keyed_noise(batch.keys(), range(num_samples), self.config.latent_size, seed)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        context_index: torch.Tensor | None = None,
        own_turns: torch.Tensor | None = None,
        topic_ids: torch.Tensor | None = None,
        response_index: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_samples: int = 1,
        output_hidden_states: bool | None = None,
        noise_seed: int | torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BnCvaeModelOutput | tuple:
        """Posterior and prior of a batch in either form, with `num_samples` latents of q, or of p without a response.

        In evaluation, and wherever a `noise_seed` is given, the draws are keyed by context and response, so that the
        same dialogue always gives the same ones; `encode(sample=True)` draws afresh.

        Args:
            topic_ids: `(batch,)`, the index of each topic in `config.topics` counted from 1; 0 for an unknown one.
        """
        if input_ids is None:
            raise ValueError("the encoder needs input_ids")
        batch = dialogue_batch(self.config, input_ids, attention_mask, context_index, own_turns, response_index, labels)
        context, response, turns = self.read(batch, topic_ids)
        posterior, prior = self.distributions(context, response)
        output = BnCvaeModelOutput(
            posterior_mean=None if posterior is None else posterior.mean,
            posterior_logvar=None if posterior is None else posterior.logvar,
            prior_mean=prior.mean,
            prior_logvar=prior.logvar,
            latents=(prior if posterior is None else posterior).rsample(
                num_samples, self.keyed_noise(batch, num_samples, noise_seed)
            ),
            kl=None if posterior is None else posterior.kl().sum(-1),
            kl_prior=prior.kl().sum(-1),
            context=context,
            hidden_states=(turns, context) if wants_hidden_states(output_hidden_states, self.config) else None,
        )
        return as_asked(output, return_dict, self.config)

    @torch.no_grad()
    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, sample: bool = False, **inputs
    ) -> torch.Tensor:
        """Latents `(batch, latent_size)`: the mean, or one sample, of q where the response is known, else of p."""
        topic_ids = inputs.pop("topic_ids", None)
        posterior, prior, _ = self.posterior_and_prior(
            dialogue_batch(self.config, input_ids, attention_mask, **inputs), topic_ids
        )
        known = prior if posterior is None else posterior
        return known.rsample(1).squeeze(1) if sample else known.mean

    @torch.no_grad()
    def recompute_statistics(self, batches: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """Make the stored normalisation statistics the exact ones of a data set, by a pass without the decoder.

        Raises:
            ValueError: when the batches hold fewer than two responses.
        """
        of_posterior = self.posterior.normalisations
        of_prior = self.prior.normalisations

        def raw_batches() -> Iterator[list[torch.Tensor]]:
            for batch in batches:
                batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
                topic_ids = batch.pop("topic_ids", None)
                context, response, _ = self.read(dialogue_batch(self.config, **batch), topic_ids)
                if response is None:
                    raise ValueError("statistics of the recognition network need responses: labels or response_index")
                raw = self.posterior.normalised(torch.cat([context, response], 1))
                yield raw + [self.prior.raw(context)[0] for _ in of_prior]

        if of_posterior or of_prior:
            recompute_statistics([*of_posterior, *of_prior], raw_batches())


class BnCvaeForConditionalGeneration(EncoderDecoderMixin, BnCvaePreTrainedModel, GenerationMixin):
    """The whole dialogue model: p(z|x), q(z|x,y) and p(y|x,z).

    `generate(input_ids)` answers from the mean of the prior, `sample(n, input_ids)` from n draws of it, and
    `generate(input_ids, latents=z)` from z; all take every option of `transformers`' own `generate`, and a batch in
    either form that `BnCvaeModel` reads.
    """

    _tied_weights_keys = {"decoder.output.weight": "model.embedding.weight"}
    decoder: GruDecoder

    def __init__(self, config: BnCvaeConfig):
        super().__init__(config)
        self.model = BnCvaeModel(config)
        self.decoder = GruDecoder(config)
        self.bag_of_words = None
        if config.bow_weight > 0:
            self.bag_of_words = nn.Sequential(
                nn.Linear(config.condition_size, config.bow_hidden_size),
                nn.Tanh(),
                nn.Linear(config.bow_hidden_size, config.vocab_size),
            )
        self.post_init()
        self.generation_config.max_new_tokens = DEFAULT_MAX_NEW_TOKENS

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        context_index: torch.Tensor | None = None,
        own_turns: torch.Tensor | None = None,
        topic_ids: torch.Tensor | None = None,
        response_index: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        past_key_values: GruState | None = None,
        num_samples: int = 1,
        kl_weight: float | torch.Tensor | None = None,
        use_cache: bool | None = None,
        return_logits: bool | None = None,
        output_hidden_states: bool | None = None,
        noise_seed: int | torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BnCvaeOutput | tuple:
        """One pass of context, posterior and decoder; with `encoder_outputs`, one step of generation.

        The latents are drawn of q(z|x,y) where the response is known, and else of the prior, which gives no loss.

        Args:
            input_ids, attention_mask, context_index, own_turns, topic_ids, response_index: see `BnCvaeModel`.
            labels: the responses, `(batch, length)`, end symbol included; −100 on padding. A start symbol in front of
                all rows is dropped.
            decoder_input_ids: what the decoder reads, `(batch, length)`; by default `labels` shifted right behind the
                start symbol.
            encoder_outputs: what the decoder starts from, `(batch, 1, condition_size)` (generation).
            past_key_values: the state to go on from.
            num_samples: latents drawn for each response; the losses are averaged over them.
            kl_weight: weight of the KLs in `loss`; `config.kl_weight` by default.
            use_cache: whether a step gives out its state; `config.use_cache` by default.
            return_logits: by default unless in training with `labels`.
            noise_seed: of latents keyed by context and response, in training as well; in evaluation they always are.

        Raises:
            ValueError: where nothing says what the encoder or what the decoder reads.
        """
        output_hidden_states = wants_hidden_states(output_hidden_states, self.config)
        if encoder_outputs is not None and labels is None:
            output = self._step(decoder_input_ids, encoder_outputs, past_key_values, use_cache, output_hidden_states)
            return as_asked(output, return_dict, self.config)
        if input_ids is None:
            raise ValueError("the encoder needs input_ids")
        if labels is None and decoder_input_ids is None:
            raise ValueError("the decoder needs labels or decoder_input_ids")
        if labels is not None and decoder_input_ids is not None:
            labels = words_of_inputs(labels, decoder_input_ids, self.config)
        elif labels is not None:
            labels = words_to_predict(labels, self.config)
        batch = dialogue_batch(self.config, input_ids, attention_mask, context_index, own_turns, response_index, labels)
        context, response, turns = self.model.read(batch, topic_ids)
        posterior, prior = self.model.distributions(context, response)
        known = prior if posterior is None else posterior
        latents = known.rsample(num_samples, self.model.keyed_noise(batch, num_samples, noise_seed))
        conditions = torch.cat([context.unsqueeze(1).expand(-1, num_samples, -1), latents], -1).flatten(0, 1)
        parts = {
            "posterior_mean": None if posterior is None else posterior.mean,
            "posterior_logvar": None if posterior is None else posterior.logvar,
            "prior_mean": prior.mean,
            "prior_logvar": prior.logvar,
            "latents": latents,
            "encoder_hidden_states": (turns, context) if output_hidden_states else None,
        }
        if posterior is not None:
            terms = posterior.kl()
            parts |= {"kl": kl_objective(terms), "kl_prior": kl_objective(prior.kl())}
        if self.training and self.config.word_dropout > 0:
            read = decoder_input_ids
            if read is None and labels is not None:
                read = behind_the_start(labels, self.config)
            decoder_input_ids = with_hidden_words(read, self.config, noise_seed)  # type: ignore[arg-type]
        if decoder_input_ids is not None:
            decoder_input_ids = decoder_input_ids.repeat_interleave(num_samples, 0)
        if labels is not None:
            labels = labels.repeat_interleave(num_samples, 0)
            divergence = kl_objective(terms, self.config.free_bits, self.config.free_bits_mode)
            parts |= self._losses(labels, decoder_input_ids, conditions, divergence, parts["kl_prior"], kl_weight)
        if return_logits is None:
            return_logits = not self.training or labels is None
        if return_logits or output_hidden_states:
            if decoder_input_ids is None and labels is not None:
                decoder_input_ids = behind_the_start(labels, self.config)
            embedded = self.model.embedding(decoder_input_ids)
            outputs, _ = self.decoder(embedded, conditions)
            parts["decoder_hidden_states"] = (embedded, outputs) if output_hidden_states else None
            parts["logits"] = self.decoder.logits(outputs) if return_logits else None
        return as_asked(BnCvaeOutput(**parts), return_dict, self.config)

    def _losses(self, labels, decoder_input_ids, conditions, kl, kl_prior, kl_weight) -> dict[str, torch.Tensor]:
        """The loss and its parts; no padding is computed, unless the decoder reads tokens of its own."""
        if decoder_input_ids is None:
            outputs, targets, _ = self._read_words(labels, conditions)
            reconstruction = reconstruction_loss(self.decoder.summed_nll(outputs, targets), len(labels))
        else:
            outputs, _ = self.decoder_states(decoder_input_ids, conditions)
            reconstruction = self.reconstruction(outputs, labels)
        weight = self.config.kl_weight if kl_weight is None else kl_weight
        auxiliary = self.mean_auxiliary_losses(labels, conditions)
        loss = self.training_loss(reconstruction, kl, weight, kl_prior=kl_prior, **auxiliary)
        return {"loss": loss, "reconstruction_loss": reconstruction, **auxiliary}

    def training_loss(self, reconstruction, kl, kl_weight, *, kl_prior=0.0, **auxiliary):
        """rec + kl_weight · (KL(q ‖ p) + prior_kl_weight · KL(p ‖ N(0, I))) + bow_weight · the bag of words."""
        divergence = cvae_divergence(kl, kl_prior, self.config.prior_kl_weight)
        return super().training_loss(reconstruction, divergence, kl_weight, **auxiliary)

    def _step(
        self, decoder_input_ids, encoder_outputs, past_key_values, use_cache, output_hidden_states
    ) -> BnCvaeOutput:
        if decoder_input_ids is None:
            raise ValueError("the decoder needs labels or decoder_input_ids")
        conditions = encoder_outputs[0].squeeze(1)
        embedded = self.model.embedding(decoder_input_ids)
        outputs, state = self.decoder(embedded, conditions, past_key_values)
        return BnCvaeOutput(
            logits=self.decoder.logits(outputs),
            past_key_values=state if wants_state(use_cache, self.config) else None,
            decoder_hidden_states=(embedded, outputs) if output_hidden_states else None,
        )

    def infer(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        context_index: torch.Tensor | None = None,
        own_turns: torch.Tensor | None = None,
        topic_ids: torch.Tensor | None = None,
        response_index: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> ConditionalGaussian:
        """q(z|x,y) with p(z|x) and the context beside it.

        Raises:
            ValueError: where the response is not known.
        """
        batch = dialogue_batch(self.config, input_ids, attention_mask, context_index, own_turns, response_index, labels)
        return self._posterior_of(batch, topic_ids)

    def _posterior_of(self, batch: DialogueBatch, topic_ids: torch.Tensor | None) -> ConditionalGaussian:
        posterior, _, _ = self.model.posterior_and_prior(batch, topic_ids)
        if posterior is None:
            raise ValueError("a posterior needs the responses: labels or response_index")
        return posterior

    def noise_keys(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, topic_ids=None, **inputs
    ) -> torch.Tensor:
        """A key of each context with its response, `(batch,)`: see `noise.sentence_keys`."""
        return dialogue_batch(self.config, input_ids, attention_mask, **inputs).keys()

    # The decoder

    def decoder_states(self, decoder_input_ids, conditions, state=None):
        return self.decoder(self.model.embedding(decoder_input_ids), conditions, state)

    def sentence_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """−log p(y|x,z) of `(batch, length)` labels at `(batch, condition_size)` conditions: `(batch,)` nats."""
        outputs, targets, rows = self._read_words(words_to_predict(labels, self.config), conditions)
        losses = self.decoder.token_losses(outputs, targets)
        return losses.new_zeros(len(labels)).index_add(0, rows, losses)

    def _read_words(self, labels: torch.Tensor, conditions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The state before every word to predict, without padding, the word, and the row that it stands in."""
        rows = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)
        columns = torch.stack([behind_the_start(labels, self.config), labels, rows], -1)
        positions = torch.arange(1, labels.size(1) + 1, device=labels.device)
        lengths = ((labels != IGNORED) * positions).amax(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(columns, lengths, batch_first=True, enforce_sorted=False)
        embedded = PackedSequence(self.model.embedding(packed.data[:, 0]), *packed[1:])
        return self.decoder.packed(embedded, conditions), packed.data[:, 1], packed.data[:, 2]

    # What users call

    @torch.no_grad()
    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, sample: bool = False, **inputs
    ) -> torch.Tensor:
        """See `BnCvaeModel.encode`."""
        return self.model.encode(input_ids, attention_mask, sample, **inputs)

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        inputs: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        num_latents: int | None = None,
        generator: torch.Generator | None = None,
        **options,
    ):
        """Token ids of responses to the contexts of a batch in either form, by Transformers' `generate`.

        Args:
            inputs: the utterances (also `input_ids`), beside what else `BnCvaeModel` reads.
            latents: `(batch · k, latent_size)`, k for each context; by default the mean of the prior.
            num_latents: k draws of the prior for each context instead.
            generator: of those draws.

        Raises:
            ValueError: without a context, for both of `latents` and `num_latents`, or for latents that cannot be shared
                out to the contexts.
        """
        if latents is not None and num_latents is not None:
            raise ValueError("give either latents or num_latents, not both")
        inputs = options.pop("input_ids", None) if inputs is None else inputs
        if inputs is None:
            raise ValueError("a response needs a context: input_ids")
        names = ("attention_mask", "context_index", "own_turns")
        topic_ids = options.pop("topic_ids", None)
        batch = dialogue_batch(self.config, inputs, **{name: options.pop(name, None) for name in names})
        _, prior, context = self.model.posterior_and_prior(batch, topic_ids)
        if num_latents is not None:
            shape = (len(context), num_latents, self.config.latent_size)
            device = generator.device if generator is not None else context.device
            noise = torch.randn(shape, generator=generator, device=device).to(context.device)
            latents = prior.rsample(noise=noise).flatten(0, 1)
        elif latents is None:
            latents = prior.mean
        else:
            latents = latents_of(latents, self.config.latent_size)
        if len(latents) % len(context):
            raise ValueError(f"{len(latents)} latents cannot be shared out to {len(context)} contexts")
        contexts = context.repeat_interleave(len(latents) // len(context), 0)
        conditions = torch.cat([contexts, latents.to(contexts.device, contexts.dtype)], 1).unsqueeze(1)
        outputs = BaseModelOutput(last_hidden_state=conditions)
        return super().generate(encoder_outputs=outputs, **options)  # type: ignore[misc]

    def sample(self, num_samples: int = 1, input_ids: torch.Tensor | None = None, **options) -> torch.Tensor:
        """Token ids `(batch · num_samples, length)` of responses from draws of the prior of each context."""
        return self.generate(input_ids, num_latents=num_samples, **options)

    def interpolate(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        steps: int = 5,
        mode: str = "slerp",
        input_ids: torch.Tensor | None = None,
        **options,
    ) -> torch.Tensor:
        """Token ids `(steps, length)` of responses to one context along the way from latent a to b `(latent_size,)`."""
        contexts = options.get("context_index", input_ids)
        if contexts is not None and len(contexts) > 1:
            raise ValueError(f"an interpolation is of one context, got {len(contexts)}")
        return self.generate(input_ids, latents=interpolate_latents(a, b, steps, mode), **options)


__all__ = ["BnCvaeForConditionalGeneration", "BnCvaeModel", "BnCvaePreTrainedModel"]
