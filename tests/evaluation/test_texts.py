"""What a latent is worth in texts."""

import math

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from hf_bnvae import LstmLMConfig, LstmLMForCausalLM
from hf_bnvae.data import build_tokenizer
from hf_bnvae.data.batches import VaeCollator
from hf_bnvae.data.encoded_texts import encode_texts
from hf_bnvae.evaluation import evaluate_reconstructions, sample_ppl, texts

TEXTS = ["a b c", "d e f g", "b a d c e", "a"]


@pytest.fixture
def tokenizer():
    return build_tokenizer(TEXTS, "word", 40, 1)


def batch_of(texts, tokenizer):
    rows, _ = encode_texts(texts, tokenizer, 20)
    return VaeCollator(tokenizer.pad_token_id)([{"input_ids": row} for row in rows])


def sizes(tokenizer):
    return {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id")}


class Parrot:
    """Says again what it was given, or what it is told to say."""

    training = False
    device = torch.device("cpu")

    def __init__(self, model, ids):
        self.config, self.ids = model.config, ids

    def eval(self):
        return self

    def train(self, mode):
        return self

    def encode(self, **inputs):
        return torch.arange(len(inputs["input_ids"]))

    def generate(self, latents, **options):
        return self.ids[latents]


def test_what_is_said_again_whole_has_a_bleu_of_100_and_matches(make_model, tokenizer):
    model = make_model(**sizes(tokenizer))
    batch = batch_of(["d e f g", "b a d c e"], tokenizer)
    behind = torch.cat([batch["input_ids"], torch.full((2, 3), 5)], 1)  # what stands behind the end is not read
    found = evaluate_reconstructions(Parrot(model, behind), [batch], tokenizer)
    assert found == {"reconstruction_bleu": pytest.approx(100), "exact_match": 1.0}


def test_one_wrong_word_of_four_is_no_match_and_the_bleu_of_the_formula(make_model, tokenizer):
    model = make_model(**sizes(tokenizer))
    batch = batch_of(["a b c d e", "d e f g"], tokenizer)
    said = batch_of(["a b c d f", "d e f g"], tokenizer)["input_ids"]
    found = evaluate_reconstructions(Parrot(model, said), [batch], tokenizer)
    precisions = [(4 + 4) / 9, (3 + 3) / 7, (2 + 2) / 5, (1 + 1) / 3]
    assert found["reconstruction_bleu"] == pytest.approx(100 * math.prod(precisions) ** 0.25)
    assert found["exact_match"] == 0.5


def test_a_model_is_judged_on_what_it_reconstructs_from_its_mean(make_model, tokenizer):
    model = make_model(posterior="gaussian", **sizes(tokenizer)).train()
    batches = [batch_of(TEXTS[:2], tokenizer), batch_of(TEXTS[2:], tokenizer)]
    found = evaluate_reconstructions(model, batches, tokenizer)
    assert model.training and found == evaluate_reconstructions(model.eval(), batches, tokenizer)
    with pytest.raises(ValueError, match="no batches"):
        evaluate_reconstructions(model, [], tokenizer)


def test_samples_have_the_perplexity_that_the_language_model_gives_them(make_model, tokenizer):
    model = make_model(posterior="gaussian", **sizes(tokenizer))
    config = LstmLMConfig(vocab_size=40, embedding_size=8, hidden_size=16, **sizes(tokenizer))
    uniform = LstmLMForCausalLM(config)
    torch.nn.init.zeros_(uniform.decoder.output.weight)
    before = torch.get_rng_state()
    found = sample_ppl(model, tokenizer, uniform, tokenizer, 7, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert found == pytest.approx(40)  # each of 40 words is as likely
    judge = LstmLMForCausalLM(config)
    torch.nn.init.normal_(judge.decoder.output.weight)
    assert sample_ppl(model, tokenizer, judge, tokenizer, 7, seed=1) == sample_ppl(
        model, tokenizer, judge, tokenizer, 7, seed=1
    )
    assert sample_ppl(model, tokenizer, judge, tokenizer, 7, seed=2) != sample_ppl(
        model, tokenizer, judge, tokenizer, 7, seed=1
    )


def test_samples_are_judged_whole_by_a_language_model_of_finer_tokens(make_model, tokenizer, monkeypatch):
    model = make_model(posterior="gaussian", **sizes(tokenizer))
    model.generation_config.max_new_tokens = 6
    characters = build_tokenizer(TEXTS, "char", 40, 1)
    judge = LstmLMForCausalLM(LstmLMConfig(vocab_size=40, embedding_size=8, hidden_size=16, **sizes(characters)))
    said = tokenizer("a b c d e f")["input_ids"]
    model.sample = lambda count, **options: torch.tensor([said] * count)
    read = []
    monkeypatch.setattr(texts, "nll", lambda model, batches: read.extend(batches) or {"ppl": 1.0})
    sample_ppl(model, tokenizer, judge, characters, 7, seed=1)
    assert {int((row != -100).sum()) for batch in read for row in batch["labels"]} == {6 + 5 + 1}  # spaces and the end


def test_the_ends_of_samples_are_no_words_where_they_are_the_unknown_word_too(make_model, tokenizer, monkeypatch):
    """GPT-2 has one symbol for all of them."""
    end = "<|endoftext|>"
    words = WordLevel({end: 0} | {word: number for number, word in enumerate("abcdefg", 1)}, end)
    writes = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), bos_token=end, eos_token=end, pad_token=end, unk_token=end
    )
    model = make_model(posterior="gaussian", **sizes(tokenizer))
    judge = LstmLMForCausalLM(LstmLMConfig(vocab_size=40, embedding_size=8, hidden_size=16, **sizes(tokenizer)))
    read = []
    monkeypatch.setattr(texts, "nll", lambda model, batches: read.extend(batches) or {"ppl": 1.0})
    said = {writes: [0, 1, 2, 0, 0, 0], tokenizer: tokenizer("a <unk> b")["input_ids"]}
    for written_by, ids in said.items():
        model.sample = lambda count, ids=ids, **options: torch.tensor([ids] * count)
        sample_ppl(model, written_by, judge, tokenizer, 3)
    one, other = (batch["input_ids"][0].tolist() for batch in read)
    assert one == tokenizer("a b")["input_ids"]
    assert other == tokenizer("a <unk> b")["input_ids"]
