"""Judges of responses against hand-worked examples, and as `evaluate` modules."""

import math
import tracemalloc

import evaluate
import numpy as np
import pytest

from hf_bnvae.evaluation import WordVectors, evaluate_responses
from hf_bnvae.evaluation.judges import JUDGES, judge_path
from hf_bnvae.evaluation.responses import (
    average_length,
    bleu,
    distinct,
    precision_and_recall,
    sentence_bleu,
    word_vector_similarity,
)

VECTORS = WordVectors({"red": 0, "blue": 1, "cold": 2}, np.array([[1, 0], [0, 2], [-3, 0]], dtype=np.float32))


def random_texts(count, seed=0):
    generator = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in generator.integers(0, 12, generator.integers(1, 14))) for _ in range(count)]


def test_bleu_of_a_hand_worked_pair():
    # 4 words of which 3 match, 2 of 3 bigrams, 1 of 2 trigrams, no 4-gram: ln 4 / (2 · 5) of one; no 5-gram at all.
    p = [3 / 4, 2 / 3, 1 / 2, math.log(4) / 10]
    m1 = (p[0] + 1 + p[0] + p[1]) / 3
    m2 = (m1 + p[1] + p[2]) / 3
    m3 = (m2 + p[2] + p[3]) / 3
    m4 = (m3 + p[3] + 0) / 3
    expected = (m1 * m2 * m3 * m4) ** 0.25
    assert sentence_bleu("we saw a dog", "we saw a cat") == pytest.approx(expected)
    short = math.exp(1 - 6 / 4) * expected
    assert sentence_bleu("we saw a dog", "we saw a cat over there") == pytest.approx(short)
    assert sentence_bleu("yes", "no") == 0 == sentence_bleu("", "no")


def test_bleu_is_that_of_nltk_under_technique_7():
    nltk_bleu = pytest.importorskip("nltk.translate.bleu_score", reason="NLTK is not installed")
    smoothing = nltk_bleu.SmoothingFunction().method7
    texts = random_texts(400)
    for hypothesis, reference in zip(texts[:200], texts[200:], strict=True):
        for other in (reference, hypothesis):
            expected = nltk_bleu.sentence_bleu([other.split()], hypothesis.split(), smoothing_function=smoothing)
            assert sentence_bleu(hypothesis, other) == pytest.approx(expected, abs=1e-12)


def test_precision_forgives_what_recall_does_not():
    likeness = [np.array([[0.9, 0.1], [0.7, 0.2], [0.2, 0.0]]), np.array([[0.5]])]
    precision, recall = precision_and_recall(likeness)
    assert precision == pytest.approx(((0.9 + 0.7 + 0.2) / 3 + 0.5) / 2)
    assert recall == pytest.approx(((0.9 + 0.2) / 2 + 0.5) / 2)


def test_bleu_of_several_references_is_the_best_pair():
    found = bleu([["we saw a dog", "yes"]], [["we saw a cat", "no no"]])
    pair = sentence_bleu("we saw a dog", "we saw a cat")
    assert found["bleu_precision"] == pytest.approx(100 * pair / 2)
    assert found["bleu_recall"] == pytest.approx(100 * pair / 2)


def test_pooled_vectors_of_hand_worked_texts():
    average, extrema = VECTORS.pooled(["red blue", "", "red cold", "nobody knows", "blue"])
    assert average.tolist() == [[0.5, 1.0], [0, 0], [-1.0, 0], [0, 0], [0, 2]]
    assert extrema.tolist() == [[1, 2], [0, 0], [-3, 0], [0, 0], [0, 2]]


def test_likeness_by_word_vectors_of_a_hand_worked_case():
    found = word_vector_similarity([["red", "blue unknown"], ["unknown"]], [["red blue"], ["red"]], VECTORS)
    to_average = (1 / math.sqrt(5), 2 / math.sqrt(5))  # of (1, 0) and (0, 2) to (½, 1)
    assert found["abow_precision"] == pytest.approx(100 * (sum(to_average) / 2 + 0) / 2, rel=1e-6)
    assert found["abow_recall"] == pytest.approx(100 * (max(to_average) + 0) / 2, rel=1e-6)
    assert found["ebow_recall"] == pytest.approx(100 * (2 / math.sqrt(5)) / 2, rel=1e-6)


