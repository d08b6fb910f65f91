"""Configuration of the LSTM text VAE."""

import math

from huggingface_hub.dataclasses import strict

from .checkpoints import CheckpointConfig

POSTERIOR_NAMES = ("gaussian", "batch_norm", "matched", "tied_scales", "du", "delta", "vmf")
NORMALISED_POSTERIORS = ("batch_norm", "matched", "tied_scales", "du")
RATE_FIELDS = {"batch_norm": "gamma", "matched": "gamma", "tied_scales": "tau", "delta": "delta"}
"""The posteriors with a floor on the KL, and the field that sets it."""
DEFAULT_RATE = 8.0
DECODER_NAMES = ("lstm", "skip_lstm", "cnn")
FREE_BITS_MODES = ("dim", "sum")
DEFAULT_CNN_DILATIONS = (1, 2, 4)


def field_at_rate(posterior: str, rate: float, latent_size: int) -> float:
    """The value of a posterior's field in `RATE_FIELDS` at which the KL is at least `rate` nats a sentence."""
    share = -math.expm1(-2 * rate / latent_size)
    values = {
        "batch_norm": math.sqrt(2 * rate / latent_size),
        "matched": math.sqrt(share),
        "tied_scales": share,
        "delta": rate / latent_size,
    }
    return values[posterior]


def rate_of(posterior: str, value: float, latent_size: int) -> float:
    """The other way round: the floor on the KL, in nats a sentence, of a posterior's field."""
    if posterior in ("batch_norm", "delta"):
        return latent_size * (value if posterior == "delta" else value**2 / 2)
    share = value**2 if posterior == "matched" else value
    return -latent_size / 2 * math.log1p(-share)


def kl_floor(config) -> float | None:
    """The floor on the KL that a configuration's posterior has, in nats a sentence; None without one."""
    if config.posterior not in RATE_FIELDS:
        return None
    if config.rate is not None:
        return config.rate  # that of its field is off where the field is 1 but for rounding
    return rate_of(config.posterior, getattr(config, RATE_FIELDS[config.posterior]), config.latent_size)


def with_changed_rate(written: dict, changes: dict) -> dict:
    """A written configuration with what a caller of `from_pretrained` changes of the rate.

    Of a rate and the field that it sets what is given wins, and the other is left out.
    """
    name = RATE_FIELDS.get(changes.get("posterior", written.get("posterior", "batch_norm")))
    changed = {key: changes[key] for key in ("rate", name, "latent_size") if key in changes}
    if {"rate", name} & changed.keys():
        left_out = {"rate", name}
    elif written.get("rate") is not None:
        left_out = {name}  # the rate stays, also where the number of dimensions does not
    else:
        left_out = set()
    return {key: value for key, value in written.items() if key not in left_out} | changed


def take_rate(config, **defaults: float) -> None:
    """Give the fields that set the rate their values: from `rate` where it is given, else their defaults."""
    name, size = RATE_FIELDS.get(config.posterior), max(1, config.latent_size)
    if config.posterior == "matched" and config.rate is None:
        of_gamma = config.gamma is not None and 0 < config.gamma < 1
        config.rate = rate_of("matched", config.gamma, size) if of_gamma else DEFAULT_RATE
    if name is not None and getattr(config, name) is None and config.rate is not None and 0 < config.rate < math.inf:
        setattr(config, name, field_at_rate(config.posterior, config.rate, size))
    for field, default in defaults.items():
        if getattr(config, field) is None:
            setattr(config, field, default)


def check_rate(config) -> None:
    """Refuse a rate that nothing reads, or that says otherwise than the field that it sets."""
    if config.rate is None:
        return
    name = RATE_FIELDS.get(config.posterior)
    if name is None:
        raise ValueError(
            f"rate must be None with the posterior {config.posterior}, which has no floor on its KL: those that have "
            f"one are {', '.join(RATE_FIELDS)}"
        )
    check_finite(config, "rate", positive=True)
    wanted, found = field_at_rate(config.posterior, config.rate, config.latent_size), getattr(config, name)
    if not math.isclose(found, wanted, rel_tol=1e-6):
        raise ValueError(
            f"rate {config.rate} means the {name} {wanted:.4g} with {config.latent_size} latent dimensions, and {name} "
            f"is {found}: give one of the two"
        )


def check_word_dropout(config) -> None:
    """Refuse to hide words where there is no unknown word to read in their place."""
    if config.word_dropout > 0 and config.unk_token_id is None:
        raise ValueError("word_dropout must be 0 without unk_token_id, the unknown word, which hidden ones are read as")


def check_range(config, least: float, below: float | None, *names: str) -> None:
    """Refuse a field that is under `least`, or not below `below`."""
    for name in names:
        value = getattr(config, name)
        if value < least or (below is not None and not value < below):
            wanted = f"be at least {least}" if below is None else f"lie in [{least}, {below})"
            raise ValueError(f"{name} must {wanted}, got {value}")


def check_finite(config, *names: str, positive: bool) -> None:
    """Refuse a field that is not a finite number of at least 0, or above it."""
    for name in names:
        value = getattr(config, name)
        if not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
            raise ValueError(f"{name} must be a finite number {'above' if positive else 'of at least'} 0, got {value}")


def check_names(config, **choices: tuple[str, ...]) -> None:
    """Refuse a field that is none of its choices."""
    for name, names in choices.items():
        value = getattr(config, name)
        if value not in names:
            raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}")


