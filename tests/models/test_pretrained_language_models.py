"""A language model on a pretrained decoder is that decoder, and what a VAE's decoder is without z."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM

from hf_bnvae import BnVaeForConditionalGeneration, LstmLMConfig, LstmLMForCausalLM
from hf_bnvae.evaluation import infer, nll, rec
from tests.helpers import make_batch
from tests.models.test_pretrained_pairs import DECODERS, config_of, save_decoder, words
from tests.runs.test_pretrained_parts import TEXTS, parts  # noqa: F401

KINDS = ["llama", "gpt2"]


def language_model(kind: str, folder, **config) -> LstmLMForCausalLM:
    """A language model on a tiny random decoder, and the folder of that."""
    decoder = AutoModelForCausalLM.from_pretrained(save_decoder(kind, folder))
    model = LstmLMForCausalLM(LstmLMConfig(decoder_config=decoder.config, **config))
    model.decoder.take(decoder)
    return model.eval()


def nats_by_transformers(network, rows: list[list[int]]) -> list[float]:
    """−log p of each row after its first token, by a causal language model of Transformers alone."""
    network.eval()
    losses = []
    for row in rows:
        ids = torch.tensor([row])
        with torch.no_grad():
            losses.append(float(network(ids, labels=ids).loss) * (len(row) - 1))
    return losses


@pytest.mark.parametrize("kind", DECODERS)
def test_its_logits_are_those_of_the_decoder_by_itself(kind, tmp_path):
    model = language_model(kind, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = words(60, 2, 9)
    torch.testing.assert_close(model(tokens).logits, theirs(tokens).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_its_nats_are_those_that_transformers_computes_and_no_bound(kind, tmp_path):
    model = language_model(kind, tmp_path)
    network = AutoModelForCausalLM.from_pretrained(tmp_path)
    batch = make_batch([6, 9, 4], vocab_size=60)
    rows = [row[row != 0].tolist() for row in batch["input_ids"]]
    wanted = nats_by_transformers(network, rows)
    each: list[torch.Tensor] = []
    found = nll(model, [batch], num_samples=7, each=each)
    torch.testing.assert_close(torch.cat(each), torch.tensor(wanted))
    assert found["nll"] == pytest.approx(sum(wanted) / 3)
    inference = infer(model, [batch])
    assert rec(inference) == pytest.approx(found["nll"]) and inference.kl.tolist() == [0, 0, 0]
    loss = model.train()(**batch).loss.detach()
    if kind == "llama":  # GPT-2 has dropout
        assert float(loss) == pytest.approx(found["nll"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_of_a_vae_at_a_latent_of_zeros_and_without_a_prompt_is_the_language_model(kind, tmp_path):
    model = language_model(kind, tmp_path)
    vae = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(
        decoder=str(tmp_path), latent_size=3, soft_prompt_length=0
    )
    labels = words(60, 3, 7)
    losses = [one.sentence_losses(labels, torch.zeros(3, size)) for one, size in ((vae, 3), (model, 0))]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("kind", DECODERS)
def test_generation_is_the_same_with_and_without_a_cache_and_that_of_the_decoder_by_itself(kind, tmp_path):
    model = language_model(kind, tmp_path)
    prompts = words(60, 2, 5)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    greedy = model.generate(prompts, **options)
    assert torch.equal(greedy, model.generate(prompts, use_cache=False, **options))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(greedy, theirs.generate(prompts, attention_mask=torch.ones_like(prompts), **options))
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), prompts], 1)
    assert torch.equal(model.generate(padded, **options)[:, 3:], greedy)
    beams = {"num_beams": 3, "num_return_sequences": 2} | options
    cached, uncached = (model.generate(prompts, use_cache=cache, **beams) for cache in (True, False))
    assert torch.equal(cached, uncached)


@pytest.mark.parametrize("end", [0, 2])
def test_a_start_that_is_end_and_padding_too_is_read_and_ends_behind_the_words_are_not(end, tmp_path):
    model = language_model("gpt2", tmp_path, bos_token_id=end, eos_token_id=end, pad_token_id=end)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    scores = {"output_logits": True, "return_dict_in_generate": True}
    start = torch.tensor([[end]])
    found = model.generate(start, **options, **scores).logits[0]
    torch.testing.assert_close(found, model(start).logits[:, -1])
    alone = model.generate(torch.tensor([[end, 5, 6]]), **options)[:, 3:]
    assert torch.equal(model.generate(torch.tensor([[end, 5, 6, end]]), **options)[:, 4:], alone)
    assert len(model.sample(3, max_new_tokens=4)) == 3


def test_a_nested_configuration_survives_a_round_trip():
    nested = config_of("llama", DECODERS)
    config = LstmLMConfig(decoder_config=nested)
    again = LstmLMConfig.from_dict(json.loads(config.to_json_string()))
    assert (again.decoder, again.vocab_size, again.hidden_size) == ("pretrained", 60, 16)
    with pytest.raises(StrictDataclassError, match="tie_word_embeddings must be False with the decoder pretrained"):
        LstmLMConfig(decoder_config=nested, tie_word_embeddings=True)
