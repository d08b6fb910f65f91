"""A streamed corpus is the corpus: the same sentences, reports and vocabulary, each once, in little memory."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from hf_bnvae.cli.errors import flags_named
from hf_bnvae.data import (
    CorpusError,
    StreamSampler,
    TokenizerPair,
    TokenStore,
    build_tokenizer,
    corpora,
    encode_corpus,
    first_texts,
    load_corpus,
    streaming,
    token_store,
    tokens_on_disk,
    training_sources,
)
from hf_bnvae.data.batches import encoded_columns
from hf_bnvae.data.encoded_texts import encode_texts
from hf_bnvae.data.streaming import Source

WORDS = [f"w{number}" for number in range(30)]
MAX_LENGTH = 12


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr(tokens_on_disk, "GROUP_ROWS", 8)
    monkeypatch.setattr(tokens_on_disk, "BLOCK_ROWS", 24)
    monkeypatch.setattr(streaming, "LINES_AT_ONCE", 5)


def sentence(number):
    return " ".join(WORDS[(number * 7 + place) % 30] for place in range(1 + number % 13)) + f" s{number}"


@pytest.fixture
def shards(tmp_path):
    """100 sentences with empty lines between, in four files."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for shard in range(4):
        lines = [text for number in range(shard * 25, shard * 25 + 25) for text in (sentence(number), "", " ")]
        (folder / f"train-{shard}.txt").write_text("\n".join(lines[: 70 if shard else None]) + "\n")
    return folder


@pytest.fixture
def make_store(tmp_path):
    def make(sources, tokenizer, **options):
        return token_store(sources, tokenizer, MAX_LENGTH, folder=tmp_path / "cache", **options)

    return make


@pytest.fixture
def tokenizer():
    return build_tokenizer([sentence(number) for number in range(100)])


@pytest.fixture
def store(shards, make_store, tokenizer):
    return make_store(training_sources(str(shards)), tokenizer)


def ids_of(rows):
    return [row["input_ids"] for row in rows]


@pytest.mark.parametrize("workers", [1, 2])
def test_it_holds_what_the_corpus_in_memory_holds(shards, make_store, tokenizer, workers):
    store = make_store(training_sources(str(shards)), tokenizer, workers=workers)
    corpus = load_corpus(str(shards))
    encoded = encode_corpus(corpus, tokenizer, MAX_LENGTH)["train"]
    assert ids_of(store.select(range(len(store)))) == ids_of(encoded)
    assert store.select([5, 2])["length"] == [encoded["length"][5], encoded["length"][2]]
    assert store.report == corpus.reports["train"]
    assert store.report.empty and store.report.truncated


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl", "parquet"])
def test_every_kind_of_file_is_read_as_in_memory(tmp_path, make_store, tokenizer, suffix):
    path = tmp_path / f"all[1].{suffix}"
    rows = Dataset.from_dict({"label": [number % 2 for number in range(40)], "text": [*map(sentence, range(39)), ""]})
    if suffix == "parquet":
        rows.to_parquet(path)
    elif suffix == "jsonl":
        rows.to_json(path)
    else:
        rows.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=False)
    store = make_store(training_sources(train_file=str(path)), tokenizer)
    corpus = load_corpus(files={"train": str(path)})
    assert ids_of(store.select(range(len(store)))) == ids_of(encode_corpus(corpus, tokenizer, MAX_LENGTH)["train"])
    assert store.report == corpus.reports["train"] and store.report.empty == 1


def test_shards_of_an_iterable_data_set_are_sources_too(make_store, tokenizer):
    rows = Dataset.from_dict({"sentence": [sentence(number) for number in range(30)]}).to_iterable_dataset(3)
    sources = [Source("rows", f"rows {number}", rows.shard(3, number)) for number in range(3)]
    texts, _ = encode_texts([sentence(number) for number in range(30)], tokenizer, MAX_LENGTH)
    assert ids_of(make_store(sources, tokenizer).select(range(30))) == texts


