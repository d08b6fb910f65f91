"""Who may import whom: nothing imports upward, and models/ stands alone."""

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hf_bnvae"
ORDER = (
    ("visible", "errors", "deprecation"),
    ("models",),
    ("methods",),
    ("data",),
    ("evaluation",),
    ("training",),
    ("plans",),
    ("model_with_tokenizer", "export"),
    ("pipelines", "dialogue_pipeline", "sentence_embeddings"),
    ("analysis",),
    ("hub",),
    ("runs",),
    ("cli",),
)
"""The rooms from the ground up; those of one floor do not know each other."""
FLOORS = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}
ROOT = len(ORDER) - 1
"""What the package itself exports stands above all rooms but `cli`."""
SPEAK_OF_FLAGS = {"hub/run_record.py", "runs/publishing.py", "analysis/page.py"}  # commands, and style sheets
UPWARD = {("model_with_tokenizer", "hub")}  # `push_to_hub` imports it when it is called
MODELS_MAY_IMPORT = sys.stdlib_module_names | {"torch", "transformers", "huggingface_hub"}


def imported_modules(path: Path):
    """Absolute dotted names of everything that a file of the package imports."""
    package = ("hf_bnvae", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from [f"{module}.{alias.name}" for alias in node.names] if module == base else [module]


def files():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upward(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imported_modules(path):
        package, _, name = module.partition(".")
        other = name.partition(".")[0]
        if package == "hf_bnvae" and other != room and (room, other) not in UPWARD:
            assert FLOORS.get(other, ROOT) < FLOORS[room], f"{path.name} imports {module}"


def test_every_room_has_a_floor():
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} == FLOORS.keys()


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_at_most_500_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.name)
def test_models_import_only_torch_transformers_and_siblings_by_one_dot(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # transformers, before it runs a checkpoint's code, asks for every package but those whose import may fail.
    optional = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in optional:
            continue
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in MODELS_MAY_IMPORT for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert (node.level == 1 and "." not in node.module) or node.module.split(".")[0] in MODELS_MAY_IMPORT


@pytest.mark.parametrize("path", [path for path in files() if path.parent.name != "cli"], ids=lambda path: path.name)
def test_only_the_command_line_speaks_of_flags(path):
    if path.relative_to(PACKAGE).as_posix() in SPEAK_OF_FLAGS:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            assert not re.search(r"(?<![\w-])--[a-z]", node.value), node.value
