"""A conditional VAE for dialogue: the context with its prior, the recognition network, and the response's decoder."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from .configuration_bncvae import BnCvaeConfig
from .decoders import GruDecoder, GruState
from .distributions import ConditionalGaussian, DiagonalGaussian
from .layers import input_dtype, to_the_left
from .modeling_bnvae import (
    DEFAULT_MAX_NEW_TOKENS,
    EncoderDecoderMixin,
    as_asked,
    initialise,
    interpolate_latents,
    wants_hidden_states,
    wants_state,
)
from .noise import keyed_noise, sentence_keys, with_hidden_words
from .normalisation import FixedScaleBatchNorm, NormalisedModule, recompute_statistics
from .objectives import (
    IGNORED,
    bag_of_words_losses,
    cvae_divergence,
    kl_objective,
    negative_elbo,
    reconstruction_loss,
)
from .posteriors import POSTERIORS


@dataclass
class BnCvaeModelOutput(ModelOutput):
    """What is believed of a batch of responses.

    Args:
        posterior_mean, posterior_logvar: μ and log σ² of q(z|x,y), `(batch, latent_size)`; None without a response.
        prior_mean, prior_logvar: μ and log σ² of p(z|x), `(batch, latent_size)`.
        latents: samples of q, or of p without a response, `(batch, num_samples, latent_size)`.
        kl: KL(q(z|x,y) ‖ p(z|x)) of each response in nats, `(batch,)`; None without a response.
        kl_prior: KL(p(z|x) ‖ N(0, I)) in nats, `(batch,)`.
        context: what is known of x, `(batch, context_size)`.
        hidden_states: where they are asked for, the vectors of the turns of each context, in front,
            `(batch, turns, 2 · utterance_hidden_size)`, and `context`.
    """

    posterior_mean: torch.Tensor | None = None
    posterior_logvar: torch.Tensor | None = None
    prior_mean: torch.Tensor | None = None
    prior_logvar: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    kl_prior: torch.Tensor | None = None
    context: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


@dataclass
class BnCvaeOutput(ModelOutput):
    """What the whole model makes of a batch. Losses are means over responses, in nats per response.

    Args:
        loss: reconstruction_loss + kl_weight · (kl + prior_kl_weight · kl_prior) + bow_weight · bow_loss.
        logits: `(batch · num_samples, length, vocab_size)`; left out in training with `labels` unless asked for.
        reconstruction_loss: −log p(y|x,z) at the sampled z; given `labels`.
        kl: KL(q(z|x,y) ‖ p(z|x)), unweighted.
        kl_prior: KL(p(z|x) ‖ N(0, I)), unweighted.
        bow_loss: the loss of the bag of words, unweighted; None in a model without it.
        past_key_values: the decoder's state.
        posterior_mean, posterior_logvar, prior_mean, prior_logvar, latents: as in `BnCvaeModelOutput`.
        encoder_hidden_states: as `hidden_states` in `BnCvaeModelOutput`, where they are asked for.
        decoder_hidden_states: the word vectors and the decoder's states, where they are asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    kl_prior: torch.Tensor | None = None
    bow_loss: torch.Tensor | None = None
    past_key_values: GruState | None = None
    posterior_mean: torch.Tensor | None = None
    posterior_logvar: torch.Tensor | None = None
    prior_mean: torch.Tensor | None = None
    prior_logvar: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    decoder_hidden_states: tuple[torch.Tensor, ...] | None = None


