"""The same dialogue is read alike in every layout that people keep theirs in."""

import gzip
import json

import pytest
from datasets import Dataset, DatasetDict, config

from hf_bnvae.data import CorpusError, load_dialogues

SAID = ["hello", "hi there", "how are you"]
SPOKEN = [("A", "hello"), ("B", "hi there"), ("A", "how are you")]
OTHER = ["bye", "bye bye"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def turns(texts, speaker="speaker", text="text", names="AB"):
    return [{speaker: names[place % 2], text: said} for place, said in enumerate(texts)]


def chat(texts):
    return turns(texts, "role", "content", ["user", "assistant"])


def read(path, content, **options):
    path.write_text(content)
    return load_dialogues(files={"train": str(path)}, **options)


LAYOUTS = {
    "dialog.jsonl": lines({"dialog": SAID}, {"dialog": OTHER}),
    "dialogue.jsonl": lines({"dialogue": SAID}, {"dialogue": OTHER}),
    "turns.jsonl": lines({"turns": SAID}, {"turns": OTHER}),
    "lists.jsonl": lines(SAID, OTHER),
    "array.json": json.dumps([{"dialog": SAID}, {"dialog": OTHER}], indent=1),
    "line.json": json.dumps([SAID, OTHER]),
    "objects.json": json.dumps([{"turns": turns(SAID)}, {"turns": turns(OTHER)}]),
    "conversations.jsonl": lines(*({"conversations": turns(texts, "from", "value")} for texts in (SAID, OTHER))),
    "eou.txt": "hello __eou__ hi there __eou__ how are you __eou__\nbye __eou__ bye bye __eou__\n",
    "utterances.csv": "conversation_id,speaker,text\n1,A,hello\n2,A,bye\n1,B,hi there\n1,A,how are you\n2,B,bye bye\n",
    "utterances.jsonl": lines(
        *({"dialog_id": 1, "utterance": said} for said in SAID),
        *({"dialog_id": 2, "utterance": said} for said in OTHER),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_holds_the_same_dialogues(tmp_path, name):
    corpus = read(tmp_path / name, LAYOUTS[name])
    first, second = corpus.splits["train"]
    assert [(turn.speaker, turn.text) for turn in first.turns] == SPOKEN and first.first_response == 1
    assert [turn.text for turn in second.turns] == OTHER
    assert (corpus.reports["train"].turns, corpus.reports["train"].responses) == (5, 3)


def test_messages_have_roles_and_an_instruction_is_no_turn_and_counted(tmp_path):
    system = {"role": "system", "content": "be kind"}
    corpus = read(tmp_path / "a.jsonl", lines({"messages": [system, *chat(SAID)]}, {"messages": chat(OTHER)}))
    first, _ = corpus.splits["train"]
    assert [turn.speaker for turn in first.turns] == ["user", "assistant", "user"]
    assert [turn.text for turn in first.turns] == SAID
    assert "1 instructions, persona lines or silences left out" in str(corpus.reports["train"])


def test_only_the_instructions_before_a_chat_are_no_turns(tmp_path):
    late = {"messages": [*chat(SAID[:1]), {"role": "system", "content": "be kind"}]}
    spoken = {"turns": [{"speaker": "system", "text": "hello"}, {"speaker": "user", "text": "hi there"}]}
    table = "conversation_id,speaker,text\n1,developer,hello\n1,tester,hi there\n"
    for name, content in (("late.jsonl", lines(late)), ("spoken.jsonl", lines(spoken)), ("table.csv", table)):
        corpus = read(tmp_path / name, content)
        assert [len(dialogue.turns) for dialogue in corpus.splits["train"]] == [2], name
        assert corpus.reports["train"].left_out == 0
    table = "conversation_id,role,text\n1,system,be kind\n1,user,hello\n1,assistant,hi there\n"
    corpus = read(tmp_path / "roles.csv", table)
    assert [turn.speaker for turn in corpus.splits["train"][0].turns] == ["user", "assistant"]
    assert corpus.reports["train"].left_out == 1


def test_a_table_of_utterances_keeps_topics_acts_and_references(tmp_path):
    rows = [
        {"dialogue_id": 1, "speaker": "A", "text": "hello", "topic": None},
        {"dialogue_id": 2, "speaker": "A", "text": "bye", "topic": None},
        {
            "dialogue_id": 1,
            "speaker": "B",
            "text": "hi",
            "topic": "tea",
            "dialogue_act": "greeting",
            "references": "ho",
        },
        {"dialogue_id": 2, "speaker": "B", "text": "bye bye", "references": ["so long", "later"]},
    ]
    first, second = read(tmp_path / "a.jsonl", lines(*rows)).splits["train"]
    assert (first.topic, second.topic) == ("tea", None)
    assert (first.turns[1].dialogue_act, first.turns[0].dialogue_act) == ("greeting", None)
    assert [dialogue.turns[1].references for dialogue in (first, second)] == [("ho",), ("so long", "later")]


def test_a_prompt_and_its_completion_are_a_context_and_its_response(tmp_path):
    plain = {"prompt": "hello __eou__ hi there", "completion": "how are you"}
    listed = {"prompt": chat(SAID[:2]), "completion": [{"role": "user", "content": SAID[2]}]}
    for name, row in (("a.jsonl", plain), ("b.jsonl", listed)):
        (dialogue,) = read(tmp_path / name, lines(row)).splits["train"]
        assert [turn.text for turn in dialogue.turns] == SAID and dialogue.first_response == 2
    assert [turn.speaker for turn in dialogue.turns] == ["user", "assistant", "user"]


def test_numbered_lines_are_episodes(tmp_path):
    content = (
        "1 your persona: i like tea.\n2 partner's persona: i run.\n"
        "3 hello\thi there\t\tno|hi there\n4 how are you\tfine\n"
        "1 __SILENCE__\thello|hey\n2 hi\tbye\n"
    )
    corpus = read(tmp_path / "train.txt", content)
    first, second = corpus.splits["train"]
    assert [turn.text for turn in first.turns] == ["hello", "hi there", "how are you", "fine"]
    assert [(turn.speaker, turn.text) for turn in second.turns] == [("B", "hello"), ("A", "hi"), ("B", "bye")]
    assert second.turns[0].references == ("hey",) and corpus.reports["train"].left_out == 3


def test_pairs_without_a_header_have_columns_by_number(tmp_path):
    content = "hello\thi there\nbye\tbye bye\n"
    for options in (
        {},
        {"context_column": "0", "response_column": "1"},
        {"context_column": "1", "response_column": "0"},
    ):
        first, second = read(tmp_path / "a.tsv", content, no_header=True, **options).splits["train"]
        expected = ["hello", "hi there"] if options.get("context_column") != "1" else ["hi there", "hello"]
        assert [turn.text for turn in first.turns] == expected and len(second.turns) == 2
    by_number = read(tmp_path / "b.tsv", "question\tanswer\n" + content, context_column="0", response_column="1")
    assert len(by_number.splits["train"]) == 2


def test_a_pattern_a_compressed_file_and_a_saved_folder_are_read(tmp_path):
    for number, texts in enumerate((SAID, OTHER)):
        (tmp_path / f"part{number}.jsonl").write_text(lines({"dialog": texts}))
    assert len(load_dialogues(files={"train": str(tmp_path / "part*.jsonl")}).splits["train"]) == 2
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines({"dialog": SAID}).encode()))
    assert len(load_dialogues(files={"train": str(tmp_path / "a.jsonl.gz")}).splits["train"]) == 1
    rows = Dataset.from_list([{"turns": turns(SAID)}, {"turns": turns(OTHER)}])
    DatasetDict(train=rows).save_to_disk(str(tmp_path / "saved"))
    (first, _) = load_dialogues(str(tmp_path / "saved")).splits["train"]
    assert [(turn.speaker, turn.text) for turn in first.turns] == SPOKEN


def test_empty_turns_are_errors_unless_they_are_to_be_skipped_and_then_they_are_counted(tmp_path):
    content = lines({"dialog": ["hello", "", "hi"]}, {"dialog": ["alone", " "]}, {"context": "a", "response": ""})
    with pytest.raises(CorpusError, match=r"line 1, turn 2, field text: empty"):
        read(tmp_path / "a.jsonl", content)
    corpus = read(tmp_path / "a.jsonl", content, skip_empty_turns=True)
    (dialogue,) = corpus.splits["train"]
    assert [(turn.speaker, turn.text) for turn in dialogue.turns] == [("A", "hello"), ("A", "hi")]
    assert "3 empty turns skipped; 2 dialogues without two turns left out" in str(corpus.reports["train"])
    (dialogue,) = read(
        tmp_path / "c.jsonl", lines({"context": ["hello", None], "response": "hi"}), skip_empty_turns=True
    ).splits["train"]
    assert [turn.text for turn in dialogue.turns] == ["hello", "hi"]
    with pytest.raises(CorpusError, match="holds no dialogue of two turns"):
        read(tmp_path / "b.jsonl", lines({"dialog": ["alone", ""]}), skip_empty_turns=True)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "conversation_id,text\n1,a\n,b\n", {}, "conversation_id: missing|turns: 1 turn is no dialogue"),
        ("a.csv", "id,words\n1,a\n", {"conversation_column": "id"}, "no column 'context'"),
        (
            "a.csv",
            "id,words\n1,a\n",
            {"conversation_column": "no"},
            "there is no column 'no': the columns are id, words",
        ),
        ("a.jsonl", lines({"messages": [{"role": "user"}, {"role": "b", "content": "x"}]}), {}, "turn 1, field text"),
        ("a.jsonl", lines({"messages": [{"role": "a", "content": ["x"]}] * 2}), {}, "must be a string, got list"),
        ("a.json", json.dumps([{"dialog": SAID}, {"dialog": 3}]), {}, "dialogue 2, field turns: missing"),
        ("a.txt", "hello __eou__ hi\nalone\n", {}, "line 2, field turns: 1 turn is no dialogue"),
        ("a.txt", "1 your persona: x\n", {}, "line 1, field turns: 0 turn"),
    ],
)
def test_what_is_no_dialogue_is_named_with_its_place(tmp_path, name, content, options, message):
    with pytest.raises(CorpusError, match=message) as error:
        read(tmp_path / name, content, **options)
    assert "\n" not in str(error.value)
