"""Linear probes: samples that nest, a classifier that sees its sample alone, and scores that are scikit-learn's."""

from itertools import pairwise

import evaluate
import numpy as np
import pytest

from hf_bnvae.evaluation import bag_of_words, classification_scores, nested_samples, probe
from hf_bnvae.evaluation.judges import judge_path

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

LABELS = ["a"] * 120 + ["b"] * 60 + ["c"] * 20
SIZES = [3, 10, 50, 60]


def two_clouds(count, distance, seed=0, width=6):
    """Vectors around two points on the first axis, and on which side each is."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    vectors = generator.normal(size=(count, width))
    vectors[:, 0] += distance * (labels - 0.5)
    return vectors, labels


@pytest.mark.parametrize("balanced", [False, True])
def test_samples_of_a_seed_nest_and_those_of_others_differ(balanced):
    drawn = nested_samples(LABELS, SIZES, seed=1, balanced=balanced)
    for size, rows in drawn.items():
        assert len(set(rows)) == len(rows) == size
    for smaller, larger in pairwise(SIZES):
        assert set(drawn[smaller]) < set(drawn[larger])
    again = nested_samples(LABELS, [60], seed=1, balanced=balanced)
    assert np.array_equal(drawn[60], again[60])
    assert set(drawn[60]) != set(nested_samples(LABELS, SIZES, seed=2, balanced=balanced)[60])


def test_balanced_samples_hold_as_many_of_each_class_and_others_what_chance_gives():
    for seed in range(5):
        for size, rows in nested_samples(LABELS, SIZES, seed, balanced=True).items():
            _, counts = np.unique(np.array(LABELS)[rows], return_counts=True)
            assert counts.max() - counts.min() <= 1 and len(counts) == 3, size
    drawn = [LABELS[row] for seed in range(50) for row in nested_samples(LABELS, [50], seed)[50]]
    assert drawn.count("a") / len(drawn) == pytest.approx(0.6, abs=0.03)


def test_a_sample_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="a sample of 201 out of 200 sentences"):
        nested_samples(LABELS, [10, 201])
    with pytest.raises(ValueError, match="the class c has 20 sentences, too few for a balanced sample of 66 from 3"):
        nested_samples(LABELS, [66], balanced=True)


def test_a_probe_separates_what_is_separable_and_is_at_chance_on_noise():
    test, wanted = two_clouds(2000, distance=12, seed=1)
    assert np.array_equal(probe(*two_clouds(100, distance=12), test), wanted)
    test, wanted = two_clouds(2000, distance=0, seed=1)
    assert np.mean(probe(*two_clouds(100, distance=0), test) == wanted) == pytest.approx(0.5, abs=0.05)


def test_a_class_with_a_single_sentence_is_learnt_too():
    vectors, labels = np.array([[0.0], [0.1], [5.0]]), np.array([4, 4, 7])
    assert probe(vectors, labels, np.array([[-1.0], [6.0]])).tolist() == [4, 7]


def test_a_prediction_depends_on_the_sample_and_its_own_sentence_alone():
    test, _ = two_clouds(200, distance=1, seed=1)
    sample = two_clouds(50, distance=1)
    found = probe(*sample, test)
    assert np.array_equal(probe(*sample, test[::-1]), found[::-1])
    assert np.array_equal(probe(*sample, np.concatenate([test[:20], 1e6 + test[20:]]))[:20], found[:20])


def test_the_scale_of_a_dimension_and_where_it_lies_do_not_matter():
    (vectors, labels), (test, _) = two_clouds(100, distance=1), two_clouds(200, distance=1, seed=1)
    scale, shift = np.array([1e-4, 1, 10, 100, 0.1, 1]), np.array([5, 0, -1, 3, 0, 0])
    found = probe(vectors * scale + shift, labels, test * scale + shift)
    assert np.array_equal(found, probe(vectors, labels, test))


def test_without_standardisation_a_dimension_that_hardly_varies_is_hardly_read():
    (vectors, labels), (test, wanted) = two_clouds(100, distance=12), two_clouds(500, distance=12, seed=1)
    quiet = np.array([1e-4, 1, 1, 1, 1, 1])
    assert np.mean(probe(vectors * quiet, labels, test * quiet, standardise=False) == wanted) < 0.6
    assert np.array_equal(probe(vectors * quiet, labels, test * quiet), wanted)


def test_words_stand_between_spaces_and_are_those_of_the_sample():
    counts, test_counts = bag_of_words(["a b A", "b !"], ["b c b", "! ?"])
    assert counts.toarray().tolist() == [[0, 2, 1], [1, 0, 1]]
    assert test_counts.toarray().tolist() == [[0, 0, 2], [1, 0, 0]]
    texts, judged = bag_of_words(["good one", "bad one", "so good", "so bad"], ["good", "bad"])
    assert probe(texts, [1, 0, 1, 0], judged, standardise=False).tolist() == [1, 0]


def test_scores_are_those_of_scikit_learn_also_through_evaluate(tmp_path, monkeypatch):
    from sklearn.metrics import accuracy_score, f1_score

    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    generator = np.random.default_rng(0)
    references, predictions = generator.integers(0, 4, 300), generator.integers(0, 3, 300)
    judge = evaluate.load(str(judge_path("classification")), cache_dir=str(tmp_path))
    found = judge.compute(predictions=predictions, references=references)
    assert found["accuracy"] == accuracy_score(references, predictions) == np.mean(references == predictions)
    assert found["f1"] == f1_score(references, predictions, average="macro")
    assert found == classification_scores(predictions, references)
    assert classification_scores([1, 1, 0], [1, 0, 0]) == pytest.approx({"accuracy": 2 / 3, "f1": 2 / 3})
