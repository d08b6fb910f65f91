"""explore.py: a report of a finished run, a page on one or two of them, and what has no latent space to look at."""

import json
import re

import pytest

from hf_bnvae.cli import explore, train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.data import CorpusError
from tests.helpers import flags


@pytest.fixture(scope="module")
def folder(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore") / "out"
    train.main(flags(corpus, folder, max_steps=4, nll_samples=0))
    return folder


@pytest.fixture(scope="module")
def language_model(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore") / "lm"
    train.main(flags(corpus, folder, method="lstm_lm", max_steps=1, nll_samples=0, latent_size=None))
    return folder


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "some.tsv"
    path.write_text(
        "".join(f"{row % 2}\t{'a b c d e'[: 1 + 2 * (row % 5)]} {'f' if row % 2 else 'g'}\n" for row in range(40))
    )
    return path


def page_data(path):
    return json.loads(re.search(r'id="data">(.*)</script>\n<script>', path.read_text())[1])


def test_a_report_of_labelled_sentences_lies_in_the_folder_of_the_run(folder, table, capsys):
    explore.main(["report", str(folder), "--text_file", str(table), "--max_new_tokens", "5"])
    said = capsys.readouterr().out
    assert re.search(r"The posterior has (not )?collapsed: \d of 3 units are active", said)
    data = page_data(folder / "latent_space.html")
    assert data["name"] == "out" and len(data["texts"]) == 40 and set(data["label_kinds"]) == {"0", "1"}
    assert data["notes"][0] == "40 sentences of some.tsv."
    assert data["notes"][1].startswith("Made by: hf-bnvae explore report ")


def test_a_table_without_a_header_is_read_by_numbers(folder, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("x,a b c\ny,d e\n" * 4)
    argv = ["report", str(folder), "--text_file", str(path), "--max_new_tokens", "1"]
    explore.main([*argv, "--text_column", "1", "--label_column", "0", "--no_header", "true"])
    assert len(page_data(folder / "latent_space.html")["texts"]) == 8


def test_too_many_sentences_are_thinned_out_and_that_is_said(folder, table, tmp_path, capsys):
    path = tmp_path / "new" / "report.html"
    argv = ["report", str(folder), "--text_file", str(table), "--max_samples", "10", "--output_file", str(path)]
    explore.main([*argv, "--max_new_tokens", "5"])
    said = "10 of the 40 sentences of some.tsv, spread over it (--max_samples)."
    assert said in capsys.readouterr().out and page_data(path)["notes"][0] == said
    assert page_data(path)["texts"][1] == page_data(path)["texts"][6]  # every fourth line, of a table that repeats


def test_a_report_that_cannot_be_written_is_said(folder, table):
    argv = ["report", str(folder), "--text_file", str(table), "--max_new_tokens", "1", "--output_file"]
    with pytest.raises(UsageError, match=r"cannot be written .*: name another"):
        explore.main([*argv, str(table / "report.html")])
    with pytest.raises(UsageError, match="is a folder: name a file"):
        explore.main([*argv, str(folder)])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_layout_takes_is_refused(folder, seed):
    with pytest.raises(UsageError, match=f"--seed must be from 0 to 4294967295, got {seed}"):
        explore.main(["report", str(folder), "--seed", str(seed)])


def test_a_host_that_cannot_be_had_is_refused_before_a_model_is_loaded(monkeypatch):
    pytest.importorskip("gradio", reason="gradio is not installed")
    monkeypatch.setattr(explore, "load_pipeline", lambda *given: pytest.fail("a model was loaded"))
    with pytest.raises(UsageError, match=r"the page cannot start at 999\.1\.1\.1 "):
        explore.main(["serve", "out", "--host", "999.1.1.1"])


@pytest.mark.parametrize("record", ["{bad", "[]", '{"data": 3}', '{"data": {"name": "mine"}}'])
def test_a_record_that_says_no_built_in_corpus_leaves_the_usual_one(tmp_path, record):
    (tmp_path / "run.json").write_text(record)
    assert explore.trained_on(str(tmp_path)) == explore.DEFAULT_CORPUS


@pytest.mark.parametrize("command", ["report", "serve"])
def test_what_cannot_be_looked_at_is_said_in_one_sentence(folder, language_model, table, tmp_path, command):
    def refused(*argv, error=UsageError):
        with pytest.raises(error) as caught:
            explore.main([command, *map(str, argv)])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "is a lstm_lm model, which has no latent: name a text VAE (bnvae)" in refused(language_model)
    assert "no model there" in refused(tmp_path / "nowhere")
    assert "--max_samples must be at least 1, got 0" in refused(folder, "--max_samples", 0)
    assert "must be at most 20000, got 20001: a map shows no more" in refused(folder, "--max_samples", 20001)
    assert "none.txt does not exist" in refused(folder, "--text_file", tmp_path / "none.txt", error=CorpusError)
    assert "no column 'x'" in refused(folder, "--text_file", table, "--label_column", "x", error=CorpusError)
    assert not list(tmp_path.glob("*.html"))


def test_a_dialogue_model_is_refused(tmp_path):
    from hf_bnvae import BnCvaeConfig

    BnCvaeConfig().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="is a bncvae model, whose latents depend on a dialogue: name a text VAE"):
        explore.main(["report", str(tmp_path)])


@pytest.fixture
def served(monkeypatch):
    """The pages that were served, with where, in the place of a server."""
    found = []
    monkeypatch.setattr(explore, "check_servable", lambda host, port: None)
    monkeypatch.setattr(explore, "build_page", lambda explorers: explorers)
    monkeypatch.setattr(explore, "serve", lambda explorers, host, port: found.append((explorers, host, port)))
    return found


def test_a_page_is_served_on_this_machine_alone_unless_told_otherwise(folder, table, served, capsys):
    argv = ["serve", str(folder), "--text_file", str(table)]
    explore.main(argv)
    ((one,), host, port) = served[0]
    assert (host, port, len(one.space.texts)) == ("127.0.0.1", None, 40)
    assert "Everybody" not in capsys.readouterr().out
    explore.main([*argv, "--host", "0.0.0.0", "--port", "7000"])
    assert served[1][1:] == ("0.0.0.0", 7000)
    assert "Everybody who reaches this machine at 0.0.0.0 can use the page." in capsys.readouterr().out


def test_two_models_are_compared_and_the_demo_is_the_default(folder, table, served, tmp_path, monkeypatch):
    other = tmp_path / "runs" / "demo" / "vae"
    other.parent.mkdir(parents=True)
    other.symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    text_file = ["--text_file", str(table)]
    explore.main(["serve", str(folder), "--compare", "runs/demo/vae", *text_file])
    explore.main(["serve", *text_file])
    (other.parent / "bn_vae").symlink_to(folder)
    explore.main(["serve", *text_file])
    names = [[one.name for one in explorers] for explorers, _, _ in served]
    assert names == [[str(folder), "runs/demo/vae"], ["runs/demo/vae"], ["runs/demo/bn_vae", "runs/demo/vae"]]
    monkeypatch.chdir(other.parent)
    with pytest.raises(UsageError, match="or train the demo's by `hf-bnvae demo`"):
        explore.main(["serve"])
    with pytest.raises(UsageError, match="--port must be a number from 1 to 65535, got 70000"):
        explore.main(["serve", str(folder), "--port", "70000"])
