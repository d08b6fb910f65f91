"""What is text and what is not, whoever reads it: in memory and streamed alike."""

import csv
import datetime
import errno
import json
import os

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from tokenizers.processors import TemplateProcessing

from hf_bnvae.data import CorpusError, build_tokenizer, encode_corpus, encode_dialogues, load_corpus, load_dialogues
from hf_bnvae.data.encoded_texts import encode_counted
from hf_bnvae.data.rows import as_labels, as_text
from hf_bnvae.data.streaming import first_texts, training_sources
from hf_bnvae.data.tokenizers import KINDS
from hf_bnvae.data.tokens_on_disk import INDEX, token_store


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def in_memory(path, **options):
    return load_corpus(files={"train": str(path)}, **options).splits["train"]["text"][:]


def streamed(path, **options):
    return list(first_texts(training_sources(train_file=str(path), **options)))


both = pytest.mark.parametrize("read", [in_memory, streamed])

# Special symbols

TEXTS = ["a b c", "d e f", "the </s> end", "<s> g h </s>", "<pad>", "i <unk> k"]


@pytest.mark.parametrize("kind", KINDS)
def test_special_symbols_in_the_text_change_no_number_and_stand_in_no_sentence(kind):
    tokenizer = build_tokenizer(TEXTS, kind, 400)
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<s>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    found = encode_counted(TEXTS, tokenizer, 50)
    for text, ids in zip(TEXTS, found.input_ids, strict=True):
        assert ids[0] == 1 and ids[-1] == 2 and not {0, 1, 2} & set(ids[1:-1]), text
    assert found.symbols == [0, 0, 1, 2, 1, 0]
    assert found.unknown == [0, 0, 0, 0, 0, 1]
    assert tokenizer.decode(found.input_ids[0], skip_special_tokens=True) == "a b c"
    words = tokenizer.decode(found.input_ids[2], skip_special_tokens=True).split()
    assert words == ["the", "end"]


@pytest.mark.parametrize("template", ["<s> $A </s>", "$A </s>", "<s> $A", "$A"])
def test_a_text_is_cut_behind_its_first_words_whatever_ends_its_tokenizer_adds(template):
    tokenizer = build_tokenizer(TEXTS, "word", 400)
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(template, special_tokens=ends)
    before, _, behind = template.partition("$A")
    words = ["a", "b", "c", "d", "e", "f"]
    found = encode_counted(["a b c d e f", "</s> a b <s>", ""], tokenizer, 5)
    kept = words[: 5 - len(before.split()) - len(behind.split())]
    expected = [[*before.split(), *text, *behind.split()] for text in (kept, ["a", "b"], [])]
    assert [tokenizer.convert_ids_to_tokens(ids) for ids in found.input_ids] == expected
    assert found.truncated == [True, False, False] and found.symbols == [0, 2, 0]


def test_a_tokenizer_whose_file_asks_for_padding_and_a_cut_gives_the_words_of_a_text():
    tokenizer = build_tokenizer(TEXTS, "word", 400)
    wanted = encode_counted(TEXTS, tokenizer, 50)
    tokenizer.backend_tokenizer.enable_padding(length=16)
    tokenizer.backend_tokenizer.enable_truncation(3)
    assert encode_counted(TEXTS, tokenizer, 50) == wanted


def test_they_are_counted_in_every_report(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(TEXTS) + "\n")
    corpus = load_corpus(files={"train": str(tmp_path / "train.txt")})
    tokenizer = build_tokenizer(corpus.splits["train"]["text"])
    encode_corpus(corpus, tokenizer, 50)
    report = corpus.reports["train"]
    assert (report.symbols, report.unknown) == (4, 1)
    assert "4 special symbols in the texts left out" in str(report) and "% of the words unknown" in str(report)
    store = token_store(training_sources(train_file=str(tmp_path / "train.txt")), tokenizer, 50)
    assert store.report == report
    assert all(not {0, 1, 2} & set(store[row]["input_ids"][1:-1]) for row in range(len(store)))
    turns = [{"speaker": "AB"[number % 2], "text": text} for number, text in enumerate(TEXTS)]
    (tmp_path / "train.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    dialogues = load_dialogues(files={"train": str(tmp_path / "train.jsonl")})
    encode_dialogues(dialogues, tokenizer, 50, 10)
    assert dialogues.reports["train"].symbols == 4 and dialogues.reports["train"].unknown == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_tokenizer_gives_back_what_it_read(kind):
    texts = ["good food here", "the food is good", "是的 好 的", "CC(=O)O"] * 5
    tokenizer = build_tokenizer(texts, kind, 400)
    for text in texts[:2]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).strip() == text


