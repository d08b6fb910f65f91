import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from hf_bnvae.data import CorpusError, build_tokenizer, load_tokenizer

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


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(CorpusError, match="could not be loaded"):
        load_tokenizer(str(tmp_path / "nothing"))
