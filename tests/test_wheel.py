"""The wheel: what it holds, and that a clean environment trains with it alone."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "hf_bnvae", "hf_bnvae_command.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing is left beside the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    subprocess.run(command, cwd=folder, check=True)
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel; what the wheel depends on is taken from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    paths = {"base": str(folder), "platbase": str(folder)}
    site_packages = Path(sysconfig.get_path("purelib", "venv" if sys.version_info >= (3, 11) else None, paths))
    command = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-index", wheel], check=True, env=without_this_tree())
    # After the installation: pip would find this package among them.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def without_this_tree() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(environment: Path, folder: Path, *command) -> subprocess.CompletedProcess:
    return subprocess.run(
        [environment / "bin" / command[0], *command[1:]],
        cwd=folder,
        env=without_this_tree() | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_the_wheel_holds_every_file_of_the_package_and_the_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        commands = archive.read(entry_points).decode()
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "hf_bnvae").rglob("*") if path.is_file()}
    assert {name for name in package if "__pycache__" not in name} <= names
    assert not any(name.startswith(("tests/", "run_scripts/", "benchmarks/")) for name in names)
    assert re.search(r"^hf-bnvae *= *hf_bnvae_command:main$", commands, re.MULTILINE)


def test_the_installed_command_trains_and_compares_far_from_the_repository(environment, tmp_path):
    where = run(environment, tmp_path, "python", "-c", "import hf_bnvae; print(hf_bnvae.__file__)")
    assert where.stdout.startswith(str(environment)), where.stderr
    small = ["--dataset_name", "pydocs", "--max_train_samples", "64", "--max_eval_samples", "16", "--hidden_size", "16"]
    small += ["--max_steps", "2", "--nll_samples", "2"]
    done = run(environment, tmp_path, "hf-bnvae", "train", *small, "--output_dir", "x")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "x" / "model.safetensors").is_file()
    card = (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
    assert "hf-bnvae train --dataset_name pydocs" in card
    done = run(environment, tmp_path, "hf-bnvae", "compare", "--methods", "vae", *small, "--output_dir", "y")
    assert done.returncode == 0, done.stderr[-3000:]


def test_accelerate_launches_the_module_of_a_command(environment, tmp_path):
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "1"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    done = run(environment, tmp_path, "python", *launch, "-m", "hf_bnvae.cli.train", "--train_file", "missing.txt")
    assert done.returncode != 0 and "hf-bnvae train: error: missing.txt does not exist" in done.stderr