# Text or not


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (None, ""),
        (float("nan"), ""),
        (["a", "b"], "a b"),
        (3, "3"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.datetime(2020, 1, 2), "2020-01-02"),
    ],
)
def test_what_is_text(value, text):
    assert as_text(value, "here") == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1}, "must be text, got dict"),
        (b"bytes", "must be text, got bytes"),
        ([{"text": "a"}], "must be text, got a list of objects"),
        ([1, 2], "must be text, got a list of"),
        (["good food", "bad food"], "a list of 2 texts in one row; write one text a row"),
        (True, "must be text, got bool"),
    ],
)
def test_what_is_no_text_is_named(value, words):
    with pytest.raises(CorpusError, match=f"here: {words}"):
        as_text(value, "here")


@both
def test_no_format_trains_on_what_python_prints(tmp_path, read):
    (tmp_path / "dict.jsonl").write_text('{"text": {"a": "b"}}\n{"text": {"a": "c"}}\n')
    (tmp_path / "columns.jsonl").write_text('{"text": ["good food", "bad food"], "label": [1, 0]}\n')
    (tmp_path / "rows.jsonl").write_text('{"data": [{"text": "good food"}]}\n')
    Dataset.from_dict({"text": [b"a", b"b"]}).to_parquet(str(tmp_path / "bytes.parquet"))
    (tmp_path / "words.jsonl").write_text('{"text": ["good", "food"]}\n')
    for name in ("dict.jsonl", "columns.jsonl", "rows.jsonl", "bytes.parquet"):
        with pytest.raises(CorpusError, match=rf"{name}, row 1, (text|data): "):
            read(tmp_path / name)
    assert read(tmp_path / "words.jsonl") == ["good food"]


# Headers and delimiters


@both
def test_a_first_line_that_is_data_is_kept_on_demand_and_said_otherwise(tmp_path, read, caplog):
    (tmp_path / "a.csv").write_text("good food here\nbad food\n")
    (tmp_path / "b.csv").write_text('1,"good, food"\n0,bad food\n')
    (tmp_path / "c.tsv").write_text("x\tgood food\ny\tbad food\n")
    assert read(tmp_path / "a.csv") == ["bad food"]
    assert "a.csv: the first line was read as the names of the columns (good food here)" in caplog.text
    assert read(tmp_path / "a.csv", no_header=True) == ["good food here", "bad food"]
    assert read(tmp_path / "b.csv", no_header=True, text_column="1") == ["good, food", "bad food"]
    assert read(tmp_path / "c.tsv", no_header=True, text_column="1") == ["good food", "bad food"]
    caplog.clear()
    (tmp_path / "d.csv").write_text("text\ngood food\n")
    (tmp_path / "e.csv").write_text("review\ngood food\n")
    assert read(tmp_path / "d.csv") == read(tmp_path / "e.csv", text_column="review") == ["good food"]
    assert not caplog.text


@both
def test_the_one_column_of_a_tsv_has_a_name_where_the_text_column_is_called_so(tmp_path, read):
    (tmp_path / "a.tsv").write_text("review\ngood food\n")
    assert read(tmp_path / "a.tsv", text_column="review") == ["good food"]
    assert read(tmp_path / "a.tsv") == read(tmp_path / "a.tsv", text_column="0") == ["review", "good food"]


@both
@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('label\ttext\na\tb\n1\t"he said ""hi"""\n', 3),
        ('text\na\n"b ""c""\nd ""e""\nf"\n', 3),
        ('a\n"b\nc"\n', 2),
        ('"a" "b"\n"c\n"d"\nit is 5" long\nf"\n', None),
        ('"he said"\n"c\n"d" e\n\'\'f"" g\n', None),
    ],
)
def test_a_tsv_is_read_as_it_stands_and_quotes_of_pandas_are_said(tmp_path, read, caplog, content, line):
    path = tmp_path / "a.tsv"
    path.write_text(content)
    rows = [row.split("\t")[-1] for row in content.splitlines()]
    assert read(path) == rows[rows[0] == "text" :]
    assert caplog.text.count("a field stands in double quotes as pandas and Excel") == (line is not None)
    assert line is None or f"a.tsv, line {line}: a field" in caplog.text


def test_what_pandas_writes_as_tsv_is_said(tmp_path, caplog):
    for number, text in enumerate(['he said "hi"', "one\ntwo"]):
        pd.DataFrame({"text": [text, "plain"]}).to_csv(tmp_path / f"{number}.tsv", sep="\t", index=False)
        in_memory(tmp_path / f"{number}.tsv")
        assert f"{number}.tsv, line 2: a field stands in double quotes" in caplog.text


