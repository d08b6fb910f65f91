"""How long the package, its command and the built-in corpus take to start, over the import of torch alone.

    python benchmarks/startup.py

Everything runs in processes of its own, one after the other, in rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from measure import machine, seconds

COMMAND = "import sys, hf_bnvae_command; sys.argv[0] = 'hf-bnvae'; hf_bnvae_command.main()"
READING = "from hf_bnvae.data import pydocs_splits; pydocs_splits()"
STARTS = {
    "import torch": ("import torch",),
    "import transformers": ("import torch, transformers",),
    "import hf_bnvae": ("import torch, hf_bnvae",),
    "its models": ("import torch, hf_bnvae; hf_bnvae.BnVaeModel",),
    "Transformers' Trainer": ("import torch; from transformers import Trainer",),
    "hf-bnvae --help": (COMMAND, "--help"),
    "hf-bnvae train --help": (COMMAND, "train", "--help"),
    "import hf_bnvae.data": ("import torch, hf_bnvae.data",),
    "pydocs, the first time": (READING,),
    "pydocs, from then on": (READING,),
}


def started(arguments: tuple[str, ...], cache: str) -> float:
    """Seconds of a process of its own that runs code with arguments; the cache of `datasets` is in that folder."""
    environment = os.environ | {"HF_DATASETS_CACHE": cache}
    command = [sys.executable, "-c", *arguments]
    return seconds(lambda: subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="the median is of so many")
    parser.add_argument(
        "--starts", nargs="+", choices=list(STARTS)[1:], default=list(STARTS)[1:], help="by default all"
    )
    args = parser.parse_args(argv)
    chosen = ["import torch", *args.starts]
    started(STARTS["import torch"], "")  # what is read from the disk for the first time is not the program's
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in chosen:
                times[name].append(started(STARTS[name], cache))
    print(machine())
    print(f"{'':24}{'seconds':>10}{'over torch':>12}{'times torch':>13}")
    torch_seconds = times["import torch"]
    for name in chosen:
        beyond = statistics.median(a - b for a, b in zip(times[name], torch_seconds, strict=True))
        ratio = statistics.median(a / b for a, b in zip(times[name], torch_seconds, strict=True))
        print(f"{name:24}{statistics.median(times[name]):>10.2f}{beyond:>12.2f}{ratio:>13.2f}")


if __name__ == "__main__":
    main()
