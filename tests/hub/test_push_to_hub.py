"""--push_to_hub: refused before training or done after it, and a training is never lost to the network."""

import os
import re
import shlex

import pytest
from transformers import AutoTokenizer

import hf_bnvae
from hf_bnvae.cli import compare, dialogue, publish, train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.data import TokenizerPair, build_tokenizer
from hf_bnvae.hub import HubError
from tests.cli.test_dialogue import flags as dialogue_flags
from tests.helpers import flags
from tests.hub.conftest import READER, WRITER
from tests.hub.server import Fault

REPO = "ann/tiny"
PUSH = {"push_to_hub": True, "hub_model_id": REPO}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text("a b c\nb c d e\nc a\nd e a b c\n" * 4)
    return folder


def check_published(hub, folder, commits=2, revision="main"):
    files = hub.published(REPO, revision)
    files.pop(".gitattributes")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "all_results.json"} <= files.keys()
    assert not any(name.startswith("checkpoint-") or name.endswith((".pt", ".bin")) for name in files)
    assert all((folder / name).read_bytes() == content for name, content in files.items())
    assert len(hub.repos[REPO].messages) == commits


def test_a_sentence_run_is_published_once_at_its_end(hub, corpus, tmp_path, capsys):
    train.main(flags(corpus, tmp_path / "out", hub_private_repo=True, hub_revision="v2", **PUSH))
    check_published(hub, tmp_path / "out", revision="v2")
    assert hub.repos[REPO].private and b'", revision="v2")' in hub.published(REPO, "v2")["README.md"]
    said = capsys.readouterr()
    assert f"Published: {hub.endpoint}/{REPO}/tree/v2 (" in said.out
    assert WRITER not in said.out + said.err
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or WRITER.encode() not in path.read_bytes(), path


def test_a_dialogue_run_is_published_once_at_its_end(hub, tmp_path):
    dialogue.main(dialogue_flags(tmp_path / "out", num_train_epochs=1, num_responses=0, **PUSH))
    check_published(hub, tmp_path / "out")
    assert "samples.md" not in hub.published(REPO)  # it quotes the data


def test_a_training_outlives_the_network_and_the_command_of_the_error_publishes_it(hub, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.faults.append(Fault("^/lfs/", "drop", times=None))
    with pytest.raises(HubError, match=r"check the network.*The trained model is whole in out, and `") as error:
        train.main(flags(corpus, "out", **PUSH))
    hub.faults.clear()
    program, command, *argv = shlex.split(str(error.value).split("`")[-2])
    assert (program, command) == ("hf-bnvae", "publish")
    card = (tmp_path / "out" / "README.md").read_bytes()
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(HubError, match="may not write to ann/typo"):
        publish.main(["out", "--repo_id", "ann/typo"])
    assert (tmp_path / "out" / "README.md").read_bytes() == card
    monkeypatch.setenv("HF_TOKEN", WRITER)
    publish.main(argv)
    check_published(hub, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "token", "message"),
    [
        ({}, None, "there is no token: set HF_TOKEN"),
        ({}, "hf_unknownSecret", "does not accept the token"),
        ({}, READER, f"may not write to {REPO}"),
        ({"hub_model_id": "bob/tiny"}, WRITER, "may not write to bob/tiny"),
        ({"hub_model_id": "a/b/c"}, WRITER, "cannot name a model: write USER/NAME"),
        ({"hub_model_id": None}, WRITER, "add --hub_model_id USER/NAME"),
        ({"hub_strategy": "every_save"}, WRITER, "leave out --hub_strategy"),
        ({"hub_token": "hf_flagSecret"}, WRITER, "--hub_token would show the token to others: set HF_TOKEN"),
    ],
)
def test_what_would_fail_in_the_end_is_said_before_training(
    hub, corpus, tmp_path, monkeypatch, changes, token, message
):
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises((HubError, UsageError), match=message) as error:
        train.main(flags(corpus, tmp_path / "out", **PUSH | changes))
    assert "\n" not in str(error.value) and "Secret" not in str(error.value)
    assert not os.listdir(tmp_path)
    assert hub.repos == {}


@pytest.mark.parametrize("changes", [{"hub_model_id": REPO}, {"hub_private_repo": True}, {"hub_revision": "v2"}])
def test_flags_of_a_repository_without_push_to_hub_are_refused(corpus, tmp_path, changes):
    (name,) = changes
    with pytest.raises(UsageError, match=f"--{name} is read with --push_to_hub only: leave it out, or give both"):
        train.main(flags(corpus, tmp_path / "out", **changes))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("shared", [["--push_to_hub"], ["--hub_token", "hf_flagSecret"], ["--hub-model-id=ann/tiny"]])
