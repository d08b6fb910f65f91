"""hf-bnvae evaluate: scores of each sentence, and what it refuses before any work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from hf_bnvae.cli import train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.evaluate import main as evaluate
from hf_bnvae.data import encode_corpus
from hf_bnvae.runs import text_evaluation
from tests.helpers import flags

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    train.main(flags(corpus, folder))
    return folder


def judged(finished, corpus, tmp_path, name, *more):
    argv = ["--model_name_or_path", str(finished), "--test_file", str(corpus / "test.txt"), "--nll_samples", "5"]
    evaluate([*argv, "--output_file", str(tmp_path / "r.json"), "--scores_file", str(tmp_path / name), *more])
    return json.loads((tmp_path / "r.json").read_text())


@pytest.mark.parametrize("name", ["scores.csv", "new/folder/scores.jsonl"])
def test_the_scores_of_sentences_are_in_their_order_and_make_the_results(finished, corpus, tmp_path, name):
    results = judged(finished, corpus, tmp_path, name, "--batch_size", "3")
    path = tmp_path / name
    scores = pd.read_csv(path) if name.endswith("csv") else pd.read_json(path, lines=True)
    lines = [line for line in (corpus / "test.txt").read_text().splitlines() if line.strip()]
    assert scores["text"].tolist() == lines
    assert scores["tokens"].tolist() == [len(line.split()) + 1 for line in lines]
    for column in ("nll", "rec", "kl", "elbo"):
        assert scores[column].mean() == pytest.approx(results[f"test_{column}"], abs=1e-4), column
    assert set(scores.columns) == {"tokens", "nll", "rec", "kl", "elbo", "use", "text"}


def test_only_the_sentences_that_were_judged_have_a_bound(finished, corpus, tmp_path):
    judged(finished, corpus, tmp_path, "scores.csv", "--max_nll_samples", "4")
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert scores["nll"].notna().tolist() == [True] * 4 + [False] * (len(scores) - 4)


def test_no_other_split_is_encoded(finished, corpus, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        text_evaluation, "encode_corpus", lambda corpus, *how: seen.append(corpus) or encode_corpus(corpus, *how)
    )
    judged(finished, corpus, tmp_path, "s.csv", "--train_file", str(corpus / "train.txt"))
    assert [list(corpus.splits) for corpus in seen] == [["test"]]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--scores_file", "scores.txt"], r"--scores_file scores.txt: give it the ending \.csv or \.jsonl"),
        (["--output_file", "."], r"--output_file \. is a folder: name a file"),
        (["--output_file", "{file}/r.json"], r"--output_file \S+/r\.json: \S+ is a file: name a file in a folder"),
        (["--seed", "-1"], "--seed must be from 0"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, more, words):
    (tmp_path / "file").write_text("")
    more = [text.format(file=tmp_path / "file") for text in more]
    with pytest.raises(UsageError, match=words):
        evaluate(["--model_name_or_path", "nowhere", "--dataset_name", "pydocs", *more])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], r"test\.txt has no train split: pass --train_file or another --split"),
        (["--max_eval_samples", "3"], "cuts validation and test: use --max_train_samples"),
    ],
)
def test_a_split_that_is_not_there_or_cut_by_the_number_of_another_is_refused(finished, corpus, tmp_path, more, words):
    with pytest.raises(UsageError, match=words):
        judged(finished, corpus, tmp_path, "s.csv", "--split", "train", *more)


def test_text_that_a_model_does_not_know_is_said(finished, tmp_path, caplog):
    (tmp_path / "other.txt").write_text("zzz qqq a\nxxx yyy\n")
    argv = ["--model_name_or_path", str(finished), "--test_file", str(tmp_path / "other.txt"), "--nll_samples", "0"]
    evaluate([*argv, "--output_file", str(tmp_path / "r.json")])
    assert json.loads((tmp_path / "r.json").read_text())["test_unknown_share"] == pytest.approx(4 / 5)
    assert "80% of the words are unknown to the tokenizer" in caplog.text


def test_results_say_how_many_samples_a_tolerance_saved(finished, corpus, tmp_path):
    all_of_them = judged(finished, corpus, tmp_path, "all.csv", "--nll_samples", "40")
    none = judged(finished, corpus, tmp_path, "none.csv", "--nll_samples", "40", "--nll_tolerance", "0")
    few = judged(finished, corpus, tmp_path, "few.csv", "--nll_samples", "40", "--nll_tolerance", "9")
    assert none.pop("test_nll_tolerance") == 0 and none.pop("test_nll_samples_used") == 40
    assert none == pytest.approx(all_of_them)
    assert (few["test_nll_samples"], few["test_nll_samples_used"], few["test_nll_tolerance"]) == (40, 16, 9)


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--nll_samples", "64", "--nll_tolerance", "0.02")], ids=["all", "tolerance"])
def test_two_processes_give_the_numbers_of_one(finished, corpus, tmp_path, how):
    one = judged(finished, corpus, tmp_path, "one.csv", "--max_nll_samples", "7", *how)
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file"]
    launch += [ROOT / "run_scripts" / "accelerate_configs" / "cpu_2_processes.yaml"]
    script = [ROOT / "run_scripts" / "evaluate_lm.py", "--model_name_or_path", finished, "--nll_samples", "5"]
    script += [
        "--test_file",
        corpus / "test.txt",
        "--output_file",
        tmp_path / "two.json",
        "--max_nll_samples",
        "7",
        *how,
    ]
    done = subprocess.run(
        [*launch, *script, "--scores_file", tmp_path / "two.csv"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    two = json.loads((tmp_path / "two.json").read_text())
    assert two == pytest.approx(one, rel=1e-4)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "one.csv"), pd.read_csv(tmp_path / "two.csv"), atol=1e-3)