@dataclass
class Scene:
    """A batch of contexts and responses, each utterance once.

    Args:
        input_ids, attention_mask: the utterances, `(utterances, length)`, padded on either side.
        context_index: which of them are the context of each response, oldest first, `(batch, turns)`; −1 for none.
        own_turns: 1 where the speaker of that turn is the one who responds, `(batch, turns)`.
        response_index: which utterance is the response, `(batch,)`; None where it is not known.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    context_index: torch.Tensor
    own_turns: torch.Tensor
    response_index: torch.Tensor | None


def scene_keys(scene: Scene) -> torch.Tensor:
    """A key of each context, with its response where that is known, `(batch,)`: see `noise.sentence_keys`."""
    keys = sentence_keys(scene.input_ids, scene.attention_mask)
    present = scene.context_index >= 0
    together = [keys[scene.context_index.clamp(min=0)]]
    if scene.response_index is not None:
        together.insert(0, keys[scene.response_index].unsqueeze(1))
        present = F.pad(present, (1, 0), value=True)
    return sentence_keys(torch.cat(together, 1), present)


class BnCvaePreTrainedModel(PreTrainedModel):
    config_class = BnCvaeConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    accepts_loss_kwargs = False

    def _init_weights(self, module):
        initialise(module, self.config.initializer_range, self.config.embedding_initializer_range)


class PriorNetwork(NormalisedModule):
    """p(z|x) = N(μ, σ²): a tanh layer over the context, and a linear one to μ and log σ²."""

    def __init__(self, config):
        super().__init__()
        self.hidden = nn.Linear(config.context_size, config.prior_hidden_size)
        self.parameters_of = nn.Linear(config.prior_hidden_size, 2 * config.latent_size)
        self.mean_norm = FixedScaleBatchNorm(config.latent_size, config.gamma) if config.prior_batch_norm else None

    def forward(self, context: torch.Tensor) -> DiagonalGaussian:
        """From `(batch, context_size)`; fp32 even under autocast."""
        with torch.autocast(context.device.type, enabled=False):
            mean, logvar = self.raw(context)
            return DiagonalGaussian(mean if self.mean_norm is None else self.mean_norm(mean), logvar)

    def raw(self, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mean, before its normalisation, and log σ²."""
        hidden = torch.tanh(self.hidden(context.to(input_dtype(self.hidden))))
        return self.parameters_of(hidden).float().chunk(2, 1)


