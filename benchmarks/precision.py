"""The same training in fp32 and in bf16: the NLL of both on the test split, and how far they lie apart.

    python benchmarks/precision.py
    python benchmarks/precision.py --dataset_name FOLDER --size ptb     (any flag of run_lm.py)

By default the BN-VAE of `make demo` on the built-in corpus. One seed for both; the device is what `Trainer` finds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import machine, write_figures

from hf_bnvae.training.recipes import bf16_pays

RUN_LM = Path(__file__).parents[1] / "run_scripts" / "run_lm.py"
SMALL = {"dataset_name": "pydocs", "min_count": 2, "embedding_size": 128, "hidden_size": 128, "latent_size": 16}
SMALL |= {"num_train_epochs": 8, "kl_annealing_epochs": 4, "nll_samples": 100}


def trained(bf16: bool, flags: list[str]) -> dict:
    """The results of one training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, RUN_LM, *flags, "--bf16", str(bf16).lower(), "--output_dir", f"{folder}/run"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        return {
            **json.loads(Path(folder, "run", "all_results.json").read_text(encoding="utf-8")),
            "hardware": json.loads(Path(folder, "run", "run.json").read_text(encoding="utf-8"))["hardware"],
        }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--json_file", type=Path, help="write the figures here as well")
    args, flags = parser.parse_known_args(argv)
    if not bf16_pays():
        print(f"{machine()}: this machine does not multiply in bf16, there is nothing to compare")
        return
    if not {"--dataset_name", "--train_file"} & set(flags):
        flags = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))] + flags
    figures = {}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        found = trained(bf16, ["--seed", "1", *flags])
        print(
            f"{found['hardware']}: NLL {found['test_nll']:.3f}, ELBO {found['test_elbo']:.3f}, "
            f"KL {found['test_kl']:.3f} after {found['train_epochs']:.0f} epochs, "
            f"{found['train_tokens_per_second']:,.0f} tokens/s",
            flush=True,
        )
        figures[f"{name}: NLL"] = found["test_nll"]
    figures["NLL of bf16 over that of fp32, nats"] = figures["bf16: NLL"] - figures["fp32: NLL"]
    print(f"bf16 - fp32: {figures['NLL of bf16 over that of fp32, nats']:+.3f} nats a sentence")
    write_figures(args.json_file, figures)


if __name__ == "__main__":
    main()
