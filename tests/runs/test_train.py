"""`train` in a notebook: from sentences in any shape to a pipeline, by the parameters that the command calls flags."""

import json
import random

import pytest
import torch
from datasets import Dataset, DatasetDict

from hf_bnvae import TextVaePipeline, train
from hf_bnvae.cli.train import main as command
from hf_bnvae.data import CorpusError, load_corpus
from hf_bnvae.runs.train import _data_of
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
    ],
)
def test_an_error_is_one_sentence_that_names_parameters_and_no_flag(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as error:
        train(sentences(), output_dir=tmp_path / "out", **SMALL | changes)
    assert "--" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_text_that_is_missing_is_counted_as_an_empty_one(tmp_path):
    pandas = pytest.importorskip("pandas")
    for number, texts in enumerate((["a b c", None, "d e"] * 10, pandas.Series(["a b c", None, "d e", "  "] * 5))):
        at_hand, _ = _data_of(texts)
        report = load_corpus(at_hand).reports["train"]
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
