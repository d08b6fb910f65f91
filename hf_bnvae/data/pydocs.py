"""The built-in corpus: English sentences from the documentation that ships with Python, read at run time.

Parsing the standard library takes seconds, so that the sentences are kept beside the cache of `datasets`, by Python's
version.
"""

import ast
import hashlib
import os
import random
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from datasets import config
from datasets.fingerprint import Hasher

SKIPPED_FOLDERS = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__", "turtledemo"}
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
PARAGRAPH_END = re.compile(r"\n\s*\n")
MARKUP = re.compile(r"[`*|]|:\w+:")
TOKEN = re.compile(r"[a-z][a-z0-9]*(?:'[a-z]+)?|[.,;:!?()\"]")
PLAIN = re.compile(r"[A-Za-z0-9 ,.;:!?()'\"-]+")
NUMBER = re.compile(r"\b\d+(?:\.\d+)*\b")
MIN_WORDS, MAX_WORDS = 4, 40
SPLIT_SEED = 20200
HELD_OUT = 600


def pydocs_sentences() -> list[str]:
    """All sentences of the corpus, each once, lower-cased and split into tokens by spaces, in a fixed order.

    They come from the docstrings of the standard library, which is parsed and not imported, and from the topics of
    Python's `help()`. Which ones there are depends on the version of Python.
    """
    return list(_kinds())


def pydocs_labels(sentences: list[str]) -> list[str]:
    """What each of those sentences documents where it first stands: its label, for all that takes labelled sentences.

    `module`, `class`, `function` and `method` are docstrings, `reference` is `help()` on the language. They are far
    from equally frequent: nearly half are methods, and modules are the rarest.
    """
    return [_kinds()[sentence] for sentence in sentences]


def pydocs_splits() -> dict[str, list[str]]:
    """The corpus shuffled by a fixed seed and cut into `train`, `validation` and `test`."""
    sentences = pydocs_sentences()
    random.Random(SPLIT_SEED).shuffle(sentences)
    return {
        "train": sentences[2 * HELD_OUT :],
        "validation": sentences[:HELD_OUT],
        "test": sentences[HELD_OUT : 2 * HELD_OUT],
    }


@cache
def _kinds() -> dict[str, str]:
    """Every sentence in its order, with its label: from the cache, where it is whole, or made now and kept there."""
    try:
        kinds = _read(_kept_in())
    except (OSError, ValueError):
        kinds = None
    if kinds is None:
        kinds = _parsed()
        with suppress(OSError):
            _keep(kinds, _kept_in())
    return kinds


def _kept_in() -> Path:
    """The file of this Python's sentences, as this code makes them."""
    code = Path(__file__).read_bytes()
    key = Hasher.hash([code, sys.version, sys.platform, sysconfig.get_paths()["stdlib"]])
    return Path(config.HF_DATASETS_CACHE) / "hf_bnvae" / f"pydocs-{key}.tsv"


def _digest(lines: str) -> str:
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()


def _keep(kinds: dict[str, str], path: Path) -> None:
    """Write labels and sentences, under a first line that says what they hash to."""
    lines = "".join(f"{kind}\t{sentence}\n" for sentence, kind in kinds.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    number, partial = tempfile.mkstemp(prefix=f"{path.stem}.partial-", dir=path.parent)
    try:
        with open(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(f"{_digest(lines)}\n{lines}")
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, str] | None:
    """What `_keep` wrote; None where the file is not whole."""
    digest, _, lines = path.read_text(encoding="utf-8").partition("\n")
    if _digest(lines) != digest:
        return None
    rows = (line.partition("\t") for line in lines.splitlines())
    return {sentence: kind for kind, _, sentence in rows}


def _parsed() -> dict[str, str]:
    """Every sentence in its order, with its label."""
    kinds: dict[str, str] = {}
    for document, kind in _documents():
        for paragraph in PARAGRAPH_END.split(document):
            for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
                cleaned = _clean(sentence)
                if cleaned is not None:
                    kinds.setdefault(cleaned, kind)
    return kinds


def _documents() -> Iterator[tuple[str, str]]:
    """Documentation and what it documents."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if SKIPPED_FOLDERS.intersection(path.relative_to(library).parts) or path.parent.name == "pydoc_data":
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        methods: set[ast.AST] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods.update(node.body)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                documentation = ast.get_docstring(node)
                if documentation:
                    yield documentation, _kind(node, node in methods)
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    for name in sorted(topics):
        yield topics[name], "reference"


def _kind(node: ast.AST, in_class: bool) -> str:
    if isinstance(node, ast.Module):
        return "module"
    if isinstance(node, ast.ClassDef):
        return "class"
    return "method" if in_class else "function"


def _clean(sentence: str) -> str | None:
    """The sentence as lower-case tokens, or None where it is code, a heading or a fragment."""
    sentence = MARKUP.sub("", sentence).strip()
    if not sentence.endswith((".", "!", "?")) or not sentence[:1].isupper() or not PLAIN.fullmatch(sentence):
        return None
    tokens = TOKEN.findall(NUMBER.sub("n", sentence).lower().replace("-", " "))
    words = sum(token[0].isalpha() for token in tokens)
    if not words >= MIN_WORDS or len(tokens) > MAX_WORDS or words < 0.6 * len(tokens):
        return None
    return " ".join(tokens)
