"""What every Transformers model promises, kept by every class of ours."""

import inspect

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList, pipeline
from transformers.initialization import no_init_weights

from hf_bnvae import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnCvaeModel,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    BnVaeForSequenceClassification,
    BnVaeModel,
    LstmLMConfig,
    LstmLMForCausalLM,
)
from hf_bnvae.data import build_tokenizer
from tests.helpers import make_batch

SIZES = {
    "vocab_size": 40,
    "embedding_size": 8,
    "hidden_size": 12,
    "initializer_range": 0.5,
    "embedding_initializer_range": 0.5,
}
CONDITIONAL = {"utterance_hidden_size": 5, "context_hidden_size": 6, "prior_hidden_size": 4, "bow_hidden_size": 4}
CLASSES = {
    "encoder": (BnVaeModel, BnVaeConfig, {"latent_size": 4}),
    "vae": (BnVaeForConditionalGeneration, BnVaeConfig, {"latent_size": 4}),
    "matched": (BnVaeForConditionalGeneration, BnVaeConfig, {"latent_size": 4, "posterior": "matched", "rate": 4}),
    "tied": (BnVaeForConditionalGeneration, BnVaeConfig, {"latent_size": 4, "tie_word_embeddings": True}),
    "cnn": (BnVaeForConditionalGeneration, BnVaeConfig, {"latent_size": 4, "decoder": "cnn", "posterior": "vmf"}),
    "classifier": (BnVaeForSequenceClassification, BnVaeConfig, {"latent_size": 4, "num_labels": 3}),
    "dialogue encoder": (BnCvaeModel, BnCvaeConfig, CONDITIONAL | {"latent_size": 4}),
    "dialogue": (BnCvaeForConditionalGeneration, BnCvaeConfig, CONDITIONAL | {"latent_size": 4, "bow_weight": 1.0}),
    "language model": (LstmLMForCausalLM, LstmLMConfig, {}),
}
GENERATING = ["vae", "tied", "cnn", "dialogue", "language model"]
EMBEDDING = ["encoder", "vae", "tied", "classifier", "language model"]
every_class = pytest.mark.parametrize("name", CLASSES)


def make(name, **changes):
    kind, config, options = CLASSES[name]
    model = kind(config(**SIZES | options | changes)).eval()
    if hasattr(model, "recompute_statistics"):
        model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    elif name == "classifier":
        model.model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    return model


def inputs(name, lengths=(6, 9, 4)) -> dict:
    batch = make_batch(list(lengths))
    if name == "classifier":
        batch["labels"] = torch.arange(len(lengths)) % 3
    return {key: value for key, value in batch.items() if "encoder" not in name or key != "labels"}


def prompt(name) -> dict:
    return {key: value for key, value in make_batch([7, 7]).items() if key != "labels"}


def tensors(output) -> dict[str, torch.Tensor]:
    return {key: value for key, value in output.items() if isinstance(value, torch.Tensor)}


def assert_same(found, expected):
    assert found.keys() == expected.keys() and expected
    for key in expected:
        assert torch.equal(found[key], expected[key]), key


@every_class
def test_an_evaluation_repeats_and_training_does_not(name):
    model, batch = make(name), inputs(name)
    assert_same(tensors(model(**batch)), tensors(model(**batch)))
    if name not in ("encoder", "classifier", "dialogue encoder"):
        model.train()
        assert not torch.equal(model(**batch).loss, model(**batch).loss)


@every_class
def test_an_evaluation_does_not_depend_on_the_rest_of_the_batch(name):
    model, batch = make(name), inputs(name)
    whole = tensors(model(**batch))
    for rows in ([2, 0], [1], [0, 1, 1, 2]):
        part = tensors(model(**{key: value[rows] for key, value in batch.items()}))
        for key in set(whole) & {"logits", "latents", "posterior_mean"}:
            torch.testing.assert_close(part[key], whole[key][rows], rtol=1e-5, atol=1e-6)


@every_class
def test_shards_and_device_maps_load_the_same_model(name, tmp_path):
    model, batch = make(name), inputs(name)
    expected = tensors(model(**batch))
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for options in ({}, {"device_map": "cpu"}, {"device_map": "auto"}, {"low_cpu_mem_usage": True}):
        assert_same(tensors(type(model).from_pretrained(tmp_path, **options)(**batch)), expected)


