import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
import transformers

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration

ROOT = Path(__file__).parents[1]
transformers.utils.logging.disable_progress_bar()


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def make_model():
    """A small text VAE with weights large enough for differences to show."""

    def make(**changes) -> BnVaeForConditionalGeneration:
        settings = {
            "vocab_size": 40,
            "embedding_size": 8,
            "hidden_size": 16,
            "latent_size": 4,
            "initializer_range": 0.5,
            "embedding_initializer_range": 0.5,
        }
        return BnVaeForConditionalGeneration(BnVaeConfig(**settings | changes)).eval()

    return make
