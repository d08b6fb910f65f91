"""The scripts as a user runs them: what they write, what wins over what, and how they refuse."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

from hf_bnvae.cli import train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.evaluate import main as evaluate
from hf_bnvae.cli.flags import parse_arguments
from hf_bnvae.data import CorpusError
from hf_bnvae.runs.model_arguments import ModelArguments
from hf_bnvae.training import VaeTrainingArguments
from hf_bnvae.training.training_set import check_training_set
from tests.helpers import flags

ROOT = Path(__file__).parents[2]
METRICS = ("elbo", "rec", "kl", "mi", "au", "agg_kl")


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    train.main(flags(corpus, folder))
    return folder


def results_of(folder):
    return json.loads((folder / "all_results.json").read_text())


def test_a_run_writes_what_it_promises(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "trainer_state.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pkl", ".partial"))]
    results = results_of(finished)
    assert {f"{split}_{name}" for split in ("eval", "test") for name in METRICS} <= results.keys()
    assert {"test_nll", "test_ppl", "train_runtime", "train_tokens_per_second", "train_steps"} <= results.keys()
    assert results["world_size"] == 1 and results["train_steps"] == 20 and results["train_sentences"] == 80


def test_perplexity_per_word_is_that_per_token_where_tokens_are_words(finished):
    results = results_of(finished)
    assert results["test_word_ppl"] == pytest.approx(results["test_ppl"], rel=1e-9)
    card = (finished / "README.md").read_text(encoding="utf-8")
    assert "| PPL per token |" in card and "| PPL per word |" in card


def test_the_saved_model_and_tokenizer_load_by_their_auto_classes(finished):
    tokenizer = AutoTokenizer.from_pretrained(finished)
    model = AutoModelForSeq2SeqLM.from_pretrained(finished)
    batch = tokenizer(["a b c", "d e"], padding=True, return_tensors="pt")
    assert model.reconstruct(batch["input_ids"], batch["attention_mask"]).size(0) == 2


def test_evaluate_lm_gives_the_numbers_of_the_run(finished, corpus, tmp_path):
    output = tmp_path / "judged.json"
    argv = ["--model_name_or_path", str(finished), "--test_file", str(corpus / "test.txt"), "--nll_samples", "5"]
    evaluate([*argv, "--output_file", str(output)])
    judged, results = json.loads(output.read_text()), results_of(finished)
    for name in (*METRICS, "nll", "ppl", "word_ppl"):
        assert judged[f"test_{name}"] == pytest.approx(results[f"test_{name}"], rel=1e-5), name


def test_flags_win_over_yaml_and_yaml_over_recipe_and_size(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("size: ptb\nrecipe: paper\nlearning_rate: 0.5\nhidden_size: 64\nequal_length: false\n")
    model, args = parse_arguments(
        ModelArguments,
        VaeTrainingArguments,
        description="",
        argv=[str(path), "--hidden_size", "32", "--output_dir", str(tmp_path)],
    )
    assert model.hidden_size == 32 and args.learning_rate == 0.5 and args.equal_length is False
    assert model.embedding_size == 256 and args.optim == "sgd" and args.plateau_patience == 5


def test_values_of_yaml_are_read_as_those_of_flags(tmp_path):
    path = tmp_path / "run.yaml"
    lines = ["learning_rate: 1e-3", "seed: '3'", "equal_length: 'no'", "lr_scheduler_type: cosine_with_min_lr"]
    path.write_text("\n".join([*lines, "lr_scheduler_kwargs: {min_lr: 0.001}"]))
    (args,) = parse_arguments(VaeTrainingArguments, description="", argv=[str(path), "--output_dir", str(tmp_path)])
    assert (args.learning_rate, args.seed, args.equal_length) == (1e-3, 3, False)
    assert args.lr_scheduler_kwargs == {"min_lr": 0.001}
    path.write_text("eval_strategy: no\nsave_strategy: no\nrun_name: off\nequal_length: yes\nmuon: false\n")
    (args,) = parse_arguments(VaeTrainingArguments, description="", argv=[str(path), "--output_dir", str(tmp_path)])
    assert args.eval_strategy == args.save_strategy == "no" and args.run_name == "off"
    assert args.equal_length is True and args.muon is False
    path.write_text("learning_rate: fast")
    with pytest.raises(UsageError, match="invalid float value: 'fast'; --help lists all flags"):
        parse_arguments(VaeTrainingArguments, description="", argv=[str(path)])


def test_a_folder_with_a_model_is_refused_and_resumed_on_demand(finished, corpus):
    with pytest.raises(UsageError, match="already holds a model"):
        train.main(flags(corpus, finished))
    before = (finished / "model.safetensors").read_bytes()
    train.main(flags(corpus, finished, resume_from_checkpoint="last"))
    assert (finished / "model.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match=r"the checkpoint has gamma 0\.7 and the flags say 0\.5"):
        train.main(flags(corpus, finished, resume_from_checkpoint="last", gamma=0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 0}, "--gamma must be a finite number above 0"),
        ({"gamma": "inf"}, "--gamma must be a finite number above 0"),
        ({"latent_size": 0}, "--latent_size must be at least 1"),
        ({"per_device_train_batch_size": 1}, "--per_device_train_batch_size 1 leaves nothing to normalise over"),
        ({"min_count": 10_000}, "vocabulary holds nothing but"),
        ({"resume_from_checkpoint": "last"}, "there is no checkpoint in"),
        ({"resume_from_checkpoint": "nowhere"}, "no checkpoint there"),
        ({"dataset_name": None}, "no data: pass --dataset_name"),
        ({"dataset_name": None, "test_file": "{corpus}/test.txt"}, "has no training split"),
        ({"dataset_name": None, "train_file": "{corpus}/train.txt"}, "has no validation split"),
        ({"train_file": "missing.txt"}, "missing.txt does not exist"),
        ({"gama": 0.5}, "unknown flags: --gama; --help lists all"),
        (
            {"eval_strategy": "no", "load_best_model_at_end": True},
            "--load_best_model_at_end takes the checkpoint of an evaluation",
        ),
        ({"kl_annealing_epochs": -1}, "--kl_annealing_epochs must be at least 0"),
        ({"max_length": 1}, "--max_length must be at least 3"),
        ({"max_nll_samples": 0}, "--max_nll_samples must be at least 1"),
        ({"nll_tolerance": -1}, "--nll_tolerance must be at least 0, got -1"),
        ({"nll_tolerance": "nan"}, "--nll_tolerance must be at least 0, got nan"),
        ({"nll_tolerance": "inf"}, "--nll_tolerance must be a number of nats, got inf"),
        ({"nll_tolerance": 0.1, "nll_samples": 0}, "--nll_tolerance is read with --nll_samples above 0 only"),
        ({"max_nll_samples": 5, "nll_samples": 0}, "--max_nll_samples is read with --nll_samples above 0 only"),
        ({"tokenizer": "unigram", "min_count": 2}, "--min_count is read where the run makes a tokenizer .word, char"),
        ({"tokenizer": "bpe", "keep_linebreaks": "true"}, "--keep_linebreaks is read where .* --tokenizer is bpe"),
        ({"tokenizer": "some/name", "vocab_size": 9}, "--vocab_size is read where .* --tokenizer is some/name"),
        ({"vocab_size": -10}, "--vocab_size must be at least 1"),
        ({"max_train_samples": 1}, "one training example"),
        ({"tokenizer": "no/such-tokenizer"}, "could not be loaded"),
        ({"do_train": "false"}, "--do_train has no effect here"),
        ({"label_smoothing_factor": 0.1}, "--label_smoothing_factor has no effect here"),
        ({"dataloader_drop_last": "true"}, "--dataloader_drop_last has no effect here"),
        ({"prediction_loss_only": "true"}, "--prediction_loss_only has no effect here"),
        ({"bf16_full_eval": "true"}, "--bf16_full_eval has no effect here"),
        ({"label_names": "foo"}, "--label_names has no effect here"),
        ({"average_tokens_across_devices": "false"}, "--average_tokens_across_devices has no effect here"),
        ({"eval_do_concat_batches": "false"}, "--eval_do_concat_batches has no effect here"),
        ({"eval_use_gather_object": "true"}, "--eval_use_gather_object has no effect here"),
        ({"remove_unused_columns": "true"}, "--remove_unused_columns has no effect here"),
        ({"hub_strategy": "every_save"}, "--hub_strategy is read with --push_to_hub only: leave it out"),
        ({"plateau_max_halvings": 3}, "--plateau_max_halvings is read with --plateau_patience only"),
        ({"plateau_start_epoch": 3}, "--plateau_start_epoch is read with --plateau_patience only"),
        (
            {"plateau_patience": 1, "lr_scheduler_type": "reduce_lr_on_plateau"},
            "--plateau_patience halves the learning rate by itself",
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_writes_nothing(corpus, tmp_path, changes, message):
    changes = {
        name: value.format(corpus=corpus) if isinstance(value, str) else value for name, value in changes.items()
    }
    with pytest.raises((UsageError, CorpusError), match=message) as error:
        train.main(flags(corpus, tmp_path / "out", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def run_script(name, *argv, **options):
    return subprocess.run(
        [sys.executable, ROOT / "run_scripts" / name, *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        **options,
    )


def test_errors_reach_the_shell_as_one_line_and_a_status(corpus, tmp_path):
    done = run_script("run_lm.py", *flags(corpus, tmp_path / "out", train_file="missing.txt"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "run_lm.py: error: missing.txt does not exist"
    assert "Traceback" not in done.stderr
    unknown = run_script("run_lm.py", *flags(corpus, tmp_path / "out", method="magic_vae"))
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("run_lm.py: error: --method: invalid choice: 'magic_vae'")
    assert len(unknown.stderr.splitlines()) == 1


def test_a_full_disk_is_said_and_leaves_no_half_checkpoint(corpus, tmp_path):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    argv = flags(corpus, tmp_path / "out", hidden_size=64, logging_steps=1000)
    done = run_script("run_lm.py", *argv, preexec_fn=small_files_only)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the disk is full" in done.stderr
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_a_checkpoint_that_is_no_whole_text_vae_is_named(finished, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    done = run_script("evaluate_lm.py", "--model_name_or_path", tmp_path, "--dataset_name", "pydocs")
    assert done.returncode == 1 and "is a bert model, and bnvae or lstm_lm" in done.stderr
    with pytest.raises(UsageError, match="was it saved from the encoder alone"):
        AutoModel.from_pretrained(finished).save_pretrained(tmp_path / "encoder")
        evaluate(["--model_name_or_path", str(tmp_path / "encoder"), "--dataset_name", "pydocs"])
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UsageError, match="its weights cannot be read"):
        evaluate(["--model_name_or_path", str(tmp_path / "encoder"), "--dataset_name", "pydocs"])
    done = run_script("evaluate_lm.py", "--model_name_or_path", tmp_path / "none", "--dataset_name", "pydocs")
    assert done.returncode == 1 and "no model there" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("method", ["bn_vae", pytest.param("agg_vae", marks=pytest.mark.slow)])
def test_accelerate_launches_two_processes_that_train_one_model(corpus, tmp_path, method):
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    config = ROOT / "run_scripts" / "accelerate_configs" / "cpu_2_processes.yaml"
    script = flags(corpus, tmp_path / "out", method=method, per_device_train_batch_size=4)
    done = subprocess.run(
        [*launch, "--config_file", config, ROOT / "run_scripts" / "run_lm.py", *script],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = results_of(tmp_path / "out")
    assert results["world_size"] == 2 and results["train_steps"] == 20


def test_a_streamed_run_is_a_run(corpus, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    train.main([*flags(corpus, tmp_path / "out"), "--streaming"])
    streamed, results = results_of(tmp_path / "out"), results_of(finished)
    assert streamed.keys() == results.keys()
    for name in ("train_sentences", "train_tokens", "train_steps", "train_epochs", "vocab_size", "test_sentences"):
        assert streamed[name] == results[name], name
    assert "## " in (tmp_path / "out" / "README.md").read_text()


def test_more_processes_than_sentences_are_refused():
    three = SimpleNamespace(train_batch_size=8, world_size=3, eval_strategy="no")
    config = SimpleNamespace(normalises_batches=True)
    check_training_set(three, config, "lines.txt", 3, has_validation=False)
    with pytest.raises(CorpusError, match="2 training examples for 3 processes"):
        check_training_set(three, config, "lines.txt", 2, has_validation=False)


def test_what_streaming_cannot_do_is_said(corpus, tmp_path):
    with pytest.raises(UsageError, match="leave out --streaming"):
        train.main([*flags(corpus, tmp_path / "out", method="agg_vae"), "--streaming"])


def test_word_vectors_to_start_from_stand_in_encoder_and_decoder(corpus, tmp_path, caplog):
    (tmp_path / "vectors.txt").write_text("a " + " ".join(["1"] * 8) + "\nzebra " + " ".join(["2"] * 8) + "\n")
    changes = {"initial_word_vectors": tmp_path / "vectors.txt", "learning_rate": 0, "max_steps": 1, "nll_samples": 0}
    train.main(flags(corpus, tmp_path / "out", **changes))
    assert "1 of 19 words start from vectors.txt" in caplog.text
    model, tokenizer = (kind.from_pretrained(tmp_path / "out") for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
    for embedding in (model.get_input_embeddings(), model.decoder.embedding):
        assert embedding.weight[tokenizer.convert_tokens_to_ids("a")].tolist() == [1.0] * 8
    with pytest.raises(
        UsageError, match=r"--initial_word_vectors vectors\.txt have 8 dimensions: use --embedding_size 8"
    ):
        train.main(flags(corpus, tmp_path / "new", **(changes | {"embedding_size": 7})))
