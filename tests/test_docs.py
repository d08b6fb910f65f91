"""The documents say what the repository does."""

import importlib
import pydoc
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

import hf_bnvae
from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration, BnVaeForConditionalGeneration
from hf_bnvae.cli import train
from hf_bnvae.cli.main import COMMANDS
from hf_bnvae.data import build_tokenizer
from tests.helpers import flags

ROOT = Path(__file__).parents[1]
RUN_TUTORIAL = ROOT / "docs" / "run_tutorial.py"
toy_sentences = importlib.import_module("hf_bnvae.data.toy_sentences")
OF_OTHER_TOOLS = {"--strict"}
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


def test_the_page_of_earlier_runs_holds_the_results_that_are_committed():
    command = [sys.executable, ROOT / "benchmarks" / "results_table.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def what_the_documents_name(tmp_path_factory):
    """A folder with the files that Python blocks read: my.txt, test.tsv, and models of both kinds."""
    folder = tmp_path_factory.mktemp("documents")
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


DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON_BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```python\n(?P<code>.*?)^```", re.S | re.M)
BLOCKS_NOT_RUN = re.compile("<!-- blocks not run: [^>]+ -->")


def python_blocks(document: Path) -> list[str]:
    """The Python blocks of a document, but for those that a comment says why not to run."""
    text = document.read_text(encoding="utf-8")
    if BLOCKS_NOT_RUN.search(text):
        return []
    return [block["code"] for block in PYTHON_BLOCK.finditer(text) if block["reason"] is None]


@pytest.mark.parametrize("document", list(filter(python_blocks, DOCUMENTS)), ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "together",
    [pytest.param(False, id="each by itself"), pytest.param(True, id="as one program", marks=pytest.mark.slow)],
)
def test_every_python_block_of_the_documents_runs_as_printed(
    what_the_documents_name, monkeypatch, tmp_path, document, together
):
    for split, size in {"train": 300, "validation": 20, "test": 20}.items():
        monkeypatch.setitem(toy_sentences.SENTENCES_OF_SPLITS, split, size)
    folder = shutil.copytree(what_the_documents_name, tmp_path / "folder")
    monkeypatch.chdir(folder)
    scope: dict = {"__name__": "__main__"}
    for block in python_blocks(document):
        exec(block, scope if together else {"__name__": "__main__"})


def test_the_trainer_of_the_documents_learns(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(toy_sentences.SENTENCES_OF_SPLITS, "train", 600)
    drawn = [sentence.sentence() for sentence in toy_sentences.toy_sentences()["train"]]
    Path("my.txt").write_text("\n".join(drawn) + "\n", encoding="utf-8")
    (block,) = (block for block in python_blocks(ROOT / "docs" / "train.md") if "VaeTrainer(" in block)
    scope: dict = {"__name__": "__main__"}
    exec(block, scope)
    trainer = scope["trainer"]
    assert trainer.state.best_metric == trainer.evaluate()["eval_elbo"]
    new = type(trainer)(
        BnVaeForConditionalGeneration(scope["config"]),
        trainer.args,
        eval_dataset=trainer.eval_dataset,
        processing_class=trainer.processing_class,
    )
    assert trainer.state.best_metric < 0.85 * new.evaluate()["eval_elbo"]


def test_most_blocks_are_run():
    blocks = [block for document in DOCUMENTS for block in python_blocks(document)]
    left_out = [block for document in DOCUMENTS for block in PYTHON_BLOCK.finditer(document.read_text("utf-8"))]
    assert len(blocks) >= 12
    assert sum(block["reason"] is not None for block in left_out) <= 3


def test_the_readme_can_be_read_in_ten_minutes():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    assert max(map(len, lines)) <= 200


def test_every_link_and_script_in_the_documents_exists():
    for document in [*DOCUMENTS, ROOT / "CHANGELOG.md"]:
        text = document.read_text(encoding="utf-8")
        for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\((?!http)([^) ]+)\)", text)):
            page = document.parent / target if target else document
            assert page.exists(), f"{document.name}: {target}"
            if anchor and page.suffix == ".md":
                assert anchor in anchors(page), f"{document.name}: {target}#{anchor}"
        for script in re.findall(r"(?:run_scripts|benchmarks|docs)/[\w/]+\.(?:py|sh|yaml)", text):
            assert (ROOT / script).exists(), f"{document.name}: {script}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def checker(monkeypatch):
    monkeypatch.syspath_prepend(str(RUN_TUTORIAL.parent))
    return importlib.import_module("run_tutorial")


def test_every_command_in_the_documents_exists_and_has_the_flags_that_they_give_it(checker):
    assert [fault for document in DOCUMENTS for fault in checker.find_faults(document)] == []


def test_every_flag_that_the_documents_speak_of_exists(checker):
    ours = set().union(*(checker.flags_of(module) for module in checker.modules()))
    ours |= checker.flags_of("explore", ("report",)) | checker.flags_of("explore", ("serve",))
    ours |= checker.flags_of("human_eval", ("export",)) | checker.flags_of("human_eval", ("score",))
    scripts = [*(ROOT / "benchmarks").glob("*.py"), RUN_TUTORIAL]
    theirs = set(re.findall(r'"(--[a-z][\w-]*)"', "".join(path.read_text(encoding="utf-8") for path in scripts)))
    launcher = {name for action in launch_command_parser()._actions for name in action.option_strings}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        code = [*re.findall(r"^```.*?^```", text, re.S | re.M), *re.findall(r"`([^`\n]+)`", text)]
        spoken_of = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(code)))
        assert spoken_of - ours - theirs - launcher - OF_OTHER_TOOLS == set(), document.name


