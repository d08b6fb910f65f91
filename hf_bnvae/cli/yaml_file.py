"""The command line with the flags of a YAML file in it."""

import json
import sys
from itertools import pairwise
from pathlib import Path

import yaml

from .errors import UsageError


def all_flags(argv: list[str] | None) -> list[str]:
    """The command line (by default this process's), with the flags of a YAML file in the place of its name."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0].endswith((".yaml", ".yml")):
        argv = [*_yaml_flags(Path(argv[0])), *argv[1:]]
    for text in argv:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            shown = text.encode("utf-8", "replace").decode()
            raise UsageError(f"{shown} is no UTF-8: rename the file, or write the flag in UTF-8")
    return argv


def given_flags(argv: list[str]) -> set[str]:
    """The names of the flags in a command line."""
    return {name_of(flag) for flag in argv if flag.startswith("--")}


def name_of(flag: str) -> str:
    """The name of a flag, which may have its value behind it."""
    return flag[2:].partition("=")[0].replace("-", "_")


def flag_values(argv: list[str]) -> dict[str, str]:
    """The value of each flag of a command line by its name; of a list the first."""
    values: dict[str, str] = {}
    for text, following in pairwise([*argv, "--"]):
        if text.startswith("--"):
            values[name_of(text)] = text.partition("=")[2] if "=" in text else following
    return values


class _Loader(yaml.SafeLoader):
    """Reads true and false alone as booleans: `no`, `off` and the like are words, as on the command line."""

    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool" or letter in "tTfF"]
        for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _yaml_flags(path: Path) -> list[str]:
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold flags, one `name: value` a line")
    flags: list[str] = []
    for name, value in content.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        flags += [f"--{name}", *map(str, values)]
    return flags
