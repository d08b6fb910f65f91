import subprocess
import sys

import pytest
from transformers import AutoTokenizer, BertTokenizerFast

from hf_bnvae.data import (
    CorpusError,
    Dialogue,
    DialogueCorpus,
    DialogueReport,
    TokenizerPair,
    Turn,
    build_tokenizer,
    encode_dialogues,
    load_tokenizer,
)
from hf_bnvae.data.batches import encoded_columns

SENTENCES = ["the cat sat .", "the dog sat on the mat .", "a <unk> cat"]


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_round_trip_with_both_ends(kind):
    tokenizer = build_tokenizer(SENTENCES, kind, vocab_size=400)
    ids = tokenizer("the cat sat .")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the cat sat ."
    assert tokenizer.pad_token_id == 0 and tokenizer.padding_side == "right"


def test_vocabulary_limits():
    assert len(build_tokenizer(SENTENCES, vocab_size=6)) == 6
    words = build_tokenizer(SENTENCES, min_count=2).get_vocab()
    assert {"the", "cat", "sat", "."} <= set(words) and "dog" not in words
    for limits in ({"min_count": 99}, {"vocab_size": 4}, {"vocab_size": 1}):
        with pytest.raises(CorpusError, match="nothing but its 4 special symbols"):
            build_tokenizer(SENTENCES, **limits)


def test_unknown_words_become_unk_and_the_texts_own_unk_is_the_same_symbol():
    tokenizer = build_tokenizer(SENTENCES)
    unknown, known = (tokenizer(text)["input_ids"][1] for text in ("zebra", "<unk>"))
    assert unknown == known == tokenizer.unk_token_id


def test_ids_have_no_gap_where_the_text_spells_out_special_symbols():
    sentences = ["<unk> a b", "<s> <unk> c </s> <pad>"]
    for limit in (20, 6):
        vocabulary = build_tokenizer(sentences, vocab_size=limit).get_vocab()
        assert sorted(vocabulary.values()) == list(range(min(limit, 7)))


def test_punctuation_can_be_split():
    ids = build_tokenizer(["well, yes."], split_punctuation=True)("well, yes.")["input_ids"]
    assert len(ids) == 6
    assert len(build_tokenizer(["well, yes."])("well, yes.")["input_ids"]) == 4


def test_auto_tokenizer_loads_it_without_this_package(tmp_path):
    build_tokenizer(SENTENCES).save_pretrained(tmp_path)
    code = (
        "import sys; sys.modules['hf_bnvae'] = None\n"
        "from transformers import AutoTokenizer\n"
        f"print(AutoTokenizer.from_pretrained({str(tmp_path)!r})('the dog')['input_ids'])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(build_tokenizer(SENTENCES)("the dog")["input_ids"])


def test_a_tokenizer_without_ends_gets_them(tmp_path):
    plain = build_tokenizer(SENTENCES, "bpe", vocab_size=300)
    plain.backend_tokenizer.post_processor = None
    plain.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("a")["input_ids"][0] != plain.bos_token_id
    ids = load_tokenizer(str(tmp_path))("a")["input_ids"]
    assert ids[0] == plain.bos_token_id and ids[-1] == plain.eos_token_id
    dialogues = DialogueCorpus({"test": [Dialogue((Turn("A", "the"), Turn("B", "dog")))]}, {"test": DialogueReport()})
    for encode in (lambda: encoded_columns(SENTENCES, plain, 20), lambda: encode_dialogues(dialogues, plain, 20, 3)):
        with pytest.raises(
            CorpusError, match=r"^the tokenizer does not put a start and an end symbol around each text"
        ):
            encode()
    pair = TokenizerPair(plain, plain)
    assert len(encoded_columns(SENTENCES, pair, 20)["labels"]) == 3


def test_a_tokenizer_json_alone_is_a_tokenizer(tmp_path):
    whole = build_tokenizer(SENTENCES)
    whole.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        bare = load_tokenizer(str(name))
        assert bare(SENTENCES[0])["input_ids"] == whole(SENTENCES[0])["input_ids"]
        for role in ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"):
            assert getattr(bare, role) == getattr(whole, role), role
    whole.save_pretrained(tmp_path / "saved")
    assert load_tokenizer(str(tmp_path / "saved" / "tokenizer.json")).unk_token_id == whole.unk_token_id
    (tmp_path / "tokenizer.json").write_text('{"a": 1}')
    with pytest.raises(CorpusError, match="could not be loaded"):
        load_tokenizer(str(tmp_path / "tokenizer.json"))


def test_the_words_of_a_word_piece_tokenizer_alone_are_refused_with_what_helps(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n")
    for name in (tmp_path, tmp_path / "vocab.txt"):
        with pytest.raises(CorpusError, match=r"BertTokenizerFast.from_pretrained\(.*do_lower_case"):
            load_tokenizer(str(name))
    BertTokenizerFast.from_pretrained(str(tmp_path), do_lower_case=True).save_pretrained(tmp_path / "whole")
    assert load_tokenizer(str(tmp_path / "whole"))("a b")["input_ids"] == [2, 4, 5, 3]


def test_a_vocabulary_with_no_room_for_the_characters_is_refused():
    for kind in ("unigram", "bpe"):
        with pytest.raises(CorpusError, match=f"`vocab_size` 6 is too small for {kind}"):
            build_tokenizer(["a b c d e f g"], kind, vocab_size=6)


def test_line_breaks_are_kept_on_request():
    verse = "one  two\nthree\n\tfour"
    assert build_tokenizer([verse]).tokenize(verse) == ["one", "two", "three", "four"]
    kept = build_tokenizer([verse], keep_linebreaks=True)
    assert kept.tokenize(verse) == ["one", "two", "\n", "three", "\n", "four"]
    assert kept.decode(kept(verse)["input_ids"], skip_special_tokens=True) == "one two \n three \n four"


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(CorpusError, match="could not be loaded"):
        load_tokenizer(str(tmp_path / "nothing"))
