"""The outputs of the models."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput

from .decoders import CnnState, GruState, LstmState


@dataclass
class BnVaeModelOutput(ModelOutput):
    """The output of the encoder with its posterior.

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
    hidden_states: tuple[torch.Tensor | None, ...] | None = None

    @property
    def last_hidden_state(self) -> torch.Tensor | None:
        """The latents, by which `generate(encoder_outputs=...)` counts sentences."""
        return self.latents


@dataclass
class BnVaeOutput(ModelOutput):
    """What the whole model makes of a batch. Losses are means over sentences, in nats per sentence.

    Args:
        loss: reconstruction_loss + kl_weight · KL + bow_weight · bow_loss, the KL with its free bits and in training
            plus decorrelation · total_correlation; given `labels`.
        logits: `(batch · num_samples, length, vocab_size)`; left out in training with `labels` unless asked for,
            because the loss needs no logits of padding.
        reconstruction_loss: −log p(x|z) at the sampled z; given `labels`.
        kl: KL(q(z|x) ‖ p(z)), unweighted and whole.
        past_key_values: the decoder's state.
        posterior_mean, posterior_logvar, latents: as in `BnVaeModelOutput`.
        encoder_hidden_states, decoder_hidden_states: the word vectors and the states of each, where they are asked for.
        bow_loss: the loss of the bag of words, unweighted; None in a model without it.
        total_correlation: that of the batch, unweighted; None but in training with `decorrelation`.
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
    bow_loss: torch.Tensor | None = None
    total_correlation: torch.Tensor | None = None


@dataclass
class BnCvaeModelOutput(ModelOutput):
    """The posterior and the prior of a batch of responses.

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
class LstmLMOutput(ModelOutput):
    """What the language model makes of a batch. Losses are means over sentences, in nats per sentence.

    Args:
        loss: −log p(x); given `labels`.
        logits: `(batch, length, vocab_size)`.
        reconstruction_loss: the loss again, and
        kl: 0, for the trainer of VAEs.
        past_key_values: the state to go on from.
        hidden_states: the word vectors and the LSTM's states, where they are asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    past_key_values: LstmState | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
