"""The name of the program, as the user called it."""

import sys
from pathlib import Path

from .main import PROGRAM


def program_name() -> str:
    """`hf-bnvae train` for the command, `run_lm.py` for a launcher; it stands before errors and in the help."""
    script = Path(sys.argv[0])
    if script.parent.resolve() == Path(__file__).parent:  # python -m hf_bnvae.cli.train
        return f"{PROGRAM} {script.stem.replace('_', '-')}"
    return script.name


def called_as(command: str, argv: list[str] | None) -> str:
    """What `hub.run_record.command_line` writes in front of the flags: the launcher that was run, or the command.

    Args:
        command: the subcommand of `hf-bnvae`.
        argv: the flags that its `main` was given; None for those of this process.
    """
    script = Path(sys.argv[0])
    is_launcher = script.suffix == ".py" and script.parent.resolve() != Path(__file__).parent
    return str(script) if argv is None and is_launcher else command