def test_distinct_n_of_a_hand_worked_case():
    found = distinct([["a b a", "a b"], ["c"], [""]])
    assert found["within_distinct_1"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found["distinct_1"] == pytest.approx((2 / 5 + 1) / 2)
    assert found["within_distinct_2"] == pytest.approx(1.0)
    assert found["distinct_2"] == pytest.approx(2 / 3)
    assert distinct([["", ""]])["distinct_2"] == 0.0
    assert average_length([["a b a", "a"], ["c d"]]) == 2.0


def test_one_long_word_costs_no_memory_for_the_others():
    texts = [["red blue a b " * 500, "x" * 5_000]]
    tracemalloc.start()
    distinct(texts)
    word_vector_similarity(texts, texts, VECTORS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000 * 5_000


@pytest.mark.parametrize("name", ["glove.txt", "w2v.txt", "w2v.bin", "glove.txt.gz"])
def test_word_vectors_are_read_from_every_usual_file(name, tmp_path):
    keyed_vectors = pytest.importorskip("gensim.models").KeyedVectors
    path = str(tmp_path / name)
    known = keyed_vectors(2)
    known.add_vectors(list(VECTORS.rows), VECTORS.matrix)
    known.save_word2vec_format(path, binary=name.endswith(".bin"), write_header="glove" not in name)
    loaded = WordVectors.load(path)
    assert loaded.rows == VECTORS.rows and np.array_equal(loaded.matrix, VECTORS.matrix) and loaded.name == name


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_a_word_of_a_file_of_vectors_may_hold_spaces(header, tmp_path):
    (tmp_path / "a.txt").write_text(header + "red 1 2\n. . . 3 4 \nat name@here 5 6\n", encoding="utf-8")
    loaded = WordVectors.load(str(tmp_path / "a.txt"))
    assert loaded.rows == {"red": 0, ". . .": 1, "at name@here": 2}
    assert loaded.matrix.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_the_share_of_known_words_counts_every_word():
    assert VECTORS.known_share(["red red green", "blue"]) == 0.75 and VECTORS.known_share([""]) == 1


def test_bleu_goes_above_1_where_an_utterance_is_said_again():
    assert sentence_bleu("a b c d e f", "a b c d e f") == pytest.approx(1.1167, abs=1e-4)
    assert sentence_bleu("yes", "yes") == pytest.approx(0.1925, abs=1e-4)


def test_a_bad_file_of_word_vectors_is_named_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"none\.txt do not exist"):
        WordVectors.load(str(tmp_path / "none.txt"))
    for name, content in (
        ("bad.txt", "red 1 2\nblue 1\n"),
        ("empty.txt", ""),
        ("a.kv", b"\x80\x04N."),
        ("bad.bin", "x"),
        ("words.txt", "red 1 2\nblue one 2\n"),
        ("cut.txt", "3 2\nred 1 2\n"),
    ):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match=rf"{name} could not be read") as error:
            WordVectors.load(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_lists_that_do_not_belong_together_are_refused():
    for predictions, references, message in (
        ([["a"]], [["a"], ["b"]], "1 lists of predictions and 2 of references"),
        ([["a"], []], [["a"], ["b"]], r"predictions\[1\]"),
        ([["a"]], ["a"], r"references\[0\]"),
        ([], [], "no predictions"),
    ):
        with pytest.raises(ValueError, match=message):
            bleu(predictions, references)


def test_every_judge_is_an_evaluate_module_that_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    predictions = [random_texts(3, seed) for seed in range(5)]
    references = [random_texts(2, 90 + seed) for seed in range(5)]
    path = tmp_path / "vectors.txt"
    path.write_text("\n".join(f"w{number} {number - 5} {number % 3}" for number in range(12)))
    expected = evaluate_responses(predictions, references, WordVectors.load(str(path)))
    found = {}
    for name in set(JUDGES) - {"classification", "dialogue_bounds"}:
        judge = evaluate.load(str(judge_path(name)), cache_dir=str(tmp_path / "cache"))
        given = {"predictions": predictions}
        if "references" in judge.features:
            given["references"] = references
        found |= judge.compute(**given, **({"vectors": str(path)} if name == "word_vector_similarity" else {}))
    assert found == pytest.approx(expected)
    judge = evaluate.load(str(judge_path("dialogue_bounds")), cache_dir=str(tmp_path / "cache"))
    bounds = judge.compute(reconstruction=[3.0, 5.0], kl=[1.0, 0.0], tokens=[2, 6])
    assert bounds == pytest.approx({"rec_ppl": math.e, "rec": 4.0, "kl": 0.5, "elbo": 4.5})
    with pytest.raises(ValueError, match="no judge 'other': there are classification, dialogue_bounds"):
        judge_path("other")
