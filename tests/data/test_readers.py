"""A file is read alike however it is kept, and what is not read is said in one sentence."""

import bz2
import gzip
import json
import lzma
import os
import zipfile

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, config

from hf_bnvae.cli.errors import flags_named
from hf_bnvae.data import CorpusError, first_texts, load_corpus, load_dialogues, training_sources
from hf_bnvae.data.shards import shards_named

TEXTS = ["a b c", 'he said "hi"', "tab or, comma", "NA"]
CONTENT = {
    "txt": "".join(text + "\n" for text in TEXTS),
    "jsonl": "".join(json.dumps({"text": text}) + "\n" for text in TEXTS),
    "csv": 'text\na b c\n"he said ""hi"""\n"tab or, comma"\nNA\n',
    "tsv": "".join(f"{row}\t{text}\n" for row, text in enumerate(TEXTS)),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_zip(path, content, names=1):
    with zipfile.ZipFile(path, "w") as file:
        for number in range(names):
            file.writestr(f"inside{number}", content)


WRITERS = {
    "gz": lambda path, content: path.write_bytes(gzip.compress(content)),
    "bz2": lambda path, content: path.write_bytes(bz2.compress(content)),
    "xz": lambda path, content: path.write_bytes(lzma.compress(content)),
    "zip": write_zip,
}


def texts_of(name=None, **files):
    """What is read into memory, which is what a stream gives as well."""
    texts = load_corpus(name, files).splits["train"]["text"][:]
    assert list(first_texts(training_sources(name, files.get("train")))) == texts
    return texts


@pytest.mark.parametrize(("kind", "compression"), list(zip(CONTENT, WRITERS, strict=True)))
def test_a_compressed_file_is_the_file(tmp_path, kind, compression):
    path = tmp_path / f"a.{kind}.{compression}"
    WRITERS[compression](path, CONTENT[kind].encode())
    assert texts_of(train=str(path)) == TEXTS


def test_a_compressed_file_that_was_written_again_is_read_again_and_shards_are_found(tmp_path):
    path = tmp_path / "train-0.txt.gz"
    for texts in (["a", "b"], ["c", "d"]):
        path.write_bytes(gzip.compress("\n".join(texts).encode()))
        os.utime(path, (0, 0))
        assert texts_of(str(tmp_path)) == texts
    (tmp_path / "train-1.txt.gz").write_bytes(gzip.compress(b"e"))
    assert texts_of(str(tmp_path)) == texts_of(train=str(tmp_path / "*.gz")) == ["c", "d", "e"]


def test_two_stars_stand_for_folders_of_any_depth(tmp_path):
    for number, folder in enumerate((tmp_path, tmp_path / "a", tmp_path / "a" / "b")):
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(f"t{number}\n")
        np.save(folder / f"{number}.npy", np.zeros((1, 2)))
    assert texts_of(train=str(tmp_path / "**" / "*.txt")) == ["t0", "t1", "t2"]
    found = shards_named(str(tmp_path / "**" / "*.npy"), (".npy",), "`embeddings_file`")
    assert [path.name for path in found] == ["0.npy", "1.npy", "2.npy"]


def test_what_save_to_disk_wrote_is_read_by_its_folder(tmp_path):
    rows = Dataset.from_dict({"text": TEXTS})
    rows.save_to_disk(str(tmp_path / "rows"))
    DatasetDict(train=rows, validation=rows.select([0])).save_to_disk(str(tmp_path / "splits"))
    assert texts_of(str(tmp_path / "rows")) == texts_of(train=str(tmp_path / "rows")) == TEXTS
    assert texts_of(str(tmp_path / "splits")) == TEXTS
    assert load_corpus(str(tmp_path / "splits")).splits["validation"]["text"][:] == TEXTS[:1]
    with (
        pytest.raises(CorpusError, match="holds the splits train, validation: name the folder by --dataset_name"),
        flags_named(),
    ):
        load_corpus(files={"train": str(tmp_path / "splits")})
    arrow = next((tmp_path / "rows").glob("*.arrow"))
    assert texts_of(train=str(arrow)) == TEXTS


def test_the_clone_of_a_data_set_on_the_hub_is_read_by_its_folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlanguage: en\n---\n")
    (tmp_path / "data").mkdir()
    Dataset.from_dict({"text": TEXTS}).to_parquet(str(tmp_path / "data" / "train-00000-of-00001.parquet"))
    Dataset.from_dict({"text": TEXTS[:1]}).to_parquet(str(tmp_path / "data" / "validation-00000-of-00001.parquet"))
    assert texts_of(str(tmp_path)) == TEXTS
    assert load_corpus(str(tmp_path)).splits["validation"]["text"][:] == TEXTS[:1]


@pytest.mark.parametrize("other", ["train.jsonl", "train-00001.txt", "train.txt.gz"])
def test_files_of_several_kinds_for_one_split_are_refused_by_name(tmp_path, other):
    for name in ("train.txt", other, "valid.txt"):
        (tmp_path / name).write_text("a\n")
    for read in (load_corpus, training_sources, load_dialogues):
        with pytest.raises(CorpusError, match=rf"holds train\.txt and {other}|holds {other} and train\.txt"):
            read(str(tmp_path))


def two_files(path):
    write_zip(path, b"a", names=2)


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.txt.gz", lambda path: path.write_bytes(b"no gzip"), "could not be decompressed"),
        ("a.txt.gz", lambda path: path.write_bytes(gzip.compress(b"a\n" * 999)[:-9]), "could not be decompressed"),
        ("a.txt.gz", lambda path: path.write_bytes(gzip.compress(b"fine\ncaf\xe9\n")), "line 2: not UTF-8"),
        ("a.txt.gz", lambda path: path.write_bytes(gzip.compress(b"")), "is empty"),
        ("a.gz", lambda path: path.write_bytes(gzip.compress(b"a")), "unknown ending"),
        ("a.parquet.gz", lambda path: path.write_bytes(gzip.compress(b"a")), "compressed inside already"),
        ("a.txt.zip", two_files, "holds 2 files: unpack it"),
        ("a.parquet", pointer, "is a pointer of Git LFS"),
        ("a.arrow", lambda path: path.write_bytes(b"no arrow"), "could not be read as arrow"),
        ("folder", lambda path: path.mkdir(), "is a folder: name a file in it"),
        ("pipe.txt", os.mkfifo, "is a stream that can be read once only"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_name(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(CorpusError, match=message) as error:
        load_corpus(files={"train": str(tmp_path / name)})
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("address", ["https://example.org/a.txt", "hf://datasets/someone/data/a.jsonl", "s3://a/b.txt"])
def test_an_address_is_no_file(address):
    for options in ({"files": {"train": address}}, {"dataset_name": address}):
        with pytest.raises(CorpusError, match="is an address, which is not read from here: download the file"):
            load_corpus(**options)
    with pytest.raises(CorpusError, match="is an address"):
        training_sources(train_file=address)


def test_a_file_is_no_data_set(tmp_path):
    path = str(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("a b c\n")
    for read in (load_corpus, training_sources, load_dialogues):
        with pytest.raises(CorpusError, match=r"--dataset_name .*a\.txt is a file: name it by --train_"), flags_named():
            read(path)