def test_a_pattern_names_files_in_memory_and_streamed(shards):
    pattern = str(shards / "train-[12].txt")
    assert [Path(source.name).name for source in training_sources(train_file=pattern)] == ["train-1.txt", "train-2.txt"]
    one, two = (load_corpus(files={"train": str(shards / f"train-{n}.txt")}).splits["train"]["text"][:] for n in (1, 2))
    assert load_corpus(files={"train": pattern}).splits["train"]["text"][:] == one + two


def test_the_vocabulary_is_that_of_the_corpus_in_memory(shards):
    streamed = build_tokenizer(first_texts(training_sources(str(shards))))
    assert streamed.get_vocab() == build_tokenizer(load_corpus(str(shards)).splits["train"]["text"]).get_vocab()


@pytest.mark.parametrize("lines", [7, 80, 1_000])
def test_the_vocabulary_of_the_first_lines_is_that_of_the_first_lines_in_memory(shards, lines):
    streamed = build_tokenizer(first_texts(training_sources(str(shards)), max_samples=lines))
    first = load_corpus(str(shards), max_samples={"train": lines}).splits["train"]["text"]
    assert streamed.get_vocab() == build_tokenizer(first).get_vocab()


def test_few_of_many_shards_are_open_at_once(tmp_path):
    for shard in range(3 * streaming.SOURCES_AT_ONCE):
        (tmp_path / f"train-{shard}.txt").write_text("".join(f"{shard} {line}\n" for line in range(8)))
    before, seen = open_files(), []
    for text in first_texts(training_sources(str(tmp_path))):
        seen.append(text)
        assert open_files() - before <= streaming.SOURCES_AT_ONCE
    assert len(seen) == len(set(seen)) == 8 * 3 * streaming.SOURCES_AT_ONCE


def open_files():
    return len(os.listdir("/dev/fd"))


