"""Data that a program has at hand is read like files of the same content."""

import pickle
from itertools import count
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from hf_bnvae.data import CorpusError, SentenceStates, VaeCollator, encoded_rows, load_corpus, load_dialogues

TEXTS = ["a b c", "d e", "f"]


def split(dataset, name="train"):
    return load_corpus(dataset).splits[name]["text"][:]


def test_a_data_set_a_stream_and_dicts_of_them_are_corpora():
    rows = Dataset.from_dict({"text": [*TEXTS, " "], "label": [0, 1, 0, 1]})
    for data in (rows, rows.to_iterable_dataset(), {"train": rows}, DatasetDict(train=rows)):
        corpus = load_corpus(data)
        assert corpus.splits["train"][:] == {"text": TEXTS, "label": [0, 1, 0]}
        assert (corpus.reports["train"].lines, corpus.reports["train"].empty) == (4, 1)
    both = IterableDatasetDict(train=rows.to_iterable_dataset(), dev=rows.to_iterable_dataset())
    assert split(both, "validation") == TEXTS
    assert split(rows.with_format("torch")) == TEXTS


SHAPES = {
    "list": list,
    "column": lambda texts: Dataset.from_dict({"text": texts})["text"],
    "array": np.array,
    "generator": iter,
    "set": set,
    "columns": lambda texts: {"sentence": iter(texts), "label": [0, 1, 0]},
    "splits": lambda texts: {"train": iter(texts), "dev": np.array(texts)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_strings_in_any_shape_are_a_corpus(shape):
    assert split(SHAPES[shape](TEXTS)) == TEXTS


def test_what_pandas_calls_missing_is_an_empty_text_in_every_shape():
    texts = ["a", pd.NA, None, float("nan"), "b"]
    frame = pd.DataFrame({"text": pd.Series(["a", pd.NA, "b"], dtype="string")})
    for data in (texts, texts[1:], pd.Series(texts, dtype=object), frame, frame["text"], {"text": [pd.NA, *TEXTS]}):
        corpus = load_corpus(data)
        assert corpus.splits["train"]["text"][-1:] in (["b"], ["f"]) and corpus.reports["train"].empty


@pytest.mark.parametrize("kind", ["stream", "generator"])
@pytest.mark.parametrize("percentage", [None, 10])
def test_of_a_stream_no_more_is_read_than_is_wanted(kind, percentage):
    read = []

    def rows():
        for number in count():
            read.append(number)
            yield {"text": f"word{number}"}

    data = IterableDataset.from_generator(rows) if kind == "stream" else (row["text"] for row in rows())
    corpus = load_corpus(data, max_samples={"train": 30}, validation_split_percentage=percentage)
    assert len(corpus.splits["train"]) == 30 and len(corpus.splits.get("validation", ())) in (0, 3)
    assert len(read) < 40 and corpus.origins["train"].total is None


def test_of_a_stream_of_dialogues_no_more_is_read_than_is_wanted():
    def rows():
        for number in count():
            yield {"turns": [f"word{number}", "yes"]}

    stream = IterableDataset.from_generator(rows)
    corpus = load_dialogues(stream, max_dialogues={"train": 30}, validation_split_percentage=10)
    assert {name: len(found) for name, found in corpus.splits.items()} == {"train": 30, "validation": 3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"unsupervised": Dataset.from_dict({"text": TEXTS})}, "neither train nor test, only unsupervised"),
        ({"train": 3}, "the split train must be a list of strings, or a Dataset, .*, got int"),
        (b"a b c", "the data must be a list of strings, or .*, got bytes"),
        ({"train": ["a", 3]}, "the split train, row 2: must be text, got int"),
        (Dataset.from_dict({"a": TEXTS, "b": TEXTS}), r"the data \(train\) has the columns a, b"),
        (DatasetDict(), "no split"),
    ],
)
def test_what_is_no_corpus_is_said_in_one_sentence(data, message):
    with pytest.raises(CorpusError, match=message) as error:
        load_corpus(data)
    assert "\n" not in str(error.value)


def test_dialogues_at_hand_are_dialogues():
    rows = Dataset.from_list([{"context": "hello", "response": "hi"}])
    for data in (rows, DatasetDict(train=rows), {"train": rows.to_iterable_dataset()}):
        (dialogue,) = load_dialogues(data).splits["train"]
        assert [turn.text for turn in dialogue.turns] == ["hello", "hi"]