@both
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("yahoo.txt", "3\tgood food\n1\tbad food\n", r"a number and a tab, as in label<TAB>text: give .* ending \.tsv"),
        ("snli.txt", "-1\tgood\n0\tbad\n", "a number and a tab"),
        ("fast.txt", "__label__pos good food\n__label__neg bad\n", "a label of fastText"),
        ("semi.csv", "label;text\npos;good food\n", "separated by semicolons"),
        ("bars.csv", "label|text\npos|good\n", "separated by bars"),
        (
            "tabs.csv",
            "label\ttext\npos\tgood\n",
            r"by tabs .*: separate them by commas, or give it the ending \.tsv",
        ),
        ("excel.csv", "sep=;\nlabel;text\n", "is a hint for Excel"),
    ],
)
def test_labels_and_delimiters_do_not_become_words(tmp_path, read, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=rf"{name}: .*{words}"):
        read(tmp_path / name)


@both
def test_numbers_and_tabs_in_some_lines_are_text(tmp_path, read):
    (tmp_path / "a.txt").write_text("3\tgood food\nno label here\n")
    assert read(tmp_path / "a.txt") == ["3\tgood food", "no label here"]


@both
def test_a_field_may_be_long(tmp_path, read):
    (tmp_path / "a.csv").write_text(f"text\n{'word ' * 40_000}\n")
    assert len(read(tmp_path / "a.csv")[0].split()) == 40_000


def test_the_longest_field_is_one_that_every_system_counts_to():
    assert csv.field_size_limit() == 2**31 - 1


# Labels


def test_labels_of_several_kinds_are_text_in_every_format(tmp_path):
    rows = [{"text": "a", "label": "pos"}, {"text": "b", "label": 1}, {"text": "c", "label": 0.5}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text("text,label\na,pos\nb,1\nc,0.5\n")
    for name in ("a.jsonl", "a.csv"):
        split = load_corpus(files={"train": str(tmp_path / name)}).splits["train"]
        assert split[:] == {"text": ["a", "b", "c"], "label": ["pos", "1", "0.5"]}


@pytest.mark.parametrize("label", ["²", "1" * 20, "1" * 5_000])
def test_a_label_that_is_no_whole_number_of_64_bits_is_text(tmp_path, label):
    (tmp_path / "a.csv").write_text(f"text,label\na,{label}\nb,2\n", encoding="utf-8")
    assert load_corpus(files={"train": str(tmp_path / "a.csv")}).splits["train"]["label"][:] == [label, "2"]
    assert as_labels([2**64, 2], "here") == [str(2**64), "2"]


def test_labels_with_zeros_in_front_are_themselves():
    assert as_labels(["001", "01", "1"], "here") == ["001", "01", "1"]
    assert as_labels(["-0", "0"], "here") == ["-0", "0"]
    assert as_labels(["10", " 0", "-1"], "here") == [10, 0, -1]


def split_of_classes(numbers, names):
    rows = Dataset.from_dict({"text": [f"t{number}" for number in range(len(numbers))], "label": numbers})
    return rows.cast_column("label", datasets.ClassLabel(names=names))


def test_a_class_is_its_name_whatever_its_number_in_a_split():
    data = {"train": split_of_classes([0, 1, 1], ["bad", "good"]), "test": split_of_classes([1, 0], ["good", "bad"])}
    splits = load_corpus(data).splits
    assert splits["train"]["label"][:] == ["bad", "good", "good"] and splits["test"]["label"][:] == ["bad", "good"]


def test_a_class_without_a_name_and_one_that_is_a_number_stay_numbers():
    assert load_corpus(split_of_classes([0, 2, 1], ["0", "1", "2"])).splits["train"]["label"][:] == [0, 2, 1]
    assert load_corpus(split_of_classes([0, 1], ["5", "4"])).splits["train"]["label"][:] == [5, 4]
    assert load_corpus(split_of_classes([0, None], ["0", "1"])).splits["train"]["label"][:] == [0, None]
    assert load_corpus(split_of_classes([0, None, -1], ["a", "b"])).splits["train"]["label"][:] == ["a", None, "-1"]


@both
def test_what_only_looks_like_a_number_names_no_column(tmp_path, read):
    (tmp_path / "a.tsv").write_text("²\tx\n1\tgood food\n", encoding="utf-8")
    assert read(tmp_path / "a.tsv", text_column="x") == ["good food"]
    with pytest.raises(CorpusError, match="has no column '³'"):
        read(tmp_path / "a.tsv", text_column="³")
    with pytest.raises(CorpusError, match="there is no column '³'"):
        load_dialogues(files={"train": str(tmp_path / "a.tsv")}, conversation_column="³")


def test_labels_that_usually_say_that_there_is_none_are_said(caplog):
    assert as_labels(["-1", "0", "1", "0"], "snli") == [-1, 0, 1, 0]
    assert "snli: 1 of 4 rows have the label -1, which counts as a class" in caplog.text


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_shards_of_several_types_are_one_corpus(tmp_path, kind):
    shards = (("string", 1), ("large_string", "a"), ("string", None))
    for number, (text, label) in enumerate(shards):
        table = pa.table({"text": pa.array([f"t{number}"], text), "label": [label]})
        if kind == "parquet":
            pq.write_table(table, tmp_path / f"s{number}.parquet")
        else:
            (tmp_path / f"s{number}.jsonl").write_text(json.dumps(table.to_pylist()[0]) + "\n")
    files = tmp_path / f"s*.{kind}"
    split = load_corpus(files={"train": str(files)}).splits["train"]
    assert split[:] == {"text": ["t0", "t1", "t2"], "label": ["1", "a", None]}
    assert streamed(files) == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Dataset.from_dict({"text": ["a"], "label": [["x"]]}), Dataset.from_dict({"text": ["a"], "label": [1]})),
        tuple(
            Dataset.from_dict({"text": ["a"], "label": [0]}).cast_column("label", datasets.ClassLabel(names=[name]))
            for name in ("pos", "neg")
        ),
    ],
)
def test_shards_whose_types_no_type_holds_are_named_with_the_column(tmp_path, one, other):
    for name, rows in (("s0", one), ("s1", other)):
        rows.to_parquet(str(tmp_path / f"{name}.parquet"))
    with pytest.raises(CorpusError, match=r"column label is of .* in .*s1\.parquet and of .* in .*s0\.parquet: give"):
        in_memory(tmp_path / "s*.parquet")


