"""Groups of an optimiser's parameters."""

from collections.abc import Iterable

import torch


def set_apart(optimizer: torch.optim.Optimizer, parameters: Iterable[torch.nn.Parameter], **settings) -> None:
    """Move parameters of an optimiser into groups of their own, which differ from the former in some settings."""
    chosen = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if moved:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            optimizer.add_param_group({**group, "params": moved, **settings})
