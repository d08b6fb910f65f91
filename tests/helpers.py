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


def flags(corpus, output_dir, **changes) -> list[str]:
    """The command line of a small run of run_lm.py."""
    settings = {
        "dataset_name": corpus,
        "output_dir": output_dir,
        "embedding_size": 8,
        "hidden_size": 12,
        "latent_size": 3,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "kl_annealing_epochs": 1,
        "nll_samples": 5,
        "disable_tqdm": True,
    } | changes
    return [text for name, value in settings.items() if value is not None for text in (f"--{name}", str(value))]


class StopAt(TrainerCallback):
    """Ends a run after a step, as an interruption would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step
