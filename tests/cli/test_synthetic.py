"""hf-bnvae synthetic: everything is written, a study repeats, and what cannot be is refused."""

import json

import pytest

from hf_bnvae.cli import synthetic
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.runs import synthetic_study

pytest.importorskip("matplotlib")

FILES = ("figure1.png", "figure2.png", "animation.gif", "all_results.json", "report.md")
SMALL = ["--train_sequences", "80", "--points", "6", "--batch_sizes", "8", "--processes", "1"]


def study(folder, *flags):
    """The runs of a small study, the seconds left out."""
    synthetic.main(["--output_dir", str(folder), *SMALL, *flags])
    assert all((folder / name).stat().st_size > 0 for name in FILES)
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    for run in results["runs"]:
        del run["seconds"]
    return {name: results[name] for name in ("data", "runs")}


def test_a_study_repeats(tmp_path):
    flags = ["--gammas", "0.5", "--max_steps", "2", "--record_steps", "0", "2"]
    first, again = (study(tmp_path / name, *flags) for name in ("a", "b"))
    assert first == again
    assert [(run["method"], run["gamma"], run["batch_size"]) for run in first["runs"]] == [
        ("bn_vae", 0.5, 8),
        ("vae", None, 8),
    ]
    report = (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    assert f"| {first['runs'][0]['test_elbo']:.2f} |" in report and "--gammas 0.5" in report


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gammas", "0"], "--gammas must be different numbers above 0"),
        (["--batch_sizes", "8", "8"], "--batch_sizes must be different numbers above 1"),
        (["--record_steps", "5", "--max_steps", "4"], "--record_steps must lie between 0 and --max_steps 4"),
        (["--points", "11"], "raise --train_sequences to 88"),
        (["--max_steps", "0"], "--max_steps must be at least 1"),
    ],
)
def test_a_study_that_cannot_be_is_refused(tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        synthetic.main(["--output_dir", str(tmp_path / "out"), *SMALL, *flags])
    assert not (tmp_path / "out").exists()


def test_a_study_replaces_no_results(tmp_path):
    (tmp_path / "all_results.json").write_text("{}")
    with pytest.raises(UsageError, match=r"--output_dir .* holds a model or results: name another folder"):
        synthetic.main(["--output_dir", str(tmp_path), *SMALL])


def test_pictures_need_an_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_study, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'hf-bnvae\[figures\]'"):
        synthetic.main(["--output_dir", str(tmp_path / "out"), *SMALL])
