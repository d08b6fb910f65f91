"""How a command runs and ends: with one sentence for what the user can mend, and a status."""

import atexit
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch.distributed
from safetensors import SafetensorError

from ..data import CorpusError
from ..data.errors import first_line
from ..hub import CardError, HubError
from ..training import NonFiniteLossError
from ..training.checkpoints import last_checkpoint
from ..training.run_lock import end_with_parent
from ..visible import visible
from .errors import UsageError
from .program import program_name
from .yaml_file import all_flags, flag_values


def run(main: Callable[[], None]) -> None:
    """Call `main`; what the user can mend is printed as one sentence, and the exit status is 1."""
    end_with_parent()
    if not has_process_group():
        atexit.register(end_process_group)  # by then an error is printed: the other processes fail once the group ends
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that has no ± is no reason to stop
    try:
        main()
    except KeyboardInterrupt:
        say_how_to_go_on()
        sys.exit(130)
    except (CorpusError, UsageError, NonFiniteLossError, HubError, CardError) as error:
        fail(str(error))
    except (OSError, SafetensorError, RuntimeError) as error:
        if not is_full_disk(error):
            raise
        fail(f"the disk is full, what was being saved is not there: free some space and resume ({first_line(error)})")


def has_process_group() -> bool:
    """Whether this process has joined others, as a launcher's environment tells `accelerate` to do."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def end_process_group() -> None:
    """Leave the group of processes that a command has joined: torch asks for it, and may crash on exit without."""
    if has_process_group():
        torch.distributed.destroy_process_group()


def say_how_to_go_on() -> None:
    """After an interruption: the checkpoint that the run can be resumed from, if there is one."""
    folder = flag_values(all_flags(None)).get("output_dir")
    kept = last_checkpoint(folder, resumable=True) if folder is not None and Path(folder).is_dir() else None
    advice = f"; go on from {kept} by --resume_from_checkpoint last" if kept is not None else ""
    print(f"{program_name()}: interrupted{advice}", file=sys.stderr)


def is_full_disk(error: Exception) -> bool:
    """Whether an error of Python, safetensors or torch means that a file could not grow."""
    numbers = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    said = [f"os error {number}" for number in numbers]
    said += ["PytorchStreamWriter failed", "file write failed", "enforce fail at inline_container.cc"]
    return getattr(error, "errno", None) in numbers or any(words in str(error) for words in said)


def fail(message: str) -> NoReturn:
    """End the process with an error of one sentence."""
    sys.exit(f"{program_name()}: error: {visible(message)}")
