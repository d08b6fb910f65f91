"""From a command line to dataclasses of arguments."""

import argparse
from dataclasses import fields
from typing import Any

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from ..errors import ParameterError
from ..plans import resolve
from ..runs.arguments import check_all, plan_fields
from ..runs.model_arguments import MethodArguments
from .errors import UsageError, flags_named, with_flags
from .program import program_name
from .yaml_file import all_flags, given_flags


class FlagParser(HfArgumentParser):
    """A parser whose errors are one sentence, without the usage of hundreds of flags in front."""

    def error(self, message):
        raise UsageError(f"{message.removeprefix('argument ')}; --help lists all flags")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """The flags that say where in a file the text is."""
    parser.add_argument("--text_column", help="name of the text column, or its number from 0")
    parser.add_argument(
        "--no_header",
        type=string_to_bool,
        nargs="?",
        const=True,
        default=False,
        help="the first line of csv and tsv files is data; columns have numbers from 0",
    )


@flags_named()
def parse_arguments(*dataclass_types, description: str, argv: list[str] | None = None, part: str = "") -> tuple:
    """Flags into dataclasses. What is set where wins in this order: flags, YAML file, --method, --recipe, --size.

    The first argument may be a YAML file of flags. `part` is what stands between the command and its flags.
    """
    argv = all_flags(argv)
    name = f"{program_name()} {part}".rstrip()
    parser = FlagParser(dataclass_types, prog=name, description=description, allow_abbrev=False)
    models = next((kind for kind in dataclass_types if issubclass(kind, MethodArguments)), None)
    if models is not None:
        known = {item.name for kind in dataclass_types for item in fields(kind)}
        planned = planned_defaults(models, argv)
        parser.set_defaults(**{name: value for name, value in planned.items() if name in known})
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    except (ParameterError, UsageError):
        raise
    except (ValueError, ImportError) as error:
        message = " ".join(str(error).split())
        raise UsageError(with_flags(message) if message.startswith("`") else message) from error
    if unknown:
        # Their names only: a value may be a token.
        names = [text.partition("=")[0] for text in unknown if text.startswith("-")] or unknown
        raise UsageError(f"unknown flags: {' '.join(names)}; --help lists all")
    check_all(parsed, given_flags(argv))
    return tuple(parsed)


def planned_defaults(models: type[MethodArguments], argv: list[str]) -> dict[str, object]:
    """What the method, the recipe, the size and the flags that were given decide, by the names of the flags."""
    family = models.FAMILY
    kinds: list[Any] = [models, family.arguments_class]
    parser = FlagParser(kinds, prog=program_name(), allow_abbrev=False, add_help=False)
    values, _ = parser.parse_known_args(argv)
    given = {name: value for name, value in vars(values).items() if name in given_flags(argv)}
    recipe = values.recipe or models.usual_recipe(vars(values))
    of_the_plan = {name: value for name, value in given.items() if name in plan_fields(models)}
    plan = resolve(values.method, recipe, values.size, **of_the_plan)
    return {"recipe": recipe, **plan.config, **plan.training, **models.inherited(given)}
