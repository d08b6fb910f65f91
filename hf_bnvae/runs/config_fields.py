"""Arguments that derive from a configuration: each field that its docstring describes is one of the same name."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field
from types import NoneType
from typing import Any, Optional, get_args

FROM_THE_DATA = (
    "topics",
    "encoder_vocab_size",
    "encoder_pad_token_id",
    "encoder_config",
    "decoder_config",
    "decoder_lora",
    "encoder_base",
    "decoder_base",
)
"""Described fields that the training data or a tokenizer decide, and are no arguments."""


def with_fields_of(
    config_class: Any, defaults: Mapping[str, object], help_texts: Mapping[str, str]
) -> Callable[[type], type]:
    """A class decorator, written under `@dataclass`: adds the fields of a configuration with their help and choices.

    Args:
        config_class: the configuration. A class attribute `CHOICES` has the values of the fields that are names.
        defaults: of arguments that something else decides, such as the method; the others have the configuration's.
        help_texts: of arguments that say more than the field of the configuration.
    """

    def add(arguments_class: type) -> type:
        own = inspect.get_annotations(arguments_class)
        added = {}
        for name, text in descriptions(config_class).items():
            if name in FROM_THE_DATA or name in own:
                continue
            item = config_class.__dataclass_fields__[name]
            added[name] = argument_type(item.type)
            if name in defaults:
                added[name] = Optional[added[name]] if defaults[name] is None else added[name]  # noqa: UP045
            metadata: dict[str, Any] = {"help": help_texts.get(name, text).replace("%", "%%")}
            if name in config_class.CHOICES:
                metadata["choices"] = list(config_class.CHOICES[name])
            default = defaults.get(name, item.default)
            assert default is not MISSING, f"{config_class.__name__}.{name} has no default"
            setattr(arguments_class, name, field(default=default, metadata=metadata))
        arguments_class.__annotations__ = added | own
        return arguments_class

    return add


def descriptions(kind: type) -> dict[str, str]:
    """The fields that the `Args:` section of a docstring describes, with what it says, on one line each."""
    section = (inspect.getdoc(kind) or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("`", "").rstrip(".") for name, text in entries}


def argument_type(annotation):
    """The type that a command line parses for a field's: `float` where a whole number is allowed too."""
    parts = get_args(annotation)
    if float in parts and int in parts:
        return Optional[float] if NoneType in parts else float  # noqa: UP045
    return annotation
