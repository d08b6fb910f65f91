"""Dialogues: what is read, what is refused with its line, and batches in which every utterance stands once."""

import json
from itertools import pairwise

import pytest
import torch

from hf_bnvae.cli.errors import flags_named
from hf_bnvae.data import (
    CorpusError,
    DialogueCollator,
    DialogueSampler,
    build_tokenizer,
    encode_dialogues,
    load_dialogues,
)


def turn(speaker="A", text="hello there", **more):
    return {"speaker": speaker, "text": text} | more


GOOD = {"dialogue_id": 7, "topic": "tea", "turns": [turn(), turn("B", "hi", dialogue_act="greeting"), turn("B", "tea")]}


def write(path, *rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_dialogue_file_is_read_whole(tmp_path):
    file = write(tmp_path / "train.jsonl", GOOD, "\n", GOOD | {"topic": None, "extra": 1})
    corpus = load_dialogues(files={"train": file})
    first, second = corpus.splits["train"]
    assert (first.topic, first.dialogue_id, second.topic) == ("tea", "7", None)
    assert [said.text for said in first.turns] == ["hello there", "hi", "tea"]
    assert first.turns[1].dialogue_act == "greeting" and first.first_response == 1
    report = corpus.reports["train"]
    assert (report.dialogues, report.turns, report.responses) == (2, 6, 4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{no json\n", "no JSON"),
        ("[1, 2]\n", "must be an object"),
        ({"topic": "tea"}, "field turns: missing"),
        ({"turns": "hello"}, "field turns: must be a list"),
        ({"turns": [turn()]}, "field turns: 1 turn is no dialogue"),
        ({"turns": [turn(), "hi"]}, "turn 2: must be an object"),
        ({"turns": [turn(), {"speaker": "B"}]}, "turn 2, field text: missing"),
        ({"turns": [turn(), {"text": "hi"}]}, "turn 2, field speaker: missing"),
        ({"turns": [turn(" "), turn("B")]}, "turn 1, field speaker: ' ' names nobody"),
        ({"turns": [turn(["A"]), turn("B")]}, "turn 1, field speaker"),
        ({"turns": [turn(), turn("B", " \t")]}, "turn 2, field text: empty"),
        ({"turns": [turn(), turn("B", 3)]}, "turn 2, field text: must be a string"),
        ({"turns": [turn(), turn("B", references="x")]}, "turn 2, field references"),
        ({"turns": [turn(), turn("B", references=[" "])]}, "turn 2, field references"),
        ({"turns": [turn(), turn("B", "a \ud83d")]}, "turn 2, field text: character 3 is half of one"),
        ('{"turns": ' + "[" * 100_000 + "\n", "nested too deeply"),
        ({"context": "hello", "response": 0}, "response: must be a string, got int"),
        ({"context": "hello", "response": ""}, "response: empty"),
        ({"context": "hello __eou__ __eou__ you", "response": "hi"}, "context, turn 2: empty"),
        ({"context": None, "response": "hi"}, "context, turn 1: empty"),
        ({"context": ["hello", 1], "response": "hi"}, "context, turn 2: must be a string, got int"),
        ({"context": ["hello", None], "response": "hi"}, "context, turn 2: empty"),
    ],
)
def test_a_malformed_dialogue_is_named_by_file_line_and_field(row, message, tmp_path):
    file = write(tmp_path / "train.jsonl", GOOD, row)
    with pytest.raises(CorpusError) as error:
        load_dialogues(files={"train": file})
    assert str(error.value).startswith(f"{file}, line 2") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.csv", "pairs.jsonl"])
def test_a_table_of_pairs_has_one_response_a_row(name, tmp_path):
    rows = [("hello __eou__ hi __eou__ how are you", "fine"), ("bye __eou__", "bye bye")]
    if name.endswith("jsonl"):
        file = write(tmp_path / name, *({"context": context, "response": said} for context, said in rows))
    else:
        sign = "\t" if name.endswith("tsv") else ","
        file = write(tmp_path / name, *(sign.join(row) + "\n" for row in [("context", "response"), *rows]))
    first, second = load_dialogues(files={"train": file}).splits["train"]
    assert [(said.speaker, said.text) for said in first.turns] == [
        ("A", "hello"),
        ("B", "hi"),
        ("A", "how are you"),
        ("B", "fine"),
    ]
    assert first.first_response == 3 and [said.text for said in second.turns] == ["bye", "bye bye"]


def test_a_table_without_its_columns_and_plain_text_are_refused(tmp_path):
    table = write(tmp_path / "a.csv", "question,answer\n", "hello,hi\n")
    with pytest.raises(CorpusError, match=r"no column 'context' \(--context_column\)"), flags_named():
        load_dialogues(files={"train": table})
    assert load_dialogues(files={"train": table}, context_column="question", response_column="answer").splits["train"]
    with pytest.raises(CorpusError, match="plain text says nothing of turns"):
        load_dialogues(files={"train": write(tmp_path / "a.txt", "hello\n")})
    with pytest.raises(CorpusError, match="does not exist"):
        load_dialogues(files={"train": str(tmp_path / "none.jsonl")})
    with pytest.raises(CorpusError, match="is empty"):
        load_dialogues(files={"train": write(tmp_path / "b.jsonl", "\ufeff\n")})
    with pytest.raises(CorpusError, match="holds no rows"):
        load_dialogues(files={"train": write(tmp_path / "b.json", "[]")})


def test_a_folder_holds_a_file_for_each_split(tmp_path):
    write(tmp_path / "train.jsonl", GOOD)
    assert len(load_dialogues(str(tmp_path)).splits["train"]) == 1


def test_the_built_in_small_talk_is_the_same_every_time_and_offers_more_than_one_answer():
    one, other = load_dialogues("toy_dialogues"), load_dialogues("toy_dialogues")
    assert one.splits == other.splits
    answers = {}
    for dialogue in one.splits["train"]:
        answers.setdefault(dialogue.turns[0].text, set()).add(dialogue.turns[1].text)
    assert all(len(said) > 3 for said in answers.values())
    seen = {dialogue.turns for dialogue in one.splits["train"]}
    assert not any(dialogue.turns in seen for dialogue in one.splits["test"] if len(dialogue.turns) > 6)


@pytest.fixture
def encoded():
    corpus = load_dialogues("toy_dialogues", max_dialogues={"train": 30})
    tokenizer = build_tokenizer([said.text for row in corpus.splits["train"] for said in row.turns])
    return corpus, tokenizer, encode_dialogues(corpus, tokenizer, 6, 3, ["food", "pets"])


def test_what_is_cut_is_counted(encoded):
    corpus, _, rows = encoded
    dialogues, report = corpus.splits["train"], corpus.reports["train"]
    lengths = [len(said.text.split()) + 2 for row in dialogues for said in row.turns]
    assert report.truncated_turns == sum(length > 6 for length in lengths) > 0
    assert report.truncated_contexts == sum(max(0, len(row.turns) - 4) for row in dialogues) > 0
    assert report.responses == len(rows["train"]) and max(map(len, rows["train"].utterances)) == 6
    assert all(ids[0] == 1 and ids[-1] == 2 for ids in rows["train"].utterances)
    assert f"{report.truncated_turns:,} of {report.turns:,} turns over-long and cut" in str(report)


def test_a_batch_holds_each_utterance_once_and_the_contexts_by_number(encoded):
    corpus, tokenizer, rows = encoded
    wanted = [(row, number) for row in corpus.splits["train"] for number in range(1, len(row.turns))]
    chosen = [0, 1, 2, 5, 40, 41, len(wanted) - 1]
    batch = DialogueCollator(0)(rows["train"].__getitems__(chosen))

    def words(number):
        return tokenizer.decode(batch["input_ids"][number], skip_special_tokens=True).split()

    used = set(batch["context_index"].flatten().tolist()) | set(batch["response_index"].tolist())
    assert used - {-1} == set(range(len(batch["input_ids"])))
    for place, index in enumerate(chosen):
        row, number = wanted[index]
        context = [place for place in batch["context_index"][place].tolist() if place >= 0]
        before = row.turns[max(0, number - 3) : number]
        assert [words(turn) for turn in context] == [said.text.split()[:4] for said in before]
        own = [int(said.speaker == row.turns[number].speaker) for said in before]
        assert batch["own_turns"][place, : len(own)].tolist() == own
        response = row.turns[number].text.split()[:4]
        assert words(batch["response_index"][place]) == response
        labels = batch["labels"][place]
        assert tokenizer.decode(labels[labels >= 0], skip_special_tokens=True).split() == response
        assert batch["topic_ids"][place] == {"food": 1, "pets": 2}.get(row.topic, 0)
    assert torch.equal(batch["labels"] >= 0, batch["labels"] != -100)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_response_comes_once_in_runs_and_processes_share_a_batch(encoded, processes):
    rows = encoded[2]["train"]
    whole = DialogueSampler(rows.dialogues, 4 * processes, 5, seed=3)
    shares = [
        DialogueSampler(rows.dialogues, 4, 5, seed=3, num_processes=processes, process_index=process)
        for process in range(processes)
    ]
    for epoch in (0, 1):
        for sampler in (whole, *shares):
            sampler.set_epoch(epoch)
        batches = list(whole)
        assert sorted(index for batch in batches for index in batch) == list(range(len(rows)))
        assert len(batches) == len(whole) and all(len(batch) >= 2 for batch in batches)
        for batch, *parts in zip(batches, *shares, strict=True):
            assert sorted(index for part in parts for index in part) == sorted(batch)
            assert all(parts) and max(map(len, parts)) - min(map(len, parts)) < 4
    neighbours = [b == a + 1 for batch in batches for a, b in pairwise(batch)]
    assert sum(neighbours) > 0.5 * len(neighbours)
    whole.set_epoch(0)
    assert list(whole) != batches


def test_topics_that_the_model_has_not_learnt_are_counted():
    corpus = load_dialogues([GOOD, GOOD | {"topic": "bread"}, GOOD | {"topic": None}])
    tokenizer = build_tokenizer(["hello there hi tea"])
    for topics, unseen in ((["tea"], 1), (["pets"], 2), ([], 0)):
        encode_dialogues(corpus, tokenizer, 6, 3, topics)
        assert corpus.reports["train"].unseen_topics == unseen
        said = f"{unseen} dialogues on topics that the model has not learnt"
        assert (said in str(corpus.reports["train"])) is (unseen > 0)


def test_fewer_responses_than_processes_are_said():
    with pytest.raises(ValueError, match="a split of 1 responses cannot be shared out to 2 processes"):
        DialogueSampler([0], 8, shuffle=False, num_processes=2, process_index=1)


def test_runs_save_encoding(encoded):
    rows, collate = encoded[2]["train"], DialogueCollator(0)

    def encodings(run_length):
        sampler = DialogueSampler(rows.dialogues, 16, run_length, seed=1)
        return sum(len(collate(rows.__getitems__(batch))["input_ids"]) for batch in sampler)

    assert encodings(8) < 0.75 * encodings(1)


def test_a_corpus_is_called_after_what_is_trained_on_and_an_empty_split_after_its_file(tmp_path):
    files = {
        "train": write(tmp_path / "train.jsonl", GOOD),
        "validation": write(tmp_path / "dev.jsonl", {"dialog": ["hi", ""]}),
    }
    assert load_dialogues("toy_dialogues", {"train": files["train"]}).name == files["train"]
    assert load_dialogues("toy_dialogues").name == "toy_dialogues"
    with pytest.raises(CorpusError, match=r"dev\.jsonl \(validation\) holds no dialogue"):
        load_dialogues(files=files, skip_empty_turns=True)
