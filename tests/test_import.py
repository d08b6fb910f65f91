"""`import hf_bnvae` registers the models and imports nothing that only training or data need."""

import subprocess
import sys

import pytest

import hf_bnvae

ABSENT = ("datasets", "pandas", "pyarrow", "evaluate", "sklearn", "matplotlib", "gradio")
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


@pytest.mark.parametrize("name", hf_bnvae.__all__)
def test_every_public_name_can_be_had(name):
    assert name in dir(hf_bnvae) and getattr(hf_bnvae, name) is getattr(hf_bnvae, name)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="nothing"):
        _ = hf_bnvae.nothing