def test_each_dialogue_at_hand_has_fields_and_types_of_its_own():
    rows = [
        {"turns": [{"speaker": 1, "text": "hello"}, {"speaker": "B", "text": "hi"}], "topic": float("nan")},
        {"turns": [{"speaker": "A", "text": "hello"}, {"speaker": "B", "text": "hi"}], "topic": "tea"},
        ({"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}),
        {"turns": np.array(["hello", "hi"]), "topic": "tea"},
    ]
    frame = pd.DataFrame({"turns": [row["turns"] for row in rows[:2]], "topic": [None, "tea"]})
    for data in (rows, iter(rows), {"train": rows}, frame):
        found = load_dialogues(data).splits["train"]
        assert [dialogue.topic for dialogue in found] == [None, "tea", None, "tea"][: len(found)]
        assert found[0].turns[0].speaker == "1" and {len(dialogue.turns) for dialogue in found} == {2}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", {"speaker": "x", "text": "b"}]], r"the data \(train\), row 1, turn 1: must be an object"),
        ([["a", "b"], ["a", float("nan")]], r"the data \(train\), row 2, turn 2, field text: missing"),
        ([["a", "b"], 3], r"the data \(train\), row 2: must be an object with the field turns, got int"),
        ({"prompt": ["a", "b"], "completion": ["c"]}, "unlike numbers of rows, .*: give each as many"),
        (3, "the data must be a list of strings, or .*, got int"),
    ],
)
def test_what_is_no_dialogue_at_hand_is_said_in_one_sentence(rows, message):
    with pytest.raises(CorpusError, match=message) as error:
        load_dialogues(rows)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "columns",
    [
        *({name: [["hello", "hi"]]} for name in ("turns", "dialog", "messages", "conversations")),
        {"prompt": ["hello"], "completion": ["hi"]},
        {"conv_id": [7, 7], "utterance": ["hello", "hi"]},
    ],
)
def test_a_dict_with_a_usual_column_holds_columns(columns):
    (dialogue,) = load_dialogues(columns).splits["train"]
    assert [turn.text for turn in dialogue.turns] == ["hello", "hi"]


def test_token_ids_need_no_length_and_may_come_in_many_shapes():
    ids = [[1, 5, 2], [1, 5, 6, 2], [1, 2]]
    plain = Dataset.from_dict({"input_ids": ids})
    shapes = [
        plain,
        plain.with_format("torch"),
        plain.with_format("numpy"),
        plain.to_iterable_dataset(),
        [{"input_ids": row} for row in ids],
        [{"input_ids": torch.tensor(row)} for row in ids],
        [{"input_ids": np.array(row)} for row in ids],
    ]
    for shape in shapes:
        rows = encoded_rows(shape, "train_dataset")
        assert rows["input_ids"][:] == ids and rows["length"][:] == [3, 4, 2]
        assert VaeCollator(0)(rows.__getitems__([0, 1]))["input_ids"].tolist() == [[1, 5, 2, 0], [1, 5, 6, 2]]
    assert len(encoded_rows(plain.to_iterable_dataset(), "train_dataset", 2)) == 2
    with pytest.raises(CorpusError, match="train_dataset has the columns text and no input_ids: give their tok"):
        encoded_rows(Dataset.from_dict({"text": TEXTS}), "train_dataset")
    with pytest.raises(CorpusError, match="train_dataset holds rows of str and no input_ids: give the tokenizer"):
        encoded_rows(TEXTS, "train_dataset")


def test_rows_with_states_of_an_encoder_are_arrays_whatever_holds_them():
    states, labels = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), [[5, 2], [6, 7, 2], [2], [8, 2]]
    columns = {"labels": labels, "length": [3, 4, 2, 3]}
    plain = Dataset.from_dict(columns | {"encoder_states": list(states)})
    stored = SentenceStates(Dataset.from_dict(columns | {"input_ids": labels}), states[::-1], np.arange(4)[::-1])
    shapes = [plain, plain.to_list(), [row | {"encoder_states": torch.tensor(row["encoder_states"])} for row in plain]]
    batches = []
    for rows in [*(encoded_rows(shape, "train_dataset") for shape in shapes), stored, stored.select([0, 1, 2, 3])]:
        assert rows["length"][:] == [3, 4, 2, 3] and "input_ids" not in rows[0]
        assert isinstance(rows[1]["encoder_states"], np.ndarray) and list(rows[1]["labels"]) == [6, 7, 2]
        batches.append(VaeCollator(0)(rows.select([1, 3]).__getitems__([1, 0])))
        torch.testing.assert_close(batches[-1]["encoder_states"], torch.from_numpy(states[[3, 1]]))
        assert batches[-1].keys() == {"encoder_states", "labels", "word_positions"}
        assert all(torch.equal(batches[-1][name], batches[0][name]) for name in batches[0])


