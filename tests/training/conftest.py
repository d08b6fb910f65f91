import pytest
from datasets import Dataset

from hf_bnvae.data import VaeCollator
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments
from tests.helpers import make_batch


@pytest.fixture
def sentences():
    lengths = [4 + (index * 5) % 7 for index in range(60)]
    batch = make_batch(lengths)
    ids = [row[:length].tolist() for row, length in zip(batch["input_ids"], lengths, strict=True)]
    return Dataset.from_dict({"input_ids": ids, "length": lengths})


@pytest.fixture
def make_trainer(tmp_path, make_model, sentences):
    """A trainer over 60 sentences in batches of 8, 8 steps an epoch."""

    def make(model=None, callbacks=(), train_dataset=None, compute_metrics=None, **settings):
        settings = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 8,
            "num_train_epochs": 2,
            "kl_annealing_epochs": 1,
            "learning_rate": 0.05,
            "logging_steps": 1,
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 1,
            "optim": "sgd",
            "lr_scheduler_type": "constant",
            "weight_decay": 0.0,
        } | settings
        return VaeTrainer(
            model if model is not None else make_model(),
            VaeTrainingArguments(**settings),
            train_dataset=sentences if train_dataset is None else train_dataset,
            eval_dataset=sentences.select(range(20)),
            data_collator=VaeCollator(0),
            callbacks=list(callbacks),
            compute_metrics=compute_metrics,
        )

    return make
