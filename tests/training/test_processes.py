"""N processes take the steps of one, and their metrics are of the whole split, each sentence once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.training.train_on_processes import VAES

NAMES = (*VAES, "bn_cvae")
START_SECONDS = 60  # to import everything twice on a busy machine
SCRIPT = Path(__file__).with_name("train_on_processes.py")


def launched(folder: Path, processes: int, corpus: Path, *earlier: Path) -> Path:
    """Everything trained by `accelerate launch` on so many processes over gloo, and gone on with from `earlier`."""
    done = launch(SCRIPT, processes, folder, corpus, *earlier)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def launch(script: Path, processes: int, *arguments: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_processes", str(processes)]
    command += ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ["--cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    environment["PYTHONPATH"] = str(ROOT)
    environment["HF_DATASETS_CACHE"] = str(arguments[0] / "cache")
    return subprocess.run(
        [*command, script, *arguments], env=environment, capture_output=True, text=True, timeout=300, cwd=ROOT
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """55 training sentences in two shards, with empty lines between, and splits that no number of processes divides."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, count in (("train-0", 28), ("train-1", 27), ("valid", 13), ("test", 17)):
        texts = [" ".join(f"w{row * 7 % 11 * place % 23}" for place in range(3 + row % 6)) for row in range(count)]
        (folder / f"{name}.txt").write_text("\n\n".join(texts) + "\n")
    return folder


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    return launched(tmp_path_factory.mktemp("processes") / "1", 1, corpus)


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def together(request, alone, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes") / str(request.param)
    return launched(folder, request.param, corpus, alone), request.param


@pytest.mark.parametrize("name", NAMES)
def test_processes_take_the_steps_of_one(alone, together, name):
    folder, processes = together
    one, several = (json.loads((root / name / "record.json").read_text()) for root in (alone, folder))
    assert (one["world_size"], several["world_size"]) == (1, processes)
    assert len(one["logs"]) == len(several["logs"]) == (12 if name == "aggressive" else 50)
    for first, second in zip(one["logs"], several["logs"], strict=True):
        for part in {"loss", "rec", "kl", "kl_prior"} & first.keys():
            assert second[part] == pytest.approx(first[part], rel=1e-5, abs=1e-6), (first["step"], part)
    first, second = (load_file(root / name / "weights.safetensors") for root in (alone, folder))
    for key in first:
        torch.testing.assert_close(second[key], first[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_of_the_whole_split(alone, together, name):
    one, several = (json.loads((root / name / "record.json").read_text())["metrics"] for root in (alone, together[0]))
    assert one.keys() == several.keys()
    for metric in one:
        assert several[metric] == pytest.approx(one[metric], rel=1e-4, abs=1e-5), metric


def test_a_run_goes_on_with_other_processes(alone, together):
    first = load_file(alone / "bn_vae" / "weights.safetensors")
    second = load_file(together[0] / "resumed" / "weights.safetensors")
    for key in first:
        torch.testing.assert_close(second[key], first[key], rtol=1e-4, atol=1e-5)


def test_a_streamed_run_is_shared_out_too(alone, together):
    """Also with more processes than shards."""
    folder, processes = together
    one, several = (results_of(root / "streamed") for root in (alone, folder))
    assert (one["world_size"], several["world_size"]) == (1, processes)
    assert one.keys() == several.keys() and one["train_sentences"] == 55
    for name in one.keys() - {"world_size"}:
        if not any(word in name for word in ("second", "runtime")):
            assert several[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    first, second = (losses(root / "streamed") for root in (alone, folder))
    assert len(first) == one["train_steps"] > 12 and second == pytest.approx(first, rel=1e-5)
    assert_same_weights(alone / "streamed", folder / "streamed")


def test_a_streamed_run_goes_on_with_other_processes_in_the_middle_of_an_epoch(alone, together):
    state = json.loads((alone / "streamed" / "checkpoint-8" / "trainer_state.json").read_text())
    assert state["epoch"] % 1
    assert losses(together[0] / "streamed_on") == pytest.approx(losses(alone / "streamed"), rel=1e-5)
    assert_same_weights(alone / "streamed", together[0] / "streamed_on")


def results_of(folder):
    return json.loads((folder / "all_results.json").read_text())


def losses(folder):
    """At every step, those before a checkpoint as well."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [log["loss"] for log in history if "loss" in log]


def assert_same_weights(one, other):
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    for key in first:
        torch.testing.assert_close(second[key], first[key], rtol=1e-4, atol=1e-5)


def test_a_process_that_fails_ends_the_run_with_its_own_error_first(tmp_path):
    started = time.monotonic()
    done = launch(Path(__file__).with_name("die_on_a_process.py"), 2, tmp_path)
    assert done.returncode != 0 and time.monotonic() - started < 60 + START_SECONDS
    own, launchers = done.stderr.index("this process has had enough"), done.stderr.index("ChildFailedError")
    assert own < launchers
