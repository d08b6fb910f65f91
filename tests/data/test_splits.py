"""Splits under other names, configurations, and a validation split that is drawn from the training split."""

import json

import pytest
from datasets import Dataset, DatasetDict

from hf_bnvae.cli.errors import flags_named
from hf_bnvae.data import CorpusError, first_texts, load_corpus, load_dialogues, training_sources

LINES = [f"word{number} word" for number in range(40)]


def rows(*texts):
    return Dataset.from_dict({"text": list(texts)})


def test_a_validation_split_is_drawn_once_by_its_seed_and_said(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(LINES))
    files = {"train": str(tmp_path / "a.txt")}
    drawn = [
        load_corpus(files=files, validation_split_percentage=10, validation_split_seed=seed).splits
        for seed in (0, 0, 1)
    ]
    first, again, other = (splits["validation"]["text"][:] for splits in drawn)
    assert first == again != other and len(first) == 4
    assert sorted(first + drawn[0]["train"]["text"][:]) == sorted(LINES)
    assert drawn[0]["train"]["text"][:] == [line for line in LINES if line not in first]
    corpus = load_corpus(files=files, validation_split_percentage=10, max_samples={"train": 5})
    assert len(corpus.splits["train"]) == 5 and corpus.splits["validation"]["text"][:] == first
    assert corpus.notes == {"validation": "10% of the training split, drawn with seed 0"}


def test_dialogues_are_drawn_alike(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"dialog": [line, "yes"]}) + "\n" for line in LINES))
    files = {"train": str(tmp_path / "a.jsonl")}
    corpus = load_dialogues(files=files, validation_split_percentage=25)
    assert {split: len(found) for split, found in corpus.splits.items()} == {"train": 30, "validation": 10}
    assert load_dialogues(files=files, validation_split_percentage=25).splits == corpus.splits


def pairs(kind, dialogue):
    """The rows of one dialogue of five turns, each of which has a response."""
    said = [f"{word}{dialogue}" for word in ("hello", "hi", "fine", "good", "bye")]
    rows = [{"context": said[:turn], "response": said[turn]} for turn in range(1, 5)]
    if kind == "window":
        return [{**row, "context": row["context"][-2:]} for row in rows]
    if kind == "one speaker":
        return rows[::2]
    if kind == "several responses":
        return [{"context": said[0], "response": text} for text in said[1:]]
    if kind == "id":
        return [{"context": "hello", "response": text, "conversation_id": dialogue} for text in said]
    return [{**row, "context": " __eou__ ".join(row["context"])} for row in rows]


@pytest.mark.parametrize("kind", ["text", "window", "one speaker", "several responses", "id"])
def test_no_dialogue_lies_in_two_splits(kind):
    tables = [pairs(kind, dialogue) for dialogue in range(20)]
    of = {row["response"]: number for number, table in enumerate(tables) for row in table}
    corpus = load_dialogues([row for table in tables for row in table], validation_split_percentage=25)
    found = {
        split: {of[dialogue.turns[-1].text] for dialogue in dialogues} for split, dialogues in corpus.splits.items()
    }
    assert len(found["validation"]) == 5 and found["validation"] | found["train"] == set(range(20))
    assert not found["validation"] & found["train"]
    assert sum(map(len, corpus.splits.values())) == sum(map(len, tables))


def test_pairs_of_one_dialogue_alone_cannot_be_split():
    with pytest.raises(CorpusError, match="25% of 1 dialogue leaves one of the two splits empty"):
        load_dialogues(pairs("text", 0), validation_split_percentage=25)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (rows("a", "b"), {"validation_split_percentage": 0}, "must lie between 0 and 100, got 0"),
        (rows("a", "b"), {"validation_split_percentage": 100}, "must lie between 0 and 100, got 100"),
        (rows("a", "b"), {"validation_split_percentage": 5}, "5% of 2 rows leaves one of the two splits empty"),
        (
            rows("a"),
            {"validation_split_percentage": 10},
            "10% of 1 row leaves .* train without one by --eval_strategy no",
        ),
        ([], {"validation_split_percentage": 10}, "^the training split holds no rows$"),
        (
            DatasetDict(train=rows("a"), dev=rows("b")),
            {"validation_split_percentage": 5},
            "there is a validation split",
        ),
        ("pydocs", {"train_split": "all"}, "--train_split is read with the splits of a data set, which pydocs has not"),
        ("pydocs", {"dataset_config_name": "x"}, "--dataset_config_name is read with"),
        (DatasetDict(train=rows("a")), {"train_split": "all"}, "neither train nor test, only train"),
    ],
)
def test_what_cannot_be_split_so_is_said(data, options, message):
    with pytest.raises(CorpusError, match=message), flags_named():
        load_corpus(data, **options)


def test_splits_have_the_names_that_the_user_gives_them(tmp_path):
    data = DatasetDict(unsupervised=rows("a"), extra=rows("b"), train=rows("c"))
    names = {"train_split": "unsupervised", "validation_split": "extra"}
    data.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "files").mkdir()
    for name, dataset in data.items():
        dataset.to_parquet(str(tmp_path / "files" / f"{name}-00000-of-00001.parquet"))
    for source in (data, str(tmp_path / "saved"), str(tmp_path / "files")):
        splits = load_corpus(source, **names).splits
        assert {split: dataset["text"][:] for split, dataset in splits.items()} == {"train": ["a"], "validation": ["b"]}
        with pytest.raises(CorpusError, match=r"no all or test file: name it all, valid or test|has neither"):
            load_corpus(source, train_split="all")
        if isinstance(source, str):
            assert list(first_texts(training_sources(source, **names))) == ["a"]


def test_a_configuration_is_a_folder_of_a_clone_or_one_that_its_card_names(tmp_path):
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
        rows(name).to_parquet(str(tmp_path / name / "train-00000-of-00001.parquet"))
    configs = [{"config_name": "tiny", "data_files": [{"split": "train", "path": "small/*.parquet"}]}]
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    for name, expected in (("small", "small"), ("large", "large"), ("tiny", "small")):
        assert load_corpus(str(tmp_path), dataset_config_name=name).splits["train"]["text"][:] == [expected]
        assert list(first_texts(training_sources(str(tmp_path), dataset_config_name=name))) == [expected]
    with pytest.raises(CorpusError, match="could not be loaded: BuilderConfig 'huge' not found"):
        load_corpus(str(tmp_path), dataset_config_name="huge")
