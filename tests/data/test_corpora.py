"""Reading files: every layout, every refusal, and nothing lost in silence."""

import json

import pytest
from datasets import Dataset, Value

from hf_bnvae.cli.errors import flags_named
from hf_bnvae.data import (
    CorpusError,
    build_tokenizer,
    encode_corpus,
    first_texts,
    load_corpus,
    pydocs_splits,
    training_sources,
)
from hf_bnvae.data.corpora import CorpusReport

TEXTS = ["a b c", "NA", "null", 'he said "hi"', "tab or, comma", "  spaced  "]


def read(path, **options):
    return load_corpus(files={"train": str(path)}, **options)


def test_txt_keeps_every_line_that_is_not_empty(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two\n\n   \nthree\u2028four\n five \nlast", encoding="utf-8")
    corpus = read(path)
    assert corpus.splits["train"]["text"][:] == ["one two", "three\u2028four", " five ", "last"]
    assert corpus.reports["train"] == CorpusReport(lines=6, empty=2)
    assert "2 of 6 lines empty and left out" in str(corpus.reports["train"])


def test_tsv_without_a_header_is_label_and_text(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"{row % 2}\t{text}\n" for row, text in enumerate(TEXTS)), encoding="utf-8")
    split = read(path).splits["train"]
    assert split["text"][:] == TEXTS
    assert split["label"][:] == [0, 1, 0, 1, 0, 1]


