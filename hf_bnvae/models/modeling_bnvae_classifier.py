"""A classifier on the encoder of a text VAE."""

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_bnvae import BnVaeConfig
from .layers import input_dtype
from .modeling_bnvae import BnVaeModel, BnVaePreTrainedModel
from .modeling_common import as_asked, wants_hidden_states


class BnVaeForSequenceClassification(BnVaePreTrainedModel):
    """A linear classifier on the posterior mean, with as many outputs as `config.num_labels`.

    The posterior stays in evaluation mode: its normalisation keeps the statistics that it came with, so that batches of
    any size train, and what is trained is what is evaluated.
    """

    _keys_to_ignore_on_load_unexpected = [r"^decoder\."]

    def __init__(self, config: BnVaeConfig):
        super().__init__(config)
        self.model = BnVaeModel(config)
        self.classifier = nn.Linear(config.latent_size, config.num_labels or 2)
        self.post_init()

    def train(self, mode: bool = True):
        super().train(mode)
        self.model.posterior.eval()
        return self

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput | tuple:
        """Logits `(batch, num_labels)` of sentences.

        Args:
            input_ids, attention_mask, inputs_embeds: see `BnVaeModel`.
            labels: `(batch,)` classes, or numbers with one output, or `(batch, num_labels)` for several labels each;
                `config.problem_type` says which where the labels do not.
        """
        encoded = self.model.read(input_ids, attention_mask, inputs_embeds)
        mean = self.model.posterior(encoded.last).mean
        logits = self.classifier(mean.to(input_dtype(self.classifier)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        output = SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=(
                (encoded.embedded, encoded.states) if wants_hidden_states(output_hidden_states, self.config) else None
            ),
        )
        return as_asked(output, return_dict, self.config)


__all__ = ["BnVaeForSequenceClassification"]
