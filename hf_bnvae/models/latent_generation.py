"""What users call of a text VAE: texts from latents, and latents along a way."""

from typing import Any

import torch

from .interpolation import interpolate_latents
from .latents import latents_of
from .layers import words_read

DECODED = ("latents", "encoder_outputs", "inputs_embeds")
"""What may stand in the place of token ids in a call of `generate`."""


class LatentGenerationMixin:
    """Generation from latents of the prior, of sentences or of the user's own, of a model with an encoder `model`."""

    config: Any
    model: Any
    device: torch.device
    encode: Any

    def generate(self, inputs: torch.Tensor | None = None, **options):  # type: ignore[override]
        """Transformers' `generate`; token ids are reconstructed from the mean of their posterior, refined if it is.

        Args:
            encoder_states: what an encoder made of sentences, `(batch, width)`, in the place of token ids.
            latents: `(batch, latent_size)` to decode instead, or what a model gave of each sentence,
                `(batch, num_samples, latent_size)`, of which all are decoded, those of a sentence in a row.

        Raises:
            ValueError: where nothing says what to decode, for latents of another shape or number or with a NaN, and for
                latents and states.
        """
        states = options.pop("encoder_states", None)
        if options.get("latents") is not None:
            if states is not None:
                raise ValueError("give either latents or encoder_states, not both")
            options["latents"] = self._flat_latents(options["latents"])
        elif states is not None:
            options["latents"] = self.encode(encoder_states=states)
        inputs = options.pop("input_ids", None) if inputs is None else inputs
        if inputs is None and all(options.get(name) is None for name in DECODED):
            raise ValueError("generate needs input_ids or latents: sample(n) decodes draws of the prior")
        if self.config.refinement_steps > 0 and inputs is not None and options.get("latents") is None:
            options["latents"] = self.encode(inputs, options.pop("attention_mask", None))
            inputs = None
        if options.get("attention_mask") is None and (inputs is not None or options.get("latents") is not None):
            # Where padding is the end symbol Transformers asks for it.
            rows = options["latents"][:, :1] if inputs is None else inputs
            padding = None if inputs is None else self.config.encoder_padding
            options["attention_mask"] = words_read(rows, padding).long()
        return super().generate(inputs, **options)  # type: ignore[misc]

    def _flat_latents(self, latents) -> torch.Tensor:
        """`(rows, latent_size)` of `(batch, latent_size)` or `(batch, num_samples, latent_size)`."""
        found = latents_of(latents, self.config.latent_size, dimensions=(2, 3))
        return found.to(self.device).flatten(0, -2)

    def decode(self, latents: torch.Tensor, **generation_options) -> torch.Tensor:
        """Token ids `(batch, length)` generated from `(batch, latent_size)` (also an array or a list)."""
        return self.generate(latents=latents, **generation_options)  # type: ignore[misc,return-value]

    def reconstruct(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **generation_options
    ) -> torch.Tensor:
        """Token ids generated from the posterior mean of each sentence."""
        return self.decode(self.encode(input_ids, attention_mask), **generation_options)

    def sample_prior(self, num_samples: int = 1, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draws of the prior p(z), `(num_samples, latent_size)`, on the device of the model."""
        return self.model.posterior.sample_prior(num_samples, generator)

    def sample(
        self, num_samples: int = 1, generator: torch.Generator | None = None, **generation_options
    ) -> torch.Tensor:
        """Token ids `(num_samples, length)` generated from draws of the prior."""
        return self.decode(self.sample_prior(num_samples, generator), **generation_options)

    def interpolate(
        self, a: torch.Tensor, b: torch.Tensor, steps: int = 5, mode: str = "slerp", **generation_options
    ) -> torch.Tensor:
        """Token ids `(steps, length)` generated along the way from a to b, both ends included.

        Args:
            a, b: two latents `(latent_size,)`, or the token ids `(length,)` of two sentences.
            mode: `"slerp"` along the arc, on which Gaussian latents keep their usual length, or `"linear"`.
        """
        a, b = (end if end.is_floating_point() else self.encode(end.unsqueeze(0).to(self.device))[0] for end in (a, b))
        return self.decode(interpolate_latents(a, b, steps, mode), **generation_options)
