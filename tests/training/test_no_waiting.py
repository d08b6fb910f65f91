"""A step of training asks the host for nothing that a GPU has yet to compute."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_bnvae.methods import METHODS
from hf_bnvae.plans import build_model

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_consecutive")
SIZES = {"vocab_size": 40, "embedding_size": 8, "hidden_size": 16, "latent_size": 4}


class NoWaiting(TorchDispatchMode):
    """Refuses what copies a result to the host, or has a shape that depends on one."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        chosen_by_mask = name.startswith("index") and any(
            isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1:2])
        )
        if name in WAITING or chosen_by_mask:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


# Gradient steps that refine a posterior look for the words of a batch in each of them; the aggressive strategy stops by
# what it measures.
WITHOUT = ("sa_vae", "agg_vae")


@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT])
def test_no_step_waits(name, make_trainer):
    model = build_model(name, **SIZES)
    trainer = make_trainer(model, max_grad_norm=1.0, optim="adamw_torch")
    trainer.is_in_train = True
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.state.max_steps = 10
    trainer.current_gradient_accumulation_steps = 1
    trainer.create_optimizer_and_scheduler(num_training_steps=10)
    trainer.training_step(model, batch)
    with NoWaiting():
        trainer.training_step(model, batch)
        trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_waiting_is_seen():
    with NoWaiting():
        for wait in (lambda x: float(x.sum()), lambda x: x[x > 0], lambda x: bool((x > 0).all())):
            with pytest.raises(AssertionError, match="waits"):
                wait(torch.ones(3))
