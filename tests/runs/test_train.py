"""`train` in a notebook: from sentences in any shape to a pipeline, by the parameters that the command calls flags."""

import json
import random

import pytest
import torch
from datasets import Dataset, DatasetDict
from datasets.arrow_dataset import Column
from transformers import TrainerCallback

from hf_bnvae import TextVaePipeline, train
from hf_bnvae.cli.train import main as command
from hf_bnvae.data import CorpusError, build_tokenizer, load_corpus, with_token_ids
from hf_bnvae.training.recipes import bf16_pays

SMALL = {
    "embedding_size": 8,
    "hidden_size": 8,
    "latent_size": 4,
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "nll_samples": 2,
    "disable_tqdm": True,
    "use_cpu": True,
}


def sentences(count=60):
    draw = random.Random(0)
    return [" ".join(draw.choices("abcdefgh", k=draw.randint(3, 8))) for _ in range(count)]


def as_file(texts, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def as_frame(texts, tmp_path):
    return pytest.importorskip("pandas").DataFrame({"text": texts})


SHAPES = {
    "strings": lambda texts, tmp_path: texts,
    "dataset": lambda texts, tmp_path: Dataset.from_dict({"text": texts}),
    "frame": as_frame,
    "series": lambda texts, tmp_path: as_frame(texts, tmp_path)["text"],
    "file": as_file,
    "column": lambda texts, tmp_path: Dataset.from_dict({"text": texts})["text"],
    "generator": lambda texts, tmp_path: iter(texts),
    "columns": lambda texts, tmp_path: {"sentence": texts},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "out"
    return train(sentences(), method="bn_vae", output_dir=folder, gamma=0.5, **SMALL), folder


def test_sentences_become_a_pipeline_whose_folder_loads_as_the_same_one(trained):
    vae, folder = trained
    assert isinstance(vae, TextVaePipeline) and vae.model.config.gamma == 0.5
    vectors = vae.encode(["a b c", "d e"])
    torch.testing.assert_close(TextVaePipeline.from_pretrained(str(folder)).encode(["a b c", "d e"]), vectors)
    results = json.loads((folder / "all_results.json").read_text())
    assert results["train_sentences"] + results["eval_sentences"] == 60 and results["train_steps"] == 2
    assert "bn_vae" in (folder / "README.md").read_text()
    assert not (folder / ".lock").exists()


@pytest.mark.skipif(not bf16_pays(), reason="this machine has no products in bf16")
def test_a_model_trained_in_bf16_is_given_back_in_fp32(tmp_path):
    vae = train(sentences(), "vae", tmp_path / "out", bf16=True, **SMALL)
    inputs = {"latents": torch.randn(2, SMALL["latent_size"]), "decoder_input_ids": torch.randint(4, 9, (2, 5))}
    again = TextVaePipeline.from_pretrained(str(tmp_path / "out")).model
    assert torch.equal(vae.model(**inputs).logits, again(**inputs).logits)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "strings"])
def test_the_same_sentences_in_any_shape_train_the_same_model(shape, trained, tmp_path):
    vae = train(SHAPES[shape](sentences(), tmp_path), output_dir=tmp_path / "out", gamma=0.5, **SMALL)
    for name, tensor in trained[0].model.state_dict().items():
        assert torch.equal(vae.model.state_dict()[name], tensor), name


