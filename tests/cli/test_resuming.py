"""A script's run that is resumed, replaced, or started twice."""

import fcntl
import json
import shutil

import pytest

from hf_bnvae.cli import classify, synthetic, train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.hub.run_record import write_json
from hf_bnvae.training.checkpoints import checkpoint_folders
from tests.helpers import flags


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    train.main(flags(corpus, folder, seed=1))
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2}, "had seed 1 and this one has 2"),
        ({"seed": 1, "optim": "sgd"}, "had optim adamw_torch_fused and this one has sgd"),
        ({"strategy": "aggressive"}, "had strategy standard and this one has aggressive"),
        ({"adam_beta2": 0.9}, "had adam_beta2 0.999875 and this one has 0.9"),
        ({"plateau_patience": 3}, "had plateau_patience None and this one has 3"),
        ({"learning_rate": 0.5}, "had learning_rate 0.00177 and this one has 0.5"),
        ({"kl_annealing_epochs": 2}, "had kl_annealing_epochs 1.0 and this one has 2.0"),
        ({"max_train_samples": 50}, "trained on 80 examples, which are not the 50 of this one"),
        ({"max_length": 4}, "which are not the 80 of this one: repeat its data, max_train_samples and max_length"),
        ({"num_train_epochs": 1}, "had num_train_epochs 2, and 1 is less"),
        ({"per_device_train_batch_size": 16}, "had sentences in a step 8 and this one has 16"),
        (
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
            "had gradient_accumulation_steps 1 and this one has 2",
        ),
    ],
)
def test_a_run_is_not_resumed_under_other_flags(corpus, run, changes, words):
    before = (run / "model.safetensors").read_bytes()
    settings = {"seed": 1, "resume_from_checkpoint": "last"} | changes
    with pytest.raises(UsageError, match=f"--resume_from_checkpoint .*{words}") as error:
        train.main(flags(corpus, run, **settings))
    assert "\n" not in str(error.value)
    assert (run / "model.safetensors").read_bytes() == before


def test_other_sentences_of_the_same_number_are_other_data(corpus, run, tmp_path):
    lines = (corpus / "train.txt").read_text().splitlines()
    (tmp_path / "other.txt").write_text("\n".join(lines[1:] + lines[:1]) + "\n")
    settings = {"train_file": tmp_path / "other.txt", "resume_from_checkpoint": "last"}
    with pytest.raises(UsageError, match="not the 80 of this one"):
        train.main(flags(corpus, run, **settings))


def test_the_best_model_is_not_chosen_among_losses_on_two_validation_sets(corpus, run, tmp_path):
    settings = {"resume_from_checkpoint": "last", "num_train_epochs": 3, "seed": 1}
    with pytest.raises(UsageError, match="which are not the 3 of this one: repeat its data, max_eval_samples"):
        train.main(flags(corpus, run, **settings, max_eval_samples=3))
    lines = (corpus / "valid.txt").read_text().splitlines()
    (tmp_path / "other.txt").write_text("\n".join(lines[1:] + lines[:1]) + "\n")
    with pytest.raises(UsageError, match=r"its run chose its best model by .* examples, which are not the"):
        train.main(flags(corpus, run, **settings, validation_file=tmp_path / "other.txt"))


def test_more_epochs_are_said_and_trained(corpus, run, caplog):
    train.main(flags(corpus, run, resume_from_checkpoint="last", seed=1, num_train_epochs=3))
    assert "The resumed run had num_train_epochs 2.0 and goes on with 3.0." in caplog.text
    assert json.loads((run / "all_results.json").read_text())["train_steps"] == 30


def test_more_epochs_do_not_move_an_annealing_that_nobody_named(corpus, run):
    """By default it ends by half of the epochs, which here are others than before."""
    train.main(flags(corpus, run, resume_from_checkpoint="last", seed=1, num_train_epochs=3, kl_annealing_epochs=None))
    recorded = json.loads((checkpoint_folders(run)[-1] / "run_arguments.json").read_text())
    assert (recorded["num_train_epochs"], recorded["kl_annealing_epochs"]) == (3, 1)


def test_a_run_that_a_kill_ended_in_its_first_save_is_started_again(corpus, run):
    for path in checkpoint_folders(run)[1:]:
        shutil.rmtree(path)
    broken = checkpoint_folders(run)[0]
    (broken / "checkpoint.json").unlink()
    (broken / "trainer_state.json").write_text("")
    for name in ("config.json", "model.safetensors", "all_results.json"):
        (run / name).unlink()
    with pytest.raises(UsageError, match="there is no checkpoint in"):
        train.main(flags(corpus, run, resume_from_checkpoint="last"))
    train.main(flags(corpus, run))
    assert (run / "all_results.json").is_file()


def test_a_run_is_replaced_on_demand_alone(corpus, run):
    with pytest.raises(UsageError, match="or replace it by --overwrite_output_dir true"):
        train.main(flags(corpus, run))
    with pytest.raises(UsageError, match="removes what --resume_from_checkpoint goes on from"):
        train.main(flags(corpus, run, overwrite_output_dir="true", resume_from_checkpoint="last"))
    (run / "notes.txt").write_text("mine")
    train.main(flags(corpus, run, overwrite_output_dir="true", num_train_epochs=1))
    assert json.loads((run / "all_results.json").read_text())["train_steps"] == 10
    assert (run / "notes.txt").read_text() == "mine"


def test_two_runs_do_not_write_into_one_folder(corpus, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("a+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=r"--output_dir .*: another run writes there"):
            train.main(flags(corpus, tmp_path / "out"))


def test_no_other_script_shares_its_folder_either(finished, tmp_path):
    studying = ["--output_dir", str(tmp_path), "--max_steps", "1", "--points", "2", "--train_sequences", "16"]
    labelled = tmp_path / "labelled.tsv"
    labelled.write_text("".join(f"{row % 2}\ta b c\n" for row in range(8)))
    judging = ["--model_name_or_path", f"m={finished}", "--output_dir", str(tmp_path), "--num_labels_list", "4"]
    judging += ["--train_file", str(labelled), "--test_file", str(labelled)]
    with (tmp_path / ".lock").open("a+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for script, argv in ((synthetic, studying), (classify, judging)):
            with pytest.raises(UsageError, match=r"--output_dir .*: another run writes there"):
                script.main(argv)


def test_results_are_json_whatever_they_hold(tmp_path):
    write_json(tmp_path / "results.json", {"nll": float("nan"), "list": [1.0, float("inf")], "kl": 0.5})
    assert json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail) == {
        "nll": None,
        "list": [1.0, None],
        "kl": 0.5,
    }
