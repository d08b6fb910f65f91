"""Autoregressive decoders p(x|z): from latents and the words so far to hidden states, and on to logits."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from transformers import AutoModelForCausalLM, Cache, DynamicCache
from transformers import initialization as init

from .layers import input_dtype, is_plain, to_the_left
from .lora import with_lora, without_lora
from .token_loss import filled_rows, summed_nll, token_losses, token_nll


class LstmState:
    """The recurrent state that `generate()` carries from step to step, in the place of a key-value cache.

    Args:
        hidden: `(1, batch, hidden_size)`.
        cell: `(1, batch, hidden_size)`.
        length: number of tokens read so far.
    """

    is_compileable = False

    def __init__(self, hidden: torch.Tensor, cell: torch.Tensor, length: int = 0):
        self.hidden = hidden
        self.cell = cell
        self.length = length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each beam go on from the state of the beam that it was chosen from."""
        self.hidden = self.hidden.index_select(1, beam_idx.to(self.hidden.device))
        self.cell = self.cell.index_select(1, beam_idx.to(self.cell.device))


class LockedDropout(nn.Dropout):
    """Dropout on `(batch, length, width)` with one mask for all positions of a sentence (Gal & Ghahramani 2016)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return values
        return values * super().forward(values.new_ones(values.size(0), 1, values.size(2)))


class Decoder(nn.Module):
    """What all decoders share: dropout, and the way from hidden states to logits.

    Attributes:
        width: of the hidden states.
        bytes_per_token: what the activations of a token take in an evaluation, its logits not counted.
    """

    reads: tuple[str, ...] = ()
    """The fields of a configuration that only some decoders read, and this one does."""

    is_conditional = False
    """Whether it is the decoder of a conditional model, which starts from [context; z]."""

    def __init__(self, config):
        super().__init__()
        dropout = LockedDropout if config.locked_dropout else nn.Dropout
        self.width = config.hidden_size
        self.bytes_per_token = 4 * (config.embedding_size + config.latent_size + 6 * config.hidden_size)
        self.embedding_dropout = dropout(config.embedding_dropout)
        self.output_dropout = dropout(config.output_dropout)
        self.bottleneck = None
        output_size = config.hidden_size
        if config.tie_word_embeddings and config.embedding_size != config.hidden_size:
            self.bottleneck = nn.Linear(config.hidden_size, config.embedding_size, bias=False)
            output_size = config.embedding_size
        self.output = nn.Linear(output_size, config.vocab_size, bias=False)

    @property
    def is_plain(self) -> bool:
        """Whether logits are the product of `features` and the output layer's weight, and nothing else."""
        return is_plain(self.output)

    def features(self, outputs: torch.Tensor) -> torch.Tensor:
        """What the output layer reads, from hidden states `(..., hidden_size)`."""
        return outputs if self.bottleneck is None else self.bottleneck(outputs)

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """From hidden states `(..., hidden_size)` to `(..., vocab_size)`."""
        features = self.features(outputs)
        on_cpu = features.device.type == "cpu" and features.dtype == torch.float32
        if on_cpu and features.dim() == 2 and self.is_plain and not torch.is_autocast_enabled("cpu"):
            # The same product the other way round: with a copy to turn it back it is still the faster one in fp32.
            return (self.output.weight @ features.T).T.contiguous()
        return self.output(features)

    def summed_nll(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Σ −log p(token) in nats of hidden states `(rows, hidden_size)` at `(rows,)` targets: a scalar."""
        if not self.is_plain:
            return token_nll(self.logits(outputs), targets).sum()
        outputs, targets = filled_rows(outputs, targets)
        return summed_nll(self.features(outputs), self.output.weight, targets)

    def token_losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """−log p(token) in nats of hidden states `(rows, hidden_size)` at `(rows,)` targets: `(rows,)`."""
        if torch.is_grad_enabled() or not self.is_plain:
            return token_nll(self.logits(outputs), targets)
        filled, wanted = filled_rows(outputs, targets)
        return token_losses(self.features(filled), self.output.weight, wanted)[: len(targets)]


class LatentDecoder(Decoder):
    """A decoder with word vectors of its own, which reads z beside each.

    `forward` reads `(batch, length)` tokens given `(batch, latent_size)` latents and the state to go on from, and
    returns hidden states `(batch, length, hidden_size)` with the new state, which costs nothing whatever `use_cache`.
    """

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)

    def read(self, embedded: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Word vectors with z beside each: `(batch, length, embedding_size + latent_size)`."""
        embedded = self.embedding_dropout(embedded)
        if latents.size(1) == 0:
            return embedded
        repeated = latents.to(embedded.dtype).unsqueeze(1).expand(-1, embedded.size(1), -1)
        return torch.cat([embedded, repeated], -1)

    def run_where(
        self, embedded: torch.Tensor, mask: torch.Tensor, latents: torch.Tensor, state=None, use_cache: bool = True
    ) -> tuple:
        """Over word vectors `(batch, length, embedding_size)`, of which nothing is read where `mask` is 0.

        Raises:
            ValueError: for a decoder that reads every token.
        """
        raise ValueError(f"{type(self).__name__} reads every token: give decoder_input_ids no padding on the left")


class LstmDecoder(LatentDecoder):
    """A single-layer LSTM that reads z at every step and starts from it: c₀ = W z, h₀ = tanh(c₀).

    With a `latent_size` of 0 it is a language model, which starts from zeros.
    """

    def __init__(self, config):
        super().__init__(config)
        self.latent_to_cell = None
        if config.latent_size > 0:
            self.latent_to_cell = nn.Linear(config.latent_size, config.hidden_size, bias=False)
        self.lstm = nn.LSTM(config.embedding_size + config.latent_size, config.hidden_size, batch_first=True)

    def initial_state(self, latents: torch.Tensor) -> LstmState:
        """The state before the first token, from `(batch, latent_size)`."""
        dtype = input_dtype(self.lstm, "weight_hh_l0")
        if self.latent_to_cell is None:
            cell = torch.zeros(1, len(latents), self.lstm.hidden_size, dtype=dtype, device=latents.device)
        else:
            cell = self.latent_to_cell(latents.to(dtype)).unsqueeze(0)
        return LstmState(torch.tanh(cell), cell)

    def forward(
        self, input_ids: torch.Tensor, latents: torch.Tensor, state: LstmState | None = None, use_cache: bool = True
    ) -> tuple[torch.Tensor, LstmState]:
        return self.run(self.embedding(input_ids), latents, state)

    def run(
        self, embedded: torch.Tensor, latents: torch.Tensor, state: LstmState | None = None
    ) -> tuple[torch.Tensor, LstmState]:
        """The same over word vectors `(batch, length, embedding_size)`."""
        if state is None:
            state = self.initial_state(latents)
        outputs, (hidden, cell) = self.lstm(self.read(embedded, latents), (state.hidden, state.cell))
        return self.hidden_states(outputs, latents), LstmState(hidden, cell, state.length + embedded.size(1))

    def run_where(
        self,
        embedded: torch.Tensor,
        mask: torch.Tensor,
        latents: torch.Tensor,
        state: LstmState | None = None,
        use_cache: bool = True,
    ) -> tuple[torch.Tensor, LstmState]:
        """The same, where `mask` `(batch, length)` is 0 nothing being read: output and state stay as they were."""
        if state is None:
            state = self.initial_state(latents)
        words = to_the_left(self.read(embedded, latents), mask)
        read = mask.long().cumsum(1)
        some = (read[:, -1] > 0).unsqueeze(1)
        packed = pack_padded_sequence(words, read[:, -1].clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        outputs, (hidden, cell) = self.lstm(packed, (state.hidden, state.cell))
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=embedded.size(1))
        outputs = torch.cat([state.hidden[0].unsqueeze(1), outputs], 1)
        outputs = outputs.gather(1, read.unsqueeze(-1).expand(-1, -1, outputs.size(-1)))
        hidden = torch.where(some, hidden, state.hidden)
        cell = torch.where(some, cell, state.cell)
        return self.hidden_states(outputs, latents), LstmState(hidden, cell, state.length + embedded.size(1))

    def hidden_states(self, outputs: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """From the LSTM's outputs to what the decoder gives."""
        return self.output_dropout(outputs)


class SkipLstmDecoder(LstmDecoder):
    """Skip-VAE (Dieng et al. 2019): z also joins the output of every step, by a linear map of its own."""

    def __init__(self, config):
        super().__init__(config)
        self.latent_to_output = nn.Linear(config.latent_size, config.hidden_size, bias=False)

    def hidden_states(self, outputs, latents):
        skipped = self.latent_to_output(latents.to(input_dtype(self.latent_to_output)))
        return super().hidden_states(outputs + skipped.unsqueeze(1), latents)


class CnnState:
    """The last tokens that a step of the CNN decoder still sees, for `generate()`.

    Args:
        tokens: `(batch, up to receptive_field − 1)`.
        length: number of tokens read so far.
    """

    is_compileable = False

    def __init__(self, tokens: torch.Tensor, length: int = 0):
        self.tokens = tokens
        self.length = length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each beam go on from the tokens of the beam that it was chosen from."""
        self.tokens = self.tokens.index_select(0, beam_idx.to(self.tokens.device))


class CausalBlock(nn.Module):
    """A residual block: down to half the width, a causal dilated convolution, up again; each after a ReLU."""

    def __init__(self, width: int, kernel_size: int, dilation: int):
        super().__init__()
        inner = max(1, width // 2)
        self.reach = (kernel_size - 1) * dilation
        self.down = nn.Conv1d(width, inner, 1)
        self.convolution = nn.Conv1d(inner, inner, kernel_size, dilation=dilation)
        self.up = nn.Conv1d(inner, width, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`(batch, width, length)` in and out; a position sees itself and earlier ones."""
        hidden = self.down(inputs.relu()).relu()
        hidden = self.convolution(F.pad(hidden, (self.reach, 0))).relu()
        return inputs + self.up(hidden)


class CnnDecoder(LatentDecoder):
    """Dilated causal convolutions (Yang et al. 2017) over word vectors with z beside each.

    A position sees the `receptive_field` last tokens, 1 + (kernel size − 1) · Σ dilations, and of all that came before
    them only what z says.
    """

    reads = ("cnn_dilations", "cnn_kernel_size")

    def __init__(self, config):
        super().__init__(config)
        self.input = nn.Conv1d(config.embedding_size + config.latent_size, config.hidden_size, 1)
        self.blocks = nn.ModuleList(
            CausalBlock(config.hidden_size, config.cnn_kernel_size, dilation) for dilation in config.cnn_dilations
        )
        self.receptive_field = 1 + sum(block.reach for block in self.blocks)

    def initial_state(self, latents: torch.Tensor) -> CnnState:
        """The state before the first token."""
        return CnnState(torch.zeros(len(latents), 0, dtype=torch.long, device=latents.device))

    def forward(self, input_ids, latents, state=None, use_cache: bool = True):
        if state is None:
            state = self.initial_state(latents)
        tokens = torch.cat([state.tokens, input_ids], 1)
        hidden = self.input(self.read(self.embedding(tokens), latents).transpose(1, 2))
        for block in self.blocks:
            hidden = block(hidden)
        outputs = hidden[:, :, -input_ids.size(1) :].relu().transpose(1, 2)
        outputs = self.output_dropout(outputs)
        kept = tokens[:, max(0, tokens.size(1) - self.receptive_field + 1) :]
        return outputs, CnnState(kept, state.length + input_ids.size(1))


class GruState:
    """The recurrent state of the dialogue decoder, for `generate()`.

    Args:
        hidden: `(1, batch, hidden_size)`.
        length: number of tokens read so far.
    """

    is_compileable = False

    def __init__(self, hidden: torch.Tensor, length: int = 0):
        self.hidden = hidden
        self.length = length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each beam go on from the state of the beam that it was chosen from."""
        self.hidden = self.hidden.index_select(1, beam_idx.to(self.hidden.device))


class GruDecoder(Decoder):
    """A single-layer GRU over word vectors that the encoder shares, started from a linear map of [context; z]."""

    is_conditional = True

    def __init__(self, config):
        super().__init__(config)
        self.initial = nn.Linear(config.condition_size, config.hidden_size)
        self.gru = nn.GRU(config.embedding_size, config.hidden_size, batch_first=True)

    def initial_state(self, conditions: torch.Tensor) -> GruState:
        """The state before the first token, from `(batch, condition_size)`."""
        return GruState(self.initial(conditions.to(input_dtype(self.initial))).unsqueeze(0))

    def forward(
        self, embedded: torch.Tensor, conditions: torch.Tensor, state: GruState | None = None
    ) -> tuple[torch.Tensor, GruState]:
        """`(batch, length, embedding_size)` word vectors to `(batch, length, hidden_size)`."""
        if state is None:
            state = self.initial_state(conditions)
        outputs, hidden = self.gru(self.embedding_dropout(embedded), state.hidden)
        return self.output_dropout(outputs), GruState(hidden, state.length + embedded.size(1))

    def packed(self, embedded: PackedSequence, conditions: torch.Tensor) -> torch.Tensor:
        """The same without padding: packed word vectors to `(tokens, hidden_size)` in their order."""
        read = PackedSequence(self.embedding_dropout(embedded.data), *embedded[1:])
        outputs, _ = self.gru(read, self.initial_state(conditions).hidden)
        return self.output_dropout(outputs.data)


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

    Args:
        latent_size: of z.
        width: of all vectors together.
        share: the deviation of what it starts with, for z of the prior, as a share of that of the word vectors.
    """

    def __init__(self, latent_size: int, width: int, share: float):
        super().__init__(latent_size, width, bias=False)
        self.share = share
        self.deviation = 0.02

    def reset_parameters(self) -> None:
        if hasattr(self, "share"):  # `nn.Linear` calls this before it is known
            init.normal_(self.weight, std=self.share * self.deviation / math.sqrt(self.in_features))


class PretrainedDecoder(Decoder):
    """Any `AutoModelForCausalLM`, which z enters as vectors among those of its tokens.

    A linear map of z gives `soft_prompt_length` vectors in front of the tokens, another one a vector that is added to
    that of every token: in a layer with a sliding window the prompt scrolls out of sight, what is added does not. The
    prompt starts as large as word vectors, what is added at a tenth of them, so that a training starts near the
    pretrained model.
    """

    reads = ("soft_prompt_length",)
    lm: Any

    def __init__(self, config):
        nn.Module.__init__(self)
        self.lora = config.decoder_lora
        lm = AutoModelForCausalLM.from_config(config.decoder_config)
        self.lm = lm if self.lora is None else with_lora(lm, **self.lora)
        self.prompt_length = config.soft_prompt_length
        embedding_size, sizes = self.embedding.embedding_dim, config.decoder_config.get_text_config()
        self.latent_to_prompt = None
        if self.prompt_length > 0:
            self.latent_to_prompt = LatentMap(config.latent_size, self.prompt_length * embedding_size, 1.0)
        self.latent_to_words = LatentMap(config.latent_size, embedding_size, 0.1)
        self.width = self.output.in_features
        self.bytes_per_token = 4 * 16 * sizes.hidden_size

    def take(self, lm: Any) -> None:
        """Start from a pretrained language model; what low-rank adapters there are to be stand beside its layers."""
        deviation = float(lm.get_input_embeddings().weight.detach().float().std())
        self.lm = lm if self.lora is None else with_lora(lm, **self.lora)
        for layer in (self.latent_to_prompt, self.latent_to_words):
            if layer is not None:
                layer.deviation = deviation
                torch.nn.init.normal_(layer.weight, std=layer.share * deviation / math.sqrt(layer.in_features))

    def merge_lora(self) -> None:
        """Add the adapters to the weights that they stand beside, and leave them out from then on."""
        if self.lora is not None:
            self.lm, self.lora = without_lora(self.lm), None

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """What Transformers asks the parts of a model for: which weights are one."""
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
        logits = self.output(outputs)
        sizes = self.lm.config.get_text_config()
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
        mask = torch.ones_like(input_ids)
        return self.run_where(self.embedding(input_ids), mask, latents, state, use_cache)

    def run_where(self, embedded, mask, latents, state=None, use_cache: bool = True):
        """Over word vectors `(batch, length, embedding_size)`, of which nothing is read where `mask` is 0."""
        latents = latents.to(input_dtype(self.latent_to_words))
        words = embedded + self.latent_to_words(latents).unsqueeze(1)
        if state is None:
            new = self.prompt_length
            if self.latent_to_prompt is not None:
                prompt = self.latent_to_prompt(latents).unflatten(1, (new, words.size(-1)))
                words = torch.cat([prompt.to(words.dtype), words], 1)
            cache = DynamicCache(config=self.lm.config.get_text_config()) if use_cache else None
        else:
            mask, new, cache = torch.cat([state.mask, mask], 1), 0, state.cache
        attended = F.pad(mask, (self.prompt_length, 0), value=1)
        positions = (attended.cumsum(1) - 1).clamp(min=0)[:, -words.size(1) :]
        output = self.lm.base_model(
            inputs_embeds=words,
            attention_mask=attended,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        outputs = output.last_hidden_state[:, new:]
        return outputs, None if cache is None else PretrainedState(cache, mask)


DECODERS: dict[str, type[Decoder]] = {
    "lstm": LstmDecoder,
    "skip_lstm": SkipLstmDecoder,
    "cnn": CnnDecoder,
    "pretrained": PretrainedDecoder,
    "gru": GruDecoder,
}