def test_another_process_maps_the_file_of_the_states_itself(tmp_path):
    states = np.random.default_rng(0).normal(size=(2_000, 30)).astype(np.float32)
    np.save(tmp_path / "a.npy", states)
    sentences = Dataset.from_dict({"labels": [[1], [2]], "length": [2, 2]})
    for source in (np.load(tmp_path / "a.npy", mmap_mode="r"), states):
        sent = pickle.dumps(SentenceStates(sentences, source, np.array([7, 3])))
        assert (len(sent) < states.nbytes) == isinstance(source, np.memmap)
        np.testing.assert_array_equal(pickle.loads(sent)[1]["encoder_states"], states[3])


def test_rows_that_were_padded_already_lose_their_padding():
    rows = [[1, 5, 6, 2], [1, 5, 2], [1, 2]]
    behind = [row + [0] * (6 - len(row)) for row in rows]
    masks = [[1] * len(row) + [0] * (6 - len(row)) for row in rows]
    padded = {"input_ids": behind, "attention_mask": masks, "length": [6] * 3}
    in_front = {name: [row[::-1] for row in padded[name]] for name in ("input_ids", "attention_mask")}
    ends = {"input_ids": [[number or 2 for number in row] for row in behind], "attention_mask": masks}
    for data, expected in ((padded, rows), (in_front, [row[::-1] for row in rows]), (ends, rows)):
        found = encoded_rows(Dataset.from_dict(data), "train_dataset")
        assert found["input_ids"][:] == expected and found["length"][:] == [4, 3, 2]
        again = encoded_rows(found, "train_dataset")
        assert again.column_names == found.column_names and again["input_ids"][:] == expected
    whole = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
    assert encoded_rows(Dataset.from_dict(whole), "train_dataset")["input_ids"][:] == rows


def test_without_a_mask_the_padding_behind_the_end_is_taken_off():
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=2)
    data = Dataset.from_dict({"input_ids": [[1, 5, 2, 0, 0], [1, 5, 0, 6, 2], [1, 0, 2, 0, 0], [1, 5, 6, 0, 0]]})
    found = encoded_rows(data, "train_dataset", tokenizer=tokenizer)
    assert found["input_ids"][:] == [[1, 5, 2], [1, 5, 0, 6, 2], [1, 0, 2], [1, 5, 6, 0, 0]]
    both = SimpleNamespace(pad_token_id=2, eos_token_id=2)
    for unknown in (None, both):
        assert encoded_rows(data, "train_dataset", tokenizer=unknown)["input_ids"][:] == data["input_ids"][:]


@pytest.mark.parametrize("of_columns", [False, True])
def test_rows_of_dicts_may_lack_fields_of_others_and_mix_words_with_numbers(of_columns):
    rows = [{"text": "a"}, {"text": 3, "label": 1}, {"text": "c", "label": "x"}]
    data = {name: [row.get(name) for row in rows] for name in ("text", "label")} if of_columns else rows
    read = load_corpus({"train": data}).splits["train"][:]
    assert read == {"text": ["a", "3", "c"], "label": [None, "1", "x"]}


def test_a_frame_may_mix_words_with_numbers():
    frame = pd.DataFrame({"text": ["a", 3, float("nan"), "c"], "label": [1, "x", "y", None]}, dtype=object)
    assert load_corpus(frame).splits["train"][:] == {"text": ["a", "3", "c"], "label": ["1", "x", None]}


@pytest.mark.parametrize(
    "rows, words",
    [
        ([{"text": "a"}, {"text": {"x": 1}}], r"column text: it holds values of several kinds \(dict, str\)"),
        ([{"text": "a", 3: 1}], "a column is called 3: give it a word"),
        ({"text": ["a"], "label": [1, 2]}, "unlike numbers of rows"),
    ],
)
def test_what_makes_no_table_is_named(rows, words):
    with pytest.raises(CorpusError, match=words):
        load_corpus({"train": rows})
