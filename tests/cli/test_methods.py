"""Every row of the table of methods trains, saves, loads, resumes, generates and evaluates."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from hf_bnvae.cli import train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.flags import parse_arguments
from hf_bnvae.data import LengthBucketSampler, VaeCollator, encode_corpus, load_corpus, load_tokenizer
from hf_bnvae.evaluation import elbo_metrics, infer, nll
from hf_bnvae.methods import METHODS, method_table
from hf_bnvae.models.decoders import DECODERS
from hf_bnvae.models.posteriors import POSTERIORS
from hf_bnvae.runs.loading import load_model
from hf_bnvae.runs.model_arguments import ModelArguments
from hf_bnvae.training import KL_SCHEDULES, VaeTrainingArguments
from hf_bnvae.training.strategies import STRATEGIES
from tests.helpers import flags

CHANGES = {"sa_vae": {"refinement_steps": 2}, "agg_vae": {"max_train_samples": 24}}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_saves_loads_resumes_generates_and_evaluates(name, corpus, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    changes = {"method": name, **CHANGES.get(name, {})}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train.main(flags(corpus, whole, **changes, save_total_limit=5, report_to="none"))
    first = min(whole.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    train.main(flags(corpus, resumed, **changes, save_total_limit=5, resume_from_checkpoint=first, nll_samples=0))
    weights, again = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert weights.keys() == again.keys()
    assert "missing keys" not in caplog.text
    for key in weights:
        assert torch.equal(weights[key], again[key]), key

    model, tokenizer = load_model(str(whole)), load_tokenizer(str(whole))
    results = json.loads((whole / "all_results.json").read_text())
    test = encode_corpus(load_corpus(str(corpus)), tokenizer, 256)["test"]
    rows = LengthBucketSampler(test["length"][:], 7, shuffle=False)
    batches = [VaeCollator(tokenizer.pad_token_id)(test.__getitems__(row)) for row in rows]
    judged = elbo_metrics(infer(model, batches, seed=42)) | nll(model, batches, 5, seed=42)
    for metric, value in judged.items():
        assert value == pytest.approx(results[f"test_{metric}"], rel=1e-4, abs=1e-4), metric
    assert judged["kl"] >= (model.config.kl_lower_bound or 0) * 0.5

    texts = model.sample(3, max_new_tokens=6)
    assert len(texts) == 3 and texts.size(1) <= 7
    if METHODS[name].has_latent:
        ids, mask = batches[0]["input_ids"], batches[0]["attention_mask"]
        assert model.encode(ids, mask).shape == (len(ids), 3)
        assert len(model.reconstruct(ids, mask, num_beams=2, max_new_tokens=6)) == len(ids)
    else:
        assert judged["kl"] == judged["mi"] == judged["au"] == 0 and judged["nll"] == pytest.approx(judged["elbo"])


def test_the_names_in_the_table_are_those_of_the_code():
    for name, method in METHODS.items():
        assert method.posterior in POSTERIORS or not method.has_latent
        assert method.decoder in DECODERS
        assert method.kl_schedule in KL_SCHEDULES and method.strategy in STRATEGIES
        assert name in method_table() and method.summary in method_table()


def test_the_table_is_printed_on_demand(capsys):
    train.main(["--list_methods"])
    assert capsys.readouterr().out.strip() == method_table()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "vmf_vae", "free_bits": 3}, "free_bits means nothing with the posterior vmf"),
        ({"method": "vmf_vae", "decorrelation": 1}, "decorrelation is that of a Gaussian"),
        ({"method": "lstm_lm", "decorrelation": 1}, "--decorrelation means nothing with --method lstm_lm"),
        ({"method": "vmf_vae", "latent_size": 1}, "latent_size must be at least 2"),
        ({"method": "sa_vae", "posterior": "batch_norm"}, "refinement_steps must be 0 with the posterior batch_norm"),
        ({"method": "lstm_lm", "posterior": "gaussian"}, "--posterior means nothing with --method lstm_lm"),
        ({"method": "lstm_lm", "free_bits": 2}, "--free_bits means nothing with --method lstm_lm"),
        ({"method": "lstm_lm", "strategy": "aggressive"}, "trains an encoder, and --method lstm_lm has none"),
        ({"method": "agg_vae", "gradient_accumulation_steps": 2}, "use --gradient_accumulation_steps 1"),
        ({"method": "delta_vae", "delta": 0}, "delta must be a finite number above 0"),
        ({"method": "bn_vae_learned", "tau": 1}, "tau must lie in"),
        ({"method": "cnn_vae", "cnn_dilations": "0"}, "cnn_dilations must be numbers of at least 1"),
        ({"method": "vae", "gamma": 0.5}, "--gamma is read by the posterior batch_norm or du only"),
        ({"rate": 8, "gamma": 0.5}, "--rate sets gamma: give either --rate or --gamma"),
        ({"method": "vae", "rate": 8}, "--rate is read by the posterior batch_norm or matched or tied_scales or delta"),
        ({"method": "matched_vae", "gamma": 0.5}, "--gamma is read by the posterior batch_norm or du only"),
        ({"method": "matched_vae", "rate": 0}, "--rate must be"),
        ({"prior_samples": 5}, "--prior_samples is read with --language_model only"),
        ({"method": "lstm_lm", "language_model": "/nowhere"}, "judges draws of a prior, and a language model has none"),
        ({"language_model": "/nowhere"}, "--language_model /nowhere: no model there"),
        ({"method": "lstm_lm", "kappa": 5}, "--kappa is read by the posterior vmf only, and this run has none"),
        ({"cnn_dilations": 2}, "--cnn_dilations is read by the decoder cnn only, and this run has lstm"),
        ({"reset_decoder": True}, "name it by --pretrained_encoder"),
        ({"pretrained_encoder": "/nowhere"}, "--pretrained_encoder /nowhere"),
    ],
)
def test_combinations_that_mean_nothing_are_refused_in_one_sentence(corpus, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message) as refusal:
        train.main(flags(corpus, tmp_path / "out", **changes))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_rate_is_kept_by_the_model_and_said_by_its_card(corpus, tmp_path):
    train.main(flags(corpus, tmp_path / "out", method="matched_vae", rate=3, num_train_epochs=1))
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert (config.posterior, config.rate) == ("matched", 3)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "at a rate of 3 nats a sentence" in card and "bound on the KL is 3.00 nats" in card
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert {"test_use", "test_reconstruction_bleu", "test_exact_match", "eval_use"} <= results.keys()


def test_choices_combine_freely(corpus, tmp_path):
    train.main(
        flags(corpus, tmp_path / "out", method="skip_vae", posterior="vmf", kl_schedule="cyclic", num_train_epochs=1)
    )
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert (config.posterior, config.decoder) == ("vmf", "skip_lstm")


def test_the_settings_of_a_method_win_over_the_recipe_and_lose_to_flags():
    (arguments,) = parse_arguments(ModelArguments, description="", argv=["--method", "beta_vae"])
    assert arguments.kl_weight == 0.4
    (arguments,) = parse_arguments(ModelArguments, description="", argv=["--method", "beta_vae", "--kl_weight", "0.2"])
    assert arguments.kl_weight == 0.2


@pytest.fixture(scope="module")
def autoencoder(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ae") / "out"
    train.main(flags(corpus, folder, method="ae"))
    return folder


@pytest.mark.parametrize("reset", [True, False])
def test_a_pretrained_encoder_comes_with_its_weights_and_new_statistics(autoencoder, corpus, tmp_path, reset):
    changes = {"pretrained_encoder": autoencoder, "reset_decoder": reset, "learning_rate": 0, "num_train_epochs": 1}
    train.main(flags(corpus, tmp_path / "out", method="bn_vae", **changes))
    theirs, ours = (load_file(folder / "model.safetensors") for folder in (autoencoder, tmp_path / "out"))
    for key in theirs:
        kept = key.startswith("model.") or not reset
        assert torch.equal(theirs[key], ours[key]) == kept, key
    model = load_model(str(tmp_path / "out"))
    corpus_ids = encode_corpus(load_corpus(str(corpus)), load_tokenizer(str(autoencoder)), 256)["train"]
    batch = VaeCollator(0)(corpus_ids.__getitems__(range(len(corpus_ids))))
    posterior = model.infer(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(posterior.mean.std(0, correction=0), torch.full((3,), 0.7), rtol=1e-3, atol=0)


def test_sizes_that_no_flag_gives_are_those_of_the_pretrained_encoder(autoencoder, tmp_path):
    argv = ["--pretrained_encoder", str(autoencoder), "--output_dir", str(tmp_path), "--latent_size", "5"]
    (arguments, _) = parse_arguments(ModelArguments, VaeTrainingArguments, description="", argv=argv)
    assert (arguments.embedding_size, arguments.hidden_size, arguments.latent_size) == (8, 12, 5)


def test_a_pretrained_encoder_of_another_size_is_refused(autoencoder, corpus, tmp_path):
    changes = {"pretrained_encoder": autoencoder, "hidden_size": 13}
    with pytest.raises(UsageError, match="has hidden_size 12 and the flags say 13"):
        train.main(flags(corpus, tmp_path / "out", **changes))
