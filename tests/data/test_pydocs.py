"""The built-in corpus is parsed once for each Python, and what is kept of it is what parsing gives."""

import os

import pytest
from datasets import config

from hf_bnvae.data import pydocs

SENTENCES = {"return the value .": "method", "a heap , as a list .": "module"}


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """How often the library was parsed, for which two sentences stand; the cache is empty."""
    calls = []
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(pydocs, "_parsed", lambda: calls.append(1) or dict(SENTENCES))
    monkeypatch.setattr(pydocs, "_kinds", pydocs._kinds.__wrapped__)  # without what this process remembers
    return calls


def test_what_is_kept_is_what_parsing_gives(tmp_path):
    kinds = pydocs._parsed()
    pydocs._keep(kinds, tmp_path / "cache" / "kept.tsv")
    assert list(pydocs._read(tmp_path / "cache" / "kept.tsv").items()) == list(kinds.items()) and len(kinds) > 8000


def test_it_is_parsed_once_and_leaves_one_file(parsed):
    for _ in range(3):
        assert list(pydocs._kinds().items()) == list(SENTENCES.items())
    assert len(parsed) == 1 and os.listdir(pydocs._kept_in().parent) == [pydocs._kept_in().name]


@pytest.mark.parametrize("damage", [b"", b"no digest", b"\xff\xfe", None], ids=["empty", "foreign", "no UTF-8", "cut"])
def test_a_damaged_file_is_made_anew(parsed, damage):
    pydocs._kinds()
    whole = pydocs._kept_in().read_bytes()
    pydocs._kept_in().write_bytes(whole[:-7] if damage is None else damage)
    assert pydocs._kinds() == SENTENCES and len(parsed) == 2
    assert pydocs._kept_in().read_bytes() == whole


def test_another_python_has_a_file_of_its_own(parsed, monkeypatch):
    pydocs._kinds()
    before = pydocs._kept_in()
    monkeypatch.setattr("sys.version", "4.0")
    assert pydocs._kept_in() != before and pydocs._kinds() == SENTENCES and len(parsed) == 2


def test_where_nothing_can_be_kept_it_is_parsed(parsed, tmp_path):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    assert pydocs._kinds() == SENTENCES and len(parsed) == 1
