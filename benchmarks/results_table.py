"""Write the tables of README.md from the runs under docs/results/.

    python benchmarks/results_table.py            (rewrites README.md)
    python benchmarks/results_table.py --check    (fails when README.md is not what the results say)

A run is a folder docs/results/CORPUS/NAME with `all_results.json`, and `run.json` that says in words what it was:
`title`, `command`, `training` (its seconds), `hardware`, `notes`; the corpus has its heading in README.md. A comparison
is a folder with what compare.py wrote, and a README.md whose first paragraphs, up to a line of dashes, head its table.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
START, END = "<!--results-->", "<!--/results-->"
COLUMNS = (("NLL", "test_nll"), ("PPL", "test_ppl"), ("ELBO", "test_elbo"), ("KL", "test_kl"), ("MI", "test_mi"))


def corpus_table(folder: Path) -> str:
    heading = (folder / "README.md").read_text(encoding="utf-8").strip()
    lines = [
        heading,
        "",
        "| | NLL | PPL | ELBO | KL | MI | AU | epochs | training |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for path in sorted(folder.glob("*/all_results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        run = json.loads((path.parent / "run.json").read_text(encoding="utf-8"))
        cells = [run["title"], *(f"{results[key]:.2f}" for _, key in COLUMNS)]
        cells += [f"{results['test_au']:.0f}", f"{results['train_epochs']:.0f}", run["training"]]
        lines.append("| " + " | ".join(cells) + " |")
        notes.append(f"- {run['title']}: `{run['command']}`. {run['hardware']}. {run['notes']}".rstrip())
    lines = [*lines, "", *notes] if notes else [heading]
    for path in sorted(folder.glob("*/comparison.md")):
        lines += ["", comparison_table(path)]
    return "\n".join(lines)


def comparison_table(path: Path) -> str:
    head = (path.parent / "README.md").read_text(encoding="utf-8").split("\n---\n")[0].strip()
    table = re.search(r"^[|] method .*?(?=\n\n)", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    link = f"[{path.parent.name}]({path.parent.relative_to(ROOT)}/README.md)"
    return f"{head}\n\n{table[0]}\n\nThe command, the times, the pictures, and what they show: {link}."


def rendered() -> str:
    tables = "\n\n".join(corpus_table(folder) for folder in sorted(RESULTS.iterdir()) if folder.is_dir())
    return f"{START}\n{tables}\n{END}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when README.md is out of date")
    args = parser.parse_args()
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = re.sub(f"{START}.*{END}|{START}", lambda _: rendered(), before, flags=re.DOTALL)
    if not args.check:
        readme.write_text(after, encoding="utf-8")
    elif before != after:
        sys.exit("README.md does not say what docs/results says: run benchmarks/results_table.py")


if __name__ == "__main__":
    main()
