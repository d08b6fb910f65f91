"""Former names: they work for one version more, with a warning."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def warn_of_former_name(former: str, name: str) -> None:
    """Warn, where the caller's caller stands, that something has another name now."""
    warnings.warn(f"{former} is called {name} now: the former name goes", DeprecationWarning, stacklevel=3)


def former_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names changed.

    Args:
        module: its `__name__`.
        names: the present name of each former one.
    """

    def get(former: str) -> Any:
        if former not in names:
            raise AttributeError(f"module {module!r} has no attribute {former!r}")
        warn_of_former_name(f"{module}.{former}", names[former])
        return getattr(sys.modules[module], names[former])

    return get
