"""Publishing to a Hub on loopback: what arrives, what is not sent twice, and what every failure says and leaves."""

import errno
import json
import logging
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from hf_bnvae.cli import publish as command_line
from hf_bnvae.hub import HubError, publish
from tests.hub.conftest import READER, STRANGER, WRITER
from tests.hub.server import Fault

ROOT = Path(__file__).parents[2]
REPO = "ann/tiny"
KEPT = {"README.md", "all_results.json", "config.json", "model.safetensors", "modeling_own.py", "figures/kl.png"}
KEPT |= {"tokenizer.json", "own_layers.py", "training.png"}
LEFT = (
    "checkpoint-20/model.safetensors",
    "checkpoint-20/optimizer.pt",
    "runs/events.out.tfevents",
    "optimizer.pt",
    "rng_state.pth",
    "training_args.bin",
    "all_results.json.partial",
    "run.log",
    ".partial/model.safetensors",
    ".netrc",
    "train.txt",
    "train.json",
    "samples.md",
    "trainer_state.json",
    "nohup.out",
    "events.out.tfevents.1",
    "wandb/run-1/config.json",
    "pytorch_model.bin",
    "model-00001-of-00002.safetensors",
    "scratch.py",
    "photo.png",
)


@pytest.fixture
def folder(make_model, tmp_path):
    """The folder of a finished run."""
    folder = tmp_path / "out"
    make_model().save_pretrained(folder)
    for path in folder.iterdir():
        if path.name not in KEPT:
            path.unlink()
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# tiny\n")
    (folder / "all_results.json").write_text("{}")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_own.Own", "AutoConfig": "configuration_of_nobody.Own"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text("from .own_layers import Layer\n")
    for name in (*KEPT, *LEFT):
        if not (folder / name).exists():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_text(f"content of {name}\n")
    return folder