def test_every_command_stands_in_the_quick_start():
    page = (ROOT / "docs" / "quick_start.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"| `hf-bnvae {command}` | `run_scripts/" in page, command
    extras = (ROOT / "pyproject.toml").read_text("utf-8").partition("[project.optional-dependencies]")[2]
    for extra in re.findall(r"^([\w-]+) = \[", extras.partition("\n[")[0], re.M):
        assert f"| `{extra}` |" in page, extra


def test_every_launch_configuration_is_one_of_accelerate_and_is_documented():
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "run_scripts" / "accelerate_configs").glob("*")):
        assert path.name in page, path.name
        if path.suffix == ".yaml":
            config = load_config_from_file(str(path))
            assert f"--config_file run_scripts/accelerate_configs/{path.name}" in path.read_text(encoding="utf-8")
            assert config.use_cpu or config.mixed_precision == "bf16"


@pytest.mark.slow
def test_the_scripts_flags_and_pictures_of_the_tutorial_exist():
    done = run_tutorial("--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
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


def test_the_citation_and_the_changelog_know_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == hf_bnvae.__version__
    assert f"\n## {hf_bnvae.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_transformers_is_bounded_by_what_is_tested_and_the_documents_say_so():
    (bound,) = re.findall(r'"(transformers>=[^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pinned,) = re.findall(r"^transformers==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    least, below = re.fullmatch(r"transformers>=([\d.]+),<5\.(\d+)", bound).groups()
    assert pinned.startswith(f"5.{int(below) - 1}.")
    for page in ("README.md", "docs/quick_start.md"):
        words = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        assert f"transformers {least} to 5.{int(below) - 1}" in words, page


def test_every_page_stands_on_the_site():
    """`mkdocs build --strict` refuses pages that are not in the navigation; it is not installed for the tests."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = set(re.findall(r"[\w/]+\.md", str(site["nav"])))
    assert {page for page in named if not (ROOT / "docs" / page).is_file()} == set()
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in [*docs.glob("*.md"), *docs.rglob("README.md")]}
    assert {page for page in pages if not page.startswith("results/evidence/")} <= named


def test_what_the_reference_names_exists():
    for page in (ROOT / "docs" / "api").glob("*.md"):
        for name, members in re.findall(r"^::: ([\w.]+)\n((?: .*\n|\n)*)", page.read_text(encoding="utf-8"), re.M):
            found = pydoc.locate(name)
            assert found is not None, f"{page.name}: {name}"
            listed = re.findall(r"^ +- (\w+)$", members, re.M) or re.findall(r"members: \[(.*)\]", members)
            for member in ", ".join(listed).split(", ") if listed else ():
                assert hasattr(found, member), f"{page.name}: {name}.{member}"


def test_workflows_and_templates_are_yaml_and_call_targets_that_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for path in [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path.name
        assert set(re.findall(r"run: make ([\w-]+)", path.read_text(encoding="utf-8"))) <= targets, path.name


def test_cleaning_keeps_what_was_trained():
    done = subprocess.run(["make", "--dry-run", "clean"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and ".venv" in done.stdout and "runs" not in done.stdout
