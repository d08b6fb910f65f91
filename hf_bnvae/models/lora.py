"""Low-rank adapters (Hu et al. 2022) beside the layers of a pretrained network, by the package peft."""

from typing import Any

from torch import nn


def _peft() -> Any:
    """The package, which takes long to import; None where it is not installed."""
    try:
        import peft
    except ImportError:
        return None
    return peft


def check_peft() -> None:
    """Refuse adapters where peft is not installed.

    Raises:
        ValueError: it is not.
    """
    if _peft() is None:
        raise ValueError("low-rank adapters take peft: pip install 'hf-bnvae[lora]'")


def with_lora(network: Any, rank: int, alpha: float, dropout: float = 0.0) -> Any:
    """The same network with adapters beside its attention projections, which alone are trained.

    Args:
        network: a model of Transformers. Of an architecture that peft does not know all linear layers have adapters,
            but for those of a Mamba whose weights its kernels read past them.
        rank: of each adapter.
        alpha: the adapters' weight is alpha / rank.
        dropout: on what the adapters read.

    Raises:
        ValueError: where peft is not installed, or puts no adapters into such a network.
    """
    check_peft()
    peft = _peft()
    known = peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    kind = network.config.model_type
    options = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=None if kind in known else "all-linear",
        exclude_modules=["out_proj", "dt_proj"] if "mamba" in kind else None,
    )
    try:
        network = peft.inject_adapter_in_model(options, network)
    except ValueError as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"a {kind} takes no low-rank adapters of peft ({said}): train it full or frozen") from error
    for module in network.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            for part in list(module.modules()):  # type: ignore[attr-defined]
                part._is_hf_initialized = True  # adapters begin as no change, which no initialisation may undo
    return network


def without_lora(network: nn.Module) -> nn.Module:
    """The same network with its adapters added to the weights that they stand beside."""
    peft = _peft()
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if peft is not None and isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
                module.merge()
                setattr(parent, name, module.get_base_layer())
    network.__dict__.pop("peft_config", None)
    return network.requires_grad_(True)
