"""The classification task: samples are nested, every class is known by a word, and errors name parameters."""

from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from hf_bnvae.data import CorpusError, load_corpus
from hf_bnvae.evaluation.classification import evaluate_samples, most_frequent, probing, read_task

pytest.importorskip("sklearn")
LABELS = [0, 1, 0, 0, 1, 0] * 10


def corpus_of(labels, test_labels=(0, 1, 1, 0)) -> SimpleNamespace:
    def split(values):
        rows = {"text": [f"sentence {number}" for number in range(len(values))], "label": list(values)}
        return Dataset.from_dict(rows)

    sources = {"train": "corpus (train)", "test": "test.tsv"}
    return SimpleNamespace(name="corpus", splits={"train": split(labels), "test": split(test_labels)}, sources=sources)


def test_a_smaller_sample_of_a_seed_is_part_of_a_larger_one():
    task = read_task(corpus_of(LABELS), sizes=[4, 12], seeds=[1, 2], balanced=False)
    assert sorted(task.samples) == [(1, 4), (1, 12), (2, 4), (2, 12)]
    for seed in (1, 2):
        assert set(task.samples[seed, 4]) <= set(task.samples[seed, 12])
    assert (task.train_sentences, task.num_classes, task.split, task.unseen) == (60, 2, "test", 0)


def test_vectors_that_hold_the_class_are_classified_and_the_most_frequent_class_is_a_constant():
    task = read_task(corpus_of(LABELS), sizes=[20], seeds=[3], balanced=True)
    vectors, test_vectors = (np.stack([labels, 1 - labels], 1) for labels in (task.labels, task.test_labels))
    scores = evaluate_samples("vectors", probing(vectors, test_vectors, task, standardise=True), task)
    assert [score["accuracy"] for score in scores[20]] == [1.0]
    assert most_frequent(task)(np.arange(20), 3).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("labels", "sizes", "balanced", "kind", "words"),
    [
        (LABELS, [100], False, ValueError, "^`num_labels_list` 100: the training split of corpus has 60 sentences"),
        ([0] * 50 + [1], [40], True, ValueError, "^`balanced`: .* leave larger numbers out of `num_labels_list`"),
        ([0] * 9, [2], False, CorpusError, "every training sentence has the label 0: .* by `label_column`"),
        ([None, 1], [2], False, CorpusError, "sentence 1 has None for a label"),
    ],
)
def test_an_error_names_the_parameter(labels, sizes, balanced, kind, words):
    with pytest.raises(kind, match=words) as error:
        read_task(corpus_of(labels), sizes, [1], balanced)
    assert "--" not in str(error.value)


def test_an_error_names_the_source_of_the_split_that_lacks_labels(tmp_path):
    for name, text in {"train": "0\ta\n1\tb\n0\tc\n", "none": "a\nb\n", "others": "x\ta\ny\tb\n"}.items():
        (tmp_path / f"{name}.tsv").write_text(text)
    for name, options, words in (
        ("none", {}, "has no labels: name their column by `label_column`"),
        ("others", {"no_header": True, "text_column": "1", "label_column": "0"}, "has none of the labels of the train"),
    ):
        corpus = load_corpus(files={"train": f"{tmp_path}/train.tsv", "test": f"{tmp_path}/{name}.tsv"}, **options)
        with pytest.raises(CorpusError, match=rf"^{tmp_path}/{name}\.tsv {words}"):
            read_task(corpus, [2], [1], False)


def test_what_is_put_aside_is_called_after_the_file_that_it_was_in(tmp_path):
    (tmp_path / "train.tsv").write_text("0\ta\n1\tb\n0\tc\n" * 9)
    corpus = load_corpus(files={"train": str(tmp_path / "train.tsv")}, validation_split_percentage=20)
    assert corpus.sources == {
        split: f"{tmp_path}/train.tsv{end}" for split, end in (("train", ""), ("validation", " (validation)"))
    }
