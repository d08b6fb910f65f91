"""A Space: complete in its folder, on the Hub in one commit, and nothing of the data in it that nobody put there."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from hf_bnvae import BnVaeConfig, BnVaeForSequenceClassification, LstmLMConfig, LstmLMForCausalLM
from hf_bnvae.cli import publish
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.data import build_tokenizer
from hf_bnvae.hub import HubError, publish_space, write_card, write_space
from tests.hub.conftest import WRITER
from tests.hub.server import Fault

REPO = "ann/tiny-space"
SENTENCES = ["a b c", "d e\nf", "{names}"]


@pytest.fixture
def run(make_model, tmp_path):
    """The folder of a finished run of that name."""

    def make(name="out", **changes):
        folder = tmp_path / name
        make_model(**changes).save_pretrained(folder)
        build_tokenizer(["a b c d e f g"], "word", 40, 1).save_pretrained(folder)
        (folder / "train.txt").write_text("a secret\n")
        (folder / "README.md").write_text("# the model\n")
        return folder

    return make


START = """
import os, runpy, sys
import hf_bnvae, hf_bnvae.analysis.explorer as explorers, hf_bnvae.analysis.page as pages
assert hf_bnvae.__file__.startswith(sys.argv[1]), hf_bnvae.__file__
pages.serve = lambda page, *where: print(where, len(page.blocks) > 20)
explorers.OWN_SENTENCES = 8
runpy.run_path("app.py", run_name="__main__")
os.environ["SPACE_ID"] = "ann/tiny"
os.remove("sentences.txt")
runpy.run_path("app.py", run_name="__main__")
"""


def test_the_folder_of_a_space_starts_with_nothing_else_on_the_path(run, tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed")
    space = write_space([run("bn vae"), run("vae", posterior="gaussian")], tmp_path / "space", "tiny", SENTENCES)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPACE_ID")}
    command = [sys.executable, "-c", START, str(space)]
    done = subprocess.run(command, cwd=space, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == ["() True", "('0.0.0.0', 7860) True"], done.stderr


def test_a_space_holds_what_it_needs_and_nothing_else(run, tmp_path):
    space = write_space([run()], tmp_path / "space", "tiny", SENTENCES)
    names = {path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file()}
    outside = {name for name in names if not name.startswith("hf_bnvae/")}
    model = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert outside == {
        "app.py",
        "requirements.txt",
        "README.md",
        "sentences.txt",
        *(f"models/out/{one}" for one in model),
    }
    assert {"hf_bnvae/analysis/page.py", "hf_bnvae/analysis/latent_space.html"} <= names
    assert not any("__pycache__" in name for name in names)
    assert (space / "sentences.txt").read_text() == "a b c\nd e f\n{names}"
    head = yaml.safe_load((space / "README.md").read_text().split("---\n")[1])
    assert (head["sdk"], head["app_file"], head["title"]) == ("gradio", "app.py", "tiny")
    assert (
        "torch" in (space / "requirements.txt").read_text() and "gradio" not in (space / "requirements.txt").read_text()
    )


def test_a_space_of_a_model_whose_adapters_stand_apart_installs_what_loads_them(run, tmp_path):
    plain, adapted = run(), run("adapted")
    config = json.loads((adapted / "config.json").read_text()) | {"decoder_lora": {"rank": 16, "alpha": 32.0}}
    (adapted / "config.json").write_text(json.dumps(config))
    space = write_space([plain, adapted], tmp_path / "space", "tiny")
    others = (write_space([plain], tmp_path / "plain", "tiny") / "requirements.txt").read_text().splitlines()
    assert (space / "requirements.txt").read_text().splitlines() == [*others, "peft>=0.18"]
    assert "takes the package peft" in write_card(adapted).read_text()
    assert "peft" not in write_card(plain).read_text()


def arrived(hub, repo_id=REPO):
    files = hub.published(f"spaces/{repo_id}")
    files.pop(".gitattributes")
    return files


def test_a_space_arrives_in_one_commit_and_takes_the_place_of_the_last_one(hub, run, tmp_path):
    folder = run()
    space = write_space([folder], tmp_path / "space", "tiny-space", SENTENCES)
    published = publish_space([folder], REPO, SENTENCES)
    everything = {path.relative_to(space).as_posix(): path.read_bytes() for path in space.rglob("*") if path.is_file()}
    assert arrived(hub) == everything
    assert published.url == f"{hub.endpoint}/spaces/{REPO}" and published.files == len(everything)
    publish_space([run("other")], REPO)
    names = arrived(hub).keys()
    assert "models/other/model.safetensors" in names
    assert not any(name.startswith("models/out/") or name == "sentences.txt" for name in names)
    assert len(hub.repos[f"spaces/{REPO}"].messages) == 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("repos/create", 401), "does not accept the token"),
        (Fault("^/lfs/", "drop", times=None), "check the network and try again"),
        (Fault("/commit/", 500), "is in trouble"),
    ],
)
def test_a_failure_says_what_to_do_and_the_next_call_finishes(hub, run, fault, message):
    folder = run()
    hub.faults.append(fault)
    with pytest.raises(HubError, match=message) as error:
        publish_space([folder], REPO)
    assert WRITER not in str(error.value)
    hub.faults.clear()
    publish_space([folder], REPO)
    assert "app.py" in arrived(hub)


def test_a_private_space_is_made_private_and_a_public_one_is_not_taken_for_it(hub, run):
    publish_space([run()], REPO, private=True)
    assert hub.repos[f"spaces/{REPO}"].private
    publish_space([run()], "ann/open")
    with pytest.raises(
        HubError, match=r"exists already as a public space: make it private at .*/spaces/ann/open/settings"
    ):
        publish_space([run()], "ann/open", private=True)


def test_what_is_no_text_vae_is_named(run, tmp_path):
    LstmLMForCausalLM(LstmLMConfig(vocab_size=9, embedding_size=4, hidden_size=4)).save_pretrained(tmp_path / "lm")
    build_tokenizer(["a b"], "word", 40, 1).save_pretrained(tmp_path / "lm")
    with pytest.raises(HubError, match=r"lm is a lstm_lm model, and a Space shows text VAEs \(bnvae\)"):
        write_space([tmp_path / "lm"], tmp_path / "space", "tiny")
    with pytest.raises(HubError, match="nowhere is no folder"):
        write_space([tmp_path / "nowhere"], tmp_path / "space", "tiny")
    folder = run("classifier")
    BnVaeForSequenceClassification(BnVaeConfig(vocab_size=9, latent_size=4)).save_pretrained(folder)
    with pytest.raises(
        HubError, match="classifier is a BnVaeForSequenceClassification, and a Space shows whole text VAE"
    ):
        write_space([folder], tmp_path / "space", "tiny")
    folder = run()
    with pytest.raises(HubError, match="two folders have the same name"):
        write_space([folder, folder], tmp_path / "space", "tiny")
    with pytest.raises(HubError, match="out holds something already"):
        write_space([folder], folder, "tiny")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(HubError, match=r"has no tokenizer\.json"):
        write_space([folder], tmp_path / "space", "tiny")
    assert not (tmp_path / "space").exists()


def test_the_command_publishes_a_space_or_writes_it(hub, run, tmp_path, capsys):
    folder = str(run())
    (tmp_path / "some.txt").write_text("a b\nc d\n")
    publish.main(
        [folder, "--repo_id", REPO, "--space", "--compare", str(run("vae")), "--text_file", str(tmp_path / "some.txt")]
    )
    assert arrived(hub)["sentences.txt"] == b"a b\nc d"
    assert "MODELS = ['out', 'vae']" in arrived(hub)["app.py"].decode()
    assert f"Published: {hub.endpoint}/spaces/{REPO} (" in capsys.readouterr().out
    publish.main([folder, "--space_dir", str(tmp_path / "space")])
    assert (
        f"python {tmp_path / 'space' / 'app.py'}" in capsys.readouterr().out
        and (tmp_path / "space" / "app.py").exists()
    )
    (tmp_path / "pairs.csv").write_text("1,a b\n0,c d\n")
    columns = ["--text_file", str(tmp_path / "pairs.csv"), "--text_column", "1", "--no_header", "true"]
    publish.main([folder, "--space_dir", str(tmp_path / "pairs"), *columns])
    assert (tmp_path / "pairs" / "sentences.txt").read_text() == "a b\nc d"
    for argv, message in (
        (["extra", "--repo_id", REPO], "unknown flags: extra; the token comes from HF_TOKEN"),
        (["--space"], "add --repo_id USER/NAME"),
        ([], "add --repo_id USER/NAME"),
        (["--repo_id", REPO, "--text_file", "x"], "--text_file is for a Space"),
        (["--repo_id", REPO, "--space", "--revision", "v2"], "leave out --revision"),
    ):
        with pytest.raises(UsageError, match=message):
            publish.main([folder, *argv])
