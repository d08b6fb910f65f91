"""The last stage of gpu.sh: its trainings as docs/results/ has them, and its figures beside what was aimed at.

    python benchmarks/gpu_summary.py runs/gpu

Writes `results/CORPUS_gpu/NAME/` (all_results.json, config.json, run.json) for each training that ended.
"""

import argparse
import json
import shutil
from pathlib import Path

TITLES = {"bn_vae": "BN-VAE (0.7)", "vae": "VAE", "lstm_lm": "LSTM-LM"}
LARGE = "yahoo 512/1024/32"
# Words, file, figures in it (the second where it holds several sizes), and the most or the least that is aimed at.
TARGETS = (
    ("training, share of the bf16 peak", "throughput", (LARGE, "bf16: share of the bf16 peak there"), "least", 0.40),
    ("training, bf16 over fp32 at batch 32", "throughput", (LARGE, "bf16 over fp32 at batch 32"), "least", 3.0),
    ("NLL, share of the bf16 peak", "nll", (LARGE, "bf16: share of the bf16 peak"), "least", 0.60),
    ("Yahoo, minutes to convergence", "convergence", ("minutes to convergence",), "most", 10.0),
    ("largest exponent of growth", "growth", ("largest exponent",), "most", 1.1),
    (
        "BN-VAE's step over VAE's (paper: 1.04)",
        "throughput",
        (LARGE, "bf16: BN-VAE's step over VAE's there"),
        "most",
        1.04,
    ),
    ("graphs over none, yahoo, batch 32", "graphs", ("yahoo bf16", "batch 32", "ratio"), "least", 2.0),
    ("graphs over none, ptb, batch 64", "graphs", ("ptb bf16", "batch 64", "ratio"), "least", 4.0),
    ("NLL, bf16 over fp32, nats", "precision", ("NLL of bf16 over that of fp32, nats",), "most", 0.1),
)


def figure(folder: Path, name: str, keys: tuple[str, ...]) -> float | None:
    """A figure that a stage wrote; None where it did not get so far."""
    path = folder / f"{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    for key in keys:
        found = found.get(key) if found is not None else None
    return found


def print_targets(folder: Path) -> None:
    print(f"{'figure':<40}{'found':>10}{'target':>16}")
    for words, name, keys, kind, target in TARGETS:
        found = figure(folder, name, keys)
        aimed = f"at {kind} {target:g}"
        if found is None:
            print(f"{words:<40}{'-':>10}{aimed:>16}  not measured")
        else:
            met = found >= target if kind == "least" else found <= target
            print(f"{words:<40}{found:>10.3f}{aimed:>16}  {'met' if met else 'missed'}")


def kept_training(run: Path, results: Path) -> None:
    """Copy a training into the layout of docs/results/ and print its line. Its folder is named corpus-method-recipe."""
    corpus, method, recipe = run.name.split("-")
    if not (run / "all_results.json").is_file():
        print(f"{corpus:<12}{TITLES[method]:<14}{recipe:<8}did not end in time, or failed: see {run.name}.log")
        return
    found = json.loads((run / "all_results.json").read_text(encoding="utf-8"))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    seconds = found["train_seconds_without_evaluation"]
    print(
        f"{corpus:<12}{TITLES[method]:<14}{recipe:<8}{found['test_nll']:>8.2f}{found['test_ppl']:>9.2f}"
        f"{found['test_elbo']:>8.2f}{found['test_kl']:>7.2f}{found['test_mi']:>7.2f}{found['test_au']:>4.0f}"
        f"{found['train_epochs']:>8.0f}{seconds:>9.0f}"
    )
    epochs = f"PAPER_EPOCHS={found['train_epochs']:.0f} " if recipe == "paper" else ""
    kept = results / f"{corpus}_gpu" / f"{method}_{recipe}"
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("all_results.json", "config.json"):
        shutil.copy(run / name, kept / name)
    described = {
        "title": f"{TITLES[method]}, recipe {recipe}",
        "command": f"{epochs}benchmarks/gpu.sh trainings",
        "training": f"{seconds:.0f} s",
        "hardware": record["hardware"],
        "notes": f"NLL on {found['test_nll_sentences']} sentences. Several trainings side by side.",
    }
    (kept / "run.json").write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what gpu.sh wrote")
    args = parser.parse_args(argv)
    print_targets(args.folder)
    runs = sorted(path for path in args.folder.glob("models/*-*-*") if path.is_dir())
    if runs:
        print(
            f"\n{'corpus':<12}{'model':<14}{'recipe':<8}{'NLL':>8}{'PPL':>9}{'ELBO':>8}{'KL':>7}{'MI':>7}{'AU':>4}"
            f"{'epochs':>8}{'seconds':>9}"
        )
    for run in runs:
        kept_training(run, args.folder / "results")


if __name__ == "__main__":
    main()
