"""For the downstream user: from texts to latents and back, in batches."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from .data.encoded_texts import encode_counted
from .data.errors import first_line
from .data.tokenizer_pair import TokenizerPair, written_texts
from .data.tokenizers import check_ends
from .data.unknown_words import warn_of_unknown_words
from .evaluation.inference import infer
from .evaluation.likelihood import nll
from .evaluation.text_order import TextBatches, encode_in_order, progress_bar
from .model_with_tokenizer import DRAWING, ModelWithTokenizer, draws
from .models import BnVaeConfig, BnVaeForConditionalGeneration, LstmLMConfig, LstmLMForCausalLM
from .models.interpolation import interpolate_latents
from .models.latents import latents_of
from .models.modeling_common import is_kind
from .models.pretrained_parts import longest_text

logger = logging.get_logger(__name__)


class TextVaePipeline(ModelWithTokenizer):
    """A text VAE with its tokenizer: from texts to latents, and from latents to texts.

    Latents are posterior means, fp32 on the CPU, `(n, latent_size)`, whatever the device and dtype of the model. Texts
    are read in batches of near-equal length; a progress bar appears when a call takes more than a second. The model
    reads and writes in evaluation mode, and has its own mode again after each call.

    Every method that writes takes the options of `generate`, and a `seed`, which gives the same texts again. Special
    symbols are left out of the texts, but for `<unk>`, which is what the model writes for a rare word.

    Args:
        model: the whole text VAE, on the device and in the dtype that it is to run in.
        tokenizer: its tokenizer.
        batch_size: texts, or latents, at once.
        max_length: texts are cut at so many tokens, both ends counted, or at as many as a pretrained encoder has
            positions for; a warning says how many were.

    Example:

        vae = TextVaePipeline.from_pretrained("out")
        vectors = vae.encode(["the food was great", "never again"])
        vae.interpolate("the food was great", "never again", steps=5)
    """

    MODEL = BnVaeForConditionalGeneration
    CONFIG = BnVaeConfig
    KIND = "a text VAE"

    def __init__(
        self,
        model: BnVaeForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 128,
        max_length: int = 512,
    ):
        # A model that a checkpoint's own code made has a class of the same name, from another module.
        if not is_kind(model, BnVaeForConditionalGeneration):
            raise TypeError(f"TextVaePipeline needs a whole text VAE, got a {type(model).__name__}")
        if batch_size < 1 or max_length < 3:
            raise ValueError(f"batch_size must be at least 1 and max_length 3, got {batch_size} and {max_length}")
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = max_length

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        device: str | int | torch.device | None = None,
        batch_size: int = 128,
        max_length: int = 512,
        **options,
    ) -> "TextVaePipeline":
        """Load a model and its tokenizer from a folder or the Hub.

        Args:
            device: by default the accelerator, where there is one; a number is that of an accelerator, −1 the CPU.
            options: of `from_pretrained`, such as `dtype`, `device_map`, `revision` and `token`.

        Raises:
            ValueError: for a model that is no text VAE, or a checkpoint without the decoder.
        """
        return cls.load(name, device, options, batch_size, max_length)

    @property
    def latent_size(self) -> int:
        """Number n of latent dimensions."""
        return self.model.config.latent_size

    def encode(self, texts: str | Iterable[str], sample: bool = False) -> torch.Tensor:
        """Latents of texts, `(n, latent_size)`: posterior means, or with `sample` one draw of each posterior.

        Raises:
            TypeError: naming the first of `texts` that is no string, or what stands in their place.
            ValueError: for a model that learnt from embeddings and has no encoder of texts.
        """
        texts = _checked(texts)
        if not texts:
            return torch.zeros(0, self.latent_size)
        rows, _ = self._token_ids(texts)
        encode = partial(self.model.encode, sample=sample)
        with self.evaluating():
            return encode_in_order(rows, encode, self.batch_size, self.tokenizer.pad_token_id, self.model.device)

    def _token_ids(self, texts: list[str]) -> tuple[list[list[int]], int]:
        """Token ids of texts as the encoder reads them, and how many a text has at most."""
        if getattr(self.model.config, "encoder", "lstm") == "given":
            raise ValueError(
                "this model reads embeddings and has no encoder of texts: compute theirs as those that it learnt from "
                "were, for encode_embeddings or decode_embeddings"
            )
        max_length = longest_text(getattr(self.model.config, "encoder_config", None), self.max_length)
        return _token_ids(texts, self.tokenizer, max_length), max_length

    def score(
        self, texts: str | Iterable[str], nll_samples: int | None = None, seed: int = 0
    ) -> dict[str, list[float]]:
        """How probable the model finds each text, in nats a text, its end symbol counted; lower is more probable.

        The draws are keyed by the text and the seed: the figures of a text do not change with the others.

        Args:
            nll_samples: K of the importance-weighted bound (`evaluation.nll`); 500 is what tables report. Without it
                there is no `nll`, which takes so many passes of the decoder.

        Returns:
            By name a number for each text, in their order: `rec`, −log p(x|z) at one draw of the posterior, `kl`,
            KL(q(z|x) ‖ p(z)), `elbo` (the negative ELBO, rec + kl), and where samples are asked for `nll`, the nearest
            to −log p(x).

        Raises:
            TypeError, ValueError: as `encode`, and for fewer than one sample.
        """
        if nll_samples is not None and nll_samples < 1:
            raise ValueError(f"nll_samples must be at least 1, got {nll_samples}")
        texts = _checked(texts)
        if not texts:
            return {name: [] for name in ("elbo", "rec", "kl", *([] if nll_samples is None else ["nll"]))}
        rows, max_length = self._token_ids(texts)
        labels = None
        if isinstance(self.tokenizer, TokenizerPair):
            labels = self.tokenizer.encode_targets(texts, max_length).input_ids
        batches = TextBatches(rows, self.batch_size, self.tokenizer.pad_token_id, labels)
        with self.evaluating():
            inference = infer(self.model, progress_bar(batches, "Scoring"), seed)
            rec, kl = inference.reconstruction, inference.kl
            found = {"elbo": rec + kl, "rec": rec, "kl": kl}
            if nll_samples is not None:
                found["nll"] = _sentence_nll(self.model, batches, nll_samples, seed)
        return {name: values[batches.original_order].tolist() for name, values in found.items()}

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, seed: int | None = None, **generation_options) -> list[str]:
        """Texts of latents `(batch, latent_size)` (also a NumPy array or a list), by every option of `generate`.

        With `num_return_sequences` k there are k texts for each latent, side by side. `stop_strings` needs no
        tokenizer here.

        Args:
            seed: of the words that are drawn, where some are; see `sample`.

        Raises:
            ValueError: for latents of another shape, or with a NaN.
        """
        if generation_options.get("stop_strings") is not None:
            generation_options["tokenizer"] = self.tokenizer
        latents = latents_of(latents, self.latent_size).float()
        texts: list[str] = []
        with self.evaluating(), nullcontext() if seed is None else draws(seed):
            for batch in progress_bar(latents.split(self.batch_size) if len(latents) else [], "Decoding"):
                with DRAWING if generation_options.get("do_sample") else nullcontext():
                    ids = self.model.decode(batch, **generation_options)
                texts += written_texts(ids, self.tokenizer)
        return texts

    @torch.no_grad()
    def encode_embeddings(self, embeddings: torch.Tensor, sample: bool = False) -> torch.Tensor:
        """Latents of sentence embeddings `(n, width)` (also a NumPy array), such as a vector store holds.

        They are like those that it was trained on, or what its pretrained encoder would have made of the sentences,
        pooled and normalised as its configuration says. `interpolate` takes the latents.

        Args:
            sample: one draw of each posterior in the place of its mean.

        Raises:
            ValueError: for embeddings of another width or with a NaN, or a model with an LSTM for an encoder.
        """
        config = self.model.config
        if getattr(config, "encoder", "lstm") == "lstm":
            raise ValueError("embeddings are read by a model on a pretrained encoder, and this one has an LSTM")
        wanted = f"embeddings must be (n, {config.encoding_size})"
        try:
            embeddings = torch.as_tensor(embeddings)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{wanted} numbers, got {type(embeddings).__name__}: {first_line(error)}") from error
        if embeddings.dim() != 2 or embeddings.size(1) != config.encoding_size or embeddings.is_complex():
            raise ValueError(f"{wanted}, got {tuple(embeddings.shape)} of {embeddings.dtype}")
        embeddings = embeddings.float()
        finite = embeddings.isfinite().all(1)
        if not finite.all():
            raise ValueError(f"{wanted} finite numbers, got others in row {int(finite.int().argmin())}, counted from 0")
        with self.evaluating():
            latents = [
                self.model.encode(encoder_states=batch.to(self.model.device), sample=sample).float().cpu()
                for batch in embeddings.split(self.batch_size)
            ]
        return torch.cat(latents) if len(embeddings) else torch.zeros(0, self.latent_size)

    def decode_embeddings(self, embeddings: torch.Tensor, **generation_options) -> list[str]:
        """Texts of sentence embeddings `(n, width)`: what the decoder makes of what `encode_embeddings` gives.

        Raises:
            ValueError: as `encode_embeddings`.
        """
        return self.decode(self.encode_embeddings(embeddings), **generation_options)

    def reconstruct(self, texts: str | Iterable[str], **generation_options) -> list[str]:
        """What the decoder makes of each text's posterior mean.

        Raises:
            TypeError, ValueError: as `encode`.
        """
        return self.decode(self.encode(texts), **generation_options)

    def sample(self, num_samples: int = 1, seed: int | None = None, **generation_options) -> list[str]:
        """Texts from draws of the prior; the same `seed` gives the same texts, also where words are drawn.

        That holds on any thread: draws of the pipelines of a process wait for one another. It does not where other
        code draws from torch's global generator meanwhile, from which `generate` takes words.
        """
        with draws(seed):
            return self.decode(self.sample_prior(num_samples), **generation_options)

    def sample_prior(self, num_samples: int = 1, generator: torch.Generator | None = None) -> torch.Tensor:
        """Latents drawn from the prior, `(num_samples, latent_size)`."""
        # Not the model's own sample_prior, which the code of checkpoints of version 0.1 does not have.
        return self.model.model.posterior.sample_prior(num_samples, generator).cpu()

    def transfer(
        self,
        texts: str | Iterable[str],
        towards: str | Iterable[str],
        away_from: str | Iterable[str],
        strength: float = 1.0,
        **generation_options,
    ) -> list[str]:
        """Texts with an attribute changed: each latent moved along the way from one kind of text to another.

        Args:
            towards, away_from: examples of the two kinds, such as praise and complaints. The direction is the mean of
                the latents of the first less that of the second.
            strength: how far along it.

        Raises:
            ValueError: without examples of either.
        """
        kinds = {"towards": self.encode(towards), "away_from": self.encode(away_from)}
        for name, latents in kinds.items():
            if not len(latents):
                raise ValueError(f"{name} must hold at least one text")
        direction = kinds["towards"].mean(0) - kinds["away_from"].mean(0)
        return self.decode(self._on_support(self.encode(texts) + strength * direction), **generation_options)

    def sample_like(
        self, examples: Iterable[str], num_samples: int = 1, seed: int | None = None, **generation_options
    ) -> list[str]:
        """New texts of the kind of some examples, such as those with a label.

        Latents are drawn from the normal distribution, of independent dimensions, that has the mean and the variance of
        samples of the examples' posteriors.

        Raises:
            ValueError: for fewer than two examples, which have no variance.
        """
        examples = _checked(examples)
        if len(examples) < 2:
            raise ValueError(f"sample_like needs at least 2 examples, got {len(examples)}")
        with draws(seed):
            latents = self.encode(examples, sample=True)
            drawn = latents.mean(0) + latents.std(0) * torch.randn(num_samples, self.latent_size)
            return self.decode(self._on_support(drawn), **generation_options)

    def interpolate(
        self, a: str | torch.Tensor, b: str | torch.Tensor, steps: int = 5, mode: str = "slerp", **generation_options
    ) -> list[str]:
        """Texts along the way from a to b, both ends included; each end is a text or a latent `(latent_size,)`.

        Args:
            steps: texts, at least 2.
            mode: `"slerp"` along the arc, or `"linear"`.

        Raises:
            ValueError: for fewer steps, another mode, or a latent of another size.
        """
        points = interpolate_latents(self._latent(a, "a"), self._latent(b, "b"), steps, mode)
        return self.decode(self._on_support(points), **generation_options)

    def analogy(self, a: str | torch.Tensor, b: str | torch.Tensor, c: str | torch.Tensor, **generation_options) -> str:
        """What is to c as b is to a: the text of z_b − z_a + z_c (the best of `num_return_sequences`).

        Args:
            a, b, c: texts, or latents `(latent_size,)`.

        Raises:
            ValueError: for a latent of another size.
        """
        point = self._latent(b, "b") - self._latent(a, "a") + self._latent(c, "c")
        return self.decode(self._on_support(point.unsqueeze(0)), **generation_options)[0]

    def _on_support(self, points: torch.Tensor) -> torch.Tensor:
        """Latents `(n, latent_size)` where the posterior's can be: the decoder of a vMF-VAE knows the sphere alone."""
        return F.normalize(points, dim=1) if self.model.config.posterior == "vmf" else points

    def nearest(
        self, text: str | torch.Tensor, corpus: Sequence[str], k: int = 5, latents: torch.Tensor | None = None
    ) -> list[tuple[str, float]]:
        """The k texts of a corpus whose latents have the highest cosine with that of a text, best first.

        Args:
            text: a text, or a latent `(latent_size,)`.
            latents: those of the corpus, `(n, latent_size)`, where they are known already.

        Returns:
            Texts with their cosines.

        Raises:
            ValueError: for another number of latents than of texts, a latent of another size, or a k below 1.
        """
        texts = _checked(corpus)
        known = self.encode(texts) if latents is None else latents_of(latents, self.latent_size).float().cpu()
        if len(known) != len(texts):
            raise ValueError(f"{len(known)} latents for {len(texts)} texts of the corpus")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        cosines = F.normalize(known, dim=1) @ F.normalize(self._latent(text, "text"), dim=0)
        best = cosines.topk(min(k, len(texts)))
        return [(texts[index], value) for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)]

    def _latent(self, end: str | torch.Tensor, name: str) -> torch.Tensor:
        """One latent `(latent_size,)`: of a text, or a latent as it is."""
        if isinstance(end, str):
            return self.encode(end)[0]
        if isinstance(end, list | tuple) and any(isinstance(item, str) for item in end):
            raise ValueError(f"{name} must be one text, or one latent, got a {type(end).__name__} of texts")
        latents = latents_of(end, self.latent_size, dimensions=(1, 2), name=name).float().cpu()
        if latents.dim() == 2 and len(latents) != 1:
            raise ValueError(f"{name} must be one text, or one latent, got {len(latents)} latents")
        return latents.flatten()


