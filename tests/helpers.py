"""What several tests use."""

import torch
from transformers import TrainerCallback


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


class StopAt(TrainerCallback):
    """Ends a run after a step, as an interruption would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step
