"""Transformers' own test mixins for our classes. Run by test_transformers_mixins.py, with Transformers' tests at hand.

What does not apply to a recurrent text VAE is left out by name, with the reason.
"""

import unittest

import torch
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin, ids_tensor

from hf_bnvae import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnCvaeModel,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    BnVaeForSequenceClassification,
    BnVaeModel,
    LstmLMConfig,
    LstmLMForCausalLM,
)

BATCH, LENGTH = 5, 7
SIZES = {"vocab_size": 99, "embedding_size": 8, "hidden_size": 12, "initializer_range": 0.2}
STILL = {"embedding_dropout": 0.0, "output_dropout": 0.0}
DIALOGUE = {"utterance_hidden_size": 5, "context_hidden_size": 6, "prior_hidden_size": 4}

NOT_OURS = {
    "test_config": "it asks for attention heads and layers, which an LSTM has not",
    "test_generation_tester_mixin_inheritance": "the source distribution does not hold the mixin of generation",
    "test_hidden_states_output": "it expects a state a layer, all of one width; here they are word vectors and states",
    "test_retain_grad_hidden_states_attentions": "it expects attentions",
    "test_model_base_model_prefix": "the language model has no base model within",
    "test_inputs_embeds": "word vectors of the encoder do not say what the decoder reads; ours are tested beside",
    "test_batching_equivalence": "it compares the configuration's strings; our own test compares batches",
}
"""Tests of the mixins by the beginnings of their names, and why they do not apply."""


class Tester:
    """What the mixins ask of a tester: a configuration and inputs."""

    is_training = True
    batch_size, seq_length = BATCH, LENGTH
    encoder_seq_length = decoder_seq_length = key_length = LENGTH
    hidden_size, num_hidden_layers = 12, 1

    def __init__(self, parent, config, more):
        self.parent, self.config = parent, config
        self.more = {"decoder_input_ids": ids_tensor([BATCH, LENGTH], 90) + 4} if more else {}

    def get_config(self):
        return type(self.config)(**self.config.to_diff_dict())

    def prepare_config_and_inputs_for_common(self):
        ids = ids_tensor([BATCH, LENGTH], 90) + 4
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | self.more


class Common(ModelTesterMixin):
    """What our classes share."""

    test_resize_embeddings = True
    has_attentions = False
    is_encoder_decoder = True
    all_generative_model_classes = ()
    config = None

    def setUp(self):
        reason = next((why for name, why in NOT_OURS.items() if self._testMethodName.startswith(name)), None)
        if reason is not None:
            self.skipTest(reason)
        self.model_tester = Tester(self, self.config, more=isinstance(self.config, BnCvaeConfig))
        self.config_tester = ConfigTester(self, config_class=type(self.config), has_text_modality=False)

    def _prepare_for_class(self, inputs, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs, model_class, return_labels)
        if return_labels:
            kind = model_class.__name__
            shape = (BATCH,) if "Classification" in kind else (BATCH, LENGTH)
            inputs["labels"] = torch.ones(shape, dtype=torch.long)
        return inputs

    def test_training(self):
        """The encoder alone has no loss."""
        encoders = (BnVaeModel, BnCvaeModel)
        self.all_model_classes = tuple(kind for kind in self.all_model_classes if kind not in encoders)
        super().test_training()

    def test_config(self):
        self.config_tester.run_common_tests()


class BnVaeTest(Common, unittest.TestCase):
    all_model_classes = (BnVaeModel, BnVaeForConditionalGeneration, BnVaeForSequenceClassification)
    all_generative_model_classes = (BnVaeForConditionalGeneration,)
    config = BnVaeConfig(**SIZES, **STILL, latent_size=4)


class MatchedTest(BnVaeTest):
    all_model_classes = (BnVaeForConditionalGeneration,)
    config = BnVaeConfig(**SIZES, **STILL, latent_size=4, posterior="matched", rate=4)


class BnCvaeTest(Common, unittest.TestCase):
    all_model_classes = (BnCvaeModel, BnCvaeForConditionalGeneration)
    config = BnCvaeConfig(**SIZES, **STILL, **DIALOGUE, latent_size=4, posterior="batch_norm")


class LstmLMTest(Common, unittest.TestCase):
    all_model_classes = (LstmLMForCausalLM,)
    all_generative_model_classes = (LstmLMForCausalLM,)
    is_encoder_decoder = False
    config = LstmLMConfig(**SIZES, **STILL)
