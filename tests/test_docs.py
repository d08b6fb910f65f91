"""The documents say what the repository does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration
from hf_bnvae.cli import train
from hf_bnvae.data import build_tokenizer
from tests.helpers import flags

ROOT = Path(__file__).parents[1]
RUN_TUTORIAL = ROOT / "docs" / "run_tutorial.py"
TINY = """# Tiny

```python
number = 6 * 7
```

```bash
touch made
echo "one   "; python -c 'import sys; print(sys.executable)' | grep -c /
```

```text
stale
lines
```

Words between.

```python
print(number)
```

```text
```

```sh
touch never_made
```
"""


def run_tutorial(*arguments):
    return subprocess.run([sys.executable, RUN_TUTORIAL, *arguments], capture_output=True, text=True)


@pytest.fixture
def tiny(tmp_path):
    """A tutorial whose blocks run beside it, with other words in the place of some of its own."""

    def make(old: str = "", new: str = "") -> Path:
        path = tmp_path / "tiny.md"
        path.write_text(TINY.replace(old, new) if old else TINY, encoding="utf-8")
        return path

    return make


def test_the_readme_holds_the_results_that_are_committed():
    command = [sys.executable, ROOT / "benchmarks" / "results_table.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def a_place_for_the_readme(tmp_path_factory):
    """A folder with what README.md calls out, my.txt, test.tsv and the dialogue demo's model."""
    folder = tmp_path_factory.mktemp("readme")
    texts = ["the food was great", "never again", "good food", "bad food", "good service", "the service was bad"] * 8
    (folder / "my.txt").write_text("\n".join(texts) + "\n")
    (folder / "test.tsv").write_text("".join(f"{row % 2}\t{text}\n" for row, text in enumerate(texts)))
    train.main([*flags(None, folder / "out", train_file=folder / "my.txt"), "--validation_file", f"{folder}/my.txt"])
    tokenizer = build_tokenizer(["do you have any pets", "yes i do", "no"])
    sizes = {"utterance_hidden_size": 5, "context_hidden_size": 6, "prior_hidden_size": 4, "embedding_size": 8}
    config = BnCvaeConfig(vocab_size=len(tokenizer), hidden_size=12, latent_size=4, **sizes)
    for part in (BnCvaeForConditionalGeneration(config), tokenizer):
        part.save_pretrained(folder / "runs" / "demo_dialogue" / "bn_cvae")
    return folder


PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize("number", [*range(len(PYTHON_BLOCKS)), "in order"])
def test_every_python_block_of_the_readme_runs_as_printed(a_place_for_the_readme, monkeypatch, number):
    assert len(PYTHON_BLOCKS) >= 5
    monkeypatch.chdir(a_place_for_the_readme)
    scope: dict = {}
    for block in PYTHON_BLOCKS if number == "in order" else [PYTHON_BLOCKS[number]]:
        exec(block, scope)


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


def test_the_scripts_flags_and_pictures_of_the_tutorial_exist():
    done = run_tutorial("--check")
    assert done.returncode == 0, done.stderr


def test_a_tutorial_that_names_what_is_not_there_is_refused(tiny):
    commands = """python run_scripts/explore.py report out \\
    --max_samples 2 --colour red | grep --count x
python run_scripts/missing.py"""
    document = tiny("touch made", commands)
    document.write_text(document.read_text().replace("6 * 7", "6 *") + "![a map](map.png)\n")
    done = run_tutorial(document, "--check")
    assert done.returncode == 1
    assert done.stderr.removeprefix("run_tutorial.py: error: ").strip().split("; ") == [
        "tiny.md, line 3: the block is no Python (invalid syntax)",
        "tiny.md, line 7: explore.py has no --colour",
        "tiny.md, line 7: there is no run_scripts/missing.py",
        "tiny.md: there is no map.png",
    ]


def test_a_tutorial_is_written_anew_with_what_its_blocks_print(tiny, tmp_path):
    document = tiny()
    assert run_tutorial(document, "--folder", tmp_path).returncode == 0
    once = document.read_text()
    assert once == TINY.replace("stale\nlines\n", "one\n1\n").replace("```text\n```", "```text\n42\n```")
    assert (tmp_path / "made").exists() and not (tmp_path / "never_made").exists()
    assert run_tutorial(document, "--folder", tmp_path).returncode == 0
    assert document.read_text() == once


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("touch made", "false | cat", "line 7: the bash block failed: it ended with status 1"),
        ("print(number)", "1 / 0", "line 19: the python block failed: ZeroDivisionError: division by zero"),
        ("print(number)", "print('```')", "line 19: the block prints ```, which would end its output"),
    ],
)
def test_a_tutorial_stops_at_a_block_that_fails_and_stays_as_it_was(tiny, tmp_path, old, new, said):
    document = tiny(old, new)
    before = document.read_text()
    done = run_tutorial(document, "--folder", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"run_tutorial.py: error: tiny.md, {said}"
    assert document.read_text() == before


def test_a_document_or_a_folder_that_is_not_there_is_named(tiny, tmp_path):
    for arguments, said in (
        ((tmp_path / "none.md",), f"there is no document {tmp_path / 'none.md'}"),
        ((tiny(), "--folder", tmp_path / "none"), f"--folder {tmp_path / 'none'} is no folder"),
    ):
        done = run_tutorial(*arguments)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == f"run_tutorial.py: error: {said}"
