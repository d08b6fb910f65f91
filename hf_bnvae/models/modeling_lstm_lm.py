"""The LSTM language model of the paper's tables: the text VAE's decoder with no latent."""

import torch
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin

from .configuration_lstm_lm import LstmLMConfig
from .decoders import LstmDecoder, LstmState
from .distributions import DiagonalGaussian
from .modeling_bnvae import DEFAULT_MAX_NEW_TOKENS, BnVaeOutput, DecodingMixin, initialise
from .objectives import IGNORED, reconstruction_loss, token_nll


class LstmLMForCausalLM(DecodingMixin, PreTrainedModel, GenerationMixin):
    """A single-layer LSTM language model.

    To the trainer and the metrics it is a text VAE with no latent dimensions: `infer` gives a distribution over no
    numbers, whose KL is 0, and the NLL is exact.
    """

    config_class = LstmLMConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: LstmLMConfig):
        super().__init__(config)
        self.decoder = LstmDecoder(config)
        self.post_init()
        self.generation_config.max_new_tokens = DEFAULT_MAX_NEW_TOKENS

    def _init_weights(self, module):
        initialise(module, self.config)

    def get_input_embeddings(self):
        return self.decoder.embedding

    def set_input_embeddings(self, value):
        self.decoder.embedding = value

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        past_key_values: LstmState | None = None,
        use_cache: bool | None = None,
        return_logits: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BnVaeOutput | tuple:
        """Read `(batch, length)` tokens, padded on the right.

        Args:
            input_ids: `(batch, length)`, start symbol included.
            attention_mask: read by nothing: what is padded on the right comes after everything that counts.
            labels: `(batch, length)`, which are shifted here as everywhere in Transformers, or without their first
                column `(batch, length − 1)`, as `VaeCollator` gives them; −100 on padding. The loss is in nats per
                sentence.
            past_key_values: the state to go on from.
            return_logits: by default in evaluation only.
        """
        if labels is not None and labels.size(1) == input_ids.size(1):
            labels = labels[:, 1:]
        outputs, state = self.decoder(input_ids, self._no_latents(input_ids), past_key_values)
        if return_logits is None:
            return_logits = not self.training or labels is None
        loss = kl = None
        if labels is not None:
            words = labels != IGNORED
            losses = token_nll(self.decoder.logits(outputs[:, :-1][words]), labels[words])
            loss = reconstruction_loss(losses, labels.size(0))
            kl = torch.zeros_like(loss)
        output = BnVaeOutput(
            loss=loss,
            reconstruction_loss=loss,
            kl=kl,
            logits=self.decoder.logits(outputs) if return_logits else None,
            past_key_values=state if use_cache is not False else None,
        )
        return output if return_dict is not False else output.to_tuple()

    def infer(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs) -> DiagonalGaussian:
        """A distribution over no dimensions for every sentence."""
        nothing = self._no_latents(input_ids)
        return DiagonalGaussian(nothing, nothing)

    def sample(self, num_samples: int = 1, **generation_options) -> torch.Tensor:
        """Token ids `(num_samples, length)` generated from the start symbol, by sampling unless told otherwise."""
        start = torch.full((num_samples, 1), self.config.bos_token_id, device=self.device)
        options = {"do_sample": True} | generation_options
        return self.generate(start, **options)  # type: ignore[misc,return-value]

    @staticmethod
    def _no_latents(input_ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(input_ids), 0, device=input_ids.device)


__all__ = ["LstmLMForCausalLM"]
