"""A checkpoint carries all that loads it: without this package, Auto classes give the same numbers."""

import json
import logging
import os
import subprocess
import sys
import sysconfig

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

import hf_bnvae
from hf_bnvae import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    BnVaeForSequenceClassification,
    LstmLMConfig,
    LstmLMForCausalLM,
)
from hf_bnvae.data import build_tokenizer
from tests.helpers import make_batch

SIZES = {"vocab_size": 40, "embedding_size": 8, "hidden_size": 12, "initializer_range": 0.5}
LLAMA = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
CONDITIONAL = {"utterance_hidden_size": 5, "context_hidden_size": 6, "latent_size": 3, "prior_hidden_size": 4}
AUTO_CLASSES = {
    "bn_vae": ("AutoModel", "AutoModelForSeq2SeqLM", "AutoModelForSequenceClassification"),
    "tied_skip_du": ("AutoModel", "AutoModelForSeq2SeqLM"),
    "vmf_cnn": ("AutoModel", "AutoModelForSeq2SeqLM"),
    "bn_cvae": ("AutoModel", "AutoModelForSeq2SeqLM"),
    "classifier": ("AutoModel", "AutoModelForSequenceClassification"),
    "lstm_lm": ("AutoModelForCausalLM",),
    "pretrained_lm": ("AutoModelForCausalLM",),
}

# What both environments run; without this package `hf_bnvae` cannot be imported.
USE = """
import json, sys
from pathlib import Path
import torch, transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer

def outputs(folder, name, batch, **options):
    model = getattr(transformers, name).from_pretrained(folder, **options).eval()
    found = {}
    if name == "AutoModelForCausalLM":
        batch = {key: batch[key] for key in ("input_ids", "labels")}
    if name == "AutoModelForSequenceClassification":
        if "classifier" not in str(folder):
            return model, {}
        batch = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        for key, value in model(**batch).items():
            if isinstance(value, torch.Tensor):
                found[key] = value.contiguous().clone()
        if "Seq2Seq" in name or "Causal" in name:
            found["generated"] = model.generate(batch["input_ids"], max_new_tokens=6, num_beams=2).contiguous()
    return model, found

def run(root, target, auto_classes, **options):
    batch = load_file(root / "batch.safetensors")
    for folder, names in auto_classes.items():
        AutoConfig.from_pretrained(root / folder, **options)
        for name in names:
            model, found = outputs(root / folder, name, batch, **options)
            if found:
                save_file(found, target / f"{folder}-{name}.safetensors")
"""
WITHOUT = (
    USE
    + """
root, target = map(Path, sys.argv[1:3])
try:
    import hf_bnvae
    sys.exit("hf_bnvae can be imported here")
except ImportError:
    pass
classes = json.loads(sys.argv[3])
run(root, target, classes, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(root / "bn_vae", trust_remote_code=True)
assert tokenizer.decode(tokenizer("a b")["input_ids"], skip_special_tokens=True) == "a b"

# What is saved there loads there again, with its code.
model, found = outputs(root / "bn_vae", "AutoModelForSeq2SeqLM", load_file(root / "batch.safetensors"),
                       trust_remote_code=True)
model.save_pretrained(target / "again")
tokenizer.save_pretrained(target / "again")
"""
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder of checkpoints, and what they give where this package is installed."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("checkpoints")
    models = {
        "bn_vae": BnVaeForConditionalGeneration(BnVaeConfig(**SIZES, latent_size=4, gamma=0.6)),
        "tied_skip_du": BnVaeForConditionalGeneration(
            BnVaeConfig(**SIZES, latent_size=4, posterior="du", decoder="skip_lstm", tie_word_embeddings=True)
        ),
        "vmf_cnn": BnVaeForConditionalGeneration(BnVaeConfig(**SIZES, latent_size=4, posterior="vmf", decoder="cnn")),
        "bn_cvae": BnCvaeForConditionalGeneration(BnCvaeConfig(**SIZES, **CONDITIONAL, bow_weight=1, topics=["a"])),
        "classifier": BnVaeForSequenceClassification(BnVaeConfig(**SIZES, latent_size=4, num_labels=3)),
        "lstm_lm": LstmLMForCausalLM(LstmLMConfig(**SIZES)),
        "pretrained_lm": LstmLMForCausalLM(LstmLMConfig(decoder_config=AutoConfig.for_model("llama", **LLAMA))),
    }
    batch = make_batch([6, 9, 4])
    for name, model in models.items():
        if name in ("bn_vae", "tied_skip_du", "bn_cvae"):
            model.recompute_statistics([batch])
        model.save_pretrained(root / name)
    build_tokenizer(["a b", "b c"], "word", 40, 1).save_pretrained(root / "bn_vae")
    save_file(batch, root / "batch.safetensors")
    here = root / "here"
    here.mkdir()
    scope: dict = {}
    exec(USE, scope)
    scope["run"](root, here, AUTO_CLASSES)
    return root


def without_the_package(*arguments, cache) -> subprocess.CompletedProcess:
    """A process that sees the site-packages folders, but no editable installs, and so not this package."""
    paths = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_MODULES_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-S", "-c", *map(str, arguments)], env=environment, cwd=cache, capture_output=True, text=True
    )


