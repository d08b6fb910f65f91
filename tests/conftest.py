import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
import transformers

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "run_scripts"))
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


def make_batch(lengths: list[int], vocab_size: int = 40, width: int | None = None, seed: int = 0) -> dict:
    """Random sentences with their ends, padded on the right to `width`."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    input_ids = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        input_ids[row, 1 : length - 1] = torch.randint(4, vocab_size, (length - 2,), generator=generator)
        input_ids[row, 0], input_ids[row, length - 1] = 1, 2
    attention_mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    labels = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, -100)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
