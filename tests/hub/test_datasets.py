"""A data set of the Hub, streamed over HTTP, is the one that is downloaded."""

import gzip
import io
import json

import datasets
import pytest
from huggingface_hub import constants

from hf_bnvae.cli import train
from hf_bnvae.data import (
    CorpusError,
    build_tokenizer,
    encode_corpus,
    first_texts,
    load_corpus,
    token_store,
    training_sources,
)
from tests.helpers import flags
from tests.hub.server import Fault

NAME = "ann/corpus"
EVALUATED = ("validation", "test")


@pytest.fixture(autouse=True)
def data_client(hub, monkeypatch, tmp_path):
    """`datasets` asks the Hub of the test, keeps what it loads in a folder of its own, and retries without waiting."""
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": False, "HF_UPDATE_DOWNLOAD_COUNTS": False}
    settings |= {"HF_DATASETS_CACHE": tmp_path / "cache", "STREAMING_READ_RETRY_INTERVAL": 0}
    for name, value in settings.items():
        monkeypatch.setattr(datasets.config, name, value)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    datasets.disable_progress_bars()


def sentences(shard, count=12):
    """With empty ones between."""
    return [f"shard {shard} line {line}" if line % 5 else " " * (line % 2) for line in range(count)]


def text(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def jsonl(lines):
    return text(json.dumps({"label": number % 2, "text": line}) for number, line in enumerate(lines))


def parquet(lines):
    buffer = io.BytesIO()
    datasets.Dataset.from_dict({"sentence": [*lines, None]}).to_parquet(buffer)
    return buffer.getvalue()


def shards(write, ending, **splits):
    """The files of a repository: so many shards of each split."""
    return {
        f"data/{split}-{number:05d}-of-{count:05d}.{ending}": write(sentences(f"{split} {number}"))
        for split, count in splits.items()
        for number in range(count)
    }


LAYOUTS = {
    "one text file": {"train.txt": text(sentences(0))},
    "text shards": shards(text, "txt", train=3, validation=1, test=2),
    "packed lines": shards(lambda lines: gzip.compress(jsonl(lines)), "jsonl.gz", train=3, test=1),
    "parquet": shards(parquet, "parquet", train=2, validation=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_streamed_is_what_is_downloaded(hub, layout, tmp_path):
    hub.publish(f"datasets/{NAME}", LAYOUTS[layout])
    sources = training_sources(NAME)
    streamed, whole = load_corpus(NAME, splits=EVALUATED), load_corpus(NAME)
    tokenizer = build_tokenizer(first_texts(sources))
    assert tokenizer.get_vocab() == build_tokenizer(whole.splits["train"]["text"]).get_vocab()
    store = token_store(sources, tokenizer, 5, folder=tmp_path / "store")
    encoded = encode_corpus(whole, tokenizer, 5)["train"]
    assert len(sources) == sum("train" in path for path in LAYOUTS[layout])
    assert store.select(range(len(store)))["input_ids"][:] == encoded["input_ids"][:]
    assert store.report == whole.reports["train"] and store.report.empty and store.report.truncated
    assert streamed.splits.keys() == whole.splits.keys() - {"train"}
    for split, rows in streamed.splits.items():
        assert rows.to_dict() == whole.splits[split].to_dict()
        assert streamed.reports[split].lines == whole.reports[split].lines


def test_a_run_on_a_stream_is_a_run_on_what_is_downloaded(hub, tmp_path):
    hub.publish(f"datasets/{NAME}", shards(text, "txt", train=3, validation=1, test=2))
    results = []
    for flag in ("--streaming", "--seed=42"):
        train.main([*flags(NAME, tmp_path / flag), "--max_train_samples", "30", "--max_eval_samples", "11", flag])
        results.append(json.loads((tmp_path / flag / "all_results.json").read_text()))
    counted = [name for name in results[0] if name.endswith(("sentences", "tokens", "steps", "size"))]
    assert {"train_sentences", "eval_sentences", "test_sentences", "train_tokens", "vocab_size"} <= set(counted)
    assert [results[0][name] for name in counted] == [results[1][name] for name in counted]


def test_token_ids_are_made_again_when_the_data_set_changes_and_not_before(hub, tmp_path):
    files = LAYOUTS["text shards"]
    tokenizer = build_tokenizer(sentences(0))
    folders = []
    for change in ({}, {}, {"README.md": b"# Corpus\n"}):
        hub.publish(f"datasets/{NAME}", files | change)
        read = hub.count("GET", r"/resolve/.*/data/train-")
        folders.append(token_store(training_sources(NAME), tokenizer, 9, folder=tmp_path / "store").folder)
    assert folders[0] == folders[1] != folders[2]
    assert hub.count("GET", r"/resolve/.*/data/train-") > read


def test_the_first_lines_alone_are_asked_for(hub, tmp_path):
    hub.publish(f"datasets/{NAME}", LAYOUTS["text shards"])
    sources = training_sources(NAME)
    store = token_store(sources, build_tokenizer(sentences(0)), 9, max_samples=12, folder=tmp_path / "store")
    assert store.report.lines == 12 and list(first_texts(sources, max_samples=12))
    assert not hub.count("GET", "/resolve/.*/train-0000[12]")


@pytest.mark.parametrize("what", [404, 403])
def test_a_shard_that_cannot_be_read_is_one_sentence(hub, what, tmp_path):
    hub.publish(f"datasets/{NAME}", LAYOUTS["text shards"])
    sources = training_sources(NAME)
    hub.faults = [Fault("/train-00001", what, times=None), Fault("/validation-", what, times=None)]
    readers = (
        lambda: build_tokenizer(first_texts(sources)),
        lambda: token_store(sources, build_tokenizer(sentences(0)), 9, folder=tmp_path / "store"),
        lambda: load_corpus(NAME, splits=EVALUATED),
    )
    for read in readers:
        with pytest.raises(CorpusError, match=r"ann/corpus.* could not be (read|loaded): ") as raised:
            read()
        assert len(str(raised.value).splitlines()) == 1
    assert not list((tmp_path / "store").iterdir())


def test_a_dropped_connection_is_tried_again(hub, tmp_path):
    hub.publish(f"datasets/{NAME}", LAYOUTS["text shards"])
    sources = training_sources(NAME)
    hub.faults = [Fault("/train-00001", "drop"), Fault("/train-00002", 503)]
    assert len(set(first_texts(sources))) == 3 * sum(bool(line.strip()) for line in sentences(0))


def test_a_data_set_that_is_not_there_is_one_sentence(hub):
    hub.publish("datasets/ann/judged", shards(text, "txt", validation=1, test=1))
    for name, said in (("ann/nothing", "ann/nothing"), ("ann/judged", "train")):
        with pytest.raises(CorpusError, match=said) as raised:
            training_sources(name)
        assert len(str(raised.value).splitlines()) == 1
