"""Write docs/performance.md: what the CPU benchmarks print on this machine, and what gpu.sh printed on another.

    python benchmarks/performance.py
    python benchmarks/performance.py --sections Growth Memory        (these again, the others as they stand)
    python benchmarks/performance.py --quick --output_file FILE     (tiny sizes, to see that everything runs)

Of a GPU it shows the .txt files under docs/results/gpu/, where there are any.
"""

import argparse
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GPU_RESULTS = ROOT / "docs" / "results" / "gpu"
INTRODUCTION = """# Performance

Made by `python benchmarks/performance.py`: every block is a command and what it printed, and every ratio comes from one
run. The first line of a block names the machine. Compare shares and ratios between machines, not seconds."""


@dataclass(frozen=True)
class Section:
    """A heading, what the reader should know, the command, and flags that make it small."""

    heading: str
    prose: str
    command: str
    small: str


SECTIONS = (
    Section(
        "Training",
        "A step is forward, backward, clipping and the optimiser. The share is the rate of the model's arithmetic over "
        "the best rate of a matrix product on the same machine, in the same precision.",
        "benchmarks/train_throughput.py",
        "--sizes 'ptb 256/256/32' --steps 1 --batch_sizes 2 --precisions fp32",
    ),
    Section(
        "Where a step in fp32 goes",
        "The recipe fast on one thread: shares of a step, what it reaches of the matrix peak, and the step over one "
        "whose output layer takes logits a row a token. The LSTM is oneDNN's; products are the output layer's, but for "
        "a few. Sparse gradients of word vectors could save their column and a part of AdamW's and of clipping's.",
        "benchmarks/step_profile.py",
        "--sizes 'ptb 256/256/32' --steps 1 --batch_size 2",
    ),
    Section(
        "The importance-weighted likelihood",
        "The encoder runs once a sentence, the decoder once a sample.",
        "benchmarks/nll_throughput.py",
        "--sizes 'ptb 256/256/32' --num_samples 2 --sentences 1 --repeats 1 --precisions fp32",
    ),
    Section(
        "Memory",
        "What a call adds to model and optimiser, over what the logits of every word alone would take.",
        "benchmarks/memory.py",
        "--batch_sizes 2 --lengths 3 --vocab_sizes 50 --num_samples 2 --embedding_size 8 --hidden_size 8 "
        "--precisions fp32",
    ),
    Section(
        "Corpora larger than memory",
        "Short trainings by `run_lm.py --streaming` on generated text, vocabulary and tokenisation included.",
        "benchmarks/memory.py --streaming 100 2000",
        "--streaming 1 2",
    ),
    Section(
        "Growth",
        "An exponent of one is linear growth; fixed costs pull it under one.",
        "benchmarks/growth.py",
        "--quick",
    ),
    Section(
        "bf16",
        "The same training twice, from one seed.",
        "benchmarks/precision.py",
        "--dataset_name pydocs --max_train_samples 64 --max_eval_samples 8 --nll_samples 2 --hidden_size 8 "
        "--embedding_size 8 --latent_size 4 --num_train_epochs 1 --kl_annealing_epochs 0.5",
    ),
    Section(
        "Processes",
        "The same steps on one process and on two that share the cores; see [From one process to many](scaling.md).",
        "benchmarks/scaling.py",
        "--processes 1 --batch_size 4 --hidden_size 8 --steps 2 --rounds 1",
    ),
    Section(
        "Start-up",
        "Processes of their own. Transformers' Trainer, which training takes, is imported when it is needed; the "
        "built-in corpus is parsed once for each version of Python.",
        "benchmarks/startup.py",
        "--rounds 1 --starts 'hf-bnvae --help'",
    ),
)


def shown(section: Section, quick: bool) -> str:
    """A section with the output of its command."""
    command = f"{section.command} {section.small}" if quick else section.command
    print(f"{section.heading}: {command}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, *shlex.split(command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    prose = textwrap.fill(section.prose, 120)
    return f"## {section.heading}\n\n{prose}\n\n```\n$ python {command}\n{done.stdout.strip()}\n```"


def standing(path: Path) -> dict[str, str]:
    """The sections of a page that was written before, by their headings."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {block.partition("\n")[0]: f"## {block.strip()}" for block in re.split(r"^## ", text, flags=re.M)[1:]}


def on_gpu() -> list[str]:
    """What gpu.sh printed, a heading for each file, the summary first."""
    paths = sorted(GPU_RESULTS.glob("*.txt"), key=lambda path: (path.stem != "summary", path.stem))
    if not paths:
        return []
    parts = [f"### {path.stem}\n\n```\n{path.read_text(encoding='utf-8').strip()}\n```" for path in paths]
    return ["## On a GPU\n\nWhat the stages of `benchmarks/gpu.sh` printed, on one machine.", *parts]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_file", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; the figures mean nothing")
    headings = [section.heading for section in SECTIONS]
    parser.add_argument("--sections", nargs="+", choices=headings, default=headings, help="by default all")
    args = parser.parse_args(argv)
    blocks = standing(args.output_file)
    for section in SECTIONS:
        if section.heading in args.sections:
            blocks[section.heading] = shown(section, args.quick)
            parts = [INTRODUCTION, *(blocks[heading] for heading in headings if heading in blocks), *on_gpu()]
            args.output_file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