class BnCvaeModel(BnCvaePreTrainedModel):
    """Context encoder, prior network and recognition network.

    A batch comes in one of two forms:

    - `input_ids` `(batch, turns, length)`, the utterances of each context, oldest first (or `(batch, length)` for
      contexts of one utterance);
    - as `DialogueCollator` makes it, every utterance once in `input_ids` `(utterances, length)`, with `context_index`,
      `own_turns` and `response_index` as in `Scene`: consecutive responses share most of their contexts.

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
        self.topic_embedding = nn.Embedding(len(config.topics) + 1, config.topic_size) if config.topics else None
        self.posterior = POSTERIORS[config.posterior](config)
        self.prior = PriorNetwork(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.embedding

    def set_input_embeddings(self, value):
        self.embedding = value

    def scene(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        context_index: torch.Tensor | None = None,
        own_turns: torch.Tensor | None = None,
        response_index: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> Scene:
        """Either form of a batch as a `Scene` whose contexts have their turns in front."""
        mask = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask.bool()
        if context_index is None:
            if input_ids.dim() == 2:
                input_ids, mask = input_ids.unsqueeze(1), mask.unsqueeze(1)
            context_index = torch.arange(mask.size(0) * mask.size(1), device=mask.device).view(mask.shape[:2])
            context_index = context_index.masked_fill(~mask.any(-1), -1)
            input_ids, mask = input_ids.flatten(0, 1), mask.flatten(0, 1)
        if response_index is None and labels is not None:
            response_index = len(input_ids) + torch.arange(len(labels), device=labels.device)
            input_ids, mask = self._with_responses(input_ids, mask, labels)
        present = context_index >= 0
        order = present.long().argsort(dim=1, descending=True, stable=True)
        if own_turns is None:
            turns_left = present.flip(1).long().cumsum(1).flip(1)
            own_turns = (turns_left + 1) % 2
        context_index, own_turns = context_index.gather(1, order), own_turns.gather(1, order)
        return Scene(input_ids, mask, context_index, own_turns, response_index)

    def _with_responses(self, input_ids, mask, labels):
        """The utterances with responses, start symbol in front, behind them."""
        start = labels.new_full((len(labels), 1), self.config.bos_token_id)
        words = F.pad(labels != IGNORED, (1, 0), value=True)
        responses = torch.cat([start, labels], 1).masked_fill(~words, self.config.pad_token_id)
        width = max(input_ids.size(1), responses.size(1))
        input_ids, responses = (
            F.pad(ids, (0, width - ids.size(1)), value=self.config.pad_token_id) for ids in (input_ids, responses)
        )
        mask, words = (F.pad(part, (0, width - part.size(1))) for part in (mask, words))
        return torch.cat([input_ids, responses]), torch.cat([mask, words])

    def read(
        self, scene: Scene, topic_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What is known of each context `(batch, context_size)`, each response `(batch, 2 · width)` where it is known,
        and the turns of each context `(batch, turns, 2 · width)`."""
        vectors = self._read_utterances(scene.input_ids, scene.attention_mask)
        present = scene.context_index >= 0
        turns = vectors[scene.context_index.clamp(min=0)] * present.unsqueeze(-1)
        spoken = torch.cat([turns, (scene.own_turns * present).unsqueeze(-1).to(turns.dtype)], -1)
        lengths = present.sum(1).clamp(min=1)
        packed = pack_padded_sequence(spoken, lengths.cpu(), batch_first=True, enforce_sorted=False)
        context = self.context_gru(packed)[1].squeeze(0)
        if self.topic_embedding is not None:
            if topic_ids is None:
                topic_ids = torch.zeros(len(context), dtype=torch.long, device=context.device)
            context = torch.cat([context, self.topic_embedding(topic_ids)], 1)
        return context, None if scene.response_index is None else vectors[scene.response_index], turns

    def _read_utterances(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last states of both directions, `(utterances, 2 · width)`; no padding is read, on whichever side."""
        lengths = mask.long().sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(to_the_left(input_ids, mask), lengths, batch_first=True, enforce_sorted=False)
        _, states = self.utterance_gru(PackedSequence(self.embedding(packed.data), *packed[1:]))
        return torch.cat([states[0], states[1]], 1)

    def beliefs(
        self, scene: Scene, topic_ids: torch.Tensor | None = None
    ) -> tuple[ConditionalGaussian | None, DiagonalGaussian, torch.Tensor]:
        """The posterior where the response is known, the prior, and the context `(batch, context_size)`."""
        context, response, _ = self.read(scene, topic_ids)
        return *self.distributions(context, response), context

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
        return self.beliefs(self.scene(input_ids, **inputs), topic_ids)[1]

    def keyed_noise(
        self, scene: Scene, num_samples: int, noise_seed: int | torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Noise keyed by context and response, `(batch, num_samples, latent_size)`; None in training with no seed."""
        if self.training and noise_seed is None:
            return None
        seed = 0 if noise_seed is None else noise_seed
        return keyed_noise(scene_keys(scene), range(num_samples), self.config.latent_size, seed)

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
        """The beliefs of a batch in either form, with `num_samples` latents of q, or of p without a response.

        In evaluation, and wherever a `noise_seed` is given, the draws are keyed by context and response, so that the
        same dialogue always gives the same ones; `encode(sample=True)` draws afresh.

        Args:
            topic_ids: `(batch,)`, the place of each topic in `config.topics` counted from 1; 0 for an unknown one.
        """
        if input_ids is None:
            raise ValueError("the encoder needs input_ids")
        scene = self.scene(input_ids, attention_mask, context_index, own_turns, response_index, labels)
        context, response, turns = self.read(scene, topic_ids)
        posterior, prior = self.distributions(context, response)
        output = BnCvaeModelOutput(
            posterior_mean=None if posterior is None else posterior.mean,
            posterior_logvar=None if posterior is None else posterior.logvar,
            prior_mean=prior.mean,
            prior_logvar=prior.logvar,
            latents=(prior if posterior is None else posterior).rsample(
                num_samples, self.keyed_noise(scene, num_samples, noise_seed)
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
        posterior, prior, _ = self.beliefs(self.scene(input_ids, attention_mask, **inputs), topic_ids)
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
                context, response, _ = self.read(self.scene(**batch), topic_ids)
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

    def _resize_others(self, vocab_size, mean_resizing):
        if self.bag_of_words is not None:
            self.bag_of_words[-1] = self._get_resized_lm_head(
                self.bag_of_words[-1], vocab_size, mean_resizing=mean_resizing
            )

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
            labels: the responses, `(batch, length)`, end symbol included and start symbol not; −100 on padding.
            decoder_input_ids: what the decoder reads, `(batch, length)`; by default `labels` shifted right behind the
                start symbol.
            encoder_outputs: what the decoder starts from, `(batch, 1, condition_size)` (generation).
            past_key_values: the state to go on from.
            num_samples: latents drawn for each response; the losses are averaged over them.
            kl_weight: weight of the KLs in `loss`; `config.kl_weight` by default.
            use_cache: whether a step gives out its state; `config.use_cache` by default.
            return_logits: by default unless in training with `labels`.
            noise_seed: of latents keyed by context and response, in training as well; in evaluation they always are.
        """
        output_hidden_states = wants_hidden_states(output_hidden_states, self.config)
        if encoder_outputs is not None and labels is None:
            output = self._step(decoder_input_ids, encoder_outputs, past_key_values, use_cache, output_hidden_states)
            return as_asked(output, return_dict, self.config)
        if input_ids is None:
            raise ValueError("the encoder needs input_ids")
        if labels is None and decoder_input_ids is None:
            raise ValueError("the decoder needs labels or decoder_input_ids")
        scene = self.model.scene(input_ids, attention_mask, context_index, own_turns, response_index, labels)
        context, response, turns = self.model.read(scene, topic_ids)
        posterior, prior = self.model.distributions(context, response)
        known = prior if posterior is None else posterior
        latents = known.rsample(num_samples, self.model.keyed_noise(scene, num_samples, noise_seed))
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
            parts |= {"kl": kl_objective(posterior.kl()), "kl_prior": kl_objective(prior.kl())}
        if self.training and self.config.word_dropout > 0:
            read = decoder_input_ids
            if read is None and labels is not None:
                read = self.prepare_decoder_input_ids_from_labels(labels)
            decoder_input_ids = with_hidden_words(read, self.config, noise_seed)  # type: ignore[arg-type]
        if decoder_input_ids is not None:
            decoder_input_ids = decoder_input_ids.repeat_interleave(num_samples, 0)
        if labels is not None:
            labels = labels.repeat_interleave(num_samples, 0)
            parts |= self._losses(labels, decoder_input_ids, conditions, parts["kl"], parts["kl_prior"], kl_weight)
        if return_logits is None:
            return_logits = not self.training or labels is None
        if return_logits or output_hidden_states:
            if decoder_input_ids is None and labels is not None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
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
        loss = negative_elbo(reconstruction, cvae_divergence(kl, kl_prior, self.config.prior_kl_weight), weight)
        if self.bag_of_words is None:
            return {"loss": loss, "reconstruction_loss": reconstruction}
        bow_loss = self.side_losses(labels, conditions)["bow_loss"].mean()
        loss = loss + self.config.bow_weight * bow_loss
        return {"loss": loss, "reconstruction_loss": reconstruction, "bow_loss": bow_loss}

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
        scene = self.model.scene(input_ids, attention_mask, context_index, own_turns, response_index, labels)
        return self._posterior_of(scene, topic_ids)

    def _posterior_of(self, scene: Scene, topic_ids: torch.Tensor | None) -> ConditionalGaussian:
        posterior, _, _ = self.model.beliefs(scene, topic_ids)
        if posterior is None:
            raise ValueError("a posterior needs the responses: labels or response_index")
        return posterior

    def noise_keys(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, topic_ids=None, **inputs
    ) -> torch.Tensor:
        """A key of each context with its response, `(batch,)`: see `noise.sentence_keys`."""
        return scene_keys(self.model.scene(input_ids, attention_mask, **inputs))

    # The decoder

    def decoder_states(self, decoder_input_ids, conditions, state=None):
        return self.decoder(self.model.embedding(decoder_input_ids), conditions, state)

    def sentence_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """−log p(y|x,z) of `(batch, length)` labels at `(batch, condition_size)` conditions: `(batch,)` nats."""
        outputs, targets, rows = self._read_words(labels, conditions)
        losses = self.decoder.token_losses(outputs, targets)
        return losses.new_zeros(len(labels)).index_add(0, rows, losses)

    def side_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.bag_of_words is None:
            return {}
        logits = self.bag_of_words(conditions.to(input_dtype(self.bag_of_words[0])))
        return {"bow_loss": bag_of_words_losses(logits, labels)}

    def _read_words(self, labels: torch.Tensor, conditions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The state before every word to predict, without padding, the word, and the row that it stands in."""
        rows = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)
        columns = torch.stack([self.prepare_decoder_input_ids_from_labels(labels), labels, rows], -1)
        places = torch.arange(1, labels.size(1) + 1, device=labels.device)
        lengths = ((labels != IGNORED) * places).amax(1).clamp(min=1).cpu()
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
        """
        if latents is not None and num_latents is not None:
            raise ValueError("give either latents or num_latents, not both")
        inputs = options.pop("input_ids", None) if inputs is None else inputs
        if inputs is None:
            raise ValueError("a response needs a context: input_ids")
        names = ("attention_mask", "context_index", "own_turns")
        topic_ids = options.pop("topic_ids", None)
        scene = self.model.scene(inputs, **{name: options.pop(name, None) for name in names})
        _, prior, context = self.model.beliefs(scene, topic_ids)
        if num_latents is not None:
            shape = (len(context), num_latents, self.config.latent_size)
            device = generator.device if generator is not None else context.device
            noise = torch.randn(shape, generator=generator, device=device).to(context.device)
            latents = prior.rsample(noise=noise).flatten(0, 1)
        elif latents is None:
            latents = prior.mean
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
