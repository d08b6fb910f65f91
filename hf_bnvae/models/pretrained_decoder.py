"""Any causal language model of Transformers as a decoder p(x|z)."""

import math
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM, Cache, DynamicCache
from transformers import initialization as init

from .decoder_base import Decoder
from .latent_memory import LatentMemory
from .layers import input_dtype, is_plain, modes_kept, network_of, to_the_left
from .lora import with_lora, without_lora
from .noise import HIDDEN_WORD


class PretrainedState:
    """The key-value cache of a pretrained decoder whose soft prompt counts for nothing, for `generate()`.

    Args:
        cache: of the soft prompt and the tokens read so far.
        mask: which of these tokens were read, `(batch, length)`.
    """

    is_compileable = False

    def __init__(self, cache: Cache, mask: torch.Tensor):
        self.cache = cache
        self.mask = mask

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.mask.size(1)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each beam go on from the tokens of the beam that it was chosen from."""
        self.cache.reorder_cache(beam_idx)  # type: ignore[arg-type]
        self.mask = self.mask.index_select(0, beam_idx.to(self.mask.device))


class LatentMap(nn.Linear):
    """From z to vectors among those of words.

    Its weights are as small as these vectors, so that a step of the optimiser moves it far: it must be learnt before
    the decoder has learnt to do without.

    Args:
        latent_size: of z.
        width: of all vectors together.
        share: the deviation of what it starts with, for z of the prior, as a share of that of the word vectors.
    """

    def __init__(self, latent_size: int, width: int, share: float):
        super().__init__(latent_size, width, bias=False)
        self.share = share
        self.deviation = 0.02
        self.reset_parameters()

    @property
    def start(self) -> float:
        """The deviation of the weights at the start."""
        return self.share * self.deviation / math.sqrt(self.in_features)

    def reset_parameters(self) -> None:
        if hasattr(self, "share"):  # `nn.Linear` calls this before it is known
            init.normal_(self.weight, std=self.start)


class PretrainedDecoder(Decoder):
    """Any `AutoModelForCausalLM`, which z enters as vectors among those of its tokens.

    With a `latent_size` of 0 it is the language model itself.

    A linear map of z gives `soft_prompt_length` vectors in front of the tokens, another one a vector that is added to
    that of every token: in a layer with a sliding window the prompt scrolls out of sight, what is added does not. The
    prompt starts as large as word vectors, what is added at a tenth of them, so that a training starts near the
    pretrained model. With `latent_memory_length` a map gives keys and values to every layer (Li et al. 2020), with
    `decoder_skip` one adds to every output (Dieng et al. 2019).

    A word that a training hides is read as `hidden_word`, a vector that starts as the mean word: to a pretrained model
    its own unknown word, or the end of a text in its place, says something else.
    """

    reads = ("soft_prompt_length", "latent_memory_length", "decoder_skip")
    lm: Any

    def __init__(self, config):
        nn.Module.__init__(self)
        self.lora = config.decoder_lora
        self.lm = self._adapted(network_of("decoder", AutoModelForCausalLM, config.decoder_config))
        # Others keep a state of another kind, or none: without one a generation reads all tokens at every step.
        self.takes_cache = "past_key_values" in signature(self.lm.base_model.forward).parameters
        self.prompt_length = config.soft_prompt_length
        embedding_size, sizes = self.embedding.embedding_dim, config.decoder_config.get_text_config()
        self.latent_to_prompt = None
        if self.prompt_length > 0:
            self.latent_to_prompt = LatentMap(config.latent_size, self.prompt_length * embedding_size, 1.0)
        self.latent_to_words = self.latent_to_outputs = None
        if config.latent_size > 0:
            self.latent_to_words = LatentMap(config.latent_size, embedding_size, 0.1)
            if config.decoder_skip:
                self.latent_to_outputs = LatentMap(config.latent_size, self.output.in_features, 0.1)
        self.memory_length = config.latent_memory_length
        self.latent_to_memory = None
        if self.memory_length > 0:
            self.latent_to_memory = LatentMemory(config.latent_size, self.memory_length, sizes)
        self.hidden_word = nn.Embedding(1, embedding_size)
        self.width = self.output.in_features
        self.bytes_per_token = 4 * 16 * sizes.hidden_size

    def take(self, lm: Any) -> None:
        """Start from a pretrained language model; what low-rank adapters there are to be stand beside its layers.

        Raises:
            ValueError: for one whose logits are made of hidden states in a way that is not known here.
        """
        self._check_logits(lm)
        embedding = lm.get_input_embeddings()
        some = torch.arange(0, embedding.num_embeddings, max(1, embedding.num_embeddings // 4096))
        with torch.no_grad():
            words = embedding(some.to(embedding.weight.device))  # of some models larger than their weights
            self.hidden_word.weight.copy_(words.float().mean(0))
        deviation = float(words.float().std())
        if self.latent_to_memory is not None:
            self.latent_to_memory.start_as(lm, words)
        self.lm = self._adapted(lm)
        for layer in (self.latent_to_prompt, self.latent_to_words, self.latent_to_outputs):
            if layer is not None:
                layer.deviation = deviation
                nn.init.normal_(layer.weight, std=layer.start)  # not Transformers' own, which starts no weight twice

    def _check_logits(self, lm: Any) -> None:
        """Hold `logits` against those of the language model itself, on a few tokens."""
        tokens = torch.arange(4, device=lm.get_input_embeddings().weight.device)[None]
        with torch.no_grad(), modes_kept(lm):
            lm.eval()
            wanted = lm(input_ids=tokens).logits.float()
            found = self._logits(lm, lm.base_model(input_ids=tokens).last_hidden_state).float()
        if (found - wanted).norm() > 0.05 * wanted.norm():
            raise ValueError(
                f"the logits of a {lm.config.model_type} are not its output layer's: it cannot be a decoder here"
            )

    def _adapted(self, lm: Any) -> Any:
        return lm if self.lora is None else with_lora(lm, **self.lora)

    def merge_lora(self) -> None:
        """Add the adapters to the weights that they stand beside, and leave them out from then on."""
        if self.lora is not None:
            self.lm, self.lora = without_lora(self.lm), None

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """The tied weights, which Transformers asks of every part of a model."""
        return {f"lm.{name}": f"lm.{source}" for name, source in self.lm.all_tied_weights_keys.items()}

    @property
    def _no_split_modules(self):
        return self.lm._no_split_modules

    @property
    def _keep_in_fp32_modules_strict(self):
        return self.lm._keep_in_fp32_modules_strict

    @property
    def embedding(self) -> nn.Module:
        return self.lm.get_input_embeddings()

    @property
    def output(self) -> nn.Module:
        return self.lm.get_output_embeddings()

    @property
    def is_plain(self) -> bool:
        """Whether logits are the product of hidden states and the output layer's weight, and nothing else."""
        sizes = self.lm.config.get_text_config()
        scaled = ("final_logit_softcapping", "logit_scale", "logits_scaling")
        return is_plain(self.output) and all(getattr(sizes, name, None) is None for name in scaled)

    def features(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        return self._logits(self.lm, outputs)

    @staticmethod
    def _logits(lm: Any, outputs: torch.Tensor) -> torch.Tensor:
        logits = lm.get_output_embeddings()(outputs)
        sizes = lm.config.get_text_config()
        if getattr(sizes, "logit_scale", None) is not None:
            logits = logits * sizes.logit_scale
        if getattr(sizes, "logits_scaling", None) is not None:
            logits = logits / sizes.logits_scaling
        softcap = getattr(sizes, "final_logit_softcapping", None)
        return logits if softcap is None else torch.tanh(logits / softcap) * softcap

    def forward(
        self,
        input_ids: torch.Tensor,
        latents: torch.Tensor,
        state: PretrainedState | None = None,
        use_cache: bool = True,
    ) -> tuple[torch.Tensor, PretrainedState | None]:
        """`(batch, length)` tokens given `(batch, latent_size)` latents to hidden states, and the state to go on from.

        Args:
            use_cache: whether there is to be such a state.
        """
        return self.run(self.embed(input_ids), latents, state, use_cache)

    def run(self, embedded, latents, state=None, use_cache: bool = True):
        """Run `forward` over word vectors `(batch, length, embedding_size)`."""
        mask = torch.ones(embedded.shape[:2], dtype=torch.long, device=embedded.device)
        return self._run(embedded, mask, latents, state, use_cache)

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.embedding(input_ids)
        words = self.embedding(input_ids.clamp(min=0))
        hidden = (input_ids == HIDDEN_WORD).unsqueeze(-1)
        return torch.where(hidden, self.hidden_word.weight.to(words.dtype), words)

    def run_where(self, embedded, mask, latents, state=None, use_cache: bool = True):
        """Over word vectors `(batch, length, embedding_size)`, of which nothing is read where `mask` is 0.

        The output there is that of the last word before it, where these word vectors have one.
        """
        places = torch.arange(mask.size(1), device=mask.device)
        if self.takes_cache:
            outputs, state = self._run(embedded, mask, latents, state, use_cache)
            last = (places * mask).cummax(1).values
        else:  # what keeps a state, as a Mamba does, would forget z over padding between z and the first word
            read = mask.long().cumsum(1)
            in_front = (places < read[:, -1:]).to(mask.dtype)
            outputs, state = self._run(to_the_left(embedded, mask), in_front, latents, state, use_cache)
            last = (read - 1).clamp(min=0)
        return outputs.gather(1, last.unsqueeze(-1).expand_as(outputs)), state

    def _run(self, embedded, mask, latents, state, use_cache: bool):
        words, use_cache = embedded, use_cache and self.takes_cache
        if self.latent_to_words is not None:
            latents = latents.to(input_dtype(self.latent_to_words))
            words = embedded + self.latent_to_words(latents).unsqueeze(1)
        if state is None:
            new = self.prompt_length
            if self.latent_to_prompt is not None:
                prompt = self.latent_to_prompt(latents).unflatten(1, (new, words.size(-1)))
                words = torch.cat([prompt.to(words.dtype), words], 1)
            cache: Any = None
            if self.latent_to_memory is not None:
                cache = self.latent_to_memory(latents)
            elif use_cache:
                cache = DynamicCache(config=self.lm.config.get_text_config())
        else:
            mask, new, cache = torch.cat([state.mask, mask], 1), 0, state.cache
        attended = F.pad(mask, (self.memory_length + self.prompt_length, 0), value=1)
        positions = (attended.cumsum(1) - 1).clamp(min=0)[:, -words.size(1) :]
        cached = {"past_key_values": cache} if self.takes_cache else {}
        output = self.lm.base_model(
            inputs_embeds=words,
            attention_mask=attended,
            position_ids=positions,
            use_cache=cache is not None,
            **cached,
        )
        outputs = output.last_hidden_state[:, new:]
        if self.latent_to_outputs is not None:
            outputs = outputs + self.latent_to_outputs(latents).unsqueeze(1).to(outputs.dtype)
        return outputs, PretrainedState(cache, mask) if use_cache else None
