"""Autoregressive decoders p(x|z): from latents and the words so far to hidden states, and on to logits."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .decoder_base import Decoder, LatentDecoder
from .layers import input_dtype, to_the_left
from .pretrained_decoder import PretrainedDecoder


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
        self, embedded: torch.Tensor, latents: torch.Tensor, state: LstmState | None = None, use_cache: bool = True
    ) -> tuple[torch.Tensor, LstmState]:
        """Run `forward` over word vectors `(batch, length, embedding_size)`."""
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
        """Run over word vectors; where `mask` `(batch, length)` is 0 nothing is read, and output and state stay."""
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

    reads = (*LatentDecoder.reads, "cnn_dilations", "cnn_kernel_size")

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
        """Run without padding: packed word vectors become `(tokens, hidden_size)` in their order."""
        read = PackedSequence(self.embedding_dropout(embedded.data), *embedded[1:])
        outputs, _ = self.gru(read, self.initial_state(conditions).hidden)
        return self.output_dropout(outputs.data)


DECODERS: dict[str, type[Decoder]] = {
    "lstm": LstmDecoder,
    "skip_lstm": SkipLstmDecoder,
    "cnn": CnnDecoder,
    "pretrained": PretrainedDecoder,
    "gru": GruDecoder,
}
