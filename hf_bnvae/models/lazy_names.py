"""Names of a package whose modules are imported when they are needed."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_when_needed(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: its `__name__`.
        modules: the module inside it that each name comes from.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f".{modules[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
