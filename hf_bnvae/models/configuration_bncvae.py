"""Configuration of the conditional VAE for dialogue."""

from huggingface_hub.dataclasses import strict

from .checkpoints import CheckpointConfig
from .configuration_checks import check_finite, check_names, check_range, check_word_dropout
from .objectives import FREE_BITS_MODES
from .posteriors import POSTERIORS
from .rates import check_rate, kl_floor, take_rate, with_changed_rate

CONDITIONAL_POSTERIORS = tuple(name for name, kind in POSTERIORS.items() if kind.is_conditional)


@strict
class BnCvaeConfig(CheckpointConfig):
    r"""Sizes and choices of a conditional VAE that answers the last turns of a dialogue.

    The defaults are the sizes that the BN-VAE paper takes from Zhao et al. (2017) for Switchboard.

    Args:
        vocab_size: number of tokens, specials included.
        embedding_size: width of the word vectors, which encoder and decoder share.
        utterance_hidden_size: width of each direction of the GRU that reads an utterance.
        context_hidden_size: width of the GRU that reads the utterances of a context.
        hidden_size: width of the decoder's GRU.
        latent_size: number n of latent dimensions.
        context_turns: utterances of the dialogue, at most, that a response is conditioned on.
        posterior: the recognition network's family: `"gaussian"`, `"batch_norm"` (Eq. 5 on its mean), `"matched"`
            (moments that are the prior's of each row), `"tied_scales"` or `"du"`.
        rate: sets `gamma` or `tau`, as in `BnVaeConfig`; with `"matched"` the least KL(q ‖ p) in nats a response.
        gamma: the frozen scale γ of `"batch_norm"`; for `"du"` the root mean square of the learnt scales. By default
            0.6.
        tau: `"tied_scales"`: the least share of the prior's variance that the means take, in (0, 1). By default that of
            a rate of 8 nats.
        variance_dropout: `"du"`: dropout on the variance above its floor.
        prior_hidden_size: width of the tanh layer of the prior network.
        prior_batch_norm: batch-normalise the mean of the prior network as well, by the same γ: the variant that the
            paper's footnote 1 reports to fail.
        prior_kl_weight: weight of KL(p(z|x) ‖ N(0, I)) beside KL(q ‖ p) in the loss: 1 for the bound of Eq. 11, 0 for a
            plain CVAE.
        bow_weight: weight of the loss of predicting the response's bag of words from [context; z]; 0 for none.
        bow_hidden_size: width of the tanh layer that predicts it.
        topics: names of the topics that have a vector; empty for no topic embedding.
        topic_size: width of a topic's vector.
        kl_weight: the weight of both KLs in the training loss; the evaluation never uses it.
        free_bits: nats of KL(q ‖ p) that cost nothing in training (λ); 0 for none.
        free_bits_mode: `"dim"` grants λ/n to each dimension, `"sum"` grants λ to their sum.
        embedding_dropout: dropout on the decoder's input word vectors.
        output_dropout: dropout on the decoder's hidden states.
        word_dropout: share of the words that the decoder reads in training which are hidden from it: it reads
            `unk_token_id` in their place (Bowman et al. 2016).
        tie_word_embeddings: the output layer shares the word vectors; where `embedding_size` differs from
            `hidden_size` a linear map to `embedding_size` stands in front of it.
        initializer_range: weights start uniform in ± this.
        embedding_initializer_range: word vectors start uniform in ± this.

    Raises:
        ValueError (inside huggingface_hub's validation error): naming the field and what it must be.
    """

    model_type = "bncvae"
    AUTO_CLASSES = {
        "AutoConfig": "configuration_bncvae.BnCvaeConfig",
        "AutoModel": "modeling_bncvae.BnCvaeModel",
        "AutoModelForSeq2SeqLM": "modeling_bncvae.BnCvaeForConditionalGeneration",
    }
    CHOICES = {"posterior": CONDITIONAL_POSTERIORS, "free_bits_mode": FREE_BITS_MODES}

    vocab_size: int = 10_000
    embedding_size: int = 200
    utterance_hidden_size: int = 300
    context_hidden_size: int = 600
    hidden_size: int = 400
    latent_size: int = 200
    context_turns: int = 10
    posterior: str = "batch_norm"
    rate: float | int | None = None
    gamma: float | int | None = None
    tau: float | int | None = None
    variance_dropout: float | int = 0.5
    prior_hidden_size: int = 100
    prior_batch_norm: bool = False
    prior_kl_weight: float | int = 1.0
    bow_weight: float | int = 0.0
    bow_hidden_size: int = 400
    topics: list[str] | None = None
    topic_size: int = 30
    kl_weight: float | int = 1.0
    free_bits: float | int = 0.0
    free_bits_mode: str = "dim"
    embedding_dropout: float | int = 0.0
    output_dropout: float | int = 0.0
    word_dropout: float | int = 0.0
    initializer_range: float | int = 0.08
    embedding_initializer_range: float | int = 0.08
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = None
    unk_token_id: int | None = None
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = False
    use_cache: bool = True

    locked_dropout = False

    def __post_init__(self, **kwargs):
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.bos_token_id
        if self.topics is None:
            self.topics = []
        take_rate(self, gamma=0.6)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        return super().from_dict(with_changed_rate(config_dict, kwargs), **kwargs)

    def validate_sizes(self):
        check_range(self, 1, None, "vocab_size", "embedding_size", "hidden_size", "latent_size", "context_turns")
        check_range(self, 1, None, "utterance_hidden_size", "context_hidden_size", "prior_hidden_size")
        check_range(self, 1, None, "bow_hidden_size", "topic_size")

    def validate_choices(self):
        check_names(self, **self.CHOICES)

    def validate_numbers(self):
        for name in CONDITIONAL_POSTERIORS:
            POSTERIORS[name].check_fields(self)
        check_finite(self, "kl_weight", "prior_kl_weight", "bow_weight", "free_bits", positive=False)
        check_range(self, 0, 1, "embedding_dropout", "output_dropout", "word_dropout")

    def validate_combinations(self):
        check_rate(self)
        check_word_dropout(self)
        POSTERIORS[self.posterior].check_choice(self)

    @property
    def context_size(self) -> int:
        """Width of what is known of the context."""
        return self.context_hidden_size + (self.topic_size if self.topics else 0)

    @property
    def encoding_size(self) -> int:
        """Width of what the posterior reads: the context and the response."""
        return self.context_size + 2 * self.utterance_hidden_size

    @property
    def condition_size(self) -> int:
        """Width of what the decoder starts from: the context and z."""
        return self.context_size + self.latent_size

    @property
    def kl_lower_bound(self) -> float | None:
        """The least KL(q ‖ p) in nats a response, averaged over the data of the statistics: the rate, if matched."""
        return kl_floor(self) if POSTERIORS[self.posterior].in_prior_units else None

    @property
    def normalises_batches(self) -> bool:
        """Whether training reads statistics of the batch, which then needs two responses or more."""
        return POSTERIORS[self.posterior].normalises_batches or self.prior_batch_norm


__all__ = ["BnCvaeConfig"]