@strict
class BnVaeConfig(CheckpointConfig):
    r"""Sizes and choices of a text VAE with an LSTM encoder and an autoregressive decoder.

    The defaults are the sizes that the BN-VAE paper uses for Yahoo and Yelp reviews.

    Args:
        vocab_size: number of tokens, specials included.
        embedding_size: width of the word vectors; encoder and decoder have separate ones.
        hidden_size: width of both LSTMs.
        latent_size: number n of latent dimensions.
        posterior: `"gaussian"` (diagonal Gaussian), `"batch_norm"` (the same with a batch-normalised mean, Eq. 5),
            `"matched"` (an aggregate with the prior's mean and variance), `"tied_scales"` (Su's extension), `"du"`
            (DU-VAE), `"delta"` (δ-VAE) or `"vmf"` (von Mises-Fisher).
        rate: the least KL in nats per sentence, on the data of the normalisation's statistics: sets `gamma` of
            `"batch_norm"` (√(2·rate/n)) and `"matched"` (√(1 − exp(−2·rate/n))), `tau` of `"tied_scales"`
            (1 − exp(−2·rate/n)) and `delta` of `"delta"` (rate/n). By default None, and 8 for `"matched"`.
        gamma: the frozen scale γ of `"batch_norm"`, whose KL is then at least n·γ²/2 in expectation (Eq. 6); for `"du"`
            the root mean square of the learnt scales. By default 0.7.
        tau: `"tied_scales"`: the least share of the prior's variance that the means take, in (0, 1). By default that of
            a rate of 8 nats.
        variance_dropout: `"du"`: dropout on the variance above its floor.
        delta: `"delta"`: the least KL of each dimension. By default 0.1.
        kappa: `"vmf"`: the concentration.
        decoder: `"lstm"`, `"skip_lstm"` (z joins every output as well) or `"cnn"` (dilated causal convolutions).
        cnn_dilations: `"cnn"`: one residual block each; by default 1, 2, 4.
        cnn_kernel_size: `"cnn"`: tokens under a kernel.
        kl_weight: the weight of the KL in the training loss (the β of β-VAE); the evaluation never uses it.
        free_bits: nats of KL that cost nothing in training (λ); 0 for none.
        free_bits_mode: `"dim"` grants λ/n to each dimension, `"sum"` grants λ to their sum.
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
    CHOICES = {"posterior": POSTERIOR_NAMES, "decoder": DECODER_NAMES, "free_bits_mode": FREE_BITS_MODES}

    vocab_size: int = 20_000
    embedding_size: int = 512
    hidden_size: int = 1024
    latent_size: int = 32
    posterior: str = "batch_norm"
    rate: float | int | None = None
    gamma: float | int | None = None
    tau: float | int | None = None
    variance_dropout: float | int = 0.5
    delta: float | int | None = None
    kappa: float | int = 13.0
    decoder: str = "lstm"
    cnn_dilations: list[int] | None = None
    cnn_kernel_size: int = 3
    kl_weight: float | int = 1.0
    free_bits: float | int = 0.0
    free_bits_mode: str = "dim"
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
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = None
    unk_token_id: int | None = None
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = False
    use_cache: bool = True

    def __post_init__(self, **kwargs):
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.bos_token_id
        if self.cnn_dilations is None:
            self.cnn_dilations = list(DEFAULT_CNN_DILATIONS)
        tau = field_at_rate("tied_scales", DEFAULT_RATE, max(1, self.latent_size))
        take_rate(self, gamma=0.7, tau=tau, delta=0.1)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        return super().from_dict(with_changed_rate(config_dict, kwargs), **kwargs)

    def validate_sizes(self):
        check_range(self, 1, None, "vocab_size", "embedding_size", "hidden_size", "latent_size", "cnn_kernel_size")
        check_range(self, 0, None, "refinement_steps")
        if not self.cnn_dilations or min(self.cnn_dilations) < 1:
            raise ValueError(f"cnn_dilations must be numbers of at least 1, got {self.cnn_dilations}")

    def validate_choices(self):
        check_names(self, **self.CHOICES)

    def validate_numbers(self):
        check_finite(self, "gamma", "delta", "kappa", "refinement_step_size", "refinement_clip", positive=True)
        check_finite(self, "kl_weight", "free_bits", positive=False)
        check_range(self, 0, 1, "embedding_dropout", "output_dropout", "variance_dropout", "refinement_momentum")
        check_range(self, 0, 1, "word_dropout")
        if not 0 < self.tau < 1:
            raise ValueError(f"tau must lie in (0, 1), got {self.tau}")

    def validate_combinations(self):
        check_rate(self)
        check_word_dropout(self)
        if self.posterior == "vmf" and self.free_bits > 0:
            raise ValueError("free_bits means nothing with the posterior vmf, whose KL is a constant: set it to 0")
        if self.posterior == "vmf" and self.latent_size < 2:
            raise ValueError("latent_size must be at least 2 with the posterior vmf, which lives on a sphere")
        if self.refinement_steps > 0 and self.posterior != "gaussian":
            raise ValueError(
                f"refinement_steps must be 0 with the posterior {self.posterior}: the steps move a free mean and "
                "variance, which only the posterior gaussian has"
            )

    def get_text_config(self, decoder=None, encoder=None):
        # Transformers would take the string in `decoder` for a nested configuration.
        return self

    @property
    def encoding_size(self) -> int:
        """Width of what the posterior reads."""
        return self.hidden_size

    @property
    def kl_lower_bound(self) -> float | None:
        """The least KL in nats per sentence, averaged over the data that normalisation statistics come from.

        n·γ²/2 for BN-VAE (Eq. 6 at β = 0), −n/2·log(1−γ²) for the matched posterior, −n/2·log(1−τ) for tied scales, n·δ
        for δ-VAE; None without a bound.
        """
        return kl_floor(self)

    @property
    def normalises_batches(self) -> bool:
        """Whether the posterior reads statistics of the training batch, which then needs two sentences or more."""
        return self.posterior in NORMALISED_POSTERIORS


__all__ = ["BnVaeConfig"]