def test_a_comparison_publishes_nothing_and_writes_no_token(hub, tmp_path, shared):
    with pytest.raises(UsageError, match="a comparison publishes no model") as error:
        compare.main(["--methods", "vae", "--output_dir", str(tmp_path / "out"), *shared])
    assert "Secret" not in str(error.value)
    assert not (tmp_path / "out").exists() and hub.requests == []
    with pytest.raises(UsageError, match="a comparison publishes no model"):
        compare.main(["--methods", "vae:push_to_hub=true", "--output_dir", str(tmp_path / "out")])


def test_a_trained_pipeline_is_published_with_the_card_of_its_run_and_nothing_else(hub, corpus, tmp_path):
    small = {"embedding_size": 8, "hidden_size": 8, "latent_size": 4, "max_steps": 2, "nll_samples": 2}
    vae = hf_bnvae.train(str(corpus), output_dir=tmp_path / "out", use_cpu=True, disable_tqdm=True, **small)
    published = vae.push_to_hub(REPO, private=True)
    files = hub.published(REPO)
    assert str(published).startswith(f"{hub.endpoint}/{REPO} (") and hub.repos[REPO].private
    assert files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()
    assert files["all_results.json"] == (tmp_path / "out" / "all_results.json").read_bytes()
    card = files["README.md"].decode()
    assert f'from_pretrained("{REPO}"' in card and "Method `bn_vae`" in card
    assert not any(name.startswith("checkpoint-") or name == "trainer_state.json" for name in files)


@pytest.fixture
def trained(corpus, tmp_path):
    """The folder of a finished run."""
    small = {"embedding_size": 8, "hidden_size": 8, "latent_size": 4, "max_steps": 2, "nll_samples": 2}
    hf_bnvae.train(str(corpus), output_dir=tmp_path / "run", use_cpu=True, disable_tqdm=True, license="mit", **small)
    return tmp_path / "run"


def test_what_comes_from_the_hub_goes_back_there_with_its_card_and_its_results(hub, trained):
    def published(repo_id):
        # Transformers keeps there where a tokenizer came from.
        return {name: text for name, text in hub.published(repo_id).items() if name != "tokenizer_config.json"}

    publish.main([str(trained), "--repo_id", REPO])
    first = published(REPO)
    vae = hf_bnvae.TextVaePipeline.from_pretrained(REPO)
    vae.push_to_hub(REPO)
    vae.push_to_hub("ann/copy")
    assert published(REPO) == first
    card = first.pop("README.md").decode().replace(REPO, "ann/copy").replace("tiny", "copy")
    copied = published("ann/copy")
    assert copied.pop("README.md").decode() == card and copied == first
    assert {"all_results.json", "run.json", "training.png"} <= first.keys() and "license: mit" in card


def test_the_code_of_a_card_without_the_package_reads_and_writes_by_the_right_tokenizers(hub, make_model):
    tokenizers = [build_tokenizer([text], "word", 40, 1) for text in ("a b c d e", "z y x w")]
    model = make_model(encoder_vocab_size=len(tokenizers[0]), vocab_size=len(tokenizers[1]))
    hf_bnvae.TextVaePipeline(model, TokenizerPair(*tokenizers)).push_to_hub(REPO)
    code = re.findall(r"```python\n(.*?)```", hub.published(REPO)["README.md"].decode(), flags=re.DOTALL)[1]
    loads = [line for line in code.splitlines() if "tokenizer = " in line]
    scope = {"AutoTokenizer": AutoTokenizer}
    exec("\n".join(loads), scope)
    assert scope["tokenizer"].get_vocab() == tokenizers[0].get_vocab()
    assert scope["decoder_tokenizer"].get_vocab() == tokenizers[1].get_vocab()


@pytest.mark.parametrize("source", ["folder", "hub"])
def test_a_card_that_was_changed_by_hand_is_published_as_it_is(hub, trained, caplog, source):
    with (trained / "README.md").open("a") as card:
        card.write("By hand.\n")
    by_hand = (trained / "README.md").read_bytes()
    publish.main([str(trained), "--repo_id", REPO])
    name = str(trained) if source == "folder" else REPO
    hf_bnvae.TextVaePipeline.from_pretrained(name).push_to_hub("ann/copy")
    assert hub.published(REPO)["README.md"] == hub.published("ann/copy")["README.md"] == by_hand
    assert "was changed by hand and stays as it is; does it load ann/copy?" in caplog.text
