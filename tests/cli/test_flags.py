"""Numbers out of their ranges, outputs that cannot be written, what is not installed: one sentence, before any work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_bnvae.cli import (
    card,
    classify,
    compare,
    dialogue,
    evaluate,
    evaluate_dialogue,
    human_eval,
    publish,
    synthetic,
    train,
    vectors,
)
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.run import is_full_disk, run
from hf_bnvae.data import load_tokenizer
from hf_bnvae.training import VaeTrainingArguments
from tests.helpers import flags

ROOT = Path(__file__).parents[2]


def refused(call) -> str:
    """The sentence that a call is refused with."""
    with pytest.raises((UsageError, ValueError)) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", -1, "at least 0 and at most 4,294,967,295, got -1"),
        ("learning_rate", "nan", "at least 0, got nan"),
        ("learning_rate", "inf", "at least 0, got inf"),
        ("learning_rate", -1, "at least 0, got -1"),
        ("num_train_epochs", 0, "a finite number above 0, got 0"),
        ("num_train_epochs", "nan", "a finite number above 0"),
        ("kl_annealing_epochs", "inf", "at least 0"),
        ("warmup_steps", -3, "at least 0"),
        ("weight_decay", "nan", "at least 0"),
        ("max_grad_norm", "nan", "at least 0"),
        ("initializer_range", "inf", "at least 0"),
        ("gradient_accumulation_steps", 0, "at least 1"),
        ("gradient_accumulation_steps", -1, "at least 1"),
        ("per_device_eval_batch_size", 0, "at least 1"),
        ("dataloader_num_workers", -1, "at least 0"),
        ("latent_size", 99999999999, "at most 1,000,000"),
        ("gamma", "1e30", "above 0 and at most 1,000"),
        ("max_steps", 0, "at least 1, or -1"),
        ("kl_weight", "nan", "a finite number"),
        ("report_to", "wandb", "is no tracker that is installed"),
        ("optim", "adamw_bnb_8bit", "takes the package bitsandbytes"),
        ("optim", "adamw_torch_8bit", "takes the package torchao"),
        ("optim", "lion_32bit", "takes the package bitsandbytes"),
        ("optim", "ademamix", "takes the package bitsandbytes"),
        ("optim", "adamw_torch_xla", "takes the package torch_xla"),
        ("adam_beta1", 1, "at least 0 and below 1, got 1"),
        ("accelerator_config", "missing.json", "missing.json does not exist"),
        ("fsdp", "full_shard", "several processes, and this is one"),
        ("gradient_checkpointing", "true", "needs a model of several layers"),
        ("eval_strategy", "nope", "must be one of no, steps, epoch, got nope"),
        ("save_strategy", "nope", "must be one of no, steps, epoch, best, got nope"),
        ("lr_scheduler_type", "nope", "invalid choice: 'nope'"),
        ("optim", "nope", "invalid choice: 'nope'"),
        ("optim_args", "nope", "must read name=value,name=value, got nope"),
        ("lr_scheduler_kwargs", "{bad", "must be JSON such as"),
        ("lr_scheduler_kwargs", '{"foo":1}', "do not suit --lr_scheduler_type linear: get_linear"),
        ("lr_scheduler_type", "cosine_with_min_lr", "needs --lr_scheduler_kwargs: One of min_lr or min_lr_rate"),
        ("lr_scheduler_type", "warmup_stable_decay", "needs --lr_scheduler_kwargs: get_wsd_schedule"),
        ("rate", "abc", "invalid float value: 'abc'; --help lists all flags"),
        ("kl_schedule", "nope", "invalid choice: 'nope'"),
        ("metric_for_best_model", "bleu", "is not computed; these are: elbo, rec, kl, mi, au, agg_kl"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(corpus, tmp_path, name, value, words):
    said = refused(lambda: train.main(flags(corpus, tmp_path / "out", **{name: value})))
    assert said.startswith(f"--{name}") and words in said
    assert not (tmp_path / "out").exists()


def test_optim_args_that_an_optimiser_does_not_take_are_refused(tmp_path):
    args = {"output_dir": str(tmp_path), "optim": "sgd", "use_cpu": True}
    VaeTrainingArguments(**args, optim_args="momentum=0.9")
    said = refused(lambda: VaeTrainingArguments(**args, optim_args="momentum=abc"))
    assert said == "`optim_args` momentum=abc do not suit `optim` sgd: could not convert string to float: 'abc'"
    said = refused(lambda: VaeTrainingArguments(**args, optim_args="nesterov=true"))
    assert said.startswith("`optim_args` nesterov=true do not suit `optim` sgd: Nesterov momentum requires")


def test_bf16_is_refused_where_a_cpu_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_bnvae.training.arguments.bf16_pays", lambda: False)
    said = refused(lambda: VaeTrainingArguments(output_dir=str(tmp_path), bf16=True, use_cpu=True))
    assert said.startswith("`bf16`: this machine has no products in bf16")


def test_lists_have_ranges_too(tmp_path):
    for value in ("nan", "inf"):
        assert "--gammas" in refused(lambda v=value: synthetic.main(["--output_dir", str(tmp_path), "--gammas", v]))


def test_an_output_that_cannot_be_written_is_refused_before_the_work(corpus, tmp_path, monkeypatch):
    def too_late(*args, **kwargs):
        raise AssertionError("the work began")

    for script in (train, dialogue, classify, evaluate, evaluate_dialogue, human_eval):
        for name in ("load_model", "read_task", "load_config"):
            if hasattr(script, name):
                monkeypatch.setattr(script, name, too_late)
    (tmp_path / "file").write_text("")
    inside, folder = str(tmp_path / "file" / "x"), str(tmp_path)
    model = ["--model_name_or_path", "m"]
    for script, argv, flag in [
        (train, flags(corpus, inside), "--output_dir"),
        (dialogue, ["--dataset_name", "toy_dialogues", "--output_dir", inside], "--output_dir"),
        (classify, [*model, "--dataset_name", "pydocs", "--output_dir", inside], "--output_dir"),
        (evaluate, [*model, "--dataset_name", "pydocs", "--output_file", inside], "--output_file"),
        (evaluate, [*model, "--dataset_name", "pydocs", "--output_file", folder], "--output_file"),
        (evaluate_dialogue, [*model, "--dataset_name", "toy_dialogues", "--output_file", inside], "--output_file"),
        (evaluate_dialogue, [*model, "--dataset_name", "toy_dialogues", "--samples_file", folder], "--samples_file"),
        (compare, ["--methods", "vae", "--output_dir", inside], "--output_dir"),
        (
            human_eval,
            ["export", "--models", "m", "--dataset_name", "toy_dialogues", "--output_dir", inside],
            "--output_dir",
        ),
        (synthetic, ["--output_dir", inside], "--output_dir"),
        (vectors, ["--dataset_name", "toy_dialogues", "--output_file", inside], "--output_file"),
        (card, ["out", "--output", folder], "--output"),
        (publish, ["out", "--space_dir", inside], "--space_dir"),
    ]:
        said = refused(lambda script=script, argv=argv: script.main(argv))
        assert said.startswith(flag) and ("name a folder" in said or "name a file" in said), said


def test_a_name_that_is_too_long_is_refused_before_the_work(corpus, tmp_path):
    name = str(tmp_path / ("a" * 300))
    evaluation = ["--model_name_or_path", "m", "--dataset_name", "pydocs", "--output_file", name]
    for script, argv, flag in (
        (train, flags(corpus, name), "--output_dir"),
        (synthetic, ["--output_dir", name], "--output_dir"),
        (evaluate, evaluation, "--output_file"),
    ):
        said = refused(lambda script=script, argv=argv: script.main(argv))
        assert said.startswith(flag) and said.endswith("cannot be written (File name too long): name another")


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    train.main(flags(corpus, folder))
    return folder


def copied(finished, tmp_path):
    import shutil

    return shutil.copytree(finished, tmp_path / "copy")


def evaluating(folder):
    return lambda: evaluate.main(["--model_name_or_path", str(folder), "--dataset_name", "pydocs"])


def test_weights_that_are_no_numbers_and_a_tokenizer_of_another_model_are_refused(finished, tmp_path):
    folder = copied(finished, tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"model.embedding.weight": weights["model.embedding.weight"] * float("nan")}, folder / "x")
    (folder / "x").replace(folder / "model.safetensors")
    assert "its weight model.embedding.weight holds numbers that are not finite" in refused(evaluating(folder))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["extra"] = 999
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "its tokenizer has the id 999" in refused(evaluating(folder))


@pytest.mark.parametrize("change", [{"posterior": "tied_scales"}, {"model_type": "bncvae"}, {"hidden_size": 99}])
def test_an_edited_configuration_is_one_sentence(finished, tmp_path, change):
    folder = copied(finished, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert str(folder) in refused(evaluating(folder))


def test_no_code_of_a_model_is_asked_for_or_run(tmp_path):
    poison = tmp_path / "poison"
    poison.mkdir()
    (poison / "config.json").write_text(
        json.dumps({"model_type": "poison", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}})
    )
    (poison / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    for call in (
        evaluating(poison),
        lambda: classify.main(
            ["--model_name_or_path", str(poison), "--dataset_name", "pydocs", "--output_dir", str(tmp_path / "out")]
        ),
        lambda: train.main(flags("pydocs", tmp_path / "out", pretrained_encoder=poison)),
        lambda: load_tokenizer(str(poison)),
    ):
        assert "[y/N]" not in refused(call)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "content"), [("header.csv", b"text\n"), ("rows.parquet", None)])
def test_a_table_without_rows_is_one_sentence(tmp_path, name, content):
    from datasets import Dataset

    if content is None:
        Dataset.from_dict({"text": ["a"]}).select([]).to_parquet(str(tmp_path / name))
    else:
        (tmp_path / name).write_bytes(content)
    assert name in refused(lambda: train.main(flags(None, tmp_path / "out", train_file=tmp_path / name)))


@pytest.mark.parametrize("content", ["", "a nan nan\nb 1 2\n"])
def test_word_vectors_that_are_none_are_refused(tmp_path, content):
    (tmp_path / "vectors.txt").write_text(content)
    argv = ["--dataset_name", "toy_dialogues", "--word_vectors", str(tmp_path / "vectors.txt")]
    assert "vectors.txt" in refused(lambda: dialogue.main([*argv, "--output_dir", str(tmp_path / "out")]))


@pytest.mark.parametrize("flags", [["--output_dir", "{}"], ["--output_dir={}"], ["--output-dir={}"]])
def test_an_interruption_says_what_to_resume_from(finished, monkeypatch, capsys, flags):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["run_lm.py", *(text.format(finished) for text in flags)])
    with pytest.raises(SystemExit) as end:
        run(interrupted)
    assert end.value.code == 130
    said = capsys.readouterr().err
    assert "interrupted; go on from" in said and "checkpoint-20 by --resume_from_checkpoint last" in said


def test_a_terminal_without_our_letters_and_a_name_that_is_no_utf_8(tmp_path):
    code = "from hf_bnvae.cli.run import run; run(lambda: print('1 ± 2'))"
    ascii_alone = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=ascii_alone)
    assert (done.returncode, done.stdout.strip()) == (0, "1 ? 2"), done.stderr
    assert "is no UTF-8" in refused(lambda: train.main(flags("pydocs", tmp_path / "out", train_file="a\udcff.txt")))


def test_torch_s_words_for_a_full_disk_are_known():
    words = "[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"
    assert is_full_disk(RuntimeError(words)) and torch is not None