def test_the_command_trains_the_model_that_the_function_trains(tmp_path):
    splits = {"train": sentences(50), "validation": sentences(20)}
    files = {}
    for split, texts in splits.items():
        (tmp_path / split).mkdir()
        files[f"{split}_file"] = str(as_file(texts, tmp_path / split))
    options = {"method": "matched_vae", "rate": 3.0, "recipe": "paper", **SMALL}
    by_function = train(
        DatasetDict({split: Dataset.from_dict({"text": texts}) for split, texts in splits.items()}),
        output_dir=tmp_path / "function",
        **options,
    )
    flags = {"output_dir": str(tmp_path / "command"), **files, **options}
    command([text for name, value in flags.items() for text in (f"--{name}", str(value))])
    by_command = TextVaePipeline.from_pretrained(str(tmp_path / "command"))
    for name, tensor in by_command.model.state_dict().items():
        assert torch.equal(by_function.model.state_dict()[name], tensor), name
    first, second = (json.loads((tmp_path / each / "all_results.json").read_text()) for each in ("function", "command"))
    assert {name: value for name, value in first.items() if "second" not in name and "runtime" not in name} == {
        name: value for name, value in second.items() if "second" not in name and "runtime" not in name
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "nope"}, "^method must be one of .*, got 'nope'$"),
        ({"method": "lm", "rate": 3.0}, "^rate [^-]* leave it out$"),
        ({"method": "vae", "gamma": 0.5}, "^gamma is read by the posterior batch_norm or du only"),
        ({"latent_sizes": 3}, "^unknown parameters: latent_sizes$"),
        ({"max_length": 1}, "^max_length must be at least 3, got 1$"),
        ({"strategy": "aggressive", "gradient_accumulation_steps": 2}, "use gradient_accumulation_steps 1$"),
        ({"recipe": "slow"}, "^recipe must be one of"),
        ({"learning_rate": "fast"}, "^learning_rate must be a number, got 'fast'$"),
        ({"latent_size": 8.0}, "^latent_size must be a whole number, got 8.0$"),
        ({"overwrite_output_dir": "maybe"}, "^overwrite_output_dir must be true or false, got 'maybe'$"),
        ({"streaming": True}, "^streaming reads what train_file or dataset_name names, and the data are given"),
        ({"tokenizer": 3}, "^tokenizer must be a name or a fast tokenizer of Transformers, got int"),
        ({"tokenizer": build_tokenizer(["a"]), "min_count": 2}, "^min_count is read where the run makes a tokenizer"),
        ({"resume_from_checkpoint": True}, "^resume_from_checkpoint true: there is no checkpoint in"),
    ],
)
def test_an_error_is_one_sentence_that_names_parameters_and_no_flag(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as error:
        train(sentences(), output_dir=tmp_path / "out", **SMALL | changes)
    assert "--" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_texts_that_read_as_values_train_the_model_of_these_values(trained, tmp_path):
    written = {name: str(value) for name, value in SMALL.items()} | {"overwrite_output_dir": "false", "seed": "42"}
    vae = train(sentences(), output_dir=tmp_path / "out", gamma="0.5", resume_from_checkpoint=False, **written)
    for name, tensor in trained[0].model.state_dict().items():
        assert torch.equal(vae.model.state_dict()[name], tensor), name
    with pytest.raises(ValueError, match="already holds a model or results"):
        train(sentences(), output_dir=tmp_path / "out", gamma="0.5", **written)


def test_a_tokenizer_and_callbacks_of_the_program_are_those_of_the_run(tmp_path):
    class Count(TrainerCallback):
        steps = 0

        def on_step_end(self, args, state, control, **kwargs):
            self.steps += 1

    count, tokenizer = Count(), build_tokenizer(sentences(), "char")
    vae = train(sentences(), output_dir=tmp_path / "out", tokenizer=tokenizer, callbacks=[count], **SMALL)
    assert count.steps == 2
    assert vae.tokenizer.get_vocab() == tokenizer.get_vocab() and vae.tokenizer is not tokenizer
    with pytest.raises(ValueError, match=r"^pretrained_encoder has a tokenizer of its own: leave out either"):
        train(sentences(), pretrained_encoder=tmp_path / "out", output_dir=tmp_path / "b", tokenizer=tokenizer, **SMALL)


def test_sizes_that_nobody_gives_are_those_of_the_model_that_a_run_starts_from(trained, tmp_path):
    others = {name: value for name, value in SMALL.items() if not name.endswith("_size") or name.startswith("per_")}
    vae = train(sentences(), output_dir=tmp_path / "out", pretrained_encoder=trained[1], **others)
    assert vae.model.config.hidden_size == vae.model.config.embedding_size == 8 and vae.model.config.latent_size == 4
    for changes in ({"hidden_size": 9}, {"size": "synthetic"}):
        with pytest.raises(ValueError, match="give both models the same sizes"):
            train(sentences(), output_dir=tmp_path / "b", pretrained_encoder=trained[1], **others | changes)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "^the training split holds no rows$"),
        (["a b"], "^10% of 1 row .* or train without one by eval_strategy no$"),
    ],
)
def test_data_too_few_to_put_a_validation_split_aside_are_said(data, sentence, tmp_path):
    with pytest.raises(CorpusError, match=sentence):
        train(data, output_dir=tmp_path / "out", **SMALL)


def test_a_validation_split_is_put_aside_however_often_it_is_looked_at(tmp_path):
    train(sentences(), output_dir=tmp_path / "out", eval_strategy="steps", eval_steps=1, **SMALL)
    assert "eval_elbo" in json.loads((tmp_path / "out" / "all_results.json").read_text())


def test_a_dict_that_has_the_column_that_is_named_holds_columns(tmp_path):
    columns = {"review": sentences(), "stars": [1] * 60}
    vae = train(columns, output_dir=tmp_path / "out", text_column="review", eval_strategy="no", **SMALL)
    assert len(vae.tokenizer) == 12


def test_a_text_that_is_missing_is_counted_as_an_empty_one(tmp_path):
    pandas = pytest.importorskip("pandas")
    for number, texts in enumerate((["a b c", None, "d e"] * 10, pandas.Series(["a b c", None, "d e", "  "] * 5))):
        report = load_corpus(texts).reports["train"]
        assert (report.lines, report.empty) == ((30, 10), (20, 10))[number]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["a b", 3] * 10, "the data, row 2: must be text, got int"),
        ([None, 3], "the data, row 2: must be text, got int"),
        ([{"text": "a b"}, "a b"], "the data, row 2: must be a dict, got str"),
        ([["a", "b"], None], "the data, row 2: must be a list, got NoneType"),
    ],
)
def test_a_row_of_another_kind_is_named_by_its_number(rows, sentence, tmp_path):
    with pytest.raises(CorpusError, match=f"^{sentence}$"):
        train(rows, output_dir=tmp_path / "out", **SMALL)


def test_what_is_no_text_is_refused(tmp_path):
    with pytest.raises(CorpusError):
        train([{"number": 1}, {"number": 2}], output_dir=tmp_path / "out", text_column="missing", **SMALL)


def test_no_column_of_a_corpus_is_read_row_by_row(tmp_path, monkeypatch):
    def slowly(column):
        raise AssertionError("a column was read row by row, which takes a hundred times as long as at once")

    monkeypatch.setattr(Column, "__iter__", slowly)
    rows = Dataset.from_dict({"text": sentences(), "label": [0, 1] * 30})
    for number, data in enumerate((rows, rows["text"])):
        train(data, method="bn_vae", output_dir=tmp_path / str(number), gamma=0.5, **SMALL)
    assert len(with_token_ids(rows["text"], build_tokenizer(sentences()), "train_dataset")) == 60
