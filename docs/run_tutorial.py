"""Run the tutorial and write what it prints into it.

    python docs/run_tutorial.py
    python docs/run_tutorial.py --check
    python docs/run_tutorial.py docs/train.md --check

Every ```bash and ```python block of the document runs, in its order and in one folder; the python blocks share their
names, as the cells of a notebook do. A ```text block right behind a block is what that block printed: it is written
anew. A block without one shows nothing. When a block fails, nothing is written. ```sh blocks are there to be read only.

--check runs nothing. It makes sure that every command, every script and every flag exists, that the python blocks are
Python, and that the pictures are there.
"""

import argparse
import ast
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"^```(?P<language>bash|python|sh)\n(?P<code>.*?)^```\n(?P<gap>\s*^```text\n)?(?(gap)(?P<output>.*?)^```\n)",
    re.MULTILINE | re.DOTALL,
)
FENCED = re.compile(r"^```.*?^```\n", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^]]*\]\(([^)]+)\)")
COMMAND = "hf-bnvae"
SCRIPT = re.compile(r"run_scripts/(\w+)\.py")
MODULE = re.compile(r"hf_bnvae\.cli\.(\w+)")
INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
WITH_SUBCOMMANDS = ("explore", "human_eval")
FLAG_OF_HELP = re.compile(r"^ +(?:-\w, )?(--[\w-]+)", re.MULTILINE)
COMMAND_ENDS = {"|", "||", "&&", ";", ">", ">>", "2>"}


class TutorialError(Exception):
    """What is wrong with a document, and where, in one sentence."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        language: `bash`, `python` or `sh`.
        code: what it says.
        line: of the document, where its fence opens.
        output: where in the document the text that it printed stands, as start and end; None where none is shown.
    """

    language: str
    code: str
    line: int
    output: tuple[int, int] | None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("document", nargs="?", type=Path, default=ROOT / "docs" / "tutorial.md")
    parser.add_argument("--folder", type=Path, default=ROOT, help="run the blocks there; by default the repository")
    parser.add_argument("--check", action="store_true", help="run nothing; fail when a script or a flag is not there")
    args = parser.parse_args()
    document = args.document.resolve()
    if not document.is_file():
        parser.error(f"there is no document {args.document}")
    if not args.folder.is_dir():
        parser.error(f"--folder {args.folder} is no folder")
    try:
        if args.check:
            faults = list(find_faults(document))
            if faults:
                raise TutorialError("; ".join(faults))
            return
        os.chdir(args.folder)
        rewrite(document)
    except TutorialError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")


def blocks(text: str) -> list[Block]:
    """The blocks of code of a document, in their order."""
    return [
        Block(
            language=found["language"],
            code=found["code"],
            line=text.count("\n", 0, found.start()) + 1,
            output=None if found["gap"] is None else found.span("output"),
        )
        for found in BLOCK.finditer(text)
    ]


def rewrite(document: Path) -> None:
    """Run the blocks in the current folder, and put what they printed in the place of what the document says.

    Raises:
        TutorialError: a block failed; the document is as it was.
    """
    text = document.read_text(encoding="utf-8")
    names: dict = {"__name__": "__main__"}
    parts, end = [], 0
    for block in blocks(text):
        if block.language == "sh":
            continue
        started = time.perf_counter()
        try:
            printed = run_bash(block.code) if block.language == "bash" else run_python(block, document, names)
        except TutorialError as error:
            raise TutorialError(
                f"{document.name}, line {block.line}: the {block.language} block failed: {error}"
            ) from error.__cause__
        print(f"line {block.line}: {block.language}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
        if block.output is None:
            continue
        if "```" in printed:
            raise TutorialError(f"{document.name}, line {block.line}: the block prints ```, which would end its output")
        parts += [text[end : block.output[0]], as_lines(printed)]
        end = block.output[1]
    document.write_text("".join([*parts, text[end:]]), encoding="utf-8")


def as_lines(printed: str) -> str:
    """Printed text without white space at the ends of lines, and with an end to the last of them."""
    lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines)


