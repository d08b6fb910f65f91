"""Write the tables of README.md from the runs under docs/results/.

    python benchmarks/results_table.py            (rewrites README.md)
    python benchmarks/results_table.py --check    (fails when README.md is not what the results say)

A run is a folder docs/results/CORPUS/NAME with `all_results.json`, and `run.json` that says in words what it was:
`title`, `command`, `training` (its seconds), `hardware`, `notes`; the corpus has its heading in README.md. A comparison
is a folder with what compare.py wrote, a classification one with the results.md of run_classification.py as
classification.md, and a sweep one of folders with `all_results.json`, named for what they differ in. Of every README.md
the first paragraphs, up to a line of dashes, stand in README.md, with a link to the rest. A folder with no README.md,
such as what gpu.sh printed, is left out.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
START, END = "<!--results-->", "<!--/results-->"
# Pages with a table, and what the page of their folder has beside it.
PAGES = {
    "comparison.md": "The command, the times, the pictures, and what they show",
    "classification.md": "The command, and what it shows",
}
SENTENCES = (
    ("NLL", "test_nll", ".2f"),
    ("PPL", "test_ppl", ".2f"),
    ("ELBO", "test_elbo", ".2f"),
    ("KL", "test_kl", ".2f"),
    ("MI", "test_mi", ".2f"),
    ("AU", "test_au", ".0f"),
)
DIALOGUES = (
    ("rec. PPL", "test_rec_ppl", ".2f"),
    ("KL", "test_kl", ".2f"),
    ("KL prior", "test_kl_prior", ".2f"),
    ("BLEU P", "test_bleu_precision", ".2f"),
    ("BLEU R", "test_bleu_recall", ".2f"),
    ("A-bow P", "test_abow_precision", ".2f"),
    ("A-bow R", "test_abow_recall", ".2f"),
    ("E-bow P", "test_ebow_precision", ".2f"),
    ("E-bow R", "test_ebow_recall", ".2f"),
    ("distinct-1", "test_distinct_1", ".2f"),
    ("words", "test_average_length", ".1f"),
)


def corpus_table(folder: Path) -> str:
    heading, _, rest = (folder / "README.md").read_text(encoding="utf-8").strip().partition("\n---\n")
    paths = sorted(folder.glob("*/all_results.json"))
    lines = [heading.strip()]
    if rest:
        lines += ["", link(folder, "The command, the figures, and what they show")]
    if paths:
        runs = [json.loads((path.parent / "run.json").read_text(encoding="utf-8")) for path in paths]
        lines += ["", results_table("", paths, [run["title"] for run in runs], [run["training"] for run in runs]), ""]
        origins: dict[str, list[str]] = {}
        for run in runs:
            origins.setdefault(f"`{run['command']}`. {run['hardware']}. {run['notes']}".rstrip(), []).append(
                run["title"]
            )
        lines += [f"- {'; '.join(titles)}: {origin}" for origin, titles in origins.items()]
    for name, more in PAGES.items():
        for path in sorted(folder.glob(f"*/{name}")):
            lines += ["", with_heading(path.parent, first_table(path), more)]
    for sweep in sorted({path.parents[1] for path in folder.glob("*/*/all_results.json")}):
        paths = sorted(sweep.glob("*/all_results.json"))
        table = results_table(sweep.name, paths, [path.parent.name for path in paths])
        lines += ["", with_heading(sweep, table, "The command, and what it shows")]
    return "\n".join(lines)


def results_table(name: str, paths: list[Path], titles: list[str], training: list[str] | None = None) -> str:
    """A row for each run; the columns are those of what was trained."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    columns = DIALOGUES if "test_rec_ppl" in results[0] else SENTENCES
    head = [name, *(title for title, _, _ in columns), *(["epochs", "training"] if training else [])]
    rows = [
        [title, *(format(found[key], form) for _, key, form in columns)]
        for title, found in zip(titles, results, strict=True)
    ]
    for cells, found, seconds in zip(rows, results, training or [], strict=False):
        cells += [f"{found['train_epochs']:.0f}", seconds]
    return "\n".join([table_row(head), "|" + "---|" * len(head), *map(table_row, rows)])


def table_row(cells: list[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def first_table(path: Path) -> str:
    text = path.read_text(encoding="utf-8").strip()
    return re.search(r"^[|].*?(?=\n\n|\Z)", text, flags=re.DOTALL | re.MULTILINE)[0]


def with_heading(folder: Path, table: str, more: str) -> str:
    """A table under the first paragraphs of its folder's page, with a link to the rest."""
    head = (folder / "README.md").read_text(encoding="utf-8").split("\n---\n")[0].strip()
    return f"{head}\n\n{table}\n\n{link(folder, more)}"


def link(folder: Path, text: str) -> str:
    return f"{text}: [{folder.name}]({folder.relative_to(ROOT)}/README.md)."


def rendered() -> str:
    tables = "\n\n".join(
        corpus_table(folder) for folder in sorted(RESULTS.iterdir()) if (folder / "README.md").exists()
    )
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
