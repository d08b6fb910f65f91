"""From a command line to dataclasses of arguments."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from transformers import HfArgumentParser

from ..plans import resolve
from ..training import VaeTrainingArguments
from ..training.arguments import refuse_unread
from ..training.ranges import check_ranges
from .checks import check_output_file, check_output_folder
from .errors import UsageError, flags_named, with_flags
from .model_flags import MethodArguments
from .program import program_name
from .yaml_file import all_flags, given_flags


def parse_arguments(*dataclass_types, description: str, argv: list[str] | None = None) -> tuple:
    """Flags into dataclasses. What is set where wins in this order: flags, YAML file, --method, --recipe, --size.

    The first argument may be a YAML file of flags.
    """
    argv = all_flags(argv)
    parser = HfArgumentParser(dataclass_types, prog=program_name(), description=description, allow_abbrev=False)
    models = next((kind for kind in dataclass_types if issubclass(kind, MethodArguments)), None)
    if models is not None:
        known = {item.name for kind in dataclass_types for item in fields(kind)}
        planned = planned_defaults(models, argv)
        parser.set_defaults(**{name: value for name, value in planned.items() if name in known})
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    except (ValueError, ImportError) as error:
        message = " ".join(str(error).split())
        raise UsageError(with_flags(message) if message.startswith("`") else message) from error
    if unknown:
        # Their names only: a value may be a token.
        names = [text.partition("=")[0] for text in unknown if text.startswith("-")] or unknown
        raise UsageError(f"unknown flags: {' '.join(names)}; --help lists all")
    check_all(parsed, given_flags(argv))
    return tuple(parsed)


def check_all(parsed: Iterable, given: set[str]) -> None:
    """Refuse values out of their ranges, and those that were given and that nothing reads."""
    for arguments in parsed:
        check_arguments(arguments)
        if isinstance(arguments, MethodArguments):
            arguments.refuse_unread(given)
        elif isinstance(arguments, VaeTrainingArguments):
            with flags_named():
                refuse_unread(sorted(given))


def arguments_from_values(*dataclass_types, values: Mapping[str, Any]) -> tuple:
    """The same dataclasses as `parse_arguments` makes, from Python values by the names of the flags; None is not given.

    Raises:
        ValueError: a name that no flag has, or a value that cannot be used.
    """
    given = {name: value for name, value in values.items() if value is not None}
    known = {item.name for kind in dataclass_types for item in fields(kind) if item.init}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise UsageError(f"unknown parameters: {', '.join(unknown)}")
    models = next(kind for kind in dataclass_types if issubclass(kind, MethodArguments))
    chosen = {"method": models.method} | {name: given[name] for name in ("method", "recipe", "size") if name in given}
    of_the_plan = {name: value for name, value in given.items() if name in plan_fields(models)}
    plan = resolve(**chosen, **of_the_plan)
    decided = {name: value for name, value in {**plan.config, **plan.training}.items() if name in known} | given
    parsed = [
        kind(**{item.name: decided[item.name] for item in fields(kind) if item.name in decided})
        for kind in dataclass_types
    ]
    check_all(parsed, set(given))
    return tuple(parsed)


def plan_fields(models: type[MethodArguments]) -> set[str]:
    """The names of the fields that `plans.resolve` knows."""
    family = models.FAMILY
    return {item.name for kind in (family.config_class, family.arguments_class) for item in fields(kind)}


def planned_defaults(models: type[MethodArguments], argv: list[str]) -> dict[str, object]:
    """What the method, the recipe, the size and the flags that were given decide, by the names of the flags."""
    family = models.FAMILY
    kinds: list[Any] = [models, family.arguments_class]
    parser = HfArgumentParser(kinds, prog=program_name(), allow_abbrev=False, add_help=False)
    values, _ = parser.parse_known_args(argv)
    given = {name: value for name, value in vars(values).items() if name in given_flags(argv) & plan_fields(models)}
    plan = resolve(values.method, values.recipe, values.size, **given)
    return {**plan.config, **plan.training}


def check_arguments(arguments) -> None:
    """Refuse numbers out of their ranges, and outputs that cannot be written, before any work."""
    with flags_named():
        check_ranges(arguments)
    for name in ("output_file", "samples_file"):
        check_output_file(getattr(arguments, name, None), f"--{name}")
    if getattr(arguments, "output_dir", None) is not None:
        check_output_folder(arguments.output_dir, "--output_dir")
