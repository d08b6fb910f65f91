"""The synthetic study from Python: it gives the runs that it writes down, and its errors name parameters."""

import json

import pytest

from hf_bnvae.errors import ParameterError
from hf_bnvae.runs.synthetic_study import StudyArguments, run_study

SMALL = {"gammas": [0.5], "batch_sizes": [8], "train_sequences": 80, "points": 6, "max_steps": 2, "processes": 1}


def test_a_study_gives_what_it_writes_and_says_each_run_once(tmp_path):
    pytest.importorskip("matplotlib")
    said = []
    args = StudyArguments(str(tmp_path / "out"), **SMALL)
    runs = run_study(args, say=said.append)
    assert [run.setting for run in runs] == args.settings()
    written = json.loads((tmp_path / "out" / "all_results.json").read_text(encoding="utf-8"))["runs"]
    assert [run.record() for run in runs] == written
    assert sum(line.startswith(f"[{number}/2]") for line in said for number in (1, 2)) == len(said) - 1 == 2
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Synthetic study\n\n2 runs of 2 steps on 80 sequences")


def test_errors_name_parameters(tmp_path):
    with pytest.raises(ParameterError, match=r"`points` 11 .*: raise `train_sequences` to 88"):
        StudyArguments(str(tmp_path), **SMALL | {"points": 11})
