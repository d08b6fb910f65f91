"""A latent space on any pretrained encoder and decoder, tried on tiny random ones of many architectures."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTextEncoding,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration, BnVaeForSequenceClassification
from hf_bnvae.data import VaeCollator
from hf_bnvae.models.latent_memory import LatentMemory
from hf_bnvae.models.layers import networks_without_weights
from hf_bnvae.models.lora import with_lora
from hf_bnvae.models.noise import with_hidden_words
from hf_bnvae.models.pretrained_decoder import LatentMap

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
KEYS = {"num_key_value_heads": 1, "head_dim": 8}
DECODERS = {
    "llama": SMALL | {"vocab_size": 60, "num_key_value_heads": 1},
    "gpt2": {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "qwen3": SMALL | KEYS | {"vocab_size": 60},
    "gemma3_text": SMALL | KEYS | {"vocab_size": 60, "sliding_window": 3, "num_hidden_layers": 3},
    "gemma2": SMALL | KEYS | {"vocab_size": 60, "final_logit_softcapping": 5.0, "sliding_window": 3},
    "opt": SMALL | {"vocab_size": 60, "ffn_dim": 32, "word_embed_proj_dim": 8, "max_position_embeddings": 64},
    "gpt_neox": SMALL | {"vocab_size": 60},
}
ENCODERS = {
    "bert": SMALL | {"vocab_size": 40},
    "roberta": SMALL | {"vocab_size": 40, "pad_token_id": 1},
    "distilbert": {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "modernbert": SMALL | {"vocab_size": 40, "global_attn_every_n_layers": 2, "local_attention": 8},
    "t5": {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
}


def config_of(kind: str, table: dict):
    return AutoConfig.for_model(kind, **SPECIAL | table[kind])


def save_encoder(kind: str, folder) -> str:
    torch.manual_seed(1)
    config = config_of(kind, ENCODERS)
    (AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel).from_config(config).save_pretrained(folder)
    return str(folder)


def save_decoder(kind: str, folder) -> str:
    torch.manual_seed(2)
    AutoModelForCausalLM.from_config(config_of(kind, DECODERS)).save_pretrained(folder)
    return str(folder)


def pair_of(encoder: str | None, decoder: str | None, tmp_path, **config) -> BnVaeForConditionalGeneration:
    torch.manual_seed(3)
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(
        None if encoder is None else save_encoder(encoder, tmp_path / "encoder"),
        None if decoder is None else save_decoder(decoder, tmp_path / "decoder"),
        **{"latent_size": 3} | config,
    )
    if decoder is not None:  # far enough from the start for z to be seen
        for layer in (module for module in model.decoder.children() if isinstance(module, LatentMap | LatentMemory)):
            torch.nn.init.normal_(layer.weight, std=1.0)
    return model


def config_of_a_pair(**changes) -> BnVaeConfig:
    return BnVaeConfig(
        latent_size=3,
        encoder="pretrained",
        encoder_config=config_of("bert", ENCODERS),
        decoder="pretrained",
        decoder_config=config_of("llama", DECODERS),
        **changes,
    )


def words(vocabulary: int, *shape: int) -> torch.Tensor:
    return torch.randint(3, vocabulary, shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", DECODERS)
def test_z_at_the_start_changes_little_and_the_output_layer_is_the_models_own(kind, tmp_path):
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(
        decoder=save_decoder(kind, tmp_path), latent_size=3, soft_prompt_length=0
    )
    tokens = words(60, 2, 9)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()(tokens).logits
    ours = model(decoder_input_ids=tokens, latents=torch.zeros(2, 3)).logits
    torch.testing.assert_close(ours, theirs)
    near = model(decoder_input_ids=tokens, latents=torch.ones(2, 3)).logits
    assert not torch.equal(near, theirs)


@pytest.mark.parametrize("kind", DECODERS)
def test_the_loss_is_that_of_the_logits_and_teaches_every_part(kind, tmp_path):
    model = pair_of("bert", kind, tmp_path).train()
    for network in (model.model.encoder, model.decoder.lm):
        network.eval()  # their dropout
    labels = words(60, 4, 7)
    labels[1, 4:] = -100
    output = model(input_ids=words(40, 4, 5), labels=labels, noise_seed=1, return_logits=True)
    plain = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten(), reduction="sum") / 4
    torch.testing.assert_close(output.reconstruction_loss, plain)
    chunked = model(input_ids=words(40, 4, 5), labels=labels, noise_seed=1)
    torch.testing.assert_close(chunked.reconstruction_loss, plain)
    chunked.loss.backward()
    for name in ("decoder.latent_to_memory.weight", "decoder.latent_to_words.weight", "model.posterior.mean.weight"):
        assert model.get_parameter(name).grad.abs().sum() > 0
    assert model.decoder.embedding.weight.grad.abs().sum() > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.model.encoder.parameters())


PROMPT, MEMORY = {"soft_prompt_length": 8}, {"latent_memory_length": 3}


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        *((kind, PROMPT) for kind in DECODERS),
        *((kind, MEMORY) for kind in DECODERS),
        ("llama", PROMPT | MEMORY),
        *((kind, {"decoder_skip": True}) for kind in ("llama", "opt")),
    ],
)
def test_generation_is_the_same_with_and_without_a_cache_in_any_batch_and_for_beams(kind, ways, tmp_path):
    model = pair_of("bert", kind, tmp_path, **ways)
    latents = torch.randn(3, 3, generator=torch.Generator().manual_seed(4))
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    greedy = model.generate(latents=latents, **options)
    assert torch.equal(greedy, model.generate(latents=latents, use_cache=False, **options))
    for row in range(3):
        assert torch.equal(greedy[row : row + 1], model.generate(latents=latents[row : row + 1], **options))
    # Greedy words are those of the logits that a reader of the whole text gives.
    logits = model(decoder_input_ids=greedy[:, :-1], latents=latents).logits
    assert torch.equal(logits.argmax(-1), greedy[:, 1:])
    beams = {"num_beams": 3, "num_return_sequences": 2} | options
    cached, uncached = (model.generate(latents=latents, use_cache=cache, **beams) for cache in (True, False))
    assert cached.shape[0] == 6 and torch.equal(cached, uncached)


@pytest.mark.parametrize("ways", [{}, MEMORY])
@pytest.mark.parametrize("kind", DECODERS)
def test_padding_in_front_of_the_decoders_tokens_is_not_read(kind, ways, tmp_path, monkeypatch):
    if "sliding_window" in DECODERS[kind]:  # which counts padding too
        monkeypatch.setitem(DECODERS, kind, DECODERS[kind] | {"sliding_window": 32})
    model = pair_of("bert", kind, tmp_path, **ways)
    latents, tokens = torch.randn(2, 3), words(60, 2, 6)
    alone = model(decoder_input_ids=tokens, latents=latents).logits
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), tokens], 1)
    mask = torch.cat([torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 6, dtype=torch.long)], 1)
    behind = model(decoder_input_ids=padded, decoder_attention_mask=mask, latents=latents).logits[:, 3:]
    torch.testing.assert_close(behind, alone)
    # What begins with the start symbol is generated from as it stands.
    tokens[:, 0] = padded[:, 3] = model.config.decoder_start_token_id
    padded[:, :3] = model.config.decoder_start_token_id
    options = {"latents": latents, "num_beams": 2, "max_new_tokens": 5, "eos_token_id": None}
    alone = model.generate(decoder_input_ids=tokens, **options)
    behind = model.generate(decoder_input_ids=padded, decoder_attention_mask=mask, **options)
    assert torch.equal(behind[:, 3:], alone)


def test_a_decoder_that_keeps_a_state_does_not_forget_z_over_padding(tmp_path, monkeypatch):
    monkeypatch.setitem(DECODERS, "mamba", {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2})
    model = pair_of("bert", "mamba", tmp_path)
    latents, tokens, padding = torch.randn(2, 3), words(60, 2, 6), torch.zeros(2, 4, dtype=torch.long)
    alone = model(decoder_input_ids=tokens, latents=latents).logits
    padded, mask = torch.cat([padding, tokens], 1), torch.cat([padding, torch.ones_like(tokens)], 1)
    behind = model(decoder_input_ids=padded, decoder_attention_mask=mask, latents=latents).logits[:, 4:]
    torch.testing.assert_close(behind, alone)
    options = {"latents": latents, "num_beams": 2, "max_new_tokens": 5, "eos_token_id": None}
    tokens[:, 0] = padded[:, :5] = model.config.decoder_start_token_id
    alone = model.generate(decoder_input_ids=tokens, **options)
    behind = model.generate(decoder_input_ids=padded, decoder_attention_mask=mask, **options)
    assert torch.equal(behind[:, 4:], alone)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_sentence_has_one_posterior_whatever_its_padding_and_its_batch(kind, pooling, tmp_path):
    model = pair_of(kind, None, tmp_path, encoder_pooling=pooling, vocab_size=40)
    pad = model.config.encoder_padding
    sentence = words(40, 1, 6)
    alone = model.infer(sentence).mean
    padding = torch.full((1, 3), pad)
    for padded in (torch.cat([sentence, padding], 1), torch.cat([padding, sentence], 1)):
        torch.testing.assert_close(model.infer(padded).mean, alone)
    states = model.model.read(sentence).last
    torch.testing.assert_close(model.infer(encoder_states=states).mean, alone)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["bert", "modernbert", "t5"])
def test_a_sentence_without_a_token_has_the_state_zero_alone_and_in_a_batch(kind, pooling, tmp_path):
    model = pair_of(kind, None, tmp_path, encoder_pooling=pooling).eval()
    collate = VaeCollator(None)
    rows = [{"input_ids": ids, "labels": [2]} for ids in ([], [5, 6, 7])]
    alone, both = (collate(chosen) for chosen in (rows[:1], rows))
    assert alone["input_ids"].shape == (1, 1) and alone["attention_mask"].sum() == 0
    states = [model.model.read(batch["input_ids"], batch["attention_mask"]).last for batch in (alone, both)]
    assert torch.equal(states[0], torch.zeros_like(states[0])) and torch.equal(states[1][:1], states[0])
    other = model.model.read(torch.tensor([[5, 6, 7]])).last
    torch.testing.assert_close(states[1][1:], other)
    assert model(**both).loss.isfinite()


@pytest.mark.parametrize("encoder", ["bert", "given"])
def test_given_states_and_tokens_of_a_sentence_have_the_same_noise_in_an_evaluation(encoder, tmp_path):
    if encoder == "given":
        sizes = {"vocab_size": 40, "embedding_size": 8, "hidden_size": 8, "latent_size": 3, "encoder_hidden_size": 16}
        model = BnVaeForConditionalGeneration(BnVaeConfig(encoder="given", **sizes)).eval()
    else:
        model = pair_of(encoder, None, tmp_path, vocab_size=40, embedding_size=8, hidden_size=8)
    ids, labels = words(40, 4, 5), words(40, 4, 6)
    labels[1, 3:] = -100
    keys = model.noise_keys(encoder_states=torch.randn(4, 16), labels=labels)
    assert len(set(keys.tolist())) == 4
    assert torch.equal(keys, model.noise_keys(encoder_states=torch.randn(4, 16), labels=labels[:, :]))
    assert torch.equal(keys, model.noise_keys(input_ids=ids, labels=labels))
    assert torch.equal(keys[1:2], model.noise_keys(input_ids=ids[1:2], labels=labels[1:2, :3]))


def test_pooled_states_are_those_of_the_network_itself(tmp_path):
    model = pair_of("bert", None, tmp_path, vocab_size=40)
    theirs = AutoModel.from_pretrained(tmp_path / "encoder").eval()(words(40, 2, 6)).last_hidden_state
    torch.testing.assert_close(model.model.read(words(40, 2, 6)).last, theirs.mean(1))


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("bert", "llama"), ("t5", None), (None, "gpt2"), ("roberta", "gemma3_text")]
)
def test_what_is_saved_loads_with_the_same_numbers_and_ties_are_stored_once(encoder, decoder, tmp_path):
    model = pair_of(encoder, decoder, tmp_path)
    model.save_pretrained(tmp_path / "out")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    inputs = {"input_ids": words(40, 3, 5), "labels": words(model.config.vocab_size, 3, 6)}
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).loss, model(**inputs).loss)
    assert (again.config.encoder, again.config.decoder) == (model.config.encoder, model.config.decoder)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_encoder_alone_loads_from_the_whole_model(tmp_path):
    model = pair_of("bert", "llama", tmp_path)
    model.save_pretrained(tmp_path / "out")
    encoder = AutoModel.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(encoder.encode(words(40, 2, 5)), model.encode(words(40, 2, 5)))


def test_an_initialisation_leaves_the_networks_their_own_start():
    config = config_of_a_pair(initializer_range=0.5, encoder_initializer_range=0.5, **PROMPT)
    model = BnVaeForConditionalGeneration(config)
    norm = model.model.encoder.encoder.layer[0].output.LayerNorm
    assert torch.equal(norm.weight, torch.ones(16))
    assert 0.01 < float(model.model.encoder.encoder.layer[0].output.dense.weight.std()) < 0.03
    assert 0.01 < float(model.decoder.lm.model.layers[0].mlp.up_proj.weight.std()) < 0.03
    latents = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert float(model.decoder.latent_to_prompt(latents).std()) == pytest.approx(0.02, rel=0.2)
        assert float(model.decoder.latent_to_words(latents).std()) == pytest.approx(0.002, rel=0.4)
    assert float(model.model.posterior.mean.weight.abs().max()) > 0.3


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4.0}])
def test_networks_whose_places_others_take_are_made_without_weights_and_without_random_draws(lora, tmp_path):
    config = config_of_a_pair()
    with networks_without_weights("encoder", "decoder"):
        model = BnVaeForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        assert parameter.is_meta == name.startswith(("model.encoder.", "decoder.lm.")), name
    assert not any(parameter.is_meta for parameter in BnVaeForConditionalGeneration(config).parameters())
    # The new layers start alike whatever the size of the networks.
    starts = []
    for layers in (1, 4):
        folder = tmp_path / str(layers)
        other = config_of("bert", ENCODERS)
        other.num_hidden_layers = layers
        AutoModel.from_config(other).save_pretrained(folder)
        torch.manual_seed(3)
        whole = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(
            str(folder), save_decoder("llama", tmp_path / "decoder"), latent_size=3, decoder_lora=lora
        )
        assert not any(tensor.is_meta for tensor in (*whole.parameters(), *whole.buffers()))
        starts.append(whole.model.posterior.mean.weight)
    assert torch.equal(*starts)


def test_a_frozen_encoder_stays_in_evaluation(tmp_path):
    model = pair_of("bert", None, tmp_path, vocab_size=40)
    assert model.train().model.encoder.training
    model.model.encoder.requires_grad_(False)
    assert not model.train().model.encoder.training and model.model.posterior.training


def test_given_states_take_the_place_of_an_encoder():
    config = BnVaeConfig(
        vocab_size=40, embedding_size=8, hidden_size=8, latent_size=3, encoder="given", encoder_hidden_size=5
    )
    model = BnVaeForConditionalGeneration(config).eval()
    states = torch.randn(4, 5)
    output = model(encoder_states=states, labels=words(40, 4, 6))
    assert torch.isfinite(output.loss) and torch.equal(
        output.loss, model(encoder_states=states, labels=words(40, 4, 6)).loss
    )
    with pytest.raises(ValueError, match="this model has no encoder of tokens: give it encoder_states"):
        model(input_ids=words(40, 4, 6), labels=words(40, 4, 6))
    found = model.generate(encoder_states=states, max_new_tokens=5)
    assert torch.equal(found, model.generate(latents=model.encode(encoder_states=states), max_new_tokens=5))
    with pytest.raises(ValueError, match="either latents or encoder_states"):
        model.generate(encoder_states=states, latents=torch.randn(4, 3))
    classifier = BnVaeForSequenceClassification(config).eval()
    logits = classifier(encoder_states=states).logits
    assert torch.equal(logits, classifier.classifier(classifier.model.encode(encoder_states=states)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"decoder": "pretrained"}, "decoder_config is read with the decoder pretrained, and this one is pretrained"),
        ({"encoder": "given"}, "encoder_hidden_size must be the width of the states"),
        (
            {"decoder": "pretrained", "posterior": "gaussian", "refinement_steps": 2},
            "refinement_steps must be 0",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(fields, said):
    if "refinement_steps" in fields:
        fields = fields | {"decoder_config": config_of("llama", DECODERS)}
    with pytest.raises(StrictDataclassError, match=said):
        BnVaeConfig(latent_size=3, **fields)


def test_a_decoder_that_is_no_language_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a distilbert model, which is no causal language model"):
        BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(
            decoder=save_encoder("distilbert", tmp_path), latent_size=3
        )
    with pytest.raises(ValueError, match="name a pretrained encoder, a pretrained decoder or both"):
        BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(latent_size=3)


def test_a_model_of_two_vocabularies_is_not_resized_as_if_it_had_one(tmp_path):
    model = pair_of("bert", None, tmp_path, vocab_size=20)
    with pytest.raises(ValueError, match="reads one vocabulary and writes another"):
        model.resize_token_embeddings(50)
    assert model.resize_token_embeddings() is model.get_input_embeddings()


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_a_hidden_word_is_read_as_a_vector_that_starts_as_the_mean_word(kind, tmp_path):
    model = pair_of("bert", kind, tmp_path, word_dropout=0.5, unk_token_id=None).train()
    decoder = model.decoder
    with torch.no_grad():
        mean = decoder.embedding(torch.arange(60)).mean(0)
        torch.testing.assert_close(decoder.hidden_word.weight[0], mean)
        tokens = words(60, 4, 9)
        read = with_hidden_words(tokens, model.config, 7)
        hidden = read == -1
        assert 0 < hidden.sum() < hidden.numel()
        expected = torch.where(hidden.unsqueeze(-1), mean, decoder.embedding(tokens))
        torch.testing.assert_close(decoder.embed(read), expected)
    labels = words(60, 4, 7)
    model(input_ids=words(40, 4, 5), labels=labels, noise_seed=1).loss.backward()
    assert decoder.hidden_word.weight.grad.abs().sum() > 0
    with torch.no_grad():  # an evaluation hides nothing
        model.eval()
        before = model(input_ids=words(40, 4, 5), labels=labels).loss
        decoder.hidden_word.weight.zero_()
        assert torch.equal(model(input_ids=words(40, 4, 5), labels=labels).loss, before)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_an_encoder_without_padding_reads_all_tokens_where_no_mask_is_given(kind, tmp_path):
    """As Transformers does, also those that are padding of what the decoder writes."""
    config = config_of(kind, ENCODERS | {"gpt2": DECODERS["gpt2"]})
    config.pad_token_id = None
    AutoModel.from_config(config).save_pretrained(tmp_path)
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(str(tmp_path), None, latent_size=3)
    assert model.config.pad_token_id == 0 and model.config.encoder_padding is None
    rows = words(40, 3, 6)
    rows[1, 2:4] = rows[2, :] = model.config.pad_token_id
    labels, ones = words(40, 3, 5), torch.ones_like(rows)
    with torch.no_grad():
        plain = AutoModel.from_pretrained(tmp_path)(input_ids=rows).last_hidden_state.mean(1)
        torch.testing.assert_close(model.model.read(rows).last, plain)
        losses = [model(rows, mask, labels=labels, noise_seed=1).loss for mask in (None, ones)]
        for bare, masked in (
            losses,
            (model.model.noise_keys(rows), model.model.noise_keys(rows, ones)),
            (model.generate(rows), model.generate(rows, attention_mask=ones)),
            (model.reconstruct(rows), model.reconstruct(rows, ones)),
        ):
            assert torch.equal(bare, masked)


@pytest.mark.parametrize(("encoder", "decoder"), [("bert", "llama"), ("bert", None), (None, "gpt2")])
def test_gradient_checkpointing_computes_layers_twice_and_gives_the_same_gradients(encoder, decoder, tmp_path):
    model = pair_of(encoder, decoder, tmp_path, embedding_dropout=0.0, output_dropout=0.0, **PROMPT).train()
    parts = [part for part in (getattr(model.model, "encoder", None), getattr(model.decoder, "lm", None)) if part]
    for module in (module for part in parts for module in part.modules() if isinstance(module, torch.nn.Dropout)):
        module.p = 0.0
    layer = next(m for part in parts for m in part.modules() if isinstance(m, GradientCheckpointingLayer))
    linear = next(m for m in layer.modules() if isinstance(m, (torch.nn.Linear, Conv1D)))
    calls = []
    linear.register_forward_hook(lambda *_: calls.append(1))
    inputs = {"input_ids": words(model.config.encoder_vocab_size or 40, 4, 5), "labels": words(40, 4, 7)}

    def gradients():
        model.zero_grad()
        model(**inputs, noise_seed=1).loss.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    plain = gradients()
    assert len(calls) == 1
    assert model.supports_gradient_checkpointing
    model.gradient_checkpointing_enable()
    again = gradients()
    assert len(calls) == 3
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


def test_z_joins_every_output_of_a_decoder_with_a_skip(tmp_path):
    plain, skip = (pair_of("bert", "llama", tmp_path / str(skip), decoder_skip=skip) for skip in (False, True))
    skip.load_state_dict(plain.state_dict(), strict=False)
    latents, tokens = torch.randn(2, 3, generator=torch.Generator().manual_seed(6)), words(60, 2, 7)
    with torch.no_grad():
        before, _ = plain.decoder(tokens, latents)
        after, _ = skip.decoder(tokens, latents)
        added = skip.decoder.latent_to_outputs(latents)
    torch.testing.assert_close(after, before + added.unsqueeze(1))
    assert added.abs().min() > 0


@pytest.mark.parametrize("kind", DECODERS)
def test_a_memory_of_what_words_left_in_every_layer_is_reading_them(kind, tmp_path):
    model = pair_of("bert", kind, tmp_path, **MEMORY).eval()
    lm, memory = model.decoder.lm, model.decoder.latent_to_memory
    tokens = words(60, 1, 6)
    chosen = []
    lm.register_forward_pre_hook(lambda _, args, named: chosen.append(named), with_kwargs=True)
    with torch.no_grad():
        memory.start_as(lm, model.decoder.embedding.weight)
        model.decoder.latent_to_words.weight.zero_()
        memory.weight.zero_()
        embedded = torch.cat([chosen[0]["inputs_embeds"], model.decoder.embed(tokens)], 1)
        expected = lm(inputs_embeds=embedded).logits[:, 3:]
        for latents in torch.randn(2, 1, 3):
            found = model(decoder_input_ids=tokens, latents=latents).logits
            torch.testing.assert_close(found, expected)


def test_z_in_a_memory_starts_small_learns_and_is_saved(tmp_path):
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(
        decoder=save_decoder("llama", tmp_path / "decoder"), latent_size=3, **MEMORY
    )
    decoder = model.decoder
    latents = torch.randn(400, 3, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        nothing = decoder.latent_to_memory(torch.zeros(1, 3))
        for ours, left in zip(decoder.latent_to_memory(latents).layers, nothing.layers, strict=True):
            for found, start in ((ours.keys, left.keys), (ours.values, left.values)):
                assert found.shape[2] == 3
                assert float((found - start).std()) == pytest.approx(0.1 * float(start.std()), rel=0.4)
    labels = words(60, 4, 7)
    model.train()(input_ids=words(60, 4, 5), labels=labels, noise_seed=1).loss.backward()
    for parameter in decoder.latent_to_memory.parameters():
        assert all(part.abs().sum() > 0 for part in parameter.grad.flatten(0, 1))
    model.save_pretrained(tmp_path / "out")
    again = BnVaeForConditionalGeneration.from_pretrained(tmp_path / "out")
    for name, value in decoder.latent_to_memory.state_dict().items():
        assert torch.equal(again.decoder.latent_to_memory.state_dict()[name], value)
    with pytest.raises(ValueError, match=r"does not support (gradient|activation) checkpointing"):
        model.gradient_checkpointing_enable()


@pytest.mark.parametrize(
    ("model_type", "fields"),
    [("qwen3_next", {"layer_types": ["linear_attention", "full_attention"]}), ("mamba", {}), ("deepseek_v3", {})],
)
def test_a_decoder_with_layers_that_keep_no_keys_and_values_takes_no_memory(model_type, fields):
    sizes = AutoConfig.for_model(model_type, num_hidden_layers=2, **fields)
    with pytest.raises(
        StrictDataclassError, match=f"and values, and {model_type} has others.*: use soft_prompt_length"
    ):
        BnVaeConfig(latent_size=3, decoder="pretrained", decoder_config=sizes, latent_memory_length=2)


@pytest.mark.parametrize(
    ("model_type", "given", "lengths"),
    [
        ("llama", {}, (0, 8)),
        ("llama", {"soft_prompt_length": 2}, (2, 0)),
        ("llama", {"soft_prompt_length": 0}, (0, 0)),
        ("llama", {"latent_memory_length": 0}, (8, 0)),
        ("llama", {"soft_prompt_length": 2, "latent_memory_length": 3}, (2, 3)),
        ("mamba", {}, (8, 0)),
    ],
)
def test_z_enters_by_a_memory_where_nothing_else_is_said_and_the_decoder_takes_one(model_type, given, lengths):
    sizes = AutoConfig.for_model(model_type, num_hidden_layers=2)
    config = BnVaeConfig(latent_size=3, decoder="pretrained", decoder_config=sizes, **given)
    assert (config.soft_prompt_length, config.latent_memory_length) == lengths
    again = BnVaeConfig.from_dict(config.to_dict())
    assert (again.soft_prompt_length, again.latent_memory_length) == lengths


def test_a_decoder_that_takes_no_cache_reads_all_tokens_at_every_step(tmp_path, monkeypatch):
    monkeypatch.setitem(DECODERS, "mamba", {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2})
    model = pair_of("bert", "mamba", tmp_path)
    for weight in model.decoder.lm.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    latents = torch.randn(3, 3, generator=torch.Generator().manual_seed(4))
    options = {"latents": latents, "max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    greedy = model.generate(**options)
    assert torch.equal(model(decoder_input_ids=greedy[:, :-1], latents=latents).logits.argmax(-1), greedy[:, 1:])
    beams = model.generate(num_beams=3, **options)
    assert torch.equal(beams, model.generate(num_beams=3, use_cache=False, **options))


@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba"])
def test_adapters_of_a_mamba_stand_where_its_kernels_read_them(kind):
    pytest.importorskip("peft")
    sizes = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    adapted = with_lora(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)), 2, 4)
    beside = {
        name.partition(".lora_")[0].rpartition(".")[2] for name, _ in adapted.named_parameters() if "lora_" in name
    }
    assert beside == {"in_proj", "x_proj"}


def test_a_decoder_whose_keys_are_not_as_its_configuration_says_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setitem(DECODERS, "falcon", SMALL | {"vocab_size": 60, "multi_query": True})
    with pytest.raises(ValueError, match=r"falcon keeps keys of another shape.*: use soft_prompt_length"):
        pair_of("bert", "falcon", tmp_path)
    assert pair_of("bert", "falcon", tmp_path, soft_prompt_length=2).generate(latents=torch.randn(2, 3)).size(0) == 2


def test_a_decoder_whose_logits_are_not_its_output_layers_is_refused(tmp_path, monkeypatch):
    kind = SMALL | {"vocab_size": 60, "num_key_value_heads": 2, "lm_head_multiplier": 0.3}
    mixer = {"mamba_d_ssm": 16, "mamba_n_heads": 4, "mamba_d_head": 4, "mamba_d_state": 4, "mamba_n_groups": 1}
    monkeypatch.setitem(DECODERS, "falcon_h1", kind | mixer)
    with pytest.raises(ValueError, match="the logits of a falcon_h1 are not its output layer's"):
        pair_of("bert", "falcon_h1", tmp_path, soft_prompt_length=2, latent_memory_length=0)


@pytest.mark.parametrize("posterior", ["batch_norm", "matched"])
def test_statistics_are_of_the_encoder_without_its_dropout(posterior, tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "bert", ENCODERS["bert"] | {"hidden_dropout_prob": 0.5})
    model = pair_of("bert", None, tmp_path, posterior=posterior, vocab_size=40)
    batches = [{"input_ids": words(40, 6, 5)}, {"input_ids": words(40, 6, 8)}]
    found = []
    for training in (False, True):
        model.train(training)
        model.model.posterior.eval()  # a part may be in another mode than the whole
        state = torch.get_rng_state()
        model.recompute_statistics(batches)
        assert torch.equal(torch.get_rng_state(), state)
        assert model.training is model.model.encoder.training is training and not model.model.posterior.training
        found.append({name: value.clone() for name, value in model.named_buffers() if "running" in name})
    assert found[0] and all(torch.equal(found[1][name], value) for name, value in found[0].items())
