"""The built-in corpus: English sentences from the documentation that ships with Python, read at run time."""

import ast
import random
import re
import sysconfig
from pathlib import Path

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
    sentences: dict[str, None] = {}
    for document in _documents():
        for paragraph in PARAGRAPH_END.split(document):
            for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
                cleaned = _clean(sentence)
                if cleaned is not None:
                    sentences[cleaned] = None
    return list(sentences)


def pydocs_splits() -> dict[str, list[str]]:
    """The corpus shuffled by a fixed seed and cut into `train`, `validation` and `test`."""
    sentences = pydocs_sentences()
    random.Random(SPLIT_SEED).shuffle(sentences)
    return {
        "train": sentences[2 * HELD_OUT :],
        "validation": sentences[:HELD_OUT],
        "test": sentences[HELD_OUT : 2 * HELD_OUT],
    }


def _documents():
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if SKIPPED_FOLDERS.intersection(path.relative_to(library).parts) or path.parent.name == "pydoc_data":
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                documentation = ast.get_docstring(node)
                if documentation:
                    yield documentation
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    for name in sorted(topics):
        yield topics[name]


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
