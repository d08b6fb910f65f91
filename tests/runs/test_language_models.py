"""Runs of the language model on a pretrained decoder: what is trained, saved, evaluated and refused."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_bnvae import LanguageModelPipeline, LstmLMForCausalLM, TextVaePipeline
from hf_bnvae import train as function
from hf_bnvae.cli import compare, train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.runs.data_arguments import DataArguments
from hf_bnvae.runs.evaluation_arguments import EvaluationArguments, TextMetricArguments
from hf_bnvae.runs.text_evaluation import evaluate_text_model
from tests.models.test_pretrained_language_models import nats_by_transformers
from tests.runs.test_pretrained_parts import TEXTS, save_parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, str]:
    return save_parts(tmp_path_factory)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, texts in (("train", TEXTS[:80]), ("valid", TEXTS[80:100]), ("test", TEXTS[100:])):
        (folder / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder


def run_of(corpus, folder, parts, **changes) -> list[str]:
    values = {
        "method": "lm",
        "dataset_name": corpus,
        "output_dir": folder,
        "recipe": "pretrained",
        "decoder_name_or_path": parts["decoder_name_or_path"],
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "kl_annealing_epochs": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
        "report_to": "none",
    } | changes
    return [text for name, value in values.items() if value is not None for text in (f"--{name}", str(value))]


@pytest.mark.parametrize("trained", ["lora", "full"])
def test_two_steps_train_what_they_are_told_and_what_is_saved_has_the_nats_of_its_decoder(
    corpus,
    parts,
    trained,
    tmp_path,
):
    out = tmp_path / "out"
    train.main(run_of(corpus, out, parts, train_decoder=trained))
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    assert isinstance(model, LstmLMForCausalLM) and model.config.decoder_lora is None
    before = AutoModelForCausalLM.from_pretrained(parts["decoder_name_or_path"]).state_dict()
    after = model.decoder.lm.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and (trained == "full" or all("_proj" in name and "mlp" not in name for name in changed))

    # The conventions of the VAE's decoder: the end of a text is its start as well, and is learnt.
    tokenizer = AutoTokenizer.from_pretrained(out)
    theirs = AutoTokenizer.from_pretrained(parts["decoder_name_or_path"])
    rows = [[0, *theirs(text)["input_ids"], 0] for text in TEXTS[100:]]
    assert [tokenizer(text)["input_ids"] for text in TEXTS[100:]] == rows
    wanted = sum(nats_by_transformers(model.decoder.lm, rows)) / len(rows)
    results = json.loads((out / "all_results.json").read_text())
    assert results["test_nll"] == pytest.approx(wanted, rel=1e-5)
    assert results["test_elbo"] == pytest.approx(wanted, rel=1e-5) and results["test_kl"] == 0
    data = DataArguments(dataset_name=str(corpus))
    again, _ = evaluate_text_model(EvaluationArguments(str(out)), data, TextMetricArguments())
    assert again["test_nll"] == pytest.approx(wanted, rel=1e-5)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "AutoModelForCausalLM" in card and "language model on a pretrained decoder (llama)" in card
    if trained == "lora":
        kept = LstmLMForCausalLM.from_pretrained(out / "checkpoint-1")
        assert kept.config.decoder_lora["rank"] == 16
        resumed = run_of(corpus, tmp_path / "again", parts, resume_from_checkpoint=out / "checkpoint-1")
        train.main(resumed)
        weights = LstmLMForCausalLM.from_pretrained(tmp_path / "again").state_dict()
        for name, value in model.state_dict().items():
            assert torch.equal(weights[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--save_base", "false"], ["--save_base", "false", "--train_decoder", "full"]])
def test_a_comparison_has_it_beside_vaes_with_an_encoder(corpus, parts, more, tmp_path):
    values = run_of(corpus, tmp_path / "out", parts, nll_samples=2, latent_size=3, train_encoder="frozen")
    shared = values[2:]  # without the method
    encoder = f"--encoder_name_or_path={parts['encoder_name_or_path']}"
    compare.main(["--methods", "lm,vae", *shared, encoder, *more])
    table = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| method | NLL | PPL per token | PPL per word |" in table and "failed" not in table
    assert "| lm |" in table and "| vae |" in table
    for method in ("lm", "vae"):
        bases = [f"{part}_base" for part in ("encoder", "decoder")]
        config = json.loads((tmp_path / "out" / "runs" / method / "seed_1" / "config.json").read_text())
        left_out = {name for name in bases if config.get(name) is not None}
        frozen = {"lm": bases[1:], "vae": bases}[method] if "full" not in more else {"lm": [], "vae": bases[:1]}[method]
        assert left_out == (set(frozen) if more else set())


@pytest.mark.parametrize("is_pretrained", [True, False])
def test_the_function_trains_the_model_that_the_command_trains(corpus, parts, is_pretrained, tmp_path):
    decoder = parts["decoder_name_or_path"] if is_pretrained else None
    changes = {"decoder_name_or_path": decoder} if is_pretrained else {"hidden_size": 8, "embedding_size": 6}
    train.main(run_of(corpus, tmp_path / "command", {"decoder_name_or_path": decoder}, **changes))
    options = {"recipe": "pretrained", "max_steps": 2, "per_device_train_batch_size": 8, "kl_annealing_epochs": 1}
    options |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True}
    data = {"train": TEXTS[:80], "validation": TEXTS[80:100], "test": TEXTS[100:]}
    lm = function(data, method="lm", output_dir=tmp_path / "function", **options, **changes)
    again = LanguageModelPipeline.from_pretrained(str(tmp_path / "command"))
    assert isinstance(lm, LanguageModelPipeline) and lm.sample(3, seed=1) == again.sample(3, seed=1)
    first, second = lm.model.state_dict(), again.model.state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    results = [json.loads((tmp_path / run / "all_results.json").read_text()) for run in ("command", "function")]
    assert results[0].keys() == results[1].keys() and results[0]["test_nll"] == results[1]["test_nll"]
    lm.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "run.json").is_file()
    assert LanguageModelPipeline.from_pretrained(str(tmp_path / "saved")).sample(2, seed=4) == lm.sample(2, seed=4)
    with pytest.raises(ValueError, match="is a lstm_lm model, and TextVaePipeline needs a text VAE"):
        TextVaePipeline.from_pretrained(str(tmp_path / "saved"))


def test_it_judges_the_samples_of_a_vae(corpus, parts, tmp_path):
    train.main(run_of(corpus, tmp_path / "lm", parts))
    values = {"method": "vae", "latent_size": 3, "language_model": tmp_path / "lm", "prior_samples": 4}
    train.main(run_of(corpus, tmp_path / "vae", parts, **values, nll_samples=2))
    results = json.loads((tmp_path / "vae" / "all_results.json").read_text())
    assert results["test_sample_ppl"] > 1 and results["test_language_model"] == "lm"


def test_without_a_pretrained_decoder_it_is_the_lstm(corpus, tmp_path):
    sizes = {"embedding_size": 8, "hidden_size": 12, "max_steps": 2, "decoder_name_or_path": None, "recipe": "fast"}
    for method in ("lm", "lstm_lm"):
        train.main(run_of(corpus, tmp_path / method, {"decoder_name_or_path": None}, method=method, **sizes))
    one, other = (LstmLMForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("lm", "lstm_lm"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "lstm_lm"}, "stands in the place of the LSTM: use --method lm with it"),
        ({"soft_prompt_length": 4}, "--soft_prompt_length means nothing with --method lm"),
        ({"encoder_name_or_path": "E"}, "--encoder_name_or_path means nothing with --method lm"),
        ({"train_decoder": "frozen"}, "--train_decoder frozen leaves nothing to train"),
        ({"decoder_name_or_path": None, "train_decoder": "full"}, "--train_decoder is read with"),
    ],
)
def test_what_means_nothing_without_a_latent_is_refused_in_one_sentence(corpus, parts, changes, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        train.main(run_of(corpus, tmp_path / "out", parts, **changes))
