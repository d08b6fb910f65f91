"""Files as people keep them: compressed, in folders that `datasets` saved, in clones of data sets on the Hub."""

import codecs
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path

import fsspec
from datasets import Dataset, DatasetDict, config, load_from_disk
from datasets.fingerprint import Hasher

from .errors import CorpusError, first_line
from .splits import SPLIT_NAMES, USUAL, SplitChoice

BUILDERS = {
    ".txt": "text",
    ".tsv": "csv",
    ".csv": "csv",
    ".jsonl": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
BINARY = ("parquet", "arrow")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}
FOLDERS = (".", "data")
"""Where in a folder the files of splits are: in it, or as in a data set on the Hub."""
USUAL_NAMES = {"train": "train", "validation": "valid", "test": "test"}
BYTES_AT_ONCE = 1 << 20


def ending(path: Path) -> str:
    """The ending that says what a file holds, without that of its compression: `.jsonl` of `a.jsonl.gz`."""
    compressed = path.suffix.lower() in COMPRESSIONS
    return (Path(path.stem) if compressed else path).suffix.lower()


def builder_of(path: Path) -> str:
    """The builder of `datasets` that reads a file, by its ending.

    Raises:
        CorpusError: when there is no such builder, no such file, or nothing in it.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CorpusError(f"{path} is a stream that can be read once only: write it to a file and name that")
    builder = BUILDERS.get(ending(path))
    if builder is None:
        raise CorpusError(f"{path} has the unknown ending {path.suffix!r}: use one of {', '.join(BUILDERS)}")
    check_whole(path)
    return builder


def check_whole(path: Path) -> None:
    """Refuse a file that is not there, or holds nothing.

    Raises:
        CorpusError: naming the remedy, where there is one.
    """
    if not path.is_file():
        raise CorpusError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise CorpusError(f"{path} is empty")
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise CorpusError(f"{path} is a pointer of Git LFS and not the file: run `git lfs pull` in its folder")


def refuse_scalars(path: Path) -> None:
    """Refuse a file of JSON that begins with neither an object nor an array; one with null would end the process.

    Raises:
        CorpusError: naming the line and the remedy.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            begin = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").strip()[:1]
            if begin and begin not in b"{[":
                raise no_object(path, number)
            if begin:
                return
    raise CorpusError(f"{path} holds no rows")


def no_object(path: Path, number: int) -> CorpusError:
    """The error of a line of JSON that holds a text or a number alone, or a list."""
    return CorpusError(f'{path}, line {number}: must be an object such as {{"text": "a sentence"}}')


def refuse_address(name: str) -> None:
    """Refuse an address of the web, or of another store.

    Raises:
        CorpusError: naming the remedy.
    """
    if "://" in name:
        raise CorpusError(
            f"{name} is an address, which is not read from here: download the file and name it, or name a data set on "
            "the Hub by its id, USER/NAME"
        )


def refuse_file(name: str) -> None:
    """Refuse a file in the place of a data set.

    Raises:
        CorpusError: naming the remedy.
    """
    if Path(name).is_file():
        raise CorpusError(f"`dataset_name` {name} is a file: name it by `train_file` or one of its companions")


def matching_files(pattern: str) -> list[Path]:
    """The file of that name, or all that match a pattern such as `shards/*.txt` or `**/*.txt`, in their order."""
    refuse_address(pattern)
    if Path(pattern).exists():
        return [Path(pattern)]
    return [Path(name) for name in sorted(glob(pattern, recursive=True))] or [Path(pattern)]


def find_splits(
    folder: Path, endings: tuple[str, ...] = tuple(BUILDERS), choice: SplitChoice = USUAL
) -> dict[str, list[Path]]:
    """The file, or the shards, of each split that a local folder or its `data` holds, with one of those endings.

    Those endings may have that of a compression behind them.

    Raises:
        CorpusError: when there is neither a train nor a test file, or there are files of several kinds for one split.
    """
    for subfolder in FOLDERS if choice.dataset_config_name is None else (choice.dataset_config_name,):
        splits = {
            split: paths for split in SPLIT_NAMES if (paths := _files_of(split, choice, folder / subfolder, endings))
        }
        if "train" in splits or "test" in splits:
            return splits
    train, valid, test = (choice.named(split) or usual for split, usual in USUAL_NAMES.items())
    raise CorpusError(
        f"the folder {folder} holds no {train} or {test} file: name it {train}, {valid} or {test} with one of "
        f"{', '.join(endings)}"
    )


