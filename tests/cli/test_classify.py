"""hf-bnvae classify: one table of several encoders, vectors that are the models', and errors in one sentence."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from hf_bnvae import (
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    BnVaeForSequenceClassification,
    LstmLMConfig,
    LstmLMForCausalLM,
    TextVaePipeline,
)
from hf_bnvae.cli import classify
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.data import CorpusError, build_tokenizer
from hf_bnvae.evaluation import classification
from hf_bnvae.runs import sentence_encoders

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

WORDS = {0: "abcdefgh", 1: "hijklmno"}
SIZES = {"embedding_size": 8, "hidden_size": 24, "initializer_range": 0.4, "embedding_initializer_range": 0.5}
TEXTS = ["a b c", "d", "o n m l k j i h g f e", "h h", "c b a"]


def write_sentences(path, count, labels=(0, 1)):
    generator = np.random.default_rng(count)
    lines = []
    for row in range(count):
        label = row % 2
        words = generator.choice([*WORDS[label]], generator.integers(3, 8))
        lines.append(f"{labels[label]}\t{' '.join(words)}\n")
    path.write_text("".join(lines))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    for name, count in (("train", 120), ("test", 60)):
        write_sentences(folder / f"{name}.tsv", count)
    (folder / "other.tsv").write_text("label\ttext\nbad\th i\ngood\ta b\n")
    (folder / "some.jsonl").write_text('{"label": 1, "text": "h"}\n{"label": null, "text": "a"}\n')
    (folder / "uneven.tsv").write_text("0\ta b c\n" * 50 + "1\th i j\n" * 4)
    (folder / "own.csv").write_text("label,text\n" + "".join(f"{row / 7:.3f},a b\n" for row in range(20)))
    (folder / "plain.txt").write_text("a b c\nh i j\n")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A text VAE, its encoder alone, a classifier on it, a refined one, a language model, and a BERT."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    tokenizer = build_tokenizer([" ".join(words) for words in WORDS.values()])
    sizes = {**SIZES, "vocab_size": len(tokenizer.get_vocab())}
    vae = BnVaeForConditionalGeneration(BnVaeConfig(**sizes, latent_size=12))
    vae.save_pretrained(folder / "bn_vae")
    AutoModel.from_pretrained(folder / "bn_vae").save_pretrained(folder / "encoder")
    BnVaeForSequenceClassification.from_pretrained(folder / "bn_vae").save_pretrained(folder / "classifier")
    refined = BnVaeConfig(**sizes, latent_size=12, posterior="gaussian", refinement_steps=2, refinement_step_size=1.0)
    BnVaeForConditionalGeneration(refined).save_pretrained(folder / "sa_vae" / "seed_1")
    LstmLMForCausalLM(LstmLMConfig(**sizes)).save_pretrained(folder / "lstm_lm")
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=sizes["vocab_size"], **bert)).save_pretrained(folder / "bert")
    for config in folder.rglob("config.json"):
        tokenizer.save_pretrained(config.parent)
    return folder


def flags(data, output_dir, *models, **changes):
    settings = {"dataset_name": data, "output_dir": output_dir, "num_labels_list": "10,40", "seeds": 1} | changes
    named = [text for name, value in settings.items() if value is not None for text in (f"--{name}", str(value))]
    return ["--model_name_or_path", *map(str, models), *named]


def results_of(folder):
    return json.loads((folder / "all_results.json").read_text())


def test_one_command_gives_one_table_of_several_encoders(models, data, tmp_path, capsys):
    changes = {"num_labels_list": 40, "seeds": "1,2"}
    classify.main(flags(data, tmp_path / "a", models / "bn_vae", f"base={models / 'bert'}", **changes))
    results, page = results_of(tmp_path / "a"), (tmp_path / "a" / "results.md").read_text()
    assert page in capsys.readouterr().out
    table = [line.removeprefix("| ") for line in page.splitlines() if line.startswith("| ")][1:]
    rows = dict(line.removesuffix(" |").split(" | ") for line in table)
    assert list(rows) == ["bn_vae", "base", "most frequent class", "bag of words, logistic regression"]
    for name, shown in zip(
        ("bn_vae", "base", "bow"), ("bn_vae", "base", "bag of words, logistic regression"), strict=True
    ):
        mean, deviation = (results[f"test_{name}_accuracy_40{end}"] for end in ("", "_std"))
        assert rows[shown] == f"{100 * mean:.1f} ± {100 * deviation:.1f}"
        assert 0 < results[f"test_{name}_f1_40"] <= 1
    assert results["test_majority_accuracy"] == 0.5 and rows["most frequent class"] == "50.0"
    assert results["test_bow_accuracy_40"] > 0.9 and results["test_bn_vae_accuracy_40"] > 0.8


def test_the_only_model_needs_no_name_and_two_runs_are_equal(models, data, tmp_path):
    runs = []
    for name in ("a", "b"):
        classify.main(flags(data, tmp_path / name, models / "bn_vae", balanced=True, num_labels_list=10))
        runs.append(results_of(tmp_path / name))
    assert runs[0] == runs[1]
    assert {"test_accuracy_10", "test_f1_10", "test_bow_accuracy_10", "test_majority_f1"} <= runs[0].keys()
    assert not [name for name in runs[0] if name.endswith("_std")]


def test_a_vector_is_the_posterior_mean_of_its_sentence_whatever_the_others(models):
    for name in ("bn_vae", "sa_vae/seed_1"):
        place = str(models / name)
        found = sentence_encoders.encode(place, TEXTS, 256, batch_size=2)
        expected = TextVaePipeline.from_pretrained(place, device="cpu").encode(TEXTS).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        backwards = sentence_encoders.encode(place, TEXTS[::-1], 256, batch_size=5)
        np.testing.assert_allclose(found, backwards[::-1], rtol=1e-4, atol=1e-5)
    whole = sentence_encoders.encode(str(models / "bn_vae"), TEXTS, 256, 4)
    for part in ("encoder", "classifier"):
        assert np.array_equal(sentence_encoders.encode(str(models / part), TEXTS, 256, 4), whole)


def test_other_encoders_give_the_mean_of_their_states(models, tmp_path):
    found = sentence_encoders.encode(str(models / "bert"), TEXTS, 256, batch_size=3)
    bert = AutoModel.from_pretrained(models / "bert")
    tokenizer = build_tokenizer([" ".join(words) for words in WORDS.values()])
    for text, vector in zip(TEXTS, found, strict=True):
        states = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.mean(0).detach().numpy(), rtol=1e-4, atol=1e-5)
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    parts = library.models if hasattr(library, "models") else library.sentence_transformer.modules
    transformer = parts.Transformer(str(models / "bert"))
    pooling = parts.Pooling(16, pooling_mode="mean")
    library.SentenceTransformer(modules=[transformer, pooling]).save(str(tmp_path / "embedder"))
    again = sentence_encoders.encode(str(tmp_path / "embedder"), TEXTS, 256, batch_size=3)
    np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-5)


def test_finetuning_trains_the_encoder_and_repeats(models, data, tmp_path):
    changes = {"finetune": True, "num_labels_list": 80, "seeds": 1, "learning_rate": 0.03}
    for name in ("a", "b"):
        classify.main(flags(data, tmp_path / name, models / "bn_vae", **changes))
    results, again = results_of(tmp_path / "a"), results_of(tmp_path / "b")
    assert results["test_accuracy_80"] == again["test_accuracy_80"] > 0.9
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"all_results.json", "results.md"}
    with pytest.raises(UsageError, match=r"bert is a bert model, and --finetune trains text VAEs \(bnvae\) only"):
        classify.main(flags(data, tmp_path / "c", models / "bert", finetune=True))


def test_classes_are_words_and_those_without_a_training_sentence_count_as_errors(models, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(classification.logger, "propagate", True)
    monkeypatch.setattr(classification.logger.parent, "propagate", True)
    write_sentences(tmp_path / "train.tsv", 60, labels=("bad", "good"))
    write_sentences(tmp_path / "valid.tsv", 20, labels=("bad", "fair"))
    for name in ("train", "valid"):
        path = tmp_path / f"{name}.tsv"
        path.write_text("mood\ttext\n" + path.read_text())
    changes = {"label_column": "mood", "num_labels_list": 40, "seeds": 1}
    classify.main(flags(tmp_path, tmp_path / "out", models / "bn_vae", **changes))
    assert "10 of 20 validation sentences have a label that no training sentence has (fair)" in caplog.text
    results = results_of(tmp_path / "out")
    assert results["eval_unseen_labels"] == 10 and results["eval_bow_accuracy_40"] <= 0.5


def test_numbers_are_separated_by_commas_or_spaces_and_sorted(tmp_path):
    arguments = classify.ClassificationArguments(["out"], str(tmp_path / "new"), ["40", "10,20"])
    assert arguments.sizes() == [10, 20, 40] and arguments.sample_seeds() == [1, 2, 3, 4, 5]


def test_rows_are_named_by_folders_or_by_the_user(tmp_path):
    folder = tmp_path / "fb_vae:free_bits=4" / "seed_3"
    folder.mkdir(parents=True)

    def models(*names):
        return classify.ClassificationArguments(list(names), str(tmp_path / "out")).models()

    assert models(str(folder), f"a={folder}", "user/model") == {
        "fb_vae:free_bits=4": str(folder),
        "a": str(folder),
        "model": "user/model",
    }
    for names in (("x/bn_vae", "y/bn_vae"), ("bow=x",)):
        with pytest.raises(UsageError, match="two rows would have the name"):
            models(*names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_labels_list": "10,130"}, "--num_labels_list 130: the training split of"),
        ({"num_labels_list": "1,10"}, "--num_labels_list must be at least 2 each, got 1"),
        ({"num_labels_list": "1k"}, "--num_labels_list must be whole numbers"),
        ({"seeds": "-1"}, "--seeds must be from 0 to 4294967295, got -1"),
        ({"seeds": "1,4294967296"}, "--seeds must be from 0 to 4294967295, got 4294967296"),
        ({"train_file": "{data}/own.csv"}, "every training sentence has a label of its own: name another column"),
        ({"finetune": True, "standardise": False}, "--standardise false is read without --finetune only"),
        ({"learning_rate": 0.1}, "--learning_rate is read with --finetune true only"),
        ({"train_file": "{data}/uneven.tsv", "balanced": True}, "--balanced: the class 1 has 4 sentences, too few"),
        ({"num_labels_list": "2", "seeds": "1,2,3,4,5,6"}, "all of them have one label"),
        ({"max_train_samples": 1}, "every training sentence has the label 0"),
        ({"label_column": "mood"}, "has no column 'mood'"),
        ({"train_file": "{data}/plain.txt"}, "plain.txt has no labels: name their column by --label_column"),
        ({"dataset_name": None, "train_file": "{data}/train.tsv"}, "neither a test nor a validation split"),
        ({"dataset_name": None, "test_file": "{data}/test.tsv"}, "has no training split"),
        ({"test_file": "{data}/other.tsv"}, "other.tsv has none of the labels of the training split, but bad"),
        ({"test_file": "{data}/some.jsonl"}, "some.jsonl: sentence 2 has None for a label"),
        ({"output_dir": "{models}/bn_vae"}, "holds a model or results"),
        ({"model": "lstm_lm"}, "lstm_lm is a lstm_lm model, which has no latent"),
        ({"model": "none"}, "none: no model there"),
    ],
)
def test_bad_input_gets_one_sentence_and_writes_nothing(models, data, tmp_path, changes, message):
    changes = {
        name: value.format(data=data, models=models) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    model = models / changes.pop("model", "bn_vae")
    with pytest.raises((UsageError, CorpusError)) as error:
        classify.main(flags(data, changes.pop("output_dir", tmp_path / "out"), model, **changes))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named_with_its_remedy(models, data, tmp_path, monkeypatch):
    monkeypatch.setattr(classify, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'hf-bnvae\[classification\]'"):
        classify.main(flags(data, tmp_path / "out", models / "bn_vae"))
