"""Values of arguments by the types of their fields: Python's are read as the command reads its flags."""

import os
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from transformers.hf_argparser import string_to_bool

from ..errors import ParameterError

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a dict"}
YES_OR_TEXT = ("resume_from_checkpoint",)
"""Arguments whose text may be true or false."""
UNTYPED = ("fsdp", "debug")
"""Arguments of Transformers that hold more than their type says."""


def field_types(kind: type) -> dict[str, Any]:
    """The types of the fields of a dataclass, by their names."""
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind) if item.init and item.name not in UNTYPED}


def read_fields(arguments: Any) -> None:
    """Give each field of a dataclass a value of its type, where the one that it has can be read as such.

    Raises:
        ParameterError: naming a field, what it must be, and what it is.
    """
    defaults = {item.name: item.default for item in fields(arguments)}
    for name, kind in field_types(type(arguments)).items():
        value = getattr(arguments, name)
        if value is not defaults[name]:
            setattr(arguments, name, read_value(name, kind, value))


def read_values(*dataclass_types: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names of the fields of some dataclasses, each as its field holds it; None is not given.

    Raises:
        ParameterError: a name that no field has, or a value of another type.
    """
    given = {name: value for name, value in values.items() if value is not None}
    known = {name: kind for each in reversed(dataclass_types) for name, kind in field_types(each).items()}
    unknown = sorted(given.keys() - {item.name for each in dataclass_types for item in fields(each) if item.init})
    if unknown:
        raise ParameterError(f"unknown parameters: {', '.join(unknown)}")
    return {name: read_value(name, known.get(name, Any), value) for name, value in given.items()}


def read_value(name: str, kind: Any, value: Any) -> Any:
    """A value as a field of a type holds it.

    Text that reads as a number or as true or false is one, as are numbers of NumPy; a path or a number is text where
    the field is text; a single item is a list of one.

    Raises:
        ParameterError: it cannot be read so.
    """
    if name in YES_OR_TEXT and isinstance(value, bool):
        return str(value).lower()
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if any(_holds(member, value) for member in members):
        return value
    for member in members:
        try:
            return _read(member, value)
        except (ValueError, TypeError, ArgumentTypeError):
            continue
    wanted = [_words(member) for member in members if member is not NoneType]
    raise ParameterError(f"`{name}` must be {' or '.join(dict.fromkeys(wanted))}, got {value!r}")


def _holds(kind: Any, value: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_holds(get_args(kind)[0], item) for item in value)
    if kind is dict or get_origin(kind) is dict:
        return isinstance(value, Mapping) or is_dataclass(value)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind in (int, float):
        return isinstance(value, int if kind is int else (float, int)) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _read(kind: Any, value: Any) -> Any:
    """A value as one of a type; a ValueError or a TypeError where it says nothing of the kind."""
    if get_origin(kind) is list:
        items = value if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else [value]
        (member,) = get_args(kind)
        return [item if _holds(member, item) else _read(member, item) for item in items]
    if kind is bool and isinstance(value, str | Integral | np.bool_):
        return string_to_bool(str(value))
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if kind is int and (isinstance(value, str) or (is_number and isinstance(value, Integral))):
        return int(value)
    if kind is float and (isinstance(value, str) or is_number):
        return float(value)
    if kind is str and (is_number or isinstance(value, os.PathLike)):
        return str(value)
    raise TypeError


def _words(kind: Any) -> str:
    if get_origin(kind) is list:
        return "a list"
    return WORDS.get(get_origin(kind) or kind, "text")
