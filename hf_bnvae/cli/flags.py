"""From a command line to dataclasses of arguments."""

from dataclasses import fields

from transformers import HfArgumentParser

from ..plans import resolve
from ..training import VaeTrainingArguments
from ..training.arguments import refuse_unread
from ..training.ranges import check_ranges
from .checks import check_output_file, check_output_folder
from .errors import UsageError, with_flags
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
    for arguments in parsed:
        check_arguments(arguments)
        if isinstance(arguments, MethodArguments):
            arguments.refuse_unread(given_flags(argv))
        elif isinstance(arguments, VaeTrainingArguments):
            try:
                refuse_unread(sorted(given_flags(argv)))
            except ValueError as error:
                raise UsageError(str(error)) from error
    return tuple(parsed)


def planned_defaults(models: type[MethodArguments], argv: list[str]) -> dict[str, object]:
    """What the method, the recipe, the size and the flags that were given decide, by the names of the flags."""
    family = models.FAMILY
    kinds = (models, family.arguments_class)
    parser = HfArgumentParser(kinds, prog=program_name(), allow_abbrev=False, add_help=False)
    values, _ = parser.parse_known_args(argv)
    fields_of_a_plan = {item.name for kind in (family.config_class, family.arguments_class) for item in fields(kind)}
    given = {name: value for name, value in vars(values).items() if name in given_flags(argv) & fields_of_a_plan}
    plan = resolve(values.method, values.recipe, values.size, **given)
    return {**plan.config, **plan.training}


def check_arguments(arguments) -> None:
    """Refuse numbers out of their ranges, and outputs that cannot be written, before any work."""
    try:
        check_ranges(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name in ("output_file", "samples_file"):
        check_output_file(getattr(arguments, name, None), f"--{name}")
    if getattr(arguments, "output_dir", None) is not None:
        check_output_folder(arguments.output_dir, "--output_dir")