@every_class
@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_a_dtype_is_that_of_the_weights_but_not_of_statistics(name, dtype, tmp_path):
    make(name).save_pretrained(tmp_path)
    model = CLASSES[name][0].from_pretrained(tmp_path, dtype=dtype)
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    assert all(parameter.dtype == wanted for parameter in model.parameters())
    for key, buffer in model.named_buffers():
        assert buffer.dtype == (torch.float32 if "running" in key else torch.int64)
    exact = tensors(CLASSES[name][0].from_pretrained(tmp_path)(**inputs(name)))
    found = tensors(model(**inputs(name)))
    for key in set(exact) & {"loss", "posterior_mean"}:
        torch.testing.assert_close(found[key].float(), exact[key], rtol=0.15, atol=0.15)


@every_class
def test_a_model_made_on_the_meta_device_loads_with_its_gamma_and_statistics(name, tmp_path):
    without_gamma = name in ("cnn", "matched", "language model")
    model = make(name, **({} if without_gamma else {"gamma": 0.45}))
    model.save_pretrained(tmp_path)
    with no_init_weights(), torch.device("meta"):
        empty = type(model)(model.config)
    assert all(parameter.is_meta for parameter in empty.parameters())
    loaded = type(model).from_pretrained(tmp_path)
    assert not any(value.is_meta for value in loaded.state_dict().values())
    assert_same(dict(loaded.state_dict()), dict(model.state_dict()))
    gammas = [module.gamma for module in loaded.modules() if hasattr(module, "gamma")]
    assert gammas == [module.gamma for module in model.modules() if hasattr(module, "gamma")]
    assert without_gamma or gammas == [0.45]


@every_class
def test_resized_vocabularies_keep_the_old_words_and_accept_new_ones(name, tmp_path):
    model, batch = make(name), inputs(name)
    expected = tensors(model(**batch))
    model.resize_token_embeddings(44)
    assert model.config.vocab_size == 44
    for module in model.modules():
        for size in ("num_embeddings", "out_features"):
            assert getattr(module, size, None) != 40
    found = tensors(model(**batch))
    for key in set(expected) & {"posterior_mean", "latents", "prior_mean"}:
        assert torch.equal(found[key], expected[key])
    batch["input_ids"][0, 1] = 43
    model(**batch)
    model.save_pretrained(tmp_path)
    assert_same(tensors(type(model).from_pretrained(tmp_path)(**batch)), tensors(model(**batch)))
    model.resize_token_embeddings(40)
    if "logits" in expected:
        torch.testing.assert_close(model(**inputs(name)).logits, expected["logits"])


def test_tied_weights_stay_tied():
    model = make("tied")
    for change in (lambda: None, lambda: model.resize_token_embeddings(50), lambda: model.to(torch.float64)):
        change()
        assert model.decoder.output.weight is model.decoder.embedding.weight


@every_class
def test_gradient_checkpointing_is_refused(name):
    with pytest.raises(ValueError, match="does not support"):
        make(name).gradient_checkpointing_enable()


@every_class
def test_a_tuple_is_the_output_without_its_names(name):
    model, batch = make(name), inputs(name)
    found, expected = model(**batch, return_dict=False), model(**batch).to_tuple()
    assert isinstance(found, tuple) and len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        if isinstance(right, torch.Tensor):
            assert torch.equal(left, right)


@every_class
def test_forward_begins_with_what_users_pass_by_place(name):
    parameters = list(inspect.signature(CLASSES[name][0].forward).parameters)
    assert parameters[1:3] == ["input_ids", "attention_mask"]
    assert "return_dict" in parameters and ("labels" in parameters or name == "encoder")


@pytest.mark.parametrize("name", ["encoder", "vae", "cnn", "classifier", "dialogue", "language model"])
def test_hidden_states_are_given_when_asked_for(name):
    model, batch = make(name), inputs(name)
    with_states, without = model(**batch, output_hidden_states=True), model(**batch)
    fields = [field for field in with_states if "hidden_states" in field]
    assert fields and not any("hidden_states" in field for field in without)
    for field in fields:
        vectors, states = with_states[field]
        if name == "dialogue" and field == "encoder_hidden_states":  # of turns and contexts, not of words
            assert vectors.shape[-1] == 2 * 5 and states.shape == (len(vectors), 6)
            continue
        assert vectors.shape[-1] == 8 and states.shape[-1] == 12 and vectors.shape[:2] == states.shape[:2]
    if "logits" in with_states and "decoder_hidden_states" in with_states:
        states = with_states.decoder_hidden_states[-1]
        torch.testing.assert_close(model.decoder.logits(states), with_states.logits)