def run_bash(code: str) -> str:
    """What commands print; the `python` in them is the one that runs this."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{code}"], env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise TutorialError(f"it ended with status {done.returncode}")
    return done.stdout


def run_python(block: Block, document: Path, names: dict) -> str:
    """What Python prints. Lines of a traceback are those of the document."""
    try:
        code = compile("\n" * block.line + block.code, str(document), "exec")
        with redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
    except (Exception, SystemExit) as error:
        raise TutorialError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    return printed.getvalue()


def find_faults(document: Path) -> Iterator[str]:
    """What a document names and is not there, a sentence each."""
    text = document.read_text(encoding="utf-8")
    for block in blocks(text):
        place = f"{document.name}, line {block.line}"
        if block.language == "python":
            try:
                ast.parse(block.code)
            except SyntaxError as error:
                yield f"{place}: the block is no Python ({error.msg})"
            continue
        yield from (f"{place}: {fault}" for fault in faults_of_commands(block.code))
    for found in INLINE_CODE.finditer(FENCED.sub(lambda fenced: "\n" * fenced[0].count("\n"), text)):
        place = f"{document.name}, line {text.count(chr(10), 0, found.start()) + 1}"
        yield from (f"{place}: {fault}" for fault in faults_of_commands(found[1]))
    for target in PICTURE.findall(text):
        if not (document.parent / target).is_file():
            yield f"{document.name}: there is no {target}"


def faults_of_commands(code: str) -> Iterator[str]:
    """What the commands of a block name and is not there, a sentence each."""
    for called, module, words in commands(code):
        if called.startswith("run_scripts/") and not (ROOT / called).is_file():
            yield f"there is no {called}"
            continue
        if module not in modules():
            yield f"there is no command {called}"
            continue
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        subcommand = tuple(words[:1]) if module in WITH_SUBCOMMANDS else ()
        for flag in sorted(flags - flags_of(module, subcommand)):
            yield f"{Path(called).name} has no {flag}"


def commands(code: str) -> Iterator[tuple[str, str, list[str]]]:
    """The commands that a block calls: what it calls, the name of its module in `hf_bnvae.cli`, the words behind."""
    for line in code.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # no line of a shell
            continue
        for at, word in enumerate(words):
            behind = words[at + 1 :]
            behind = behind[: next((n for n, one in enumerate(behind) if one in COMMAND_ENDS), len(behind))]
            if script := SCRIPT.fullmatch(word):
                yield word, module_of(script[1]), behind
            elif module := MODULE.fullmatch(word):
                yield word, module[1], behind
            elif word == COMMAND and behind and re.fullmatch("[a-z][a-z-]*", behind[0]):
                yield f"{COMMAND} {behind[0]}", behind[0].replace("-", "_"), behind[1:]


@cache
def module_of(script: str) -> str:
    """The module in `hf_bnvae.cli` that a run script launches; empty where there is no such script."""
    path = ROOT / "run_scripts" / f"{script}.py"
    launched = re.search(r"from hf_bnvae\.cli\.(\w+) import main", path.read_text("utf-8")) if path.is_file() else None
    return launched[1] if launched else ""


@cache
def modules() -> frozenset[str]:
    """The modules in `hf_bnvae.cli` that are commands."""
    from hf_bnvae.cli.main import COMMANDS

    return frozenset(name.replace("-", "_") for name in COMMANDS)


@cache
def flags_of(module: str, subcommand: tuple[str, ...] = ()) -> set[str]:
    """The flags in the --help of a command, or of one of its subcommands, with those that it passes on."""
    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        importlib.import_module(f"hf_bnvae.cli.{module}").main([*subcommand, "--help"])
    passed_on = flags_of("train") if module == "compare" else set()
    return {"--help", *FLAG_OF_HELP.findall(said.getvalue())} | passed_on


if __name__ == "__main__":
    main()
