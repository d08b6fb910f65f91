"""What decoders share: dropout, and the way from hidden states to logits and losses."""

from typing import Any

import torch
from torch import nn

from .layers import is_plain
from .token_loss import filled_rows, summed_nll, token_losses, token_nll


class LockedDropout(nn.Dropout):
    """Dropout on `(batch, length, width)` with one mask for all positions of a sentence (Gal & Ghahramani 2016)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return values
        return values * super().forward(values.new_ones(values.size(0), 1, values.size(2)))


class Decoder(nn.Module):
    """The base of all decoders: it has their dropout, and maps hidden states to logits and losses.

    Attributes:
        width: of the hidden states.
        bytes_per_token: what the activations of a token take in an evaluation, its logits not counted.
    """

    reads: tuple[str, ...] = ()
    """The fields of a configuration that only some decoders read, and this one does."""

    embedding: Any
    run_where: Any

    is_conditional = False
    """A conditional model needs a decoder that starts from [context; z]; this says whether it does."""

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
        """Map hidden states `(..., hidden_size)` to the input of the output layer."""
        return outputs if self.bottleneck is None else self.bottleneck(outputs)

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Map hidden states `(..., hidden_size)` to logits `(..., vocab_size)`."""
        features = self.features(outputs)
        on_cpu = features.device.type == "cpu" and features.dtype == torch.float32
        if on_cpu and features.dim() == 2 and self.is_plain and not torch.is_autocast_enabled("cpu"):
            # The transposed product is the faster one in fp32, even with the copy that transposes it back.
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

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The word vectors of `(batch, length)` tokens."""
        return self.embedding(input_ids)

    def read_masked(self, input_ids: torch.Tensor, latents, state, mask: torch.Tensor | None, use_cache: bool) -> tuple:
        """As `forward`, over tokens of which `mask` may leave some out, of each row or of each `len(latents)/rows`.

        Raises:
            ValueError: for another number of latents than of rows of tokens.
        """
        if latents.size(0) != input_ids.size(0):
            raise ValueError(
                f"latents have {latents.size(0)} rows and the tokens that the decoder reads {input_ids.size(0)}: "
                "give as many latents as sentences (input_ids, labels or decoder_input_ids)"
            )
        if mask is not None:
            mask = mask[:, -input_ids.size(1) :].repeat_interleave(len(latents) // len(mask), 0)
            if not mask.all():
                return self.run_where(self.embed(input_ids), mask, latents, state, use_cache)
        return self(input_ids, latents, state, use_cache)


class LatentDecoder(Decoder):
    """A decoder with word vectors of its own, which reads z beside each.

    `forward` reads `(batch, length)` tokens given `(batch, latent_size)` latents and the state to go on from, and
    returns hidden states `(batch, length, hidden_size)` with the new state, which costs nothing whatever `use_cache`.
    """

    reads: tuple[str, ...] = ("embedding_dropout", "output_dropout", "locked_dropout")

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