def test_tsv_with_a_header_and_columns_by_name_and_number(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("id\tbody\tstars\n1\tgood food\t5\n2\tbad food\t1\n", encoding="utf-8")
    by_name = read(path, text_column="body", label_column="stars").splits["train"]
    by_number = read(path, text_column="1", label_column="2").splits["train"]
    assert by_name[:] == by_number[:] == {"text": ["good food", "bad food"], "label": [5, 1]}
    with pytest.raises(CorpusError, match="id, body, stars: say which is the text by --text_column"), flags_named():
        read(path)
    with (
        pytest.raises(CorpusError, match=r"a\.tsv has no column 'review' \(--text_column\).*id, body, stars"),
        flags_named(),
    ):
        read(path, text_column="review")


def test_csv_quotes_and_odd_words_survive(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('label,text\npos,"one, two"\nneg,NA\npos,"a ""quoted"" word"\nneg,null\npos,3\n', encoding="utf-8")
    split = read(path).splits["train"]
    assert split["text"][:] == ["one, two", "NA", 'a "quoted" word', "null", "3"]
    assert split["label"][:] == ["pos", "neg", "pos", "neg", "pos"]


def test_a_column_of_sentences_needs_no_header_and_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.tsv").write_text("first one\nsecond one\n", encoding="utf-8-sig")
    (tmp_path / "b.tsv").write_text("1\tfirst one\n\n0\tsecond one\n", encoding="utf-8-sig")
    (tmp_path / "c.txt").write_text("first one\nsecond one\n", encoding="utf-8-sig")
    for name in ("a.tsv", "b.tsv", "c.txt"):
        assert read(tmp_path / name).splits["train"]["text"][:] == ["first one", "second one"], name
    assert read(tmp_path / "b.tsv").splits["train"]["label"][:] == [1, 0]


def test_a_csv_of_one_column_has_its_header(tmp_path):
    (tmp_path / "a.csv").write_text("review\ngood food\nbad food\n", encoding="utf-8")
    for options in ({}, {"text_column": "review"}):
        assert read(tmp_path / "a.csv", **options).splits["train"]["text"][:] == ["good food", "bad food"]


def test_jsonl_and_parquet(tmp_path):
    rows = [{"sentence": text, "label": row} for row, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    for name in ("a.jsonl", "a.parquet"):
        split = read(tmp_path / name).splits["train"]
        assert split["text"][:] == TEXTS and split["label"][:] == list(range(6))


def test_a_folder_with_any_mixture_of_files(tmp_path):
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "valid.tsv").write_text("1\tc\n")
    (tmp_path / "test.jsonl").write_text('{"text": "d"}\n')
    splits = load_corpus(str(tmp_path)).splits
    assert {name: split["text"][:] for name, split in splits.items()} == {
        "train": ["a", "b"],
        "validation": ["c"],
        "test": ["d"],
    }
    replaced = load_corpus(str(tmp_path), {"validation": str(tmp_path / "train.txt")}).splits
    assert replaced["validation"]["text"][:] == ["a", "b"]


def test_max_samples_takes_the_first(tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\nc\n")
    assert read(tmp_path / "a.txt", max_samples={"train": 2}).splits["train"]["text"][:] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "does not exist"),
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b"\n  \n\n", "holds no sentence: all of its 3 lines are empty"),
        ("latin.txt", b"fine\ncaf\xe9\n", "line 2: not UTF-8"),
        ("latin.csv", b"text\ncaf\xe9\n", "line 2: not UTF-8"),
        ("a.doc", b"text", "unknown ending '.doc'"),
        ("wide.csv", b"text,label\ngood food, really,1\n", "row 2: 3 fields where the first row has 2"),
        ("wide.tsv", b"label\ttext\n1\ta\n0\ta\tb\n", "row 3: 3 fields where the first row has 2"),
        ("bom.csv", b"\xef\xbb\xbf", "is empty"),
        ("bom.tsv", b"\xef\xbb\xbf", "is empty"),
        ("bom.txt", b"\xef\xbb\xbf", "holds no rows"),
        ("bom.jsonl", b"\xef\xbb\xbf", "holds no rows"),
        ("header.csv", b"text,label\n", "holds no rows"),
        ("array.json", b"[]", "holds no rows"),
        ("blank.jsonl", b"\n\n", "holds no rows"),
        ("blank.csv", b"\ntext,label\na,b\n", "its first line is empty: take it out"),
        ("space.csv", b" \ntext,label\na,b\n", "its first line is empty: take it out"),
        ("blank.tsv", b"\nlabel\ttext\n1\ta\n", "its first line is empty: take it out"),
        ("texts.jsonl", b'"a b"\n"c d"\n', 'line 1: must be an object such as {"text": "a sentence"}'),
        ("null.jsonl", b"null\n", "line 1: must be an object such as"),
        ("late.jsonl", b'{"text": "a"}\n"b"\n', "line 2: must be an object such as"),
        ("lists.jsonl", b'["a"]\n["b"]\n', "line 1: must be an object such as"),
        ("broken.jsonl", b'{"text": "a"}\n{"text": \n', "could not be read as jsonl"),
        ("broken.parquet", b"not parquet", "could not be read as parquet"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for call in (lambda: read(path), lambda: list(first_texts(training_sources(train_file=str(path))))):
        with pytest.raises(CorpusError, match=message) as caught:
            call()
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_without_rows_is_named(tmp_path):
    Dataset.from_dict({"text": []}).cast_column("text", Value("string")).to_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(CorpusError, match=r"a\.parquet holds no rows"):
        read(tmp_path / "a.parquet")


def test_no_data_and_a_folder_without_data(tmp_path):
    with pytest.raises(CorpusError, match="no data: pass --dataset_name"), flags_named():
        load_corpus()
    with pytest.raises(CorpusError, match="holds no train or test file"):
        load_corpus(str(tmp_path))


def test_pydocs_is_large_clean_and_reproducible():
    splits, again = pydocs_splits(), pydocs_splits()
    assert splits == again
    sentences = [sentence for split in splits.values() for sentence in split]
    assert len(sentences) > 8000 and len(set(sentences)) == len(sentences)
    assert all(sentence == sentence.lower() and sentence[-1] in ".!?" for sentence in sentences)


def test_pydocs_says_what_each_sentence_documents():
    corpus = load_corpus("pydocs")
    assert {split: rows["text"][:] for split, rows in corpus.splits.items()} == pydocs_splits()
    for rows in corpus.splits.values():
        assert set(rows["label"]) == {"module", "class", "function", "method", "reference"}
    labels = {row["text"]: row["label"] for rows in corpus.splits.values() for row in rows}
    assert labels["dict subclass for counting hashable items ."] == "class"
    assert labels["push item onto heap , maintaining the heap invariant ."] == "function"
    assert labels["list the n most common elements and their counts from the most common to the least ."] == "method"


def test_encoding_cuts_over_long_sentences_and_counts_them(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a b c d e f\na b\n")
    corpus = read(path)
    tokenizer = build_tokenizer(corpus.splits["train"]["text"])
    encoded = encode_corpus(corpus, tokenizer, max_length=5)["train"]
    assert [len(ids) for ids in encoded["input_ids"]] == encoded["length"][:] == [5, 4]
    assert (
        encoded["input_ids"][0][0] == tokenizer.bos_token_id and encoded["input_ids"][0][-1] == tokenizer.eos_token_id
    )
    report = corpus.reports["train"]
    assert (report.truncated, report.tokens) == (1, 4 + 3)
    assert "1 over-long and cut" in str(report)


def test_a_corpus_is_called_after_what_is_trained_on(tmp_path):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.txt").write_text("one two\nthree\n")
    train, dev = str(tmp_path / "train.txt"), str(tmp_path / "dev.txt")
    assert load_corpus("toy_sentences", {"train": train}).name == train
    assert load_corpus("toy_sentences", {"validation": dev}).name == "toy_sentences"
    streamed = load_corpus(files={"train": train, "validation": dev}, splits=("validation", "test"))
    assert streamed.name == train and streamed.splits.keys() == {"validation"}
