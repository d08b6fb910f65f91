"""The model: padding, saving, precision, and transformers' own generate() on an LSTM state."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, StoppingCriteria, StoppingCriteriaList

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration, BnVaeModel
from hf_bnvae.models.interpolation import interpolate_latents
from hf_bnvae.models.token_loss import token_nll
from hf_bnvae.training.recipes import bf16_pays
from tests.helpers import make_batch

POSTERIORS = ["gaussian", "batch_norm"]


def with_statistics(model):
    model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    return model


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("tied", [False, True])
def test_padding_changes_nothing(make_model, posterior, tied):
    model = with_statistics(make_model(posterior=posterior, tie_word_embeddings=tied))
    padded = make_batch([5, 12, 3], width=15)
    lengths = padded["attention_mask"].sum(1).tolist()
    together = model.model.infer(padded["input_ids"], padded["attention_mask"])
    for row, length in enumerate(lengths):
        alone = {name: padded[name][row : row + 1, :length] for name in ("input_ids", "attention_mask")}
        labels = padded["labels"][row : row + 1, : length - 1]
        single = model.model.infer(**alone)
        for name in ("mean", "logvar"):
            difference = getattr(single, name)[0] - getattr(together, name)[row]
            assert difference.norm() <= 1e-5 * getattr(single, name).norm()
        latents = torch.randn(1, 4)
        loss = model(labels=labels, latents=latents).reconstruction_loss
        wide = model(labels=padded["labels"][row : row + 1], latents=latents).reconstruction_loss
        torch.testing.assert_close(loss, wide, rtol=1e-5, atol=0)


def test_without_a_mask_everything_but_padding_counts(make_model):
    model, batch = make_model(posterior="gaussian"), make_batch([5, 8])
    assert torch.equal(model.encode(batch["input_ids"]), model.encode(batch["input_ids"], batch["attention_mask"]))


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_rec_plus_weighted_kl_by_hand(make_model, training):
    model = make_model(posterior="gaussian", embedding_dropout=0.0, output_dropout=0.0).train(training)
    batch = make_batch([6, 4, 9])
    output = model(**batch, kl_weight=0.3, return_logits=True)
    total = 0.0
    for row in range(3):
        for position, word in enumerate(batch["labels"][row].tolist()):
            if word != -100:
                total -= output.logits[row, position].log_softmax(-1)[word]
    mean, logvar = output.posterior_mean, output.posterior_logvar
    kl = 0.5 * (mean**2 + logvar.exp() - logvar - 1).sum() / 3
    torch.testing.assert_close(output.reconstruction_loss, total / 3)
    torch.testing.assert_close(output.kl, kl)
    torch.testing.assert_close(output.loss, total / 3 + 0.3 * kl)
    assert (model(**batch).logits is None) == training


def test_several_samples_average_the_loss(make_model):
    model, batch = make_model(posterior="gaussian"), make_batch([6, 4])
    output = model(**batch, num_samples=3)
    assert output.latents.shape == (2, 3, 4)
    single = [
        model(labels=batch["labels"], latents=output.latents[:, sample]).reconstruction_loss for sample in range(3)
    ]
    torch.testing.assert_close(output.reconstruction_loss, torch.stack(single).mean())


def test_the_decoder_reads_the_latent_in_its_state_and_at_every_step(make_model):
    model = make_model()
    latents = torch.randn(1, 4)
    state = model.decoder.initial_state(latents)
    torch.testing.assert_close(state.cell[0], latents @ model.decoder.latent_to_cell.weight.T)
    torch.testing.assert_close(state.hidden, torch.tanh(state.cell))
    words = torch.tensor([[1, 5]])
    kept, _ = model.decoder(words, latents, state)
    changed, _ = model.decoder(words, latents + 1, state)
    assert not torch.allclose(kept, changed)


def test_heads_projection_and_output_have_no_bias(make_model):
    names = {name for name, _ in make_model().named_parameters() if "bias" in name}
    assert all("lstm" in name for name in names)


@pytest.mark.parametrize(
    ("ranges", "limits"),
    [
        ({}, {"decoder.": 0.01, "decoder.embedding": 0.1, "model.lstm": 1 / 4, "model.posterior": 1 / 4}),
        (
            {"encoder_initializer_range": 0.02, "encoder_embedding_initializer_range": 0.2},
            {"decoder.": 0.01, "decoder.embedding": 0.1, "model.": 0.02, "model.embedding": 0.2},
        ),
    ],
)
def test_encoder_and_decoder_start_in_ranges_of_their_own(make_model, ranges, limits):
    model = make_model(initializer_range=0.01, embedding_initializer_range=0.1, hidden_size=16, **ranges)
    for name, parameter in model.named_parameters():
        limit = next((limits[start] for start in sorted(limits, reverse=True) if name.startswith(start)), None)
        if "shift" in name:
            assert (parameter == 0).all()
        elif limit is None:
            assert name == "model.embedding.weight" and float(parameter.std()) == pytest.approx(1, abs=0.2)
        else:
            assert parameter.abs().max() <= limit and parameter.abs().max() > 0.8 * limit, name


def test_a_forget_bias_is_added_to_the_forget_gates_alone_and_not_to_loaded_ones(make_model, tmp_path):
    torch.manual_seed(1)
    plain = make_model(hidden_size=16)
    torch.manual_seed(1)
    kept = make_model(hidden_size=16, forget_bias=1.5)
    for name, parameter in kept.named_parameters():
        added = torch.zeros_like(parameter)
        if name.endswith("bias_ih_l0"):
            added[16:32] = 1.5  # PyTorch's order of gates: input, forget, cell, output
        torch.testing.assert_close(parameter, plain.get_parameter(name) + added, msg=name)
    plain.config.forget_bias = 1.5
    plain.save_pretrained(tmp_path)
    again = BnVaeForConditionalGeneration.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("tied", [False, True])
def test_a_saved_model_comes_back_exactly(make_model, tmp_path, posterior, tied):
    model = with_statistics(make_model(posterior=posterior, gamma=0.55, tie_word_embeddings=tied))
    model.save_pretrained(tmp_path)
    loaded = BnVaeForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert loaded.config.gamma == 0.55
    if posterior == "batch_norm":
        assert loaded.model.posterior.mean_norm.gamma == 0.55
    batch = make_batch([5, 7])
    assert torch.equal(loaded.encode(batch["input_ids"]), model.encode(batch["input_ids"]))


def test_auto_classes_load_it(make_model, tmp_path):
    model = with_statistics(make_model())
    model.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), BnVaeConfig)
    assert isinstance(AutoModelForSeq2SeqLM.from_pretrained(tmp_path), BnVaeForConditionalGeneration)
    encoder = AutoModel.from_pretrained(tmp_path)
    assert type(encoder) is BnVaeModel
    batch = make_batch([5, 7])
    output = encoder(batch["input_ids"], batch["attention_mask"], num_samples=2)
    torch.testing.assert_close(output.posterior_mean, model.encode(batch["input_ids"]))
    assert output.latents.shape == (2, 2, 4) and output.kl.shape == (2,) and output.posterior_logvar.shape == (2, 4)
    assert len(encoder(batch["input_ids"], return_dict=False)) == 4


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_training_never_moves_gamma(make_model, posterior):
    model = make_model(posterior=posterior, gamma=0.6).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    batch = make_batch([6, 6, 6, 6])
    for _ in range(5):
        model(**batch).loss.backward()
        optimizer.step()
    spread = model(**batch).posterior_mean.std(0, correction=0)
    if posterior in ("batch_norm", "matched"):
        torch.testing.assert_close(spread, torch.full((4,), 0.6), rtol=1e-4, atol=0)
    else:
        assert not torch.allclose(spread, torch.full((4,), 0.6), rtol=1e-2)


def test_cached_generation_equals_uncached(make_model):
    model, batch = with_statistics(make_model()), make_batch([7, 7, 7])
    for options in ({}, {"num_beams": 4}, {"num_beams": 3, "num_return_sequences": 3}):
        cached = model.generate(batch["input_ids"], max_new_tokens=9, **options)
        uncached = model.generate(batch["input_ids"], max_new_tokens=9, use_cache=False, **options)
        assert torch.equal(cached, uncached), options


def test_beam_search_finds_what_exhaustive_search_finds(make_model):
    model = make_model(vocab_size=7, posterior="gaussian")
    latents = torch.randn(1, 4)
    words = torch.cartesian_prod(*[torch.arange(7)] * 3)
    inputs = torch.cat([torch.ones(len(words), 1, dtype=torch.long), words[:, :-1]], 1)
    outputs, _ = model.decoder(inputs, latents.expand(len(words), -1))
    losses = token_nll(model.decoder.logits(outputs).flatten(0, 1), words.flatten()).view(-1, 3).sum(1)
    losses[(words == 2).any(1)] = torch.inf  # the end symbol is ruled out below as well
    found = model.generate(latents=latents, max_new_tokens=3, num_beams=200, suppress_tokens=[2])
    assert found[0, 1:].tolist() == words[losses.argmin()].tolist()


def test_generation_obeys_stopping_rules_and_sampling_flags(make_model):
    class StopAtFour(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.full((len(input_ids),), input_ids.size(1) >= 4)

    model, batch = with_statistics(make_model()), make_batch([7, 5])
    stopped = model.generate(
        **{name: batch[name] for name in ("input_ids", "attention_mask")},
        max_new_tokens=9,
        suppress_tokens=[2],
        stopping_criteria=StoppingCriteriaList([StopAtFour()]),
    )
    assert stopped.size(1) == 4
    sampled = model.generate(batch["input_ids"], do_sample=True, num_return_sequences=5, max_new_tokens=6)
    assert len(sampled) == 10 and len(set(map(tuple, sampled.tolist()))) > 2


def test_reconstruction_decodes_the_posterior_mean(make_model):
    model, batch = with_statistics(make_model()), make_batch([7, 5])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    expected = model.generate(**inputs, max_new_tokens=6)
    assert torch.equal(model.reconstruct(**inputs, max_new_tokens=6), expected)
    assert torch.equal(model.decode(model.encode(**inputs), max_new_tokens=6), expected)


def test_sample_draws_from_the_prior(make_model):
    model = make_model()
    first, again, other = (model.sample(5, torch.Generator().manual_seed(seed), max_new_tokens=6) for seed in (1, 1, 2))
    assert torch.equal(first, again) and len(first) == 5
    assert first.shape != other.shape or not torch.equal(first, other)


@pytest.mark.parametrize("mode", ["slerp", "linear"])
def test_interpolation_goes_from_a_to_b(make_model, mode):
    model, batch = with_statistics(make_model()), make_batch([6, 9])
    path = model.interpolate(batch["input_ids"][0, :6], batch["input_ids"][1], steps=4, mode=mode, max_new_tokens=7)
    ends = model.generate(**{name: batch[name] for name in ("input_ids", "attention_mask")}, max_new_tokens=7)
    width = min(path.size(1), ends.size(1))
    assert len(path) == 4
    assert torch.equal(path[0, :width], ends[0, :width]) and torch.equal(path[3, :width], ends[1, :width])


def test_slerp_keeps_the_length_of_latents_of_equal_length():
    a, b = torch.nn.functional.normalize(torch.randn(2, 8), dim=1) * 3
    torch.testing.assert_close(interpolate_latents(a, b, 7).norm(dim=1), torch.full((7,), 3.0))
    torch.testing.assert_close(interpolate_latents(a, 2 * a, 3)[1], 1.5 * a)
    torch.testing.assert_close(interpolate_latents(a, b, 3, "linear")[1], (a + b) / 2)
    with pytest.raises(ValueError, match="at least 2 steps"):
        interpolate_latents(a, b, 1)
    with pytest.raises(ValueError, match="slerp"):
        interpolate_latents(a, b, 3, "cubic")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_infer_and_generate(make_model, tmp_path, dtype):
    model = with_statistics(make_model())
    batch = make_batch([6, 9])
    exact = model.encode(batch["input_ids"])
    model.save_pretrained(tmp_path)
    for halved in (BnVaeForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype), model.to(dtype)):
        norm = halved.model.posterior.mean_norm
        assert norm.running_mean.dtype == norm.running_var.dtype == torch.float32
        assert halved.decoder.output.weight.dtype == dtype
        torch.testing.assert_close(halved.encode(batch["input_ids"]), exact, atol=0.1, rtol=0.1)
        assert halved.generate(batch["input_ids"], max_new_tokens=5, num_beams=2).size(0) == 2


@pytest.mark.skipif(not bf16_pays(), reason="this machine has no products in bf16")
def test_bf16_autocast_keeps_the_loss_close_and_trains(make_model):
    model = make_model(embedding_dropout=0.0, output_dropout=0.0).train()
    batch = make_batch([6, 6, 8, 8])
    torch.manual_seed(1)
    exact = model(**batch)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        cast = model(**batch)
    cast.loss.backward()
    torch.testing.assert_close(cast.loss, exact.loss, rtol=0.02, atol=0)
    assert cast.kl.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gamma", 0.0),
        ("gamma", -1.0),
        ("gamma", float("nan")),
        ("gamma", float("inf")),
        ("latent_size", 0),
        ("hidden_size", -3),
        ("posterior", "laplace"),
        ("decoder", "transformer"),
        ("embedding_dropout", 1.0),
        ("kl_weight", -0.1),
    ],
)
def test_a_bad_config_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        BnVaeConfig(**{field: value})


def test_the_bound_in_the_config():
    assert BnVaeConfig(latent_size=32, gamma=0.7).kl_lower_bound == pytest.approx(7.84)
    assert BnVaeConfig(posterior="gaussian").kl_lower_bound is None


@pytest.mark.parametrize("refinement_steps", [0, 2])
def test_padding_in_front_changes_nothing_either(make_model, refinement_steps):
    model = make_model(posterior="gaussian", refinement_steps=refinement_steps)
    batch = make_batch([6, 9])
    padded = [
        torch.cat([torch.zeros(2, 3, dtype=torch.long), batch[name]], 1) for name in ("input_ids", "attention_mask")
    ]
    alone = [batch["input_ids"], batch["attention_mask"]]
    torch.testing.assert_close(model.encode(*padded), model.encode(*alone))
    latents = torch.randn(2, 4)
    logits, expected = (model(ids, mask, latents=latents).logits for ids, mask in (padded, alone))
    torch.testing.assert_close(logits[:, : expected.size(1)], expected)


def test_a_configuration_without_padding_is_refused():
    with pytest.raises(StrictDataclassError, match="pad_token_id must be a token"):
        BnVaeConfig(pad_token_id=None)
