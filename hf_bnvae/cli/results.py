"""The command of a run, and its results, as the user sees them."""

from ..hub import Published
from ..hub.run_record import command_line
from ..visible import visible
from .program import called_as
from .yaml_file import all_flags


def command_of(command: str, argv: list[str] | None, args) -> str:
    """The command of a run as the user would type it.

    Args:
        command: the subcommand of `hf-bnvae`.
        argv: its flags; None for those of this process.
        args: of the training.
    """
    return command_line(called_as(command, argv), all_flags(argv), args.world_size)


def print_results(results: dict) -> None:
    """Print the numbers of `all_results.json`, a line each."""
    for name, value in ((visible(name), value) for name, value in results.items()):
        print(f"{name:>34} = {value:.4f}" if isinstance(value, float) else f"{name:>34} = {value}")


def print_published(published: Published) -> None:
    """Print the address of a model on the Hub."""
    print(f"Published: {published}")
