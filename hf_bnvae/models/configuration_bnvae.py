"""Configuration of the LSTM text VAE."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig

from .checkpoints import CheckpointConfig
from .configuration_checks import (
    check_finite,
    check_names,
    check_range,
    check_ties,
    check_word_dropout,
    take_nested_configs,
)
from .decoders import DECODERS
from .encoders import ENCODERS, POOLINGS
from .latent_memory import check_attends, take_lengths
from .objectives import FREE_BITS_MODES
from .posteriors import POSTERIORS
from .rates import check_rate, kl_floor, take_rate, with_changed_rate

POSTERIOR_NAMES = tuple(POSTERIORS)
NORMALISED_POSTERIORS = tuple(name for name, kind in POSTERIORS.items() if kind.normalises_batches)
ENCODER_NAMES = tuple(ENCODERS)
DECODER_NAMES = tuple(name for name, kind in DECODERS.items() if not kind.is_conditional)
DEFAULT_CNN_DILATIONS = (1, 2, 4)


@strict
class BnVaeConfig(CheckpointConfig):
    r"""Sizes and choices of a text VAE with an LSTM encoder and an autoregressive decoder.

    The defaults are the sizes that the BN-VAE paper uses for Yahoo and Yelp reviews.

    Args:
        vocab_size: number of tokens, specials included.
        embedding_size: width of the word vectors; encoder and decoder have separate ones.
        hidden_size: width of the states of encoder and decoder.
        encoder: `"lstm"`, `"pretrained"` (any `AutoModel`) or `"given"` (states of sentences that are computed before,
            such as embeddings).
        encoder_config: `"pretrained"`: the configuration of the encoder.
        encoder_base: `"pretrained"`: where the encoder's weights are, by name and revision or by path and digest, if
            they are not saved with the model; None where they are.
        encoder_pad_token_id: padding of what the encoder reads, where that is not `pad_token_id`.
        encoder_pooling: `"pretrained"`: `"mean"`, `"cls"` or `"last"`, how its states become the one of a sentence.
        encoder_embedding_size: `"lstm"`: width of the encoder's word vectors; None for `embedding_size`.
        encoder_normalised: `"pretrained"`: the state of a sentence has the length 1, as the embeddings of many
            sentence-transformers.
        encoder_hidden_size: `"lstm"`: width of the encoder's states; None for `hidden_size`. `"given"`: width of the
            states.
        encoder_vocab_size: `"lstm"`: number of tokens of the encoder where it reads other tokens than the decoder; None
            for `vocab_size`.
        latent_size: number n of latent dimensions.
        posterior: `"gaussian"` (diagonal Gaussian), `"batch_norm"` (the same with a batch-normalised mean, Eq. 5),
            `"matched"` (an aggregate with the prior's mean and variance), `"tied_scales"` (Su's extension), `"du"`
            (DU-VAE), `"delta"` (δ-VAE), `"constant_variance"` (CV-VAE) or `"vmf"` (von Mises-Fisher).
        rate: the least KL in nats per sentence, on the data of the normalisation's statistics: sets `gamma` of
            `"batch_norm"` (√(2·rate/n)) and `"matched"` (√(1 − exp(−2·rate/n))), `tau` of `"tied_scales"`
            (1 − exp(−2·rate/n)), `delta` of `"delta"` (rate/n) and `variance` of `"constant_variance"` (the root of
            σ² − 1 − log σ² = 2·rate/n under 1). By default None, and 8 for `"matched"`.
        gamma: the frozen scale γ of `"batch_norm"`, whose KL is then at least n·γ²/2 in expectation (Eq. 6); for `"du"`
            the root mean square of the learnt scales. By default 0.7.
        tau: `"tied_scales"`: the least share of the prior's variance that the means take, in (0, 1). By default that of
            a rate of 8 nats.
        variance_dropout: `"du"`: dropout on the variance above its floor.
        delta: `"delta"`: the least KL of each dimension. By default 0.1.
        variance: `"constant_variance"`: the variance of every dimension, in (0, 1]. By default that of a rate of 8
            nats.
        kappa: `"vmf"`: the concentration.
        decoder: `"lstm"`, `"skip_lstm"` (z joins every output as well), `"cnn"` (dilated causal convolutions) or
            `"pretrained"` (any `AutoModelForCausalLM`).
        decoder_config: `"pretrained"`: the configuration of the decoder.
        decoder_lora: `"pretrained"`: the rank, alpha and dropout of low-rank adapters beside its attention, which alone
            are trained; None without.
        decoder_base: `"pretrained"`: as `encoder_base`, of the decoder.
        soft_prompt_length: `"pretrained"`: vectors of z in front of the decoder's tokens. By default none with a
            memory, and 8 without.
        latent_memory_length: `"pretrained"`: keys and values of z in front of those of the tokens, in every head of the
            decoder. By default 8 where all of its layers keep such and no `soft_prompt_length` is given.
        decoder_skip: `"pretrained"`: z joins every output of the decoder as well, as with `"skip_lstm"`.
        cnn_dilations: `"cnn"`: one residual block each; by default 1, 2, 4.
        cnn_kernel_size: `"cnn"`: tokens under a kernel.
        kl_weight: the weight of the KL in the training loss (the β of β-VAE); the evaluation never uses it.
        free_bits: nats of KL that cost nothing in training (λ); 0 for none.
        free_bits_mode: `"dim"` grants λ/n to each dimension, `"sum"` grants λ to their sum.
        decorrelation: weight of the correlations between the latent's dimensions over a batch, in nats, added to the KL
            of the training loss and so scaled by its weight: the KL that they take is no information; 0 for none.
        bow_weight: weight in the training loss of predicting the words of a sentence without their order from z alone
            (Zhao et al. 2017), which makes z say what a strong decoder would not ask it; 0 for none.
        refinement_steps: gradient steps that refine the posterior of each sentence (SA-VAE); 0 for none.
        refinement_step_size: length of a step in the gradient of a sentence's own loss; 1/32 is the step of 1 on the
            mean of a batch of 32 that Kim et al. (2018) take.
        refinement_momentum: share of the last step in the next.
        refinement_clip: norm to which the gradient of each sentence is cut.
        embedding_dropout: dropout on the decoder's input word vectors.
        output_dropout: dropout on the decoder's hidden states.
        word_dropout: share of the words that the decoder reads in training which are hidden from it: it reads
            `unk_token_id` in their place (Bowman et al. 2016).
        locked_dropout: one mask for all words of a sentence (Gal & Ghahramani 2016) instead of one for each.
        tie_word_embeddings: the output layer shares the decoder's word vectors; where `embedding_size` differs from
            `hidden_size` a linear map to `embedding_size` stands in front of it.
        initializer_range: the decoder's weights start uniform in ± this.
        embedding_initializer_range: its word vectors start uniform in ± this.
        encoder_initializer_range: the weights of encoder and posterior start uniform in ± this; None for PyTorch's own
            start, in ± 1/√width, which is what the paper's authors leave their encoder at.
        encoder_embedding_initializer_range: the encoder's word vectors start uniform in ± this; None for N(0, 1).
        forget_bias: added to the bias of the LSTMs' forget gates at the start, so that they keep what they have read.

    Raises:
        ValueError (inside huggingface_hub's validation error): naming the field and what it must be.
    """

    model_type = "bnvae"
    AUTO_CLASSES = {
        "AutoConfig": "configuration_bnvae.BnVaeConfig",
        "AutoModel": "modeling_bnvae.BnVaeModel",
        "AutoModelForSeq2SeqLM": "modeling_bnvae.BnVaeForConditionalGeneration",
        "AutoModelForSequenceClassification": "modeling_bnvae.BnVaeForSequenceClassification",
    }
    sub_configs = {"encoder_config": AutoConfig, "decoder_config": AutoConfig}
    CHOICES = {
        "encoder": ENCODER_NAMES,
        "posterior": POSTERIOR_NAMES,
        "decoder": DECODER_NAMES,
        "encoder_pooling": POOLINGS,
        "free_bits_mode": FREE_BITS_MODES,
    }

    vocab_size: int = 20_000
    embedding_size: int = 512
    hidden_size: int = 1024
    encoder: str = "lstm"
    encoder_config: Any = None
    encoder_base: dict[str, str | None] | None = None
    encoder_pooling: str = "mean"
    encoder_normalised: bool = False
    encoder_embedding_size: int | None = None
    encoder_hidden_size: int | None = None
    encoder_vocab_size: int | None = None
    encoder_pad_token_id: int | None = None
    latent_size: int = 32
    posterior: str = "batch_norm"
    rate: float | int | None = None
    gamma: float | int | None = None
    tau: float | int | None = None
    variance_dropout: float | int = 0.5
    delta: float | int | None = None
    variance: float | int | None = None
    kappa: float | int = 13.0
    decoder: str = "lstm"
    decoder_config: Any = None
    decoder_lora: dict[str, Any] | None = None
    decoder_base: dict[str, str | None] | None = None
    soft_prompt_length: int | None = None
    latent_memory_length: int | None = None
    decoder_skip: bool = False
    cnn_dilations: list[int] | None = None
    cnn_kernel_size: int = 3
    kl_weight: float | int = 1.0
    free_bits: float | int = 0.0
    free_bits_mode: str = "dim"
    decorrelation: float | int = 0.0
    bow_weight: float | int = 0.0
    refinement_steps: int = 0
    refinement_step_size: float | int = 1 / 32
    refinement_momentum: float | int = 0.5
    refinement_clip: float | int = 5.0
    embedding_dropout: float | int = 0.5
    output_dropout: float | int = 0.5
    locked_dropout: bool = False
    word_dropout: float | int = 0.0
    initializer_range: float | int = 0.01
    embedding_initializer_range: float | int = 0.1
    encoder_initializer_range: float | int | None = None
    encoder_embedding_initializer_range: float | int | None = None
    forget_bias: float | int = 0.0
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = None
    unk_token_id: int | None = None
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = False
    use_cache: bool = True

    def __post_init__(self, **kwargs):
        self._take_pretrained_sizes()
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.bos_token_id
        if self.cnn_dilations is None:
            self.cnn_dilations = list(DEFAULT_CNN_DILATIONS)
        take_rate(self, gamma=0.7, delta=0.1)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        return super().from_dict(with_changed_rate(config_dict, kwargs), **kwargs)

    def _take_pretrained_sizes(self) -> None:
        """Nested configurations as objects, and the sizes that they decide."""
        take_nested_configs(self)
        take_lengths(self)
        if self.encoder == "pretrained" and self.encoder_config is not None:
            sizes = self.encoder_config.get_text_config()
            self.encoder_vocab_size, self.encoder_hidden_size = sizes.vocab_size, sizes.hidden_size
            self.encoder_pad_token_id = sizes.pad_token_id

    def validate_parts(self):
        for name in ("encoder", "decoder"):
            kind, given = getattr(self, name), getattr(self, f"{name}_config") is not None
            if given != (kind == "pretrained"):
                wanted = "give it" if kind == "pretrained" else "leave it out"
                raise ValueError(f"{name}_config is read with the {name} pretrained, and this one is {kind}: {wanted}")
        if self.encoder == "given" and self.encoder_hidden_size is None:
            raise ValueError("encoder_hidden_size must be the width of the states with the encoder given")
        if self.latent_memory_length and self.decoder_config is not None:
            check_attends(self.decoder_config.get_text_config())
        check_ties(self)

    def validate_sizes(self):
        check_range(self, 1, None, "vocab_size", "embedding_size", "hidden_size", "latent_size", "cnn_kernel_size")
        check_range(self, 0, None, "soft_prompt_length", "latent_memory_length")
        given = ("encoder_embedding_size", "encoder_hidden_size", "encoder_vocab_size")
        check_range(self, 1, None, *(name for name in given if getattr(self, name) is not None))
        check_range(self, 0, None, "refinement_steps")
        if not self.cnn_dilations or min(self.cnn_dilations) < 1:
            raise ValueError(f"cnn_dilations must be numbers of at least 1, got {self.cnn_dilations}")

    def validate_choices(self):
        check_names(self, **self.CHOICES)

    def validate_numbers(self):
        for kind in POSTERIORS.values():
            kind.check_fields(self)
        check_finite(self, "refinement_step_size", "refinement_clip", positive=True)
        check_finite(self, "kl_weight", "free_bits", "decorrelation", "bow_weight", positive=False)
        check_range(self, 0, 1, "embedding_dropout", "output_dropout", "refinement_momentum", "word_dropout")

    def validate_combinations(self):
        check_rate(self)
        if self.pad_token_id is None:
            raise ValueError("pad_token_id must be a token of the decoder: the end of a text will do, or the start")
        check_word_dropout(self)
        POSTERIORS[self.posterior].check_choice(self)
        if self.refinement_steps > 0 and self.posterior != "gaussian":
            raise ValueError(
                f"refinement_steps must be 0 with the posterior {self.posterior}: the steps move a free mean and "
                "variance, which only the posterior gaussian has"
            )
        if self.refinement_steps > 0 and not self.shares_vocabulary:
            raise ValueError(
                "refinement_steps must be 0 where encoder and decoder read other tokens: the steps reconstruct what "
                "the encoder read; method sa_vae takes them"
            )

    def get_text_config(self, decoder=None, encoder=None):
        # Transformers would take the string in `decoder` for a nested configuration.
        return self

    @property
    def encoding_size(self) -> int:
        """Width of what the posterior reads."""
        return ENCODERS[self.encoder].width(self)

    @property
    def encoder_padding(self) -> int | None:
        """Padding of what the encoder reads; None of a pretrained encoder without one, where all tokens are words."""
        is_own = self.encoder == "pretrained" or self.encoder_pad_token_id is not None
        return self.encoder_pad_token_id if is_own else self.pad_token_id

    @property
    def shares_vocabulary(self) -> bool:
        """Whether encoder and decoder read the same tokens."""
        one = self.encoder_vocab_size in (None, self.vocab_size)
        return self.encoder == "lstm" and self.decoder != "pretrained" and one

    @property
    def kl_lower_bound(self) -> float | None:
        """The least KL in nats per sentence, averaged over the data that normalisation statistics come from.

        The `bound` of the posterior's class, such as n·γ²/2 for BN-VAE (Eq. 6 at β = 0); None without one.
        """
        return kl_floor(self)

    @property
    def normalises_batches(self) -> bool:
        """Whether the posterior reads statistics of the training batch, which then needs two sentences or more."""
        return POSTERIORS[self.posterior].normalises_batches


__all__ = ["BnVaeConfig"]
