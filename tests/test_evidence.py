"""The queue of trainings behind docs/results/, and the tables of what it kept."""

import importlib
import json
import random
import tarfile
from pathlib import Path

import pytest
import torch

from hf_bnvae.training.checkpoints import write_mark

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def evidence(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("evidence")


@pytest.fixture
def tables(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("evidence_tables")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def keep(evidence, results, block, method, seed, scale="gpu", **files):
    folder = evidence.kept_folder(results, scale, block, method, seed)
    folder.mkdir(parents=True)
    record = {"command": "c", "hardware": "h", "together": 1, "data": {"test": "2 sentences"}, "best_step": 4}
    contents = {"all_results.json": json.dumps({"test_nll": 1.0}), "run.json": json.dumps(record)} | {
        name.replace("__", "."): text for name, text in files.items()
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
    return folder


def test_next_is_the_first_block_with_a_training_that_has_no_results(evidence, tmp_path):
    first, second = evidence.blocks_at("gpu")[:2]
    assert evidence.find_blocks(["next"], "gpu", tmp_path) == [first]
    for method, seed in first.trainings():
        assert evidence.find_blocks(["next"], "gpu", tmp_path) == [first]
        keep(evidence, tmp_path, first.group, method, seed)
    assert evidence.find_blocks(["next"], "gpu", tmp_path) == [second]
    assert evidence.find_blocks(["next"], "cpu", tmp_path) == [first]  # what a GPU did says nothing of a CPU


def test_a_block_cut_off_misses_only_the_trainings_that_had_not_ended(evidence, tmp_path):
    block = evidence.blocks_at("gpu")[0]
    wanted = list(block.trainings())
    keep(evidence, tmp_path, block.group, *wanted[1])
    assert evidence.missing(block, "gpu", tmp_path) == [wanted[0], *wanted[2:]]


def test_names_of_blocks_and_their_results_are_one_each(evidence):
    blocks = evidence.blocks_at("gpu")
    assert len({block.name for block in blocks}) == len(blocks)
    kept = [(block.group, method, seed) for block in blocks for method, seed in block.trainings()]
    assert len(set(kept)) == len(kept)


@pytest.mark.parametrize("scale", ["gpu", "cpu"])
def test_every_training_of_the_queue_is_one_that_the_scripts_take(evidence, scale, tmp_path, monkeypatch):
    from transformers import TrainingArguments

    from hf_bnvae.cli import dialogue, train
    from hf_bnvae.runs import evaluation_arguments

    monkeypatch.setattr(evaluation_arguments, "bf16_pays", lambda: True)
    monkeypatch.setattr("hf_bnvae.training.arguments.bf16_pays", lambda: True)
    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda self: None)  # no device of this machine is asked
    scripts = {
        "sentences": (
            train.ModelArguments,
            train.TextMetricArguments,
            train.CardArguments,
            train.VaeTrainingArguments,
        ),
        "dialogue": (
            dialogue.DialogueModelArguments,
            dialogue.ResponseArguments,
            dialogue.CardArguments,
            dialogue.DialogueTrainingArguments,
        ),
    }
    sources = {"sentences": train.TrainingDataArguments, "dialogue": dialogue.DialogueDataArguments}
    seen = set()
    for block in evidence.blocks_at(scale):
        if block.kind == "stage":
            continue
        worker = evidence.Worker(block, scale, tmp_path, tmp_path, tmp_path, 0, 1, None)
        for method in block.methods:
            entry = dict(evidence.parse_method(method, evidence.METHODS_OF[block.kind]).parameters)
            line = evidence.command_flags(worker.training_flags(entry, 1), tmp_path)
            if (block.kind, *line) in seen:
                continue
            seen.add((block.kind, *line))
            parsed = train.parse_arguments(
                sources[block.kind], *scripts[block.kind], description="", argv=[*line, "--output_dir", "out"]
            )
            assert parsed[1].method == entry["method"]
            scaled = block.flags | (block.cpu if scale == "cpu" else {})
            for name in ("max_train_samples", "max_eval_samples"):
                assert getattr(parsed[0], name) == scaled.get(name)


def test_the_corpora_travel_as_one_archive(evidence, tmp_path, capsys):
    for name in ("imdb_passages", "ptb"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "train.tsv").write_text("1\tgood film\n")
    path = tmp_path / "build" / "data.tar.gz"
    evidence.main(["pack", "imdb_1", str(path), "--data", str(tmp_path / "data")])
    there = evidence.unpacked(path, tmp_path / "there")
    assert [item.name for item in there.iterdir()] == ["imdb_passages"]
    assert (there / "imdb_passages" / "train.tsv").read_text() == "1\tgood film\n"
    assert "1 block" not in capsys.readouterr().err


def test_results_come_back_as_one_archive_and_nothing_else_does(evidence, tmp_path, capsys):
    folder = keep(evidence, tmp_path / "there", "imdb_passages", "vae", 1)
    (folder / "model.safetensors").write_text("weights")
    archive = tmp_path / "results.tar.gz"
    evidence.write_archive(tmp_path / "there", archive)
    evidence.main(["keep", str(archive), "--results_dir", str(tmp_path / "here")])
    kept = sorted(path.name for path in (tmp_path / "here").rglob("*") if path.is_file())
    assert kept == ["all_results.json", "run.json"]

    with tarfile.open(archive, "w:gz") as made:
        made.add(folder / "model.safetensors", "gpu/imdb_passages/vae/seed_2/model.safetensors")
    with pytest.raises(SystemExit, match=r"model\.safetensors' is not a result"):
        evidence.main(["keep", str(archive), "--results_dir", str(tmp_path / "here")])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["run", "imdb_99"], "there is no block 'imdb_99'"),
        (["run", "imdb_1", "--data", "nowhere"], "--data nowhere does not exist"),
        (["pack", "imdb_1", "x.tar.gz", "--data", "."], r"has no imdb_passages/"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(evidence, line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=words) as end:
        evidence.main(line)
    assert "\n" not in str(end.value.code)


def losses(values):
    return "nll\n" + "".join(f"{value}\n" for value in values)


def test_a_cell_within_noise_of_the_best_is_marked(evidence, tables, tmp_path):
    generator = random.Random(0)
    hardness = [generator.gauss(50, 10) for _ in range(200)]
    close = [value + generator.gauss(0.01, 1) for value in hardness]
    far = [value + generator.gauss(1, 1) for value in hardness]
    for method, values in (("vae", hardness), ("bn_vae:gamma=0.5", close), ("bn_vae:gamma=0.7", far)):
        mean = sum(values) / len(values) + (method == "bn_vae:gamma=0.5") * 0.2
        results = json.dumps({"test_nll": mean, "test_kl": 1.0, "test_au": 3})
        keep(evidence, tmp_path, "imdb_passages", method, 1, all_results__json=results, test_nll__csv=losses(values))
    rows = {line.split(" | ")[0]: line for line in tables.rendered().splitlines() if line.startswith("| ")}
    assert "**" in rows["| VAE"]
    assert "≈" in rows["| BN-VAE (0.5)"]
    assert "≈" not in rows["| BN-VAE (0.7)"]
    assert "327.4 / 8.8 / 7.4 / 32" in rows["| BN-VAE (0.7)"]


def test_several_seeds_are_judged_by_their_spread_and_one_without_losses_by_nothing(evidence, tables, tmp_path):
    for method, values in (
        ("vae", (36.0, 36.4, 36.2)),
        ("bn_vae:gamma=0.7", (36.3, 36.1, 36.6)),
        ("fb_vae", (39.0, 39.1, 39.2)),
        ("cnn_vae", (37.0,)),
    ):
        for seed, value in enumerate(values, 1):
            keep(evidence, tmp_path, "ptb", method, seed, all_results__json=json.dumps({"test_nll": value}))
    rows = {line.split(" | ")[0]: line for line in tables.rendered().splitlines() if line.startswith("| ")}
    assert "**36.20 ± 0.20**" in rows["| VAE"]
    assert "36.33 ± 0.25 ≈" in rows["| BN-VAE (0.7)"]
    assert "39.10 ± 0.10 |" in rows["| FB"]
    assert "37.00 ?" in rows["| CNN-VAE"]


def test_times_are_those_to_the_best_model_over_vae_s(evidence, tables, tmp_path):
    for method, seconds in (("vae", 10), ("bn_vae:gamma=0.7", 12)):
        lines = ["step,train_seconds,eval_elbo", f"2,{seconds / 2},9", f"4,{seconds},8", "6,99,9"]
        keep(evidence, tmp_path, "imdb_passages_times", method, 1, curves__csv="\n".join(lines))
    assert "| BN-VAE (0.7) | 12 | 1.20 | 1.04 / 1.02 |" in tables.rendered()


def test_recipes_are_held_to_an_elbo_that_all_reach(evidence, tables, tmp_path):
    for recipe, points in (("paper", ((100, 9), (200, 8))), ("fast", ((10, 8.5), (20, 7.5))), ("muon", ((9, 6),))):
        lines = ["step,train_seconds,eval_elbo", *(f"1,{seconds},{elbo}" for seconds, elbo in points)]
        group = f"imdb_passages_recipe_{recipe}"
        keep(evidence, tmp_path, group, "bn_vae:gamma=0.7", 1, curves__csv="\n".join(lines))
    page = tables.rendered()
    assert "| paper | 8.00 | 200 | 200 |" in page
    assert "| fast | 7.50 | 20 | 20 |" in page
    assert "| muon | 6.00 | 9 | 9 |" in page


def test_every_block_has_its_table(evidence, tables):
    shown = {group for _, _, group, _, _ in tables.SECTIONS} | {"imdb_passages_times"}
    recipes = {f"imdb_passages_recipe_{name}" for name in tables.RECIPES}
    assert {block.group for block in evidence.blocks_at("cpu")} == shown | recipes


def test_the_page_says_what_the_results_say(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    importlib.import_module("evidence_tables").main(["--check"])


@pytest.mark.slow
def test_a_block_trains_judges_and_keeps_what_is_small(evidence, tmp_path, monkeypatch):
    words = ["the", "a", "good", "bad", "film", "plot", "actor", "was", "is", "not", "very"]
    generator = random.Random(0)
    folder = tmp_path / "data" / "reviews"
    folder.mkdir(parents=True)
    for split, count in (("train", 600), ("valid", 30), ("test", 30)):
        lines = (f"{number % 2}\t{' '.join(generator.choices(words, k=6))}" for number in range(count))
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    tiny = {"embedding_size": 8, "hidden_size": 8, "latent_size": 4, "num_train_epochs": 1, "kl_annealing_epochs": 0.5}
    block = evidence.Block(
        "tiny",
        "reviews",
        ("reviews",),
        ("lstm_lm", "ae", "ae+bn_vae:gamma=0.6"),
        cpu=tiny | {"nll_samples": 3, "max_train_samples": 600},
        together=2,
        classify=True,
    )
    monkeypatch.setattr(evidence.evidence_blocks, "BLOCKS", (block,))
    results, archive = tmp_path / "results", tmp_path / "results.tar.gz"
    flags = ["--scale", "cpu", "--data", str(tmp_path / "data"), "--results_dir", str(results)]
    evidence.main(["next", *flags, "--archive", str(archive)])
    assert not evidence.missing(block, "cpu", results)
    kept = evidence.kept_folder(results, "cpu", "reviews", "ae+bn_vae:gamma=0.6", 1)
    assert {path.name for path in kept.iterdir()} >= {
        "all_results.json",
        "run.json",
        "curves.csv",
        "classification.json",
    }
    record = json.loads((kept / "run.json").read_text())
    assert record["command"] == "python benchmarks/evidence.py run tiny --scale cpu"
    assert not any("film" in path.read_text() for path in results.rglob("*") if path.is_file())
    with tarfile.open(archive) as made:
        assert len(made.getnames()) == len([path for path in results.rglob("*") if path.is_file()])
    with pytest.raises(SystemExit, match="every block is done"):
        evidence.main(["next", *flags])


def test_a_training_that_was_cut_off_goes_on_and_one_without_a_checkpoint_starts_again(evidence, tmp_path):
    assert evidence.going_on(tmp_path / "model") == {}
    (tmp_path / "model").mkdir()
    assert evidence.going_on(tmp_path / "model") == {"overwrite_output_dir": "true"}
    checkpoint = tmp_path / "model" / "checkpoint-5"
    checkpoint.mkdir()
    for name in ("optimizer.pt", "rng_state.pth"):
        torch.save({}, checkpoint / name)
    write_mark(checkpoint)
    assert evidence.going_on(tmp_path / "model")["resume_from_checkpoint"] == "last"