def test_the_first_texts_come_from_every_source_and_are_as_many_as_asked(shards):
    texts = list(first_texts(training_sources(str(shards)), count=8))
    assert len(texts) == 8 and all(text.strip() for text in texts)
    assert len({int(text.rpartition("s")[2]) // 25 for text in texts}) == 4


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_sentence_comes_once_an_epoch_to_one_process(store, processes, equal, epoch):
    whole = StreamSampler(store, 6 * processes, equal, seed=3)
    shares = [
        StreamSampler(store, 6, equal, seed=3, num_processes=processes, process_index=p) for p in range(processes)
    ]
    for sampler in (whole, *shares):
        sampler.set_epoch(epoch)
    batches = list(whole)
    assert len(batches) == len(whole) and len({len(share) for share in shares}) == 1
    assert all(len(batch) >= 2 for batch in batches)
    assert sorted(row for batch in batches for row in batch) == list(range(len(store)))
    if not equal:  # with equal lengths more processes mean fewer small batches
        for batch, *parts in zip(batches, *shares, strict=True):
            assert sorted(batch) == sorted(row for part in parts for row in part)
    together = [row for share in shares for batch in share for row in batch]
    assert sorted(together) == list(range(len(store)))


def test_batches_hold_sentences_of_like_length_from_all_over_the_corpus(store):
    sampler = StreamSampler(store, 6, seed=3)
    batches = [store.select(batch)["length"] for batch in sampler]
    assert sum(max(lengths) - min(lengths) for lengths in batches) / len(batches) < 5
    first, second = list(sampler), list(sampler)
    assert first == second
    sampler.set_epoch(1)
    assert list(sampler) != first
    block = [row for batch in first[:4] for row in batch]
    assert max(block) - min(block) > 50


@pytest.fixture
def uneven_store(tmp_path, make_store, tokenizer):
    """60 shards of one sentence and one of 100."""
    for shard in range(60):
        (tmp_path / f"one-{shard}.txt").write_text(sentence(shard) + "\n")
    (tmp_path / "one-many.txt").write_text("\n".join(map(sentence, range(100))) + "\n")
    return make_store(training_sources(train_file=str(tmp_path / "one-*.txt")), tokenizer)


@pytest.mark.parametrize("shards_are", ["even", "uneven"])
def test_the_memory_holds_two_blocks_and_an_epoch_reads_each_group_once(store, uneven_store, shards_are, monkeypatch):
    store = store if shards_are == "even" else uneven_store
    sampler = StreamSampler(store, 6)
    store = TokenStore(store.folder)
    sampler.store, read = store, []
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", recorded(pq.ParquetFile.read_row_group, read))
    for batch in sampler:
        store.__getitems__(batch)
        at_hand = sum(len(store.rows_of(group)) for group in store._at_hand)
        assert at_hand <= 2 * tokens_on_disk.BLOCK_ROWS < len(store)
    assert len(read) == len(store._groups)


def recorded(function, calls):
    def call(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    return call


def test_small_shards_make_no_small_batches(uneven_store):
    """But for the last of each block, and blocks are of one size."""
    sampler = StreamSampler(uneven_store, 6)
    sizes = [sum(len(uneven_store.rows_of(group)) for group in block) for block in sampler._blocks]
    assert max(sizes) - min(sizes) <= 2 * tokens_on_disk.GROUP_ROWS and min(sizes) >= tokens_on_disk.BLOCK_ROWS / 2
    short = [batch for batch in sampler if len(batch) < 6]
    assert len(short) <= len(uneven_store) // tokens_on_disk.BLOCK_ROWS
    assert sorted(row for batch in sampler for row in batch) == list(range(len(uneven_store)))


def test_what_is_made_once_is_not_made_again_until_something_changes(shards, make_store, tokenizer, monkeypatch):
    first = make_store(training_sources(str(shards)), tokenizer)
    made = []
    write = tokens_on_disk._write_shard
    monkeypatch.setattr(
        tokens_on_disk, "_write_shard", lambda *args, **kwargs: made.append(1) or write(*args, **kwargs)
    )
    assert make_store(training_sources(str(shards)), tokenizer).folder == first.folder and not made
    (shards / "train-0.txt").write_text("w1 w2\n")
    changed = make_store(training_sources(str(shards)), tokenizer)
    assert changed.folder != first.folder and len(changed) < len(first) and made
    assert make_store(training_sources(str(shards)), build_tokenizer(["w1 w2"])).folder not in (
        first.folder,
        changed.folder,
    )


def test_what_fails_leaves_nothing_behind(shards, make_store, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens_on_disk, "_write_group", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_store(training_sources(str(shards)), tokenizer)
    assert not list((tmp_path / "cache").iterdir())


def test_the_first_lines_alone_can_be_read(shards, make_store, tokenizer):
    store = make_store(training_sources(str(shards)), tokenizer, max_samples=80)
    limited = load_corpus(str(shards), max_samples={"train": 80})
    assert store.report.lines == limited.reports["train"].lines == 80
    assert len(store) == len(limited.splits["train"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.txt", b"good\n\xff\xfe\n", r"bad\.txt, line 2: not UTF-8"),
        ("bad.tsv", b"1\tgood\n0\t\xff\xfe\n", r"bad\.tsv, line 2: not UTF-8"),
        ("bad.csv", b"text\n\xff\xfe\n", r"bad\.csv, line 2: not UTF-8"),
        ("bad.jsonl", b'{"text": "good"}\n{"text": "\xff\xfe"}\n', r"bad\.jsonl, line 2: not UTF-8"),
        ("broken.jsonl", b'{"text": "good"}\n\n{"text": "go', r"broken\.jsonl, line 3: could not be read as jsonl: "),
        ("broken.parquet", b"PAR1 and nothing more", r"broken\.parquet could not be read as parquet: "),
        ("blank.txt", b"\n \n", r"blank\.txt holds no sentence: all of its 2 lines are empty"),
        ("header.csv", b"text\n", r"header\.csv holds no rows"),
        ("columns.csv", b"a,b\n1,2\n", "--text_column"),
        ("fields.csv", b"text\na,b\n", r"fields\.csv, row 2: 2 fields"),
    ],
)
def test_bad_input_is_one_sentence_whoever_reads_it(tmp_path, make_store, tokenizer, name, content, said):
    (tmp_path / name).write_bytes(content)
    sources = training_sources(train_file=str(tmp_path / name))
    readers = (
        lambda: make_store(sources, tokenizer),
        lambda: build_tokenizer(first_texts(sources)),
        lambda: load_corpus(files={"train": str(tmp_path / name)}),
    )
    for read in readers:
        with pytest.raises(CorpusError, match=said) as raised, flags_named():
            read()
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "said"), [("empty.txt", "is empty"), ("corpus.doc", "unknown ending '.doc'")])
def test_files_that_cannot_be_read_are_refused_before_anything_is(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"" if name == "empty.txt" else b"text")
    with pytest.raises(CorpusError, match=said):
        training_sources(train_file=str(tmp_path / name))


def test_no_file_is_read_to_find_its_token_ids_again(shards, make_store, tokenizer, monkeypatch):
    first = make_store(training_sources(str(shards)), tokenizer)
    with monkeypatch.context() as patched:
        patched.setattr(streaming.Source, "lines", None)
        patched.setattr(corpora, "_check_utf8", None)
        assert make_store(training_sources(str(shards)), tokenizer).folder == first.folder


@pytest.mark.parametrize("text", ["w1\n", "w1 w2\nw3\n"])
def test_a_file_that_shrinks_or_grows_while_it_is_read_is_refused(tmp_path, make_store, tokenizer, text):
    path = tmp_path / "live.txt"
    path.write_text("w1 w2\n")
    sources = training_sources(train_file=str(path))
    path.write_text(text)
    with pytest.raises(CorpusError, match=r"live\.txt changed while it was read"):
        make_store(sources, tokenizer)


@pytest.mark.parametrize("columns", [{}, {"label_column": "stars"}, {"text_column": "1"}, {"text_column": "review"}])
def test_columns_are_found_as_in_memory(tmp_path, columns):
    path = tmp_path / "reviews.csv"
    path.write_text("stars,review\n5,good food\n1,never again\n")

    def in_memory():
        return load_corpus(files={"train": str(path)}, **columns).splits["train"]["text"][:]

    def streamed():
        return list(first_texts(training_sources(train_file=str(path), **columns)))

    if columns:
        assert streamed() == in_memory() == ["good food", "never again"]
    else:
        for read in (streamed, in_memory):
            with pytest.raises(CorpusError, match="say which is the text by --text_column"), flags_named():
                read()


def test_a_cache_that_cannot_be_written_is_one_sentence(shards, tokenizer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CorpusError, match=r"cannot be kept in .*: set HF_DATASETS_CACHE"):
        token_store(training_sources(str(shards)), tokenizer, MAX_LENGTH, folder=tmp_path / "file" / "cache")


def test_no_data_is_one_sentence(tmp_path):
    with pytest.raises(CorpusError, match=r"nothing.txt does not exist"):
        training_sources(train_file=str(tmp_path / "nothing.txt"))
    with pytest.raises(CorpusError, match="pass --dataset_name"), flags_named():
        training_sources()


def test_shards_with_other_columns_are_refused(tmp_path):
    (tmp_path / "a-1.csv").write_text("text,label\nx,1\n")
    (tmp_path / "a-2.csv").write_text("text,stars\nx,1\n")
    with pytest.raises(CorpusError, match="give all shards the same"):
        load_corpus(files={"train": str(tmp_path / "a-*.csv")})


def test_a_store_of_two_tokenizers_holds_what_each_makes_of_a_text(shards, make_store):
    texts = [sentence(number) for number in range(100)]
    pair = TokenizerPair(build_tokenizer(texts, "word", 200, 1), build_tokenizer(texts, "char", 60, 1))
    sources = training_sources(str(shards))
    store = make_store(sources, pair)
    kept = [text for source in sources for lines in source.lines() for text in lines if text.strip()]
    expected = encoded_columns(kept, pair, MAX_LENGTH)
    assert store.column_names == ["input_ids", "labels"]
    rows = store.__getitems__(range(len(store)))
    assert [row["input_ids"] for row in rows] == expected["input_ids"]
    assert [row["labels"] for row in rows] == expected["labels"]
    assert store.report.truncated == sum(expected["truncated"]) > 0
    assert store.report.tokens == sum(map(len, expected["labels"]))
    lengths = [length for group in range(len(store.starts) - 1) for length in store.lengths_of(group)]
    assert lengths == expected["length"] == list(store.select(range(len(store)))["length"])
    other = TokenizerPair(pair.decoder, pair.encoder)
    assert make_store(sources, other).folder != store.folder != make_store(sources, pair.encoder).folder