def holds_files(folder: Path, choice: SplitChoice) -> bool:
    """Whether a local folder is read file by file; one with configurations of its own is read as the Hub reads it."""
    return folder.is_dir() and (choice.dataset_config_name is None or (folder / choice.dataset_config_name).is_dir())


def _files_of(split: str, choice: SplitChoice, folder: Path, endings: tuple[str, ...]) -> list[Path]:
    candidates = (
        sorted(folder.glob(pattern))
        for stem in choice.names_of(split)
        for suffix in endings
        for compression in ("", *COMPRESSIONS)
        for pattern in (f"{stem}{suffix}{compression}", f"{stem}-*{suffix}{compression}")
    )
    found = [paths for paths in candidates if paths]
    if len(found) > 1:
        names = " and ".join(paths[0].name for paths in found)
        raise CorpusError(
            f"the folder {folder} holds {names}, and its {split} split can be one of them alone: take the others out, "
            f"or leave out `dataset_name` and name all by a pattern, `{split}_file`"
        )
    return found[0] if found else []


# Folders of `save_to_disk`


def is_saved(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` of `datasets` wrote."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def load_saved(folder: Path) -> Dataset | DatasetDict:
    """What `save_to_disk` wrote.

    Raises:
        CorpusError: when the folder is none of its, or it cannot be read.
    """
    if not is_saved(folder):
        raise CorpusError(
            f"{folder} is a folder: name a file in it, a pattern such as {folder}/*.jsonl, or the folder by "
            "`dataset_name`"
        )
    try:
        return load_from_disk(str(folder))
    except Exception as error:  # many kinds, of several libraries
        raise CorpusError(f"the saved data set {folder} could not be read: {first_line(error)}") from error


def load_saved_rows(folder: Path) -> Dataset:
    """One data set that `save_to_disk` wrote.

    Raises:
        CorpusError: when the folder is none of its, or holds several splits.
    """
    saved = load_saved(folder)
    if isinstance(saved, DatasetDict):
        raise CorpusError(
            f"{folder} holds the splits {', '.join(saved)}: name the folder by `dataset_name`, or one split, such as "
            f"{folder / next(iter(saved), '')}"
        )
    return saved.with_format(None)


# Compressed files


def file_identity(path: Path) -> str:
    """Another text when a file was written again, whatever its time of modification was set to."""
    stat = path.stat()
    return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def plain_file(path: Path) -> Path:
    """The file itself or, where it is compressed, a plain copy of it in the cache of `datasets`.

    Raises:
        CorpusError: when it cannot be decompressed, or the copy cannot be kept.
    """
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is None or not path.is_file():
        return path
    builder = builder_of(path)
    if builder in BINARY:
        raise CorpusError(f"{path}: {builder} files are compressed inside already; decompress it, and name the file")
    folder = Path(config.HF_DATASETS_CACHE) / "hf_bnvae_plain"
    plain = folder / f"{Hasher.hash(file_identity(path))}{ending(path)}"
    if not plain.is_file():
        pieces = _decompressed(path, compression)
        first = next(pieces, b"")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            number, partial = tempfile.mkstemp(dir=folder, suffix=".partial")
            try:
                with open(number, "wb") as file:
                    file.write(first)
                    file.writelines(pieces)
                os.replace(partial, plain)
            finally:
                Path(partial).unlink(missing_ok=True)
        except OSError as error:
            raise CorpusError(
                f"{path} cannot be decompressed into {folder} ({error.strerror}): set HF_DATASETS_CACHE to a folder "
                "that can be written"
            ) from error
    return plain


@contextmanager
def named_as(path: Path, plain: Path) -> Iterator[None]:
    """Errors about the plain copy of a file as errors about the file."""
    try:
        yield
    except CorpusError as error:
        if plain == path:
            raise
        raise CorpusError(str(error).replace(str(plain), str(path))) from error


def _decompressed(path: Path, compression: str) -> Iterator[bytes]:
    try:
        if compression == "zip":
            names = [name for name in zipfile.ZipFile(path).namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise CorpusError(f"{path} holds {len(names)} files: unpack it, and name the one that is meant")
        with fsspec.open(str(path), "rb", compression=compression) as file:
            while piece := file.read(BYTES_AT_ONCE):
                yield piece
    except CorpusError:
        raise
    except Exception as error:  # each compression has its own kinds
        if compression == "zstd" and "zstd" not in fsspec.available_compressions():
            raise CorpusError(f"{path}: install zstandard to read .zst, or decompress the file") from error
        raise CorpusError(f"{path} could not be decompressed: {first_line(error)}") from error