def test_auto_classes_give_the_same_numbers_without_this_package(checkpoints, tmp_path):
    done = without_the_package(WITHOUT, checkpoints, tmp_path, json.dumps(AUTO_CLASSES), cache=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    compared = 0
    for path in sorted((checkpoints / "here").iterdir()):
        expected, found = load_file(path), load_file(tmp_path / path.name)
        assert expected.keys() == found.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-6, msg=f"{path.name}: {name}")
        compared += 1
    assert compared == sum(map(len, AUTO_CLASSES.values())) - 1  # bn_vae has no trained classifier
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "again")
    assert type(again) is BnVaeForConditionalGeneration
    first = load_file(checkpoints / "bn_vae" / "model.safetensors")
    assert all(
        torch.equal(first[name], value) for name, value in load_file(tmp_path / "again/model.safetensors").items()
    )
    assert {path.name for path in (tmp_path / "again").glob("*.py")} == {
        path.name for path in (checkpoints / "bn_vae").glob("*.py")
    }


def test_with_this_package_no_code_of_a_checkpoint_runs(checkpoints, tmp_path):
    for auto_class, name, expected in (
        (AutoModel, "bn_vae", hf_bnvae.BnVaeModel),
        (AutoModelForSeq2SeqLM, "bn_vae", BnVaeForConditionalGeneration),
        (AutoModelForSequenceClassification, "classifier", BnVaeForSequenceClassification),
        (AutoModelForSeq2SeqLM, "bn_cvae", BnCvaeForConditionalGeneration),
        (AutoModelForCausalLM, "lstm_lm", LstmLMForCausalLM),
    ):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for path in (checkpoints / name).iterdir():
            content = b"raise SystemExit('code of a checkpoint ran')" if path.suffix == ".py" else path.read_bytes()
            (folder / path.name).write_bytes(content)
        for options in ({}, {"trust_remote_code": True}):
            assert type(auto_class.from_pretrained(folder, **options)) is expected


@pytest.mark.parametrize("name", AUTO_CLASSES)
def test_a_checkpoint_names_every_class_and_holds_its_file(checkpoints, name):
    config = json.loads((checkpoints / name / "config.json").read_text())
    for reference in config["auto_map"].values():
        module, kind = reference.split(".")
        assert f"class {kind}" in (checkpoints / name / f"{module}.py").read_text()
    assert config["hf_bnvae_version"] == hf_bnvae.__version__


def test_every_auto_class_of_a_config_is_registered_here():
    for config in (BnVaeConfig, BnCvaeConfig, LstmLMConfig):
        for name, reference in config.AUTO_CLASSES.items():
            if name == "AutoConfig":
                assert type(AutoConfig.for_model(config.model_type)) is config
            else:
                auto_class = getattr(__import__("transformers"), name)
                assert auto_class._model_mapping[config].__name__ == reference.split(".")[1]


def test_a_checkpoint_of_another_version_says_which(checkpoints, tmp_path, caplog):
    content = json.loads((checkpoints / "bn_vae" / "config.json").read_text())
    for version, said in (("0.0.7", True), (hf_bnvae.__version__, False)):
        (tmp_path / "config.json").write_text(json.dumps(content | {"hf_bnvae_version": version}))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            config = AutoConfig.from_pretrained(tmp_path)
        assert ("saved by hf_bnvae 0.0.7 and is read by hf_bnvae" in caplog.text) is said
        assert config.hf_bnvae_version == hf_bnvae.__version__  # what it is saved by next


def test_a_checkpoint_loaded_from_elsewhere_points_to_its_own_code(checkpoints, tmp_path):
    content = json.loads((checkpoints / "bn_vae" / "config.json").read_text())
    content["auto_map"] = {name: f"someone/model--{value}" for name, value in content["auto_map"].items()}
    (tmp_path / "config.json").write_text(json.dumps(content))
    AutoConfig.from_pretrained(tmp_path).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["auto_map"] == BnVaeConfig.AUTO_CLASSES


def test_the_package_keeps_the_names_of_its_parts():
    assert hf_bnvae.models.__name__ == "hf_bnvae.models" and set(hf_bnvae.__all__) <= set(dir(hf_bnvae))
