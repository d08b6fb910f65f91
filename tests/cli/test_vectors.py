"""hf-bnvae vectors: the same flags give the same file, judges read it, and it knows the training split alone."""

import pytest

from hf_bnvae.cli import vectors
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.data import CorpusError, build_tokenizer
from hf_bnvae.evaluation import WordVectors

FLAGS = ["--vector_size", "8", "--epochs", "2"]
DIALOGUE = '{{"turns": [{{"speaker": "A", "text": "{}"}}, {{"speaker": "B", "text": "b"}}]}}\n'


def test_vectors_repeat_and_leave_the_rare_words_out(tmp_path, capsys):
    pytest.importorskip("gensim")
    paths = [tmp_path / "new" / name for name in ("first.txt", "second.txt")]
    flags = ["--dataset_name", "toy_dialogues", "--max_train_samples", "20", "--min_count", "5", *FLAGS]
    for path in paths:
        vectors.main([*flags, "--output_file", str(path)])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    trained = WordVectors.load(str(paths[0]))
    assert trained.matrix.shape == (len(trained.rows), 8)
    said = capsys.readouterr().out
    assert f"{len(trained.rows)} words of 8 dimensions" in said and " 0 rare words" not in said


def test_only_the_training_split_is_read(tmp_path):
    pytest.importorskip("gensim")
    (tmp_path / "train.jsonl").write_text(DIALOGUE.format("one two three four five six seven eight nine ten"))
    (tmp_path / "test.jsonl").write_text(DIALOGUE.format("unseen"))
    vectors.main(["--dataset_name", str(tmp_path), "--output_file", str(tmp_path / "vectors.txt"), *FLAGS])
    rows = WordVectors.load(str(tmp_path / "vectors.txt")).rows
    assert "ten" in rows and "unseen" not in rows


def test_words_are_cut_as_the_model_cuts_them(tmp_path):
    pytest.importorskip("gensim")
    (tmp_path / "train.jsonl").write_text(DIALOGUE.format("one, two three four five six seven eight nine ten."))
    tokenizer = build_tokenizer(["one , two"], split_punctuation=True)
    tokenizer.save_pretrained(tmp_path / "model")
    found = {}
    for name, flags in {
        "spaces": [],
        "punctuation": ["--split_punctuation"],
        "model": ["--tokenizer", str(tmp_path / "model")],
    }.items():
        path = str(tmp_path / f"{name}.txt")
        vectors.main(["--train_file", str(tmp_path / "train.jsonl"), "--output_file", path, *flags, *FLAGS])
        found[name] = set(WordVectors.load(path).rows)
    assert found["model"] == found["punctuation"] == found["spaces"] - {"one,", "ten."} | {"one", "ten", ",", "."}
    with pytest.raises(UsageError, match="--split_punctuation is for texts that no --tokenizer cuts"):
        vectors.main(["--output_file", path, "--tokenizer", "x", "--split_punctuation"])


@pytest.mark.parametrize("flag", ["max_utterance_length", "validation_file", "test_file", "max_eval_samples"])
def test_a_flag_that_no_vector_depends_on_is_refused(flag, tmp_path):
    with pytest.raises(UsageError, match=f"--{flag} is not read"):
        vectors.main(["--dataset_name", "toy_dialogues", "--output_file", str(tmp_path / "a.txt"), f"--{flag}", "9"])


def test_what_cannot_be_trained_on_is_said_in_one_sentence(tmp_path):
    pytest.importorskip("gensim")
    (tmp_path / "few.jsonl").write_text(DIALOGUE.format("a a a"))
    (tmp_path / "folder").mkdir()
    few = ["--train_file", str(tmp_path / "few.jsonl")]
    output = ["--output_file", str(tmp_path / "vectors.txt")]
    with pytest.raises(CorpusError, match="2 distinct words: too few"):
        vectors.main([*few, *output])
    with pytest.raises(UsageError, match="--min_count 10000 leaves no word"):
        vectors.main(["--dataset_name", "toy_dialogues", "--min_count", "10000", *output])
    with pytest.raises(UsageError, match=r"--output_file .*folder is a folder"):
        vectors.main([*few, "--output_file", str(tmp_path / "folder")])
    assert not (tmp_path / "vectors.txt").exists()
