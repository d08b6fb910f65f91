"""The documents say what the repository does."""

import re
import subprocess
import sys
from pathlib import Path

from accelerate.commands.config.config_args import load_config_from_file

ROOT = Path(__file__).parents[1]


def test_the_readme_holds_the_results_that_are_committed():
    command = [sys.executable, ROOT / "benchmarks" / "results_table.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_link_and_script_in_the_documents_exists():
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
        for script in re.findall(r"(?:run_scripts|benchmarks)/[\w/]+\.(?:py|sh|yaml)", text):
            assert (ROOT / script).exists(), f"{document.name}: {script}"


def test_every_launch_configuration_is_one_of_accelerate_and_is_documented():
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "run_scripts" / "accelerate_configs").glob("*")):
        assert path.name in page, path.name
        if path.suffix == ".yaml":
            config = load_config_from_file(str(path))
            assert f"--config_file run_scripts/accelerate_configs/{path.name}" in path.read_text(encoding="utf-8")
            assert config.use_cpu or config.mixed_precision == "bf16"
