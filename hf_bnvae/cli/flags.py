"""From a command line to dataclasses of arguments."""

from dataclasses import fields

from transformers import HfArgumentParser

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
        chosen, _ = HfArgumentParser(models, allow_abbrev=False, add_help=False).parse_known_args(argv)
        method = models.METHODS[chosen.method]
        defaults = models.SIZES.get(chosen.size, {}) | models.RECIPES[chosen.recipe]
        defaults |= {"kl_schedule": method.kl_schedule, "strategy": method.strategy, **method.settings}
        if given_flags(argv) & {"kl_annealing_epochs", "kl_annealing_steps"} == {"kl_annealing_epochs"}:
            defaults.pop("kl_annealing_steps", None)
        known = {item.name for kind in dataclass_types for item in fields(kind)}
        parser.set_defaults(**{name: value for name, value in defaults.items() if name in known})
        if any(flag.replace("-", "_").startswith("__fp16") for flag in argv) and "bf16" in known:
            parser.set_defaults(bf16=False)
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
