"""What a command leaves behind when its process ends."""

import atexit

import pytest
import torch.distributed as dist

from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.run import run


@pytest.fixture
def at_exit(monkeypatch):
    """What is called when the process ends."""
    calls: list = []
    monkeypatch.setattr(atexit, "register", lambda call, *args, **options: calls.append(call))
    yield lambda: [call() for call in reversed(calls)]
    if dist.is_initialized():
        dist.destroy_process_group()


def join() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def fails() -> None:
    join()
    raise KeyError("a defect")


def is_refused() -> None:
    join()
    raise UsageError("a flag is wrong")


@pytest.mark.parametrize(("main", "error"), [(fails, KeyError), (is_refused, SystemExit)])
def test_a_command_that_fails_says_why_before_it_leaves_the_other_processes(at_exit, main, error):
    with pytest.raises(error):
        run(main)
    assert dist.is_initialized()
    at_exit()
    assert not dist.is_initialized()


def test_a_command_leaves_the_group_of_processes_that_it_joined(at_exit):
    run(join)
    at_exit()
    assert not dist.is_initialized()


def test_the_group_of_a_caller_stays(at_exit):
    join()
    run(lambda: None)
    at_exit()
    assert dist.is_initialized()
