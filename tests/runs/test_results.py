"""What a finished run records of itself."""

import json
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard

from hf_bnvae import BnVaeConfig
from hf_bnvae.runs.results import write_run


@pytest.mark.parametrize(
    ("names", "bases"),
    [
        ({"encoder_name_or_path": "ann/bert", "decoder_name_or_path": "ann/llama"}, ["ann/bert", "ann/llama"]),
        ({"encoder_name_or_path": "ann/bert", "decoder_name_or_path": None}, ["ann/bert"]),
        ({"pretrained_encoder": "ann/ae"}, ["ann/ae"]),
        ({"encoder_name_or_path": "a folder", "decoder_name_or_path": "ann/llama"}, ["ann/llama"]),
        ({}, []),
    ],
)
def test_the_models_of_the_hub_that_a_run_starts_from_are_named(tmp_path, monkeypatch, names, bases):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    BnVaeConfig().save_pretrained(tmp_path / "out")
    args = SimpleNamespace(
        output_dir="out", bf16=False, fp16=False, device=torch.device("cpu"), world_size=1, hub_model_id=None
    )
    arguments = (
        SimpleNamespace(train_file="x", dataset_name=None),
        SimpleNamespace(method="bn_vae", **names),
        SimpleNamespace(license=None, language=None, data_license=None),
        args,
    )
    write_run(None, SimpleNamespace(name="x", reports={}, notes={}), arguments, {}, pushed=False)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["base_model"] == bases
    named = ModelCard.load(tmp_path / "out" / "README.md").data.base_model
    assert ([named] if isinstance(named, str) else named or []) == bases
