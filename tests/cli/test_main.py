"""The command `hf-bnvae`: every subcommand is there, only the one that is called is imported, and it says its name."""

import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hf_bnvae.cli
from hf_bnvae.cli import program
from hf_bnvae.cli.main import COMMANDS, main
from tests.conftest import ROOT

LAUNCHERS = sorted(path.stem for path in (ROOT / "run_scripts").glob("*.py"))


def module_of(command: str):
    return import_module(f"hf_bnvae.cli.{command.replace('-', '_')}")


def call(monkeypatch, *argv: str) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/hf-bnvae", *argv])
    main()


def test_the_help_lists_every_command_and_every_command_has_help(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "--help")
    said = capsys.readouterr().out
    assert end.value.code == 0 and all(f"\n  {command} " in said for command in COMMANDS)
    for command in COMMANDS:
        assert callable(module_of(command).main), command


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "human-eval"])
def test_the_help_of_a_command_says_its_name(monkeypatch, capsys, command):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, command, "--help")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: hf-bnvae {command} [-h]")


def test_only_the_command_that_is_called_is_imported():
    code = (
        "import sys; sys.argv[1:] = ['card', 'missing']\n"
        "from hf_bnvae.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print([name for name in sys.modules if name.startswith('hf_bnvae.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    imported = {name.rpartition(".")[2] for name in done.stdout.strip("[]\n").replace("'", "").split(", ")}
    commands = {command.replace("-", "_") for command in COMMANDS}
    assert imported & commands == {"card"}


def test_the_list_of_commands_takes_no_import_of_the_package():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "import hf_bnvae_command\n"
        "try: hf_bnvae_command.main()\n"
        "except SystemExit: print([name for name in ('hf_bnvae', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("usage: hf-bnvae COMMAND") and done.stdout.endswith("\n[]\n"), done.stderr


def test_what_is_wrong_is_one_sentence_that_begins_with_the_command(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"^hf-bnvae: error: there is no command 'trian'"):
        call(monkeypatch, "trian")
    argv = ["--train_file", "missing.txt", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^hf-bnvae train: error: missing.txt does not exist$"):
        call(monkeypatch, "train", *argv)


def test_a_module_of_a_command_is_called_as_the_command():
    folder = Path(hf_bnvae.cli.__file__).parent
    for script, name in ((folder / "human_eval.py", "hf-bnvae human-eval"), ("run_scripts/run_lm.py", "run_lm.py")):
        sys_argv, sys.argv = sys.argv, [str(script)]
        try:
            assert program.program_name() == name
        finally:
            sys.argv = sys_argv


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_is_a_few_lines_over_the_command_of_its_name(launcher):
    path = ROOT / "run_scripts" / f"{launcher}.py"
    scope = runpy.run_path(str(path))
    assert scope["main"].__module__.startswith("hf_bnvae.cli.")
    code = path.read_text(encoding="utf-8").rpartition('"""')[2]
    assert len(code.strip().splitlines()) <= 5
    assert f"run_scripts/{launcher}.py" in scope["__doc__"]


def test_the_record_of_a_run_names_the_launcher_or_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/house/run_scripts/run_lm.py", "--seed", "1"])
    assert program.called_as("train", None) == "/house/run_scripts/run_lm.py"
    assert program.called_as("train", ["--seed", "1"]) == "train"
    monkeypatch.setattr(sys, "argv", ["hf-bnvae train", "--seed", "1"])
    assert program.called_as("train", None) == "train"
