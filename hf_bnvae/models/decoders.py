"""Autoregressive decoders p(x|z): from latents and the words so far to hidden states, and on to logits."""

import torch
from torch import nn


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


class LstmDecoder(nn.Module):
    """A single-layer LSTM that reads z at every step and starts from it: c₀ = W z, h₀ = tanh(c₀)."""

    def __init__(self, config):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.latent_to_cell = nn.Linear(config.latent_size, config.hidden_size, bias=False)
        self.lstm = nn.LSTM(config.embedding_size + config.latent_size, config.hidden_size, batch_first=True)
        self.output_dropout = nn.Dropout(config.output_dropout)
        self.bottleneck = None
        output_size = config.hidden_size
        if config.tie_word_embeddings and config.embedding_size != config.hidden_size:
            self.bottleneck = nn.Linear(config.hidden_size, config.embedding_size, bias=False)
            output_size = config.embedding_size
        self.output = nn.Linear(output_size, config.vocab_size, bias=False)

    def initial_state(self, latents: torch.Tensor) -> LstmState:
        """The state before the first token, from `(batch, latent_size)`."""
        cell = self.latent_to_cell(latents.to(self.latent_to_cell.weight.dtype)).unsqueeze(0)
        return LstmState(torch.tanh(cell), cell)

    def forward(
        self, input_ids: torch.Tensor, latents: torch.Tensor, state: LstmState | None = None
    ) -> tuple[torch.Tensor, LstmState]:
        """Read `(batch, length)` tokens given `(batch, latent_size)`: outputs `(batch, length, hidden_size)`, state."""
        if state is None:
            state = self.initial_state(latents)
        embedded = self.embedding_dropout(self.embedding(input_ids))
        repeated = latents.to(embedded.dtype).unsqueeze(1).expand(-1, input_ids.size(1), -1)
        outputs, (hidden, cell) = self.lstm(torch.cat([embedded, repeated], -1), (state.hidden, state.cell))
        return outputs, LstmState(hidden, cell, state.length + input_ids.size(1))

    def features(self, outputs: torch.Tensor) -> torch.Tensor:
        """What the output layer reads, from LSTM outputs `(..., hidden_size)`."""
        outputs = self.output_dropout(outputs)
        return outputs if self.bottleneck is None else self.bottleneck(outputs)

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """From LSTM outputs `(..., hidden_size)` to `(..., vocab_size)`."""
        features = self.features(outputs)
        on_cpu = features.device.type == "cpu" and features.dtype == torch.float32
        if on_cpu and features.dim() == 2 and not torch.is_autocast_enabled("cpu"):
            # The same product the other way round: with a copy to turn it back it is still the faster one in fp32.
            return (self.output.weight @ features.T).T.contiguous()
        return self.output(features)


DECODERS = {"lstm": LstmDecoder}
