"""Checkpoints that are whole and ones that are not, and runs that go on from them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_bnvae.training import (
    CheckpointError,
    LockError,
    NonFiniteLossError,
    VaeTrainingArguments,
    check_same_run,
    run_arguments,
)
from hf_bnvae.training.checkpoints import (
    ARGUMENTS_NAME,
    MARK_NAME,
    checkpoint_folders,
    fault,
    holds_a_run,
    last_checkpoint,
    remove_broken,
    remove_run,
    wanted_checkpoint,
)
from hf_bnvae.training.run_lock import lock, unlock
from tests.helpers import StopAt

SAVING = {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 4, "eval_steps": 4, "save_total_limit": 9}


@pytest.fixture
def saved(make_trainer, tmp_path):
    """A run that was stopped after its checkpoints of steps 4 and 8."""
    trainer = make_trainer(callbacks=[StopAt(9)], **SAVING)
    trainer.run_arguments = {"seed": 1, "num_train_epochs": 2.0, "train_examples": 60, "train_digest": "x"}
    trainer.train()
    return tmp_path / "run"


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


PARTS = ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "config.json"]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("what", ["cut off", "missing", "empty", "zeros"])
def test_a_checkpoint_with_a_broken_part_is_not_whole_and_last_is_the_one_before(saved, name, what):
    newest = saved / "checkpoint-8"
    assert fault(newest) is None and last_checkpoint(saved) == newest
    if what == "cut off":
        cut(newest / name)
    elif what == "missing":
        (newest / name).unlink()
    else:
        (newest / name).write_bytes(bytes((newest / name).stat().st_size if what == "zeros" else 0))
    assert name in fault(newest)
    assert last_checkpoint(saved) == saved / "checkpoint-4"
    with pytest.raises(CheckpointError, match=f"no (whole )?checkpoint .*{name}"):
        wanted_checkpoint(str(saved), str(newest))


@pytest.mark.parametrize("name", PARTS[:-1])
def test_a_checkpoint_of_an_earlier_version_has_no_mark_and_is_judged_by_its_parts(saved, name):
    newest = saved / "checkpoint-8"
    (newest / MARK_NAME).unlink()
    assert fault(newest) is None
    cut(newest / name)
    assert fault(newest) is not None


def test_what_a_kill_left_of_a_first_save_is_no_run(saved):
    shutil.rmtree(saved / "checkpoint-8")
    (saved / "checkpoint-4" / MARK_NAME).unlink()
    (saved / "checkpoint-4" / "trainer_state.json").write_text("")
    (saved / "checkpoint-60-backup").mkdir()
    assert not holds_a_run(saved)
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        wanted_checkpoint(str(saved), "last")
    remove_broken(saved)
    assert not checkpoint_folders(saved) and (saved / "checkpoint-60-backup").is_dir()


@pytest.mark.parametrize("name", ["config.json", "all_results.json"])
def test_a_model_of_any_kind_and_results_of_any_command_are_not_trained_over(tmp_path, name):
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    assert not holds_a_run(tmp_path)
    (tmp_path / name).write_text("{}")
    assert holds_a_run(tmp_path)
    remove_run(tmp_path)
    assert not holds_a_run(tmp_path)


def test_what_a_kill_left_of_the_last_save_is_no_model(tmp_path):
    (tmp_path / ".partial").mkdir()
    (tmp_path / "config.json").write_text("{}")
    assert not holds_a_run(tmp_path)


def test_a_checkpoint_of_the_model_alone_is_not_resumed_with_a_new_optimiser(make_trainer, saved):
    shutil.rmtree(saved)
    make_trainer(callbacks=[StopAt(9)], save_only_model=True, load_best_model_at_end=False, **SAVING).train()
    newest = saved / "checkpoint-8"
    assert last_checkpoint(saved) == newest and last_checkpoint(saved, resumable=True) is None
    for wanted in ("last", str(newest)):
        with pytest.raises(CheckpointError, match=r"save_only_model.*start another run"):
            wanted_checkpoint(str(saved), wanted)


def test_a_model_that_was_saved_to_its_end_is_neither_removed_nor_trained_over(saved):
    newest = saved / "checkpoint-8"
    (newest / MARK_NAME).unlink()  # as version 0.1 saved a model alone
    (newest / "optimizer.pt").unlink()
    shutil.rmtree(saved / "checkpoint-4")
    assert fault(newest) is not None and holds_a_run(saved)
    remove_broken(saved)
    assert newest.is_dir()


def test_true_is_the_last_checkpoint_and_false_is_none(saved):
    assert wanted_checkpoint(str(saved), True) == wanted_checkpoint(str(saved), "last")
    assert wanted_checkpoint(str(saved), False) is None


def test_a_folder_beside_the_checkpoints_is_none_of_them(saved):
    shutil.copytree(saved / "checkpoint-4", saved / "checkpoint-60-backup")
    assert wanted_checkpoint(str(saved), "last") == str(saved / "checkpoint-8")
    assert [path.name for path in checkpoint_folders(saved)] == ["checkpoint-4", "checkpoint-8"]


def test_overwriting_removes_a_run_and_nothing_else(saved):
    (saved / "notes.txt").write_text("mine")
    for name in ("config.json", "all_results.json", "run.json", "training.png", "samples.md", "latent_space.html"):
        (saved / name).write_text("{}")
    remove_run(saved)
    assert [path.name for path in saved.iterdir()] == ["notes.txt"]


def test_a_run_resumed_in_a_moved_folder_and_from_elsewhere_ends_as_one_that_was_never_stopped(
    make_trainer, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    settings = {**SAVING, "learning_rate": 3.0, "kl_annealing_epochs": 0}  # the best model comes early

    def make(**changes):
        torch.manual_seed(0)
        return make_trainer(**settings | changes)

    whole = make(output_dir="whole")
    loss = whole.train().metrics["train_loss"]
    assert whole.state.best_global_step <= 12 < whole.state.global_step

    make(output_dir="stopped", callbacks=[StopAt(13)]).train()
    (tmp_path / "there").mkdir()
    shutil.move("stopped", tmp_path / "there" / "moved")
    monkeypatch.chdir(tmp_path / "there")
    resumed = make(output_dir="moved")
    output = resumed.train(resume_from_checkpoint=wanted_checkpoint("moved", "last"))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert output.metrics["train_loss"] == pytest.approx(loss)


def test_the_training_loss_of_a_run_resumed_after_its_last_step_is_that_of_its_steps(make_trainer):
    loss = make_trainer(**SAVING).train().metrics["train_loss"]
    resumed = make_trainer(**SAVING)
    assert resumed.train(resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-16").metrics[
        "train_loss"
    ] == pytest.approx(loss)


def test_a_best_checkpoint_that_is_gone_is_said_and_looked_for_again(make_trainer, saved, caplog):
    state = json.loads((saved / "checkpoint-8" / "trainer_state.json").read_text())
    state["best_global_step"], state["best_metric"] = 4, 0.0
    (saved / "checkpoint-8" / MARK_NAME).unlink()
    (saved / "checkpoint-8" / "trainer_state.json").write_text(json.dumps(state))
    shutil.rmtree(saved / "checkpoint-4")
    trainer = make_trainer(**SAVING)
    trainer.train(resume_from_checkpoint=str(saved / "checkpoint-8"))
    assert trainer.state.best_metric > 0


def test_weights_that_are_no_numbers_are_not_saved_nor_recommended(make_trainer, saved):
    weights = load_file(saved / "checkpoint-8" / "model.safetensors")
    ruined = {name: tensor * float("nan") for name, tensor in weights.items()}
    save_file(ruined, saved / "checkpoint-8" / "model.safetensors", metadata={"format": "pt"})
    (saved / "checkpoint-8" / MARK_NAME).unlink()
    assert last_checkpoint(saved) == saved / "checkpoint-8"
    assert last_checkpoint(saved, finite=True) == saved / "checkpoint-4"

    class Ruin(StopAt):
        def on_optimizer_step(self, args, state, control, model=None, **kwargs):
            if state.global_step == self.step:
                model.decoder.output.weight.data.fill_(float("nan"))

        def on_step_end(self, *args, **kwargs):
            pass

    trainer = make_trainer(callbacks=[Ruin(10)], **SAVING)
    with pytest.raises(NonFiniteLossError, match=r"last good checkpoint is .*checkpoint-8: resume from it"):
        trainer.train(resume_from_checkpoint=str(saved / "checkpoint-4"))


def test_an_evaluation_that_is_no_number_is_not_good(saved):
    path = saved / "checkpoint-8" / "trainer_state.json"
    state = json.loads(path.read_text())
    state["log_history"].append({"eval_loss": float("nan")})
    (saved / "checkpoint-8" / MARK_NAME).unlink()
    path.write_text(json.dumps(state))
    assert last_checkpoint(saved, finite=True) == saved / "checkpoint-4"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2}, "had seed 1 and this one has 2"),
        ({"train_examples": 50}, "trained on 60 examples, which are not the 50"),
        ({"train_digest": "y"}, "not the 60 of this one"),
        ({"num_train_epochs": 1.0}, "had num_train_epochs 2, and 1 is less"),
    ],
)
def test_a_run_is_resumed_under_what_it_was_started_with(saved, changes, words):
    told = {"seed": 1, "num_train_epochs": 2.0, "train_examples": 60, "train_digest": "x"}
    assert check_same_run(saved / "checkpoint-8", told) == []
    assert check_same_run(saved / "checkpoint-8", told | {"num_train_epochs": 3.0}) == [
        "The resumed run had num_train_epochs 2.0 and goes on with 3.0."
    ]
    with pytest.raises(CheckpointError, match=words):
        check_same_run(saved / "checkpoint-8", told | changes)


def test_a_run_keeps_its_learning_rates(sentences, tmp_path):
    args = VaeTrainingArguments(str(tmp_path), learning_rate=0.2, pretrained_learning_rate=0.1)
    told = run_arguments(args, sentences)
    assert (told["learning_rate"], told["pretrained_learning_rate"]) == (0.2, 0.1)


def test_an_annealing_by_epochs_that_steps_win_over_is_not_compared(saved):
    path = saved / "checkpoint-8" / ARGUMENTS_NAME
    path.write_text(json.dumps({"kl_annealing_epochs": 10.0, "kl_annealing_steps": 5}))
    assert check_same_run(path.parent, {"kl_annealing_epochs": 1.0, "kl_annealing_steps": 5}) == []
    with pytest.raises(CheckpointError, match="had kl_annealing_epochs 10"):
        check_same_run(path.parent, {"kl_annealing_epochs": 1.0, "kl_annealing_steps": None})


def test_a_folder_is_one_run_s_until_it_ends(tmp_path):
    import fcntl

    with (tmp_path / ".lock").open("a+") as other:
        other.write("77\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockError, match=r"another run \(process 77\) writes there"):
            lock(tmp_path)
    lock(tmp_path)
    lock(tmp_path)
    unlock(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_worker_ends_when_what_waits_for_it_is_killed(tmp_path):
    worker = (
        "import time; from hf_bnvae.training.run_lock import end_with_parent; end_with_parent(); "
        "print(1, flush=True); time.sleep(60)"
    )
    starter = (
        "import subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE); "
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
    )
    environment = os.environ | {"HF_BNVAE_ENDS_WITH_PARENT": "1"}
    parent = subprocess.Popen([sys.executable, "-c", starter, worker], stdout=subprocess.PIPE, env=environment)
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        time.sleep(0.1)
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
    os.kill(child, signal.SIGKILL)
    pytest.fail("the worker trains on")