@pytest.mark.parametrize("name", EMBEDDING)
def test_word_vectors_may_stand_in_the_place_of_words(name):
    model, batch = make(name), inputs(name)
    if name == "language model":
        by_words = model(**batch)
    else:
        batch["attention_mask"][1, 5:] = 0
        by_words = model(**batch)
    vectors = model.get_input_embeddings()(batch.pop("input_ids"))
    by_vectors = model(inputs_embeds=vectors, **batch)
    key = "posterior_mean" if "posterior_mean" in by_words else "logits"
    assert torch.equal(by_vectors[key], by_words[key])
    with pytest.raises(ValueError, match="inputs_embeds"):
        model(input_ids=inputs(name)["input_ids"], inputs_embeds=vectors)
    if name in GENERATING and name != "language model":
        mask = batch["attention_mask"]
        found = model.generate(inputs_embeds=vectors, attention_mask=mask, max_new_tokens=4)
        assert torch.equal(found, model.generate(inputs(name)["input_ids"], attention_mask=mask, max_new_tokens=4))


@pytest.mark.parametrize("name", GENERATING)
def test_generation_with_its_cache_is_generation_without(name):
    model = make(name)
    for options in ({}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.5}):
        found = [
            model.generate(**prompt(name), max_new_tokens=7, use_cache=cache, **options) for cache in (True, False)
        ]
        assert torch.equal(*found), options


