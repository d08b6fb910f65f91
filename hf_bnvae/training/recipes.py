"""Recipes: named sets of defaults. A flag given on the command line or in the YAML file wins over them."""

from collections.abc import Mapping

import torch
from accelerate.utils import get_int_from_env


def bf16_pays() -> bool:
    """Whether this machine multiplies in bf16 faster than in fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


SIZES: dict[str, dict] = {
    "yahoo": {"embedding_size": 512, "hidden_size": 1024, "latent_size": 32, "vocab_size": 20_001},
    "yelp": {"embedding_size": 512, "hidden_size": 1024, "latent_size": 32, "vocab_size": 19_997},
    "ptb": {"embedding_size": 256, "hidden_size": 256, "latent_size": 32, "vocab_size": 10_002},
    "short_yelp": {"embedding_size": 128, "hidden_size": 512, "latent_size": 32, "vocab_size": 10_000},
    "synthetic": {"embedding_size": 50, "hidden_size": 50, "latent_size": 1, "vocab_size": 1_004},
}

DIALOGUE_SIZES: dict[str, dict] = {
    "switchboard": {
        "embedding_size": 200,
        "utterance_hidden_size": 300,
        "context_hidden_size": 600,
        "hidden_size": 400,
        "latent_size": 200,
        "vocab_size": 10_000,
    },
    "switchboard_half": {
        "embedding_size": 100,
        "utterance_hidden_size": 150,
        "context_hidden_size": 300,
        "hidden_size": 200,
        "latent_size": 100,
        "vocab_size": 10_000,
    },
}

RECIPES: dict[str, dict] = {
    # Plain SGD, as He et al. (2019) and the paper train their models.
    "paper": {
        "optim": "sgd",
        "learning_rate": 1.0,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 32,
        "max_grad_norm": 5.0,
        "num_train_epochs": 100.0,
        "kl_annealing_epochs": 10.0,
        "equal_length": True,
        "plateau_patience": 5,
        "plateau_start_epoch": 15.0,
        "plateau_max_halvings": 5,
        "embedding_dropout": 0.5,
        "output_dropout": 0.5,
        "locked_dropout": False,
        "initializer_range": 0.01,
        "embedding_initializer_range": 0.1,
        "tie_word_embeddings": False,
    },
    # Reaches the NLL of the paper's recipe in a fraction of its time: docs/results has the figures.
    "fast": {
        "optim": "adamw_torch_fused",
        "learning_rate": 5e-3,
        "pretrained_learning_rate": 3e-4,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.02,  # a share
        "weight_decay": 0.03,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "per_device_train_batch_size": 64,
        "max_grad_norm": 5.0,
        "num_train_epochs": 10.0,
        "kl_annealing_epochs": 3.5,
        "equal_length": False,
        "embedding_dropout": 0.2,
        "output_dropout": 0.2,
        "locked_dropout": True,
        "initializer_range": 0.05,
        "embedding_initializer_range": 0.1,
        "forget_bias": 1.0,
        "tie_word_embeddings": True,
        "bf16": bf16_pays(),
    },
}

# Recipe fast as `grown` makes it at 256 sentences. Muon learns more in a step, and takes more dropout.
RECIPES["muon"] = RECIPES["fast"] | {
    "muon": True,
    "embedding_dropout": 0.3,
    "output_dropout": 0.3,
    "learning_rate": 1e-2,
    "pretrained_learning_rate": 6e-4,
    "weight_decay": 0.06,
    "adam_beta1": 0.6,
    "adam_beta2": 0.996,
    "per_device_train_batch_size": 256,
}

# Under a pretrained decoder, which soon knows the corpus.
RECIPES["pretrained"] = RECIPES["fast"] | {
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
    "per_device_train_batch_size": 32,
    "max_grad_norm": 1.0,
    "num_train_epochs": 3.0,
    "kl_annealing_epochs": 1.0,
}

WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are, as Accelerate reads it."""
FOLLOWING_THE_BATCH = ("learning_rate", "pretrained_learning_rate", "weight_decay")


def grown(recipe: Mapping, given: Mapping) -> dict:
    """A recipe at the batch that the caller's values give, on as many processes as there are.

    The batch is the sentences in a step of the optimiser, over all processes and accumulated batches. With B times as
    many, AdamW's moments look back over as many sentences and decay and noise stay what they are for a sentence
    (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms"): 1 - beta grows by B, up to
    1, and the learning rate and the weight decay by its root.
    """
    usual = recipe["per_device_train_batch_size"]
    batch = given.get("per_device_train_batch_size", usual) * given.get("gradient_accumulation_steps", 1)
    growth = max(1, batch * get_int_from_env(WORLD_SIZES, 1)) / usual
    scaled = {name: float(f"{recipe[name] * growth**0.5:.3g}") for name in FOLLOWING_THE_BATCH}
    betas = {name: round(max(0.0, 1 - growth * (1 - recipe[name])), 6) for name in ("adam_beta1", "adam_beta2")}
    return {**recipe, **scaled, **betas}


DIALOGUE_RECIPES: dict[str, dict] = {
    # As Zhao et al. (2017), whom the paper follows for dialogue.
    "paper": {
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 30,
        "max_grad_norm": 5.0,
        "num_train_epochs": 60.0,
        "kl_annealing_steps": 10_000,
        "embedding_dropout": 0.0,
        "output_dropout": 0.0,
        "initializer_range": 0.08,
        "embedding_initializer_range": 0.08,
    },
    "fast": {
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "linear",
        "warmup_steps": 100,
        "per_device_train_batch_size": 64,
        "max_grad_norm": 5.0,
        "num_train_epochs": 4.0,
        "kl_annealing_epochs": 1.0,
        "embedding_dropout": 0.2,
        "output_dropout": 0.2,
        "initializer_range": 0.08,
        "embedding_initializer_range": 0.08,
    },
}