def contents(folder):
    """Names, bytes and times of all files."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def kept(folder):
    return {name: (folder / name).read_bytes() for name in KEPT}


def arrived(hub, repo_id=REPO, revision="main"):
    files = hub.published(repo_id, revision)
    files.pop(".gitattributes")
    return files


def refused(*arguments, **options):
    """What publishing says when it fails; neither the error nor what it came from holds a token."""
    with pytest.raises(HubError) as caught:
        publish(*arguments, **options)
    error = caught.value
    assert error.__cause__ is None and error.__context__ is None
    said = "".join(traceback.format_exception(error))
    assert not any(token in said for token in (WRITER, READER, STRANGER))
    assert "\n" not in str(error)
    return str(error)


# What arrives


def test_a_run_arrives_in_one_commit_without_what_stays_behind(hub, folder):
    published = publish(folder, REPO, commit_message="Two epochs")
    assert arrived(hub) == kept(folder)
    assert hub.repos[REPO].messages == ["initial commit", "Two epochs"]
    assert hub.repos[REPO].files()["model.safetensors"][1], "the weights are no LFS file"
    assert published.url == f"{hub.endpoint}/{REPO}"
    assert (published.files, published.size) == (len(KEPT), sum(map(len, kept(folder).values())))


def test_what_the_hub_holds_is_not_sent_again(hub, folder):
    publish(folder, REPO)
    sent = hub.count("PUT", "^/lfs/")
    (folder / "README.md").write_text("# another card\n")
    publish(folder, REPO)
    assert arrived(hub) == kept(folder)
    assert hub.count("PUT", "^/lfs/") == sent == 3
    commits = len(hub.repos[REPO].commits)
    publish(folder, REPO)
    assert len(hub.repos[REPO].commits) == commits


def test_a_branch_is_made_for_a_revision(hub, folder):
    for _ in range(2):
        published = publish(folder, REPO, revision="v2")
        assert published.url.endswith(f"{REPO}/tree/v2")
    assert arrived(hub, revision="v2") == kept(folder)
    assert arrived(hub) == {}


def test_a_card_of_the_command_loads_the_branch_that_it_stands_on(hub, folder):
    for name in ("README.md", "trainer_state.json"):
        (folder / name).unlink()
    command_line.main([str(folder), "--repo_id", REPO, "--revision", "v2"])
    assert f'from_pretrained("{REPO}", revision="v2")' in arrived(hub, revision="v2")["README.md"].decode()
    command_line.main([str(folder), "--repo_id", REPO])
    assert f'from_pretrained("{REPO}")' in arrived(hub)["README.md"].decode()


def test_a_private_model_is_made_private_and_a_public_one_is_not_taken_for_it(hub, folder):
    publish(folder, REPO, private=True)
    assert hub.repos[REPO].private
    publish(folder, REPO)
    publish(folder, "ann/open")
    (folder / "README.md").write_text("# a secret\n")
    assert "exists already as a public model" in refused(folder, "ann/open", private=True)
    assert arrived(hub, "ann/open")["README.md"] != b"# a secret\n"


def test_shards_are_weights_and_a_missing_one_is_named(hub, make_model, tmp_path):
    folder = tmp_path / "shards"
    make_model().save_pretrained(folder, max_shard_size="5KB")
    make_model().save_pretrained(tmp_path / "before")
    for saved in (folder, tmp_path / "before"):
        (saved / "tokenizer.json").write_text("{}")
    publish(tmp_path / "before", REPO)
    assert "model.safetensors" in arrived(hub)  # which from_pretrained would prefer to shards
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    publish(folder, REPO)
    assert {"model.safetensors.index.json", *shards} <= arrived(hub).keys()
    assert "model.safetensors" not in arrived(hub)
    whole = (folder / shards[0]).read_bytes()
    (folder / shards[0]).write_bytes(whole[:-1])
    assert f"{shards[0]} in {folder} cannot be read or is cut off" in refused(folder, REPO)
    (folder / shards[0]).unlink()
    assert f"{shards[0]} missing" in refused(folder, REPO)


def test_no_path_of_this_machine_reaches_the_hub_in_the_configuration(hub, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama").mkdir()
    config = json.loads((folder / "config.json").read_text())
    names = {"encoder_config": str(tmp_path / "bert"), "decoder_config": "llama", "other": "ann/bert"}
    own = config | {part: {"_name_or_path": name, "size": 1} for part, name in names.items()}
    (folder / "config.json").write_text(json.dumps(own))
    publish(folder, REPO)
    parts = {"encoder_config": {"size": 1}, "decoder_config": {"size": 1}, "other": own["other"]}
    assert json.loads(arrived(hub)["config.json"]) == config | parts
    assert json.loads((folder / "config.json").read_text()) == own
    own = config | {"encoder_base": {"name": str(tmp_path / "bert")}}
    (folder / "config.json").write_text(json.dumps(own))
    assert "reads the weights of its encoder from the folder" in refused(folder, REPO)


def test_code_without_what_it_imports_is_named(folder):
    (folder / "own_layers.py").unlink()
    with pytest.raises(HubError, match=r"own_layers.py is missing, which the code beside it imports"):
        publish(folder, REPO)


@pytest.mark.parametrize("name", ["all_results.json", "model.safetensors", "training.png"])
def test_a_link_that_leads_out_of_the_folder_is_not_followed(hub, folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert f"{name} is a link to a file outside {folder}" in refused(folder, REPO)
    (folder / name).unlink()
    (folder / name).symlink_to((tmp_path / "elsewhere").rename(folder / "inside"))
    publish(folder, REPO)
    assert arrived(hub) == kept(folder)


def test_a_model_in_the_cache_of_the_hub_is_published(hub, folder, tmp_path):
    publish(folder, REPO)
    cached = Path(snapshot_download(REPO, cache_dir=tmp_path / "cache"))
    assert (cached / "model.safetensors").is_symlink()
    publish(cached, "ann/again")
    assert arrived(hub, "ann/again") == kept(folder)


def test_nothing_of_an_earlier_model_stays_and_all_that_somebody_else_wrote_does(hub, folder):
    earlier = ("decoder_tokenizer/tokenizer.json", "decoder_tokenizer/tokenizer_config.json", "special_tokens_map.json")
    earlier += ("run.json", "training.png", "generation_config.json", "pytorch_model.bin")
    others = ("LICENSE", "words.model", "notes.txt", "picture.png", "decoder_tokenizer/notes.txt", "own.py")
    hub.publish(REPO, dict.fromkeys((*earlier, *others), b"x"))
    publish(folder, REPO)
    assert hub.published(REPO) == kept(folder) | dict.fromkeys(others, b"x")


# What fails

ANY = {"times": None}
FAULTS = {
    "connection dropped in the LFS upload": (Fault("^/lfs/", "drop", **ANY), "check the network and try again"),
    "one of two LFS uploads dropped": (Fault("^/lfs/", "drop", after=2, **ANY), "check the network and try again"),
    "500 in the LFS upload": (Fault("^/lfs/", 500, method="PUT", **ANY), r"in trouble \(HTTP 500\).*try again"),
    "403 in the LFS upload": (Fault("^/lfs/", 403, method="PUT", **ANY), f"may not write to {REPO}"),
    "503 in the LFS batch": (Fault("objects/batch", 503, **ANY), r"in trouble \(HTTP 503\)"),
    "500 in the LFS verification": (Fault("/verify$", 500, **ANY), r"in trouble \(HTTP 500\)"),
    "504 before the upload": (Fault("/preupload/", 504, **ANY), r"in trouble \(HTTP 504\)"),
    "500 of the card's check": (Fault("validate-yaml", 500), r"in trouble \(HTTP 500\)"),
    "500 of the commit": (Fault("/commit/", 500), r"in trouble \(HTTP 500\)"),
    "connection dropped at the commit": (Fault("/commit/", "drop"), "check the network and try again"),
    "commit done, answer lost": (Fault("/commit/", "lose"), "check the network and try again"),
    "401 at the commit": (Fault("/commit/", 401), "does not accept the token.*HF_TOKEN, or by `hf auth login`"),
    "403 at the commit": (Fault("/commit/", 403), f"may not write to {REPO}.*write access"),
    "404 at the commit": (Fault("/commit/", 404), f"has nothing at {REPO}.*check the name"),
    "409 at the commit": (Fault("/commit/", 409), f"somebody else changed {REPO}.*try again"),
    "412 at the commit": (Fault("/commit/", 412), f"somebody else changed {REPO}"),
    "429 at the commit": (Fault("/commit/", 429), "too many requests.*some minutes"),
    "413 at the commit": (
        Fault("/commit/", 413),
        r"refused the model \(HTTP 413\) \(as the test wants it, Bearer \*\*\*\)",
    ),
    "401 at the first request": (Fault("repos/create", 401), "does not accept the token"),
    "500 at the first request": (Fault("repos/create", 500), r"in trouble \(HTTP 500\)"),
    "connection dropped at the first request": (Fault("repos/create", "drop"), "check the network"),
    "a web page for an answer": (Fault("repos/create", "page"), "is not the Hub, or in trouble: check HF_ENDPOINT"),
    "404 of the right to write": (Fault("auth-check", 404), f"has nothing at {REPO}"),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS)
def test_a_failure_says_what_to_do_and_the_next_run_finishes(hub, folder, caplog, fault, message):
    caplog.set_level(logging.DEBUG)
    before = contents(folder)
    hub.faults.append(Fault(**vars(fault)))
    said = refused(folder, REPO)
    assert re.search(message, said), said
    lost = fault.what == "lose"
    if REPO in hub.repos and not lost:
        assert arrived(hub) == {}, "half a model stands there"
    sent = hub.count("PUT", "^/lfs/")
    hub.faults.clear()
    publish(folder, REPO)
    assert arrived(hub) == kept(folder)
    if "/commit/" in fault.path:
        assert hub.count("PUT", "^/lfs/") == sent, "the weights were sent again"
    assert contents(folder) == before
    assert not any(token in caplog.text for token in (WRITER, READER, STRANGER))


def test_trouble_that_passes_is_outlasted(hub, folder):
    hub.faults += [Fault("^/lfs/", 500, times=2), Fault("/preupload/", "drop"), Fault("objects/batch", 429)]
    publish(folder, REPO)
    assert arrived(hub) == kept(folder)


def test_a_hub_that_falls_silent_is_not_waited_for(hub, folder, monkeypatch):
    monkeypatch.setattr("hf_bnvae.hub.publishing.PATIENCE", 0.2)
    hub.faults.append(Fault("^/lfs/", "hang", times=None))
    assert "check the network and try again" in refused(folder, REPO)


def test_a_hub_that_is_not_there_is_said(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the connection to http://127.0.0.1:9 failed" in refused(folder, REPO)


@pytest.mark.parametrize(
    ("token", "repo_id", "message"),
    [
        (None, REPO, "there is no token: set HF_TOKEN to one with write access, or run `hf auth login`"),
        ("hf_unknownSecret", REPO, "does not accept the token, which is wrong, expired or revoked"),
        (READER, REPO, "the token may not write to ann/tiny"),
        (WRITER, "bob/tiny", "the token may not write to bob/tiny .*: give one with write access, of bob or a member"),
        ("hf_wri\nterSecret", REPO, "holds characters that belong to no token"),
        ("hf_wrïterSecret", REPO, "holds characters that belong to no token"),
    ],
)
def test_a_token_that_will_not_do_is_said_and_never_shown(hub, folder, monkeypatch, caplog, token, repo_id, message):
    caplog.set_level(logging.DEBUG)
    publish(folder, "bob/tiny", token=STRANGER)
    monkeypatch.delenv("HF_TOKEN")
    said = refused(folder, repo_id, token=token)
    assert re.search(message, said)
    assert "Secret" not in said + caplog.text
    if token is not None and token.isascii() and token.isprintable():
        monkeypatch.setenv("HF_TOKEN", token)
        assert refused(folder, repo_id) == said


def test_what_is_no_model_is_named_before_anything_is_asked(hub, folder, tmp_path, monkeypatch):
    assert "nowhere is no folder" in refused(tmp_path / "nowhere", REPO)
    for repo_id in ("tiny", "a/b/c", "ann/ti ny", "ann/", "ann/x--y", ""):
        assert f"{repo_id!r} cannot name a model: write USER/NAME" in refused(folder, repo_id)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(folder, REPO)
    (folder / "tokenizer.json").unlink()
    assert "holds no tokenizer, without which nobody can use the model" in refused(folder, REPO)
    (folder / "config.json").unlink()
    assert "holds no whole model, config.json missing" in refused(folder, REPO)
    (folder / "model.safetensors").unlink()
    assert "config.json and model.safetensors missing" in refused(folder, REPO)
    assert hub.requests == []


def test_a_card_that_the_hub_refuses_is_said(hub, folder):
    (folder / "README.md").write_text("---\na: [\n---\n")
    assert "refuses the model card" in refused(folder, REPO)
    assert arrived(hub) == {}


def test_files_that_cannot_be_read_or_written_are_said(hub, folder, monkeypatch):
    for error, message in (
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full .*free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "weights"), "weights cannot be read"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ):
        with monkeypatch.context() as patch:

            def fail(path, error=error):
                raise error

            patch.setattr("huggingface_hub.lfs.UploadInfo.from_path", fail)
            assert re.search(message, refused(folder, REPO))
    publish(folder, REPO)
    assert arrived(hub) == kept(folder)


# From a shell

DOWNLOAD = """
import os, sys, torch
from transformers import AutoModelForSeq2SeqLM
from hf_bnvae.cli import publish
folder, *names = sys.argv[1:]
publish.main([folder, "--repo_id", names[0]])
publish.main([folder, "--repo_id", names[1], "--private"])
ours = AutoModelForSeq2SeqLM.from_pretrained(folder).state_dict()
for name in names:
    theirs = AutoModelForSeq2SeqLM.from_pretrained(name, cache_dir="cache").state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
del os.environ["HF_TOKEN"]
AutoModelForSeq2SeqLM.from_pretrained(names[0], cache_dir="stranger")
try:
    AutoModelForSeq2SeqLM.from_pretrained(names[1], cache_dir="stranger")
except OSError:
    print("refused")
publish.run(lambda: publish.main([folder, "--repo_id", names[0], "--token", "hf_flagSecret"]))
"""


def test_the_command_publishes_and_from_pretrained_downloads_the_same_weights(hub, folder, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": WRITER,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", "import hf_bnvae\n" + DOWNLOAD, folder, REPO, "ann/closed"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"Published: {hub.endpoint}/{REPO} ({len(KEPT)} files, " in done.stdout, done.stderr
    assert "refused" in done.stdout
    assert done.stderr.splitlines()[-1].endswith(
        "error: unknown flags: --token; the token comes from HF_TOKEN or `hf auth login`"
    )
    assert done.returncode == 1
    assert "Secret" not in done.stdout + done.stderr
    assert hub.repos["ann/closed"].private and arrived(hub, "ann/closed") == kept(folder)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or WRITER.encode() not in path.read_bytes(), path
