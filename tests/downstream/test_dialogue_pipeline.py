"""DialoguePipeline: contexts in, several responses to each out; and pipelines that are saved and loaded as one."""

import pytest
import torch

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration, DialoguePipeline, TextVaePipeline
from hf_bnvae.data import build_tokenizer

CONTEXTS = [["a b", "c d e"], ["f"], ["g h", "i", "a", "b c d"]]


@pytest.fixture
def chat():
    tokenizer = build_tokenizer(["a b c d e f g h i j"], "word", 40, 1)
    sizes = dict.fromkeys(("embedding_size", "utterance_hidden_size", "context_hidden_size", "hidden_size"), 8)
    sizes |= dict.fromkeys(("latent_size", "prior_hidden_size", "bow_hidden_size"), 4)
    config = BnCvaeConfig(vocab_size=len(tokenizer), context_turns=3, **sizes)
    torch.manual_seed(3)
    model = BnCvaeForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.uniform_(parameter, -0.7, 0.7)
    model.generation_config.max_new_tokens = 6
    return DialoguePipeline(model, tokenizer, batch_size=2)


def test_a_response_depends_on_its_own_context_and_number_alone(chat):
    together = chat.respond_to_all(CONTEXTS, num_responses=3)
    assert [len(responses) for responses in together] == [3, 3, 3]
    assert [chat.respond(context, num_responses=3) for context in CONTEXTS] == together
    assert [chat.respond(context) for context in CONTEXTS] == [responses[:1] for responses in together]
    assert chat.respond_to_all([]) == []


def test_turns_without_speakers_are_those_of_two_people_in_turn(chat):
    named = [("A", "g h"), ("B", "i"), ("A", "a"), ("B", "b c d")]
    assert chat.respond(named, 3) == chat.respond(CONTEXTS[2], 3)
    alone = [("B", text) for text in CONTEXTS[2]]
    assert chat.respond(alone, 8) != chat.respond(CONTEXTS[2], 8)


@pytest.mark.parametrize(
    ("context", "error", "sentence"),
    [
        ("a b", TypeError, r"contexts\[0\] must be a sequence of turns, got a str"),
        ([], ValueError, r"contexts\[0\] has no turns"),
        (["a", 3], TypeError, r"contexts\[0\]\[1\] must be a string or a speaker and a string, got 3"),
    ],
)
def test_what_is_no_context_is_named(chat, context, error, sentence):
    with pytest.raises(error, match=sentence):
        chat.respond(context)


def test_an_unknown_word_that_the_model_writes_is_a_word_of_its_response(chat, monkeypatch):
    ids = chat.tokenizer(["a zebra b"])["input_ids"][0]
    monkeypatch.setattr(chat.model, "generate", lambda **options: torch.tensor([[*ids, chat.tokenizer.pad_token_id]]))
    assert chat.respond(["a"]) == ["a <unk> b"]


def test_a_saved_pipeline_loads_and_answers_as_before(chat, tmp_path):
    chat.save_pretrained(tmp_path / "saved")
    loaded = DialoguePipeline.from_pretrained(str(tmp_path / "saved"))
    assert loaded.respond_to_all(CONTEXTS, 3) == chat.respond_to_all(CONTEXTS, 3)
    with pytest.raises(ValueError, match="is a bncvae model, and TextVaePipeline needs a text VAE"):
        TextVaePipeline.from_pretrained(str(tmp_path / "saved"))


def test_drawn_words_repeat_by_the_seed(chat):
    options = {"num_responses": 4, "do_sample": True}
    first, again, other = (chat.respond_to_all(CONTEXTS, seed=seed, **options) for seed in (1, 1, 2))
    assert first == again != other


def test_a_response_ends_at_a_stop_string(chat):
    whole = chat.respond_to_all(CONTEXTS, 3, min_new_tokens=6)
    word = whole[0][0].split()[1]
    for response, stopped in zip(
        whole[0], chat.respond(CONTEXTS[0], 3, min_new_tokens=6, stop_strings=word), strict=True
    ):
        assert response.startswith(stopped)
        assert stopped == response or (stopped.endswith(word) and word not in stopped.removesuffix(word))
    assert len(chat.respond(CONTEXTS[0], min_new_tokens=6, stop_strings=[word])[0].split()) == 2


def test_without_a_seed_each_call_draws_afresh(chat):
    drawn = {tuple(chat.respond(CONTEXTS[0], 8, seed=None, do_sample=True)) for _ in range(3)}
    assert len(drawn) == 3


@pytest.mark.parametrize("options", [{"return_dict_in_generate": True}, {"latents": torch.zeros(1, 4)}])
def test_an_option_that_gives_no_texts_is_named(chat, options):
    with pytest.raises(ValueError, match=f"^{next(iter(options))} is no option here: call generate of the model"):
        chat.respond(CONTEXTS[0], **options)


def test_a_model_in_training_answers_as_in_evaluation_and_trains_on(chat):
    wanted = chat.respond_to_all(CONTEXTS, 3)
    chat.model.train()
    chat.model.decoder.eval()
    modes = [module.training for module in chat.model.modules()]
    assert DialoguePipeline(chat.model, chat.tokenizer).respond_to_all(CONTEXTS, 3) == wanted
    assert [module.training for module in chat.model.modules()] == modes