# Caches


@both
def test_a_file_written_again_is_read_again_whatever_its_time_says(tmp_path, read):
    path = tmp_path / "a.csv"
    path.write_text("text\ngood food\n")
    times = os.stat(path)
    read(path)
    path.write_text("text\ngood wine\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read(path) == ["good wine"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_cache_that_cannot_be_written_is_not_the_file_s_fault(tmp_path, monkeypatch, number):
    (tmp_path / "a.csv").write_text("text\ngood food\n")

    def full(*args, **kwargs):
        raise RuntimeError("wrapped") from OSError(number, os.strerror(number))

    monkeypatch.setattr("hf_bnvae.data.corpora.load_dataset", full)
    with pytest.raises(CorpusError, match=rf"the cache in .* cannot be written \({os.strerror(number)}\)") as error:
        in_memory(tmp_path / "a.csv")
    assert "a.csv" not in str(error.value)


def test_a_file_that_may_not_be_read_is_not_the_cache_s_fault(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("text\ngood food\n")

    def refused(*args, **kwargs):
        raise RuntimeError("wrapped") from PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("hf_bnvae.data.corpora.load_dataset", refused)
    with pytest.raises(CorpusError, match=r"a\.csv could not be read as csv: .*Permission denied"):
        in_memory(path)


@pytest.mark.parametrize("what", ["gone", "cut off", "index"])
def test_token_ids_that_are_not_whole_are_made_anew(tmp_path, what, caplog):
    for number in range(3):
        (tmp_path / f"train-{number}.txt").write_text("".join(f"w{number} w{row}\n" for row in range(20)))
    sources = training_sources(str(tmp_path))
    tokenizer = build_tokenizer(first_texts(sources))
    store = token_store(sources, tokenizer, 9)
    path = store.folder / (INDEX if what == "index" else "00001.parquet")
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if what == "cut off" else b"")
    again = token_store(sources, tokenizer, 9)
    assert "are not whole" in caplog.text and len(again) == len(store) == 60
    assert [again[row] for row in range(60)] == [store[row] for row in range(60)]


def test_what_a_kill_left_in_the_cache_goes_after_a_day(tmp_path):
    (tmp_path / "a.txt").write_text("a b\n")
    sources = training_sources(train_file=str(tmp_path / "a.txt"))
    folder = tmp_path / "cache"
    for name, days in (("x.partial-old", 2), ("y.partial-new", 0)):
        (folder / name).mkdir(parents=True)
        seconds = (folder / name).stat().st_mtime - days * 86_400
        os.utime(folder / name, (seconds, seconds))
    token_store(sources, build_tokenizer(["a b"]), 9, folder=folder)
    assert not (folder / "x.partial-old").exists() and (folder / "y.partial-new").exists()
