"""`import hf_bnvae` registers the models and imports nothing that only training or data need."""

import pickle
import subprocess
import sys

import pytest

import hf_bnvae

ABSENT = ("datasets", "pandas", "pyarrow", "evaluate", "sklearn", "matplotlib", "gradio", "peft")
ABSENT += ("transformers.modeling_utils",)  # which takes longer to import than torch
OWN_ABSENT = tuple(f"hf_bnvae.{room}" for room in ("data", "evaluation", "training", "hub", "runs", "cli"))


def test_the_import_leaves_out_what_only_training_and_data_need():
    code = (
        "import sys, hf_bnvae\n"
        f"print([name for name in {ABSENT + OWN_ABSENT} if name in sys.modules])\n"
        "from transformers import AutoConfig\n"
        "print(AutoConfig.for_model('bnvae').model_type)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-2:] == ["[]", "bnvae"]


MADE_FROM = {
    "a configuration": "config = BnVaeConfig(vocab_size=9, hidden_size=4)",
    "a model type": "config = AutoConfig.for_model('bnvae', vocab_size=9, hidden_size=4)",
    "a pickle": "config = pickle.loads({pickled!r})",
}


@pytest.mark.parametrize("source", MADE_FROM)
def test_models_are_registered_before_the_first_configuration(source):
    pickled = pickle.dumps(hf_bnvae.BnVaeConfig(vocab_size=9, hidden_size=4))
    code = (
        "import pickle\nfrom hf_bnvae import BnVaeConfig\nfrom transformers import AutoConfig, AutoModelForSeq2SeqLM\n"
        f"{MADE_FROM[source].format(pickled=pickled)}\n"
        "print(type(AutoModelForSeq2SeqLM.from_config(config)).__name__)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1:] == ["BnVaeForConditionalGeneration"]


@pytest.mark.parametrize("name", hf_bnvae.__all__)
def test_every_public_name_can_be_had(name):
    assert name in dir(hf_bnvae) and getattr(hf_bnvae, name) is getattr(hf_bnvae, name)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="nothing"):
        _ = hf_bnvae.nothing
