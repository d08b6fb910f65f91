"""What evaluation asks of a model. Any class that has these methods can be evaluated, whatever it inherits from."""

from typing import Any, Protocol, runtime_checkable

import torch

from ..models.distributions import LatentDistribution


@runtime_checkable
class EvaluatedModel(Protocol):
    """A model whose bound can be taken: it has a posterior of each text, and a loss of each text at a latent.

    A language model has a posterior over a latent of size 0.
    """

    config: Any
    training: bool

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def train(self, mode: bool = True) -> Any:
        """Switch between training and evaluation."""

    def eval(self) -> Any:
        """Switch to evaluation."""

    def infer(self, *args: Any, **batch: Any) -> LatentDistribution:
        """q(z|x) of every text of a batch of a collator."""

    def noise_keys(self, *args: Any, **batch: Any) -> torch.Tensor:
        """What the noise of each text is keyed by, `(batch,)`."""

    def sentence_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """−log p(x|z) of each text at one condition of the decoder, `(batch,)` nats."""

    def auxiliary_losses(self, labels: torch.Tensor, conditions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Auxiliary losses by name, `(batch,)` nats each."""


@runtime_checkable
class SampledModel(EvaluatedModel, Protocol):
    """A model whose decoder scores texts at many latents: for the importance-weighted likelihood and the grid."""

    decoder: Any
    """Has `token_losses`, and `bytes_per_token`, what the activations of a token take."""

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """What the decoder reads, `(batch, length)`."""

    def decoder_states(self, decoder_input_ids: torch.Tensor, conditions: torch.Tensor, state: Any = None) -> tuple:
        """The outputs of the decoder, `(batch, length, width)`, and its last state."""


@runtime_checkable
class GeneratingModel(EvaluatedModel, Protocol):
    """A model that writes texts."""

    generation_config: Any

    def encode(self, *args: Any, **inputs: Any) -> torch.Tensor:
        """The mean of each posterior, `(batch, latent_size)`."""

    def generate(self, *args: Any, **options: Any) -> Any:
        """Token ids of texts, `(batch, length)`."""

    def sample(self, num_samples: int = 1, *args: Any, **options: Any) -> torch.Tensor:
        """Token ids of texts from draws of the prior, `(batch, length)`."""


@runtime_checkable
class RespondingModel(GeneratingModel, Protocol):
    """A model that answers contexts."""

    model: Any
    """Its encoders; `prior_of` gives p(z|x) of each context."""
