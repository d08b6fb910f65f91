"""Who may import whom: nothing imports upward, and models/ stands alone."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hf_bnvae"
FLOORS = {
    "visible": 0,
    "errors": 0,
    "models": 0,
    "methods": 1,
    "data": 1,
    "evaluation": 1,
    "training": 2,
    "plans": 3,
    "hub": 3,
    "pipelines": 3,
    "analysis": 3,
    "runs": 4,
    "cli": 5,
}
FLOORS |= dict.fromkeys(("export", "sentence_embeddings", "model_with_tokenizer", "dialogue_pipeline"), 3)
MODELS_MAY_IMPORT = sys.stdlib_module_names | {"torch", "transformers", "huggingface_hub"}


def imported_modules(path: Path):
    """Absolute dotted names of everything that a file of the package imports."""
    package = ("hf_bnvae", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            yield ".".join(part for part in (base, node.module) if part)


def files():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upward(path):
    floor = FLOORS[path.relative_to(PACKAGE).parts[0].removesuffix(".py")]
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "hf_bnvae" and len(parts) > 1:
            assert FLOORS[parts[1]] <= floor, f"{path.name} imports {module}"


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