@pytest.mark.parametrize("name", GENERATING)
def test_generation_obeys_its_options(name):
    class Only(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.full_like(scores, -torch.inf).index_fill_(1, torch.tensor([9]), 0.0)

    model, start = make(name), 7 if name == "language model" else 1
    found = model.generate(**prompt(name), max_new_tokens=5, logits_processor=LogitsProcessorList([Only()]))
    assert found.shape == (2, start + 5) and (found[:, start:] == 9).all()
    torch.manual_seed(3)
    options = {"do_sample": True, "num_return_sequences": 3, "max_new_tokens": 6, "suppress_tokens": [2]}
    sampled = model.generate(**prompt(name), **options)
    assert sampled.shape == (6, start + 6) and len({tuple(row) for row in sampled.tolist()}) > 2
    assert not (sampled[:, start:] == 2).any()
    told = model.generate(
        **prompt(name),
        max_new_tokens=4,
        return_dict_in_generate=True,
        output_scores=True,
        output_hidden_states=True,
    )
    states = told.hidden_states if name == "language model" else told.decoder_hidden_states
    assert len(told.scores) == len(states) and told.scores[0].shape == (2, 40)


def test_labels_of_minus_100_do_not_count_and_language_model_labels_are_shifted():
    model, batch = make("language model"), inputs("language model")
    shifted = model(batch["input_ids"], labels=batch["labels"]).loss
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    assert torch.equal(model(batch["input_ids"], labels=labels).loss, shifted)
    vae, batch = make("vae"), inputs("vae")
    wide = torch.cat([batch["labels"], torch.full((3, 4), -100)], 1)
    torch.testing.assert_close(vae(**batch | {"labels": wide}).loss, vae(**batch).loss)


def test_a_classifier_learns_and_knows_every_kind_of_label():
    model, batch = make("classifier"), inputs("classifier")
    expected = torch.nn.functional.cross_entropy(model(**batch).logits, batch["labels"])
    torch.testing.assert_close(model(**batch).loss, expected)
    model.train()(**batch).loss.backward()
    assert all(parameter.grad is not None for parameter in model.classifier.parameters())
    several = make("classifier", problem_type="multi_label_classification")
    assert several(**batch | {"labels": torch.ones(3, 3)}).loss > 0
    rows = make_batch([5, 6, 7, 8, 9])
    assert torch.equal(model(rows["input_ids"]).logits, model.eval()(rows["input_ids"]).logits)
    model.train()(rows["input_ids"][:1], labels=torch.tensor([1])).loss.backward()  # of one sentence
    number = make("classifier", num_labels=1)
    logits = number(batch["input_ids"]).logits
    assert logits.shape == (3, 1)
    wanted = torch.tensor([0.5, 1.0, -1.0])
    loss = number(batch["input_ids"], labels=wanted).loss
    torch.testing.assert_close(loss, ((logits.squeeze(1) - wanted) ** 2).mean())


def test_transformers_own_pipelines_take_them():
    tokenizer = build_tokenizer(["a b c", "c d"], "word", 40, 1)
    features = pipeline("feature-extraction", model=make("encoder"), tokenizer=tokenizer)
    vectors = features(["a b", "c"])
    batch = tokenizer(["a b", "c"], padding=True, return_tensors="pt")
    expected = features.model.encode(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(torch.tensor(vectors).squeeze(1), expected, rtol=1e-5, atol=1e-6)
    classify = pipeline("text-classification", model=make("classifier"), tokenizer=tokenizer)
    best = classify.model(**batch).logits.argmax(1).tolist()
    assert [row["label"] for row in classify(["a b", "c"])] == [f"LABEL_{label}" for label in best]
    model = make("language model", vocab_size=len(tokenizer))
    write = pipeline("text-generation", model=model, tokenizer=tokenizer)
    options = {"max_new_tokens": 6, "suppress_tokens": [0, 1, 2, 3], "do_sample": False}
    singles = []
    for prompt_text in ("a b c d", "c"):
        ids = torch.tensor([tokenizer(prompt_text)["input_ids"][:-1]])  # the end symbol is not a part of the prompt
        singles.append(tokenizer.decode(greedy(model, ids, 6)))
    for size in (1, 2):
        found = write(["a b c d", "c"], batch_size=size, return_full_text=False, **options)
        assert [row[0]["generated_text"].strip() for row in found] == singles


def greedy(model, ids: torch.Tensor, steps: int) -> list[int]:
    """The likeliest words after a prompt, specials left out, each by a pass over everything before it."""
    start = ids.size(1)
    for _ in range(steps):
        scores = model(ids).logits[:, -1].index_fill(1, torch.arange(4), -torch.inf)
        ids = torch.cat([ids, scores.argmax(1, keepdim=True)], 1)
    return ids[0, start:].tolist()


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_on_either_side_of_a_prompt_changes_nothing(side):
    model = make("language model")
    prompts = [[1, 7, 8, 9], [1, 5]]
    singles = [greedy(model, torch.tensor([ids]), 5) for ids in prompts]
    before, after = {"left": (2, 0), "right": (0, 2), "both": (1, 1)}[side]
    short = [0] * before + prompts[1] + [0] * after
    ids = torch.tensor([prompts[0], short])
    mask = (ids != 0).long()
    for options in ({}, {"use_cache": False}):
        found = model.generate(ids, attention_mask=mask, max_new_tokens=5, suppress_tokens=[0, 1, 2, 3], **options)
        assert found[:, 4:].tolist() == singles
    logits = model(ids, mask).logits
    torch.testing.assert_close(logits[1, before : before + 2], model(torch.tensor([prompts[1]])).logits[0])


@pytest.mark.parametrize("name", ["encoder", "vae", "classifier"])
def test_sentences_padded_on_the_left_are_the_same_sentences(name):
    model, batch = make(name), inputs(name)
    batch.pop("labels", None)
    turned = {key: torch.zeros_like(value) for key, value in batch.items()}
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        for key in batch:
            turned[key][row, batch[key].size(1) - length :] = batch[key][row, :length]
    if name == "classifier":
        torch.testing.assert_close(model(**turned).logits, model(**batch).logits)
    else:
        torch.testing.assert_close(model.encode(**turned), model.encode(**batch))
    if name == "encoder":
        torch.testing.assert_close(model(**turned).latents, model(**batch).latents)


@every_class
def test_the_configuration_says_what_a_call_does_not(name):
    model, batch = make(name), inputs(name)
    model.config.return_dict = False
    assert isinstance(model(**batch), tuple) and not isinstance(model(**batch, return_dict=True), tuple)
    if name != "dialogue encoder":
        model.config.return_dict, model.config.output_hidden_states = True, True
        assert any("hidden_states" in field for field in model(**batch))


def test_outputs_of_the_encoder_are_decoded_in_beams():
    model = make("vae")
    outputs = model.get_encoder()(**prompt("vae"))
    for options in ({}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}):
        found = model.generate(encoder_outputs=type(outputs)(**outputs), max_new_tokens=5, **options)
        assert torch.equal(found, model.generate(**prompt("vae"), max_new_tokens=5, **options))
