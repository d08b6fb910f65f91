"""What CONTRIBUTING.md says that a new piece costs is all that it costs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PASTED = re.compile(
    r"^In `(?P<file>[\w/.]+)`, (?P<where>before|behind) `(?P<line>[^\n]+)`:\n\n```(?:python|text)\n(?P<code>.*?)^```",
    re.M | re.S,
)


@pytest.fixture
def package_with(tmp_path):
    """A copy of the package with the blocks of a section of CONTRIBUTING.md pasted into it."""

    def make(section: str) -> Path:
        shutil.copytree(ROOT / "hf_bnvae", tmp_path / "hf_bnvae", ignore=shutil.ignore_patterns("__pycache__"))
        page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        blocks = list(PASTED.finditer(text))
        assert len(blocks) == text.count("\n```\n")
        for block in blocks:
            path = tmp_path / block["file"]
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            index = next(number for number, line in enumerate(lines) if block["line"] in line)
            blank = "" if block["code"].startswith(" ") else "\n\n"
            lines.insert(index + (block["where"] == "behind"), block["code"].rstrip("\n") + "\n" + blank)
            path.write_text("".join(lines), encoding="utf-8")
        return tmp_path

    return make


def train(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    data = ["--dataset_name", "toy_sentences", "--max_train_samples", "64", "--max_eval_samples", "16"]
    sizes = ["--hidden_size", "16", "--embedding_size", "8", "--latent_size", "4"]
    short = ["--max_steps", "2", "--nll_samples", "2", "--output_dir", "out"]
    return subprocess.run(
        [sys.executable, "-m", "hf_bnvae.cli.train", *data, *sizes, *short, *flags],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_a_new_posterior_has_its_flags_and_its_bound_and_trains(package_with):
    folder = package_with("Add a posterior")
    refused = train(folder, "--method", "vae", "--variance_ceiling", "0.5")
    assert refused.returncode != 0
    assert "--variance_ceiling is read by the posterior bounded_variance only" in refused.stderr
    done = train(folder, "--method", "bounded_vae", "--rate", "3")
    assert done.returncode == 0, done.stderr[-3000:]
    config = json.loads((folder / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["posterior"] == "bounded_variance" and 0 < config["variance_ceiling"] < 1
    assert json.loads((folder / "out" / "all_results.json").read_text(encoding="utf-8"))["test_kl"] >= 3
    assert "ceiling − 1 − log ceiling" in (folder / "out" / "README.md").read_text(encoding="utf-8")


def test_a_new_encoder_is_a_class_and_a_line_and_trains(package_with):
    folder = package_with("Add an encoder")
    done = train(folder, "--method", "bn_vae", "--encoder", "mean")
    assert done.returncode == 0, done.stderr[-3000:]
    config = json.loads((folder / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["encoder"] == "mean"
    refused = train(
        folder, "--method", "bn_vae", "--encoder", "mean", "--encoder_hidden_size", "8", "--output_dir", "o"
    )
    assert "--encoder_hidden_size is read by the encoder lstm or given only" in refused.stderr
