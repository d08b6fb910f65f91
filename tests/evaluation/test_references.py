"""Reference responses are cut as the model writes, and say what people said."""

import pytest
from transformers import BertTokenizerFast

from hf_bnvae.data import build_tokenizer
from hf_bnvae.evaluation.references import as_the_model_writes

KNOWN = ["i am fine , thanks . the weather is well"] * 3 + ["abcdefghijklmnopqrstuvwxyz"]
SAID = ["i am øwell , thanks .", "ø", "ø ß is fine", "well øø", "fine", "i am <unk> fine"]


@pytest.mark.parametrize("kind", ["word", "char", "unigram", "bpe"])
def test_a_reference_with_what_the_tokenizer_does_not_know_is_the_text_itself(kind):
    tokenizer = build_tokenizer(KNOWN, kind, 60 if kind == "unigram" else 300)
    assert as_the_model_writes(SAID, tokenizer) == SAID
    assert kind == "bpe" or tokenizer.unk_token_id in tokenizer(SAID[0])["input_ids"]


def test_pieces_of_words_stay_together_beside_an_unknown_one(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "am", "un", "##well"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast.from_pretrained(str(tmp_path))
    assert as_the_model_writes(["I am unwell Østling", "am"], tokenizer) == ["i am unwell Østling", "am"]


def test_a_tokenizer_with_one_symbol_for_the_unknown_word_and_the_end_knows_every_word():
    tokenizer = build_tokenizer(KNOWN, "bpe", 300)
    tokenizer.unk_token = tokenizer.eos_token
    assert as_the_model_writes(SAID[:3], tokenizer) == SAID[:3]
