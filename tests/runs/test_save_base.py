"""Frozen weights of pretrained parts that are not saved with a model, but read from where they came from."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from hf_bnvae import BnVaeForConditionalGeneration, TextVaePipeline, train
from hf_bnvae.cli import train as train_command
from hf_bnvae.hub import HubError
from hf_bnvae.hub.publishing import files_to_publish
from hf_bnvae.runs.data_arguments import DataArguments
from hf_bnvae.runs.evaluation_arguments import EvaluationArguments, TextMetricArguments
from hf_bnvae.runs.text_evaluation import evaluate_text_model
from tests.models.test_pretrained_pairs import save_decoder, save_encoder, words
from tests.runs.test_pretrained_parts import SMALL, STEPS, TEXTS, broken_off, save_parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, str]:
    return save_parts(tmp_path_factory)


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "out"
    return train(TEXTS, "bn_vae", folder, **SMALL, **STEPS, **parts, lora_rank=2)


@pytest.fixture(scope="module")
def light(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("light") / "out"
    return train(TEXTS, "bn_vae", folder, **SMALL, **STEPS, **parts, lora_rank=2, save_base=False)


def bytes_of(folder) -> int:
    return (folder / "model.safetensors").stat().st_size


def test_what_is_left_out_is_read_from_where_it_came_from_bit_for_bit(parts, whole, light):
    saved = load_file(light.folder / "model.safetensors")
    assert not [name for name in saved if name.startswith("model.encoder.")]
    assert all("lora_" in name for name in saved if name.startswith("decoder.lm."))
    left_out = light.model.left_out_bytes
    print(f"bytes saved: {bytes_of(whole.folder):,} with the base, {bytes_of(light.folder):,} without its {left_out:,}")
    assert bytes_of(whole.folder) - bytes_of(light.folder) > left_out / 2
    config = json.loads((light.folder / "config.json").read_text())
    assert config["encoder_base"]["name"] == parts["encoder_name_or_path"] and config["decoder_lora"]["rank"] == 2

    again = AutoModelForSeq2SeqLM.from_pretrained(light.folder)
    assert again.state_dict().keys() == light.model.state_dict().keys()
    for name, value in light.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    inputs = {"latents": torch.randn(2, 3), "decoder_input_ids": torch.randint(2, 10, (2, 5))}
    assert torch.equal(again(**inputs).logits, light.model(**inputs).logits)
    # The training is that of the run that saves all, whose adapters are merged.
    torch.testing.assert_close(light.encode(TEXTS[:4]), whole.encode(TEXTS[:4]))
    torch.testing.assert_close(again(**inputs).logits, whole.model(**inputs).logits)


def test_every_way_to_load_reads_them(light, tmp_path, caplog):
    vectors = light.encode(TEXTS[:3])
    torch.testing.assert_close(TextVaePipeline.from_pretrained(light.folder).encode(TEXTS[:3]), vectors, rtol=0, atol=0)
    encoder, loaded = AutoModel.from_pretrained(light.folder, output_loading_info=True)
    batch = light.tokenizer.encoder(TEXTS[:3], padding=True, return_tensors="pt")
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(encoder.encode(**read), vectors, rtol=0, atol=0)
    assert not loaded["missing_keys"] and "MISSING" not in caplog.text
    classifier = AutoModelForSequenceClassification.from_pretrained(light.folder)
    torch.testing.assert_close(classifier.model.encode(**read), vectors, rtol=0, atol=0)
    (tmp_path / "v.txt").write_text("\n".join(TEXTS[:20]) + "\n", encoding="utf-8")
    data, metrics = DataArguments(validation_file=str(tmp_path / "v.txt")), TextMetricArguments(nll_samples=2)
    results, _ = evaluate_text_model(EvaluationArguments(str(light.folder), split="validation"), data, metrics)
    assert results["eval_sentences"] == 20


def test_what_is_loaded_is_saved_as_it_was_or_whole(light, tmp_path):
    model = BnVaeForConditionalGeneration.from_pretrained(light.folder)
    model.save_pretrained(tmp_path / "light")
    assert bytes_of(tmp_path / "light") == bytes_of(light.folder)
    model.config.encoder_base = model.config.decoder_base = None
    model.save_pretrained(tmp_path / "whole")
    assert bytes_of(tmp_path / "whole") > bytes_of(light.folder) + model.left_out_bytes
    shutil.rmtree(tmp_path / "light")
    again = BnVaeForConditionalGeneration.from_pretrained(tmp_path / "whole").state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", [AutoModelForSequenceClassification, AutoModelForSeq2SeqLM])
def test_what_is_left_out_stays_frozen_and_is_saved_once_it_is_trained(light, kind, tmp_path, caplog):
    model = kind.from_pretrained(light.folder)
    names = [name for name, weight in model.named_parameters() if name.startswith("model.encoder.")]
    assert names and not any(model.get_parameter(name).requires_grad for name in names)
    assert any(weight.requires_grad for weight in model.parameters())
    model.model.encoder.requires_grad_(True)
    torch.nn.init.ones_(model.get_parameter(names[0]).data)
    model.save_pretrained(tmp_path / "out")
    assert model.config.encoder_base is None and model.config.decoder_base is not None
    again = kind.from_pretrained(tmp_path / "out")
    assert all(torch.equal(again.get_parameter(name), model.get_parameter(name)) for name in names)
    assert "The weights of the encoder are not frozen any more" in caplog.text


def test_only_what_can_be_read_again_is_left_out(parts, tmp_path):
    encoder, decoder = parts.values()
    other = save_encoder("bert", tmp_path / "other")
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(encoder, latent_size=3)
    with pytest.raises(ValueError, match="the decoder of this model is no pretrained network"):
        model.leave_out_base(decoder=decoder)
    with pytest.raises(ValueError, match=f"{other} has other weights than the encoder: name what it was made of"):
        model.leave_out_base(encoder=other)
    with pytest.raises(ValueError, match=r"no/such .* cannot be loaded"):
        model.leave_out_base(encoder="no/such")
    with pytest.raises(TypeError, match="encodr"):
        model.leave_out_base(encodr=encoder)
    assert model.config.encoder_base is None and model.config.decoder_base is None


@pytest.mark.parametrize("keeps", [False, True])
def test_a_resumed_run_ends_with_the_model_of_the_unbroken_one(parts, light, keeps, tmp_path, caplog):
    checkpoint = broken_off(light.folder, tmp_path / "out")
    options = SMALL | STEPS | parts | {"lora_rank": 2, "resume_from_checkpoint": str(checkpoint), "save_base": keeps}
    resumed = train(TEXTS, "bn_vae", tmp_path / "out", **options)
    assert keeps or bytes_of(resumed.folder) == bytes_of(light.folder)
    inputs = {"latents": torch.randn(2, 3), "decoder_input_ids": torch.randint(2, 10, (2, 5))}
    torch.testing.assert_close(resumed.model(**inputs).logits, light.model(**inputs).logits)
    torch.testing.assert_close(resumed.encode(TEXTS[:4]), light.encode(TEXTS[:4]))
    assert keeps or "missing keys" not in caplog.text


@pytest.mark.parametrize(("encoder", "decoder"), [("t5", "gpt2"), ("roberta", "gemma3_text"), ("bert", "opt")])
def test_ties_are_read_once_and_hold(encoder, decoder, tmp_path):
    named = {
        "encoder": save_encoder(encoder, tmp_path / "encoder"),
        "decoder": save_decoder(decoder, tmp_path / "decoder"),
    }
    torch.manual_seed(0)
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(**named, latent_size=3)
    model.leave_out_base(**named)
    model.save_pretrained(tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert not [name for name in saved if name.startswith(("model.encoder.", "decoder.lm."))]
    again = BnVaeForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert again.decoder.lm.get_output_embeddings().weight is again.decoder.lm.get_input_embeddings().weight
    inputs = {"input_ids": words(40, 3, 5), "labels": words(60, 3, 6)}
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_a_name_on_the_hub_is_recorded_with_its_revision(parts, tmp_path, monkeypatch):
    commit, blob = "0" * 40, tmp_path / "models--someone--encoder"
    shutil.copytree(parts["encoder_name_or_path"], blob / "snapshots" / commit)
    (blob / "refs").mkdir()
    (blob / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    named = {"encoder_name_or_path": "someone/encoder", "save_base": False}
    vae = train(TEXTS, "vae", tmp_path / "out", **SMALL, **named, hidden_size=12)
    assert vae.model.config.encoder_base == {"name": "someone/encoder", "revision": commit}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"are read from someone/encoder at revision {commit}." in " ".join(card.split())
    again = TextVaePipeline.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(again.encode(TEXTS[:3]), vae.encode(TEXTS[:3]), rtol=0, atol=0)
    shutil.rmtree(blob)
    with pytest.raises(ValueError, match=r"read from someone/encoder at revision 0+, which cannot be loaded"):
        TextVaePipeline.from_pretrained(tmp_path / "out")


def test_weights_that_are_gone_or_other_ones_are_refused_in_one_sentence(tmp_path):
    torch.manual_seed(0)
    folder = save_decoder("llama", tmp_path / "decoder")
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(decoder=folder, latent_size=3)
    model.leave_out_base(decoder=folder)
    model.save_pretrained(tmp_path / "out")
    shutil.copytree(folder, tmp_path / "elsewhere")
    other = AutoModelForCausalLM.from_pretrained(folder)
    other.get_input_embeddings().weight.data += 1
    other.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"the decoder's weights .* where other weights lie now"):
        BnVaeForConditionalGeneration.from_pretrained(tmp_path / "out")
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match=r"the decoder's weights were not saved with this model .* which is not there"):
        BnVaeForConditionalGeneration.from_pretrained(tmp_path / "out")
    elsewhere = {"name": str(tmp_path / "elsewhere")}
    again = BnVaeForConditionalGeneration.from_pretrained(tmp_path / "out", decoder_base=elsewhere)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


def test_adapters_that_stay_apart_take_peft(light, monkeypatch):
    monkeypatch.setattr("hf_bnvae.models.lora._peft", lambda: None)
    with pytest.raises(ValueError, match="low-rank adapters take peft: pip install"):
        BnVaeForConditionalGeneration.from_pretrained(light.folder)


@pytest.mark.parametrize("changes", [{}, {"encoder_name_or_path": "E", "train_encoder": "full"}])
def test_there_must_be_something_to_leave_out(changes, tmp_path):
    with pytest.raises(ValueError, match=r"save_base false leaves out the frozen weights .* this run has none"):
        train(TEXTS, "vae", tmp_path / "out", **SMALL, **changes, save_base=False)


def test_weights_of_this_machine_are_not_left_out_of_what_is_published(parts, light, tmp_path):
    with pytest.raises(HubError, match=r"reads the weights of its encoder from the folder .* which nobody else has"):
        files_to_publish(light.folder)
    published = {"push_to_hub": True, "hub_model_id": "someone/vae"}
    with pytest.raises(ValueError, match=r"save_base false leaves out weights that lie in the folder"):
        train(TEXTS, "vae", tmp_path / "out", **SMALL, **parts, **published, save_base=False)


def test_a_language_model_is_saved_without_its_decoder(parts, tmp_path):
    for split in ("train", "valid"):
        (tmp_path / f"{split}.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    options = {"method": "lm", "decoder_name_or_path": parts["decoder_name_or_path"], "save_base": "false"}
    options |= {"dataset_name": tmp_path, "output_dir": tmp_path / "out", "max_steps": 2, "report_to": "none"}
    train_command.main([text for name, value in options.items() for text in (f"--{name}", str(value))])
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert saved and all("lora_" in name or name == "decoder.hidden_word.weight" for name in saved)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.isfinite(again(words(10, 2, 4)).logits).all()