def _checked(texts: str | Iterable[str]) -> list[str]:
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be strings, got a {type(texts).__name__}")
    texts = [texts] if isinstance(texts, str) else list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{index}] must be a string, got {type(text).__name__}")
    return texts


def _token_ids(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[list[int]]:
    """Token ids of texts with their ends; a warning says what was cut, and what is unknown."""
    check_ends(tokenizer)
    encoded = encode_counted(texts, tokenizer, max_length)
    rows = encoded.input_ids
    cut = sum(encoded.truncated)
    if cut:
        logger.warning(f"{cut:,} of {len(texts):,} texts have more than {max_length} tokens and were cut.")
    words = sum(map(len, rows)) - 2 * len(rows)
    warn_of_unknown_words("the texts", sum(encoded.unknown) / words if words else 0.0)
    return rows


def _sentence_nll(model, batches: TextBatches, num_samples: int, seed: int) -> torch.Tensor:
    """The bound on −log p(x) of each sentence in nats, in the order of the batches, on the CPU."""
    each: list[torch.Tensor] = []
    nll(model, progress_bar(batches, "NLL"), num_samples, seed, each=each)
    return torch.cat(each)


class LanguageModelPipeline(ModelWithTokenizer):
    """A language model that was trained beside text VAEs, with its tokenizer.

    Args:
        model: the language model, an LSTM or a pretrained decoder.
        tokenizer: its tokenizer.

    Example:

        lm = train("my.txt", method="lm", decoder_name_or_path="HuggingFaceTB/SmolLM2-135M", output_dir="lm")
        lm.sample(5, seed=1)
    """

    MODEL = LstmLMForCausalLM
    CONFIG = LstmLMConfig
    KIND = "a language model"

    def __init__(self, model: LstmLMForCausalLM, tokenizer: PreTrainedTokenizerBase):
        if not is_kind(model, LstmLMForCausalLM):
            raise TypeError(f"LanguageModelPipeline needs a language model, got a {type(model).__name__}")
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(
        cls, name: str, device: str | int | torch.device | None = None, **options
    ) -> "LanguageModelPipeline":
        """Load a model and its tokenizer from a folder or the Hub; see `TextVaePipeline.from_pretrained`."""
        return cls.load(name, device, options)

    @torch.no_grad()
    def sample(self, num_samples: int = 1, seed: int | None = None, **generation_options) -> list[str]:
        """Texts whose words are drawn one after the other; the same `seed` gives the same texts."""
        with self.evaluating(), draws(seed):
            ids = self.model.sample(num_samples, **generation_options)
        return written_texts(ids, self.tokenizer)

    def score(self, texts: str | Iterable[str], batch_size: int = 128, max_length: int = 512) -> dict[str, list[float]]:
        """`nll`, −log p(x) of each text in nats, its end symbol counted: exact, and in the order of the texts.

        Args:
            batch_size: texts at once.
            max_length: texts are cut at so many tokens, both ends counted; a warning says how many were.

        Raises:
            TypeError: naming the first of `texts` that is no string, or what stands in their place.
        """
        texts = _checked(texts)
        if not texts:
            return {"nll": []}
        most = longest_text(getattr(self.model.config, "decoder_config", None), max_length)
        batches = TextBatches(_token_ids(texts, self.tokenizer, most), batch_size, self.tokenizer.pad_token_id)
        with self.evaluating():
            losses = _sentence_nll(self.model, batches, num_samples=1, seed=0)
        return {"nll": losses[batches.original_order].tolist()}
