"""Arguments of a run from Python values, and what is refused of them before any work."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ..plans import resolve
from ..training import VaeTrainingArguments
from ..training.arguments import refuse_unread
from ..training.field_types import read_values
from ..training.ranges import check_ranges
from .checks import check_output_file, check_output_folder
from .model_arguments import MethodArguments


def arguments_from_values(*dataclass_types, values: Mapping[str, Any]) -> tuple:
    """Dataclasses of arguments, from values by the names of their fields; None is not given.

    Where several set the same value, the order is: `values`, the model that a run starts from, the method, the recipe,
    the size.

    Raises:
        ValueError: a name that no field has, or a value that cannot be used.
    """
    given = read_values(*dataclass_types, values=values)
    known = {item.name for kind in dataclass_types for item in fields(kind) if item.init}
    models = next(kind for kind in dataclass_types if issubclass(kind, MethodArguments))
    chosen = {"method": models.method, "recipe": models.usual_recipe(given)}
    chosen |= {name: given[name] for name in ("method", "recipe", "size") if name in given}
    of_the_plan = {name: value for name, value in given.items() if name in plan_fields(models)}
    plan = resolve(**chosen, **of_the_plan)
    decided = {name: value for name, value in {**chosen, **plan.config, **plan.training}.items() if name in known}
    decided |= models.inherited(given) | given
    arguments = [
        kind(**{item.name: decided[item.name] for item in fields(kind) if item.name in decided})
        for kind in dataclass_types
    ]
    check_all(arguments, set(given))
    return tuple(arguments)


def plan_fields(models: type[MethodArguments]) -> set[str]:
    """The names of the fields that `plans.resolve` knows."""
    family = models.FAMILY
    return {item.name for kind in (family.config_class, family.arguments_class) for item in fields(kind)}


def check_all(all_arguments: Iterable, given: set[str]) -> None:
    """Refuse values out of their ranges, and those that were given and that nothing reads.

    Args:
        all_arguments: the dataclasses of a run.
        given: the names of the arguments that the caller gave.
    """
    for arguments in all_arguments:
        check_arguments(arguments)
        if isinstance(arguments, MethodArguments):
            arguments.refuse_unread(given)
        elif isinstance(arguments, VaeTrainingArguments):
            refuse_unread(sorted(given))


def check_arguments(arguments) -> None:
    """Refuse numbers out of their ranges, and outputs that cannot be written."""
    check_ranges(arguments)
    for name in ("output_file", "samples_file"):
        check_output_file(getattr(arguments, name, None), f"`{name}`")
    if getattr(arguments, "output_dir", None) is not None:
        check_output_folder(arguments.output_dir, "`output_dir`")
