"""The models under plain `Trainer`, adapters, compilers and callers of `generate` that know nothing of this package."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import GenerationConfig, Trainer, TrainingArguments

from hf_bnvae import BnCvaeForConditionalGeneration, BnVaeForConditionalGeneration, LstmLMForCausalLM
from hf_bnvae.data import VaeCollator
from hf_bnvae.export import export_encoder
from hf_bnvae.models.labels import words_to_predict
from tests.helpers import make_batch
from tests.models.test_transformers_promises import CLASSES, SIZES

STILL = {"embedding_dropout": 0.0, "output_dropout": 0.0}
WHOLE = ["vae", "tied", "dialogue", "language model"]


def make(name, **changes):
    kind, config, options = CLASSES[name]
    torch.manual_seed(0)
    model = kind(config(**SIZES | options | STILL | changes)).eval()
    if hasattr(model, "recompute_statistics"):
        model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    return model


def padded_on_the_left(batch: dict) -> dict:
    """The same sentences with their padding in front."""
    ids, mask = torch.zeros_like(batch["input_ids"]), torch.zeros_like(batch["attention_mask"])
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        ids[row, -length:] = batch["input_ids"][row, :length]
        mask[row, -length:] = 1
    return {"input_ids": ids, "attention_mask": mask}


# Plain Trainer


@pytest.mark.parametrize("name", ["vae", "classifier", "dialogue", "language model"])
def test_accumulated_gradients_are_those_of_the_whole_batch(name, tmp_path):
    batch = make_batch([7] * 8)
    if name == "classifier":
        batch["labels"] = torch.arange(8) % 3
    rows = Dataset.from_dict({key: value.tolist() for key, value in batch.items()})

    def collate(rows):
        together = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}
        return together if name in ("classifier", "language model") else together | {"noise_seed": 3}

    def train(batch_size, accumulated):
        args = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulated,
            max_steps=1,
            optim="sgd",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
        )
        changes = {"posterior": "gaussian"} if name != "language model" else {}
        trainer = Trainer(make(name, **changes), args, train_dataset=rows, data_collator=collate)
        trainer.train()
        return trainer.state.log_history[0]

    whole, parts = train(8, 1), train(2, 4)
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    assert parts["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)


@pytest.mark.parametrize("name", ["vae", "dialogue", "language model"])
def test_plain_trainer_smooths_labels_and_evaluates_with_the_logits_first(name, tmp_path):
    batch = make_batch([7] * 4)
    rows = Dataset.from_dict({key: value.tolist() for key, value in batch.items()})
    if name != "language model":
        rows = rows.map(lambda row: {"decoder_input_ids": [1, *row["labels"][:-1]]})
    args = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        label_smoothing_factor=0.1,
        max_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    seen = {}
    trainer = Trainer(
        make(name),
        args,
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda found: seen.update(shape=found.predictions[0].shape) or {},
    )
    if name == "language model":  # whose labels are not shifted yet
        trainer.train_dataset = trainer.eval_dataset = rows.map(lambda row: {"labels": row["input_ids"]})
    trainer.train()
    trainer.args.label_smoothing_factor, trainer.label_smoother = 0.0, None
    trainer.evaluate()
    assert seen["shape"][0] == 4 and seen["shape"][-1] == 40


# Adapters


class Adapted(nn.Module):
    """A frozen layer with a low-rank addition, as adapters make one."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.weight = layer.weight
        self.down, self.up = nn.Linear(layer.in_features, 2, bias=False), nn.Linear(2, layer.out_features, bias=False)

    def forward(self, values):
        return self.layer(values) + self.up(self.down(values))


def loss_of(model, training, batch):
    model.train(training)
    seed = {} if isinstance(model, LstmLMForCausalLM) else {"noise_seed": 0}
    return model(**batch, **seed).reconstruction_loss


def still(name):
    """A model whose training is its evaluation."""
    return make(name, **{} if name == "language model" else {"posterior": "gaussian"})


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vae", "output"),
        ("tied", "output"),
        ("tied", "bottleneck"),
        ("dialogue", "output"),
        ("language model", "output"),
    ],
)
def test_an_adapter_on_the_output_layer_is_trained_and_counts(name, layer):
    model, batch = still(name), make_batch([6, 9, 4])
    model.requires_grad_(False)
    adapted = Adapted(getattr(model.decoder, layer))
    setattr(model.decoder, layer, adapted)
    loss = loss_of(model, True, batch)
    loss.backward()
    assert adapted.down.weight.grad.abs().sum() > 0 and adapted.up.weight.grad.abs().sum() > 0
    torch.testing.assert_close(loss, loss_of(model, False, batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", WHOLE)
def test_hooks_on_the_output_layer_fire_in_training_and_a_bias_counts(name):
    model, batch = still(name), make_batch([6, 9, 4])
    calls = []
    handle = model.decoder.output.register_forward_hook(lambda *args: calls.append(1))
    before = loss_of(model, True, batch)
    assert calls
    handle.remove()
    biased = nn.Linear(model.decoder.output.in_features, 40)
    with torch.no_grad():
        biased.weight.copy_(model.decoder.output.weight)
        biased.bias.zero_()
        biased.bias[5] = 9.0
    model.decoder.output = biased
    after = loss_of(model, True, batch)
    assert (after - before).abs() > 0.1
    torch.testing.assert_close(after, loss_of(model, False, batch), rtol=1e-5, atol=1e-5)


# Padding on the left


def test_contexts_padded_on_the_left_are_the_same_contexts():
    model = make("dialogue encoder")
    batch = make_batch([6, 9, 4])
    torch.testing.assert_close(
        model.encode(**padded_on_the_left(batch)), model.encode(batch["input_ids"], batch["attention_mask"])
    )


@pytest.mark.parametrize("how", ["compiled", "exported", "in training"])
def test_padding_on_the_left_changes_nothing_where_nobody_may_look_at_it(how):
    model = make("vae")
    batch = make_batch([6, 9, 4])
    left = padded_on_the_left(batch)
    wanted = model.encode(batch["input_ids"], batch["attention_mask"])
    if how == "compiled":
        found = torch.compile(model.model, backend="eager")(**left).posterior_mean
    elif how == "exported":
        found = export_encoder(model, length=9).module()(left["input_ids"], left["attention_mask"])
    else:
        wanted = model.model.train().read(batch["input_ids"], batch["attention_mask"]).last
        found = model.model.read(**left).last
    torch.testing.assert_close(found, wanted)


# Generation


@pytest.mark.parametrize("name", ["vae", "cnn", "language model"])
def test_generation_goes_on_from_a_state_without_reading_its_tokens_again(name):
    model = make(name)
    start = {"latents": torch.randn(2, 4)} if name != "language model" else {}
    prompt = torch.tensor([[1, 5, 6, 7], [1, 9, 8, 7]])
    key = "input_ids" if name == "language model" else "decoder_input_ids"
    options = {"min_new_tokens": 4, "max_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True}
    once = model.generate(**start, **{key: prompt}, **options)
    state = model(**start, **{key: prompt[:, :-1]}, use_cache=True).past_key_values
    resumed = model.generate(**start, **{key: prompt}, past_key_values=state, **options)
    assert torch.equal(once.sequences, resumed.sequences)
    torch.testing.assert_close(torch.stack(once.logits), torch.stack(resumed.logits))
    assert resumed.past_key_values.get_seq_length() == once.past_key_values.get_seq_length() == 7


def test_a_prompt_of_the_decoder_padded_on_the_left_is_the_prompt():
    model = make("vae")
    latents = torch.randn(1, 4)
    options = {"max_new_tokens": 5, "min_new_tokens": 5}
    plain = model.generate(latents=latents, decoder_input_ids=torch.tensor([[1, 5, 6]]), **options)
    padded = model.generate(
        latents=latents,
        decoder_input_ids=torch.tensor([[0, 0, 1, 5, 6]]),
        decoder_attention_mask=torch.tensor([[0, 0, 1, 1, 1]]),
        decoder_start_token_id=0,
        **options,
    )
    assert torch.equal(plain[:, -5:], padded[:, -5:])
    with pytest.raises(ValueError, match="padding on the left"):
        make("cnn")(
            latents=latents,
            decoder_input_ids=torch.tensor([[0, 1, 5]]),
            decoder_attention_mask=torch.tensor([[0, 1, 1]]),
        )


@pytest.mark.parametrize("name", ["vae", "language model"])
def test_in_training_generation_and_logits_work_and_the_loss_alone_needs_none(name):
    model, batch = make(name).train(), make_batch([6, 9, 4])
    assert model(**batch).logits is None
    assert model(**batch, return_logits=True).logits.shape[-1] == 40
    del batch["labels"]
    assert model(**batch).logits.shape[-1] == 40
    model.generate(batch["input_ids"], max_new_tokens=3)


@pytest.mark.parametrize("name", ["vae", "dialogue", "language model"])
def test_the_configuration_can_say_that_no_state_is_given_out(name):
    model, batch = make(name), make_batch([6, 9, 4])
    model.config.use_cache = False
    assert model(**batch).past_key_values is None
    assert torch.equal(
        model.generate(batch["input_ids"], max_new_tokens=4, use_cache=False),
        model.generate(batch["input_ids"], max_new_tokens=4, use_cache=True),
    )
    if name != "dialogue":
        assert model(**batch, use_cache=True).past_key_values is not None


def test_a_model_s_own_latents_are_decoded_and_others_are_explained():
    model, batch = make("vae"), make_batch([6, 9, 4])
    latents = model(**batch, num_samples=2).latents
    several = model.generate(latents=latents, max_new_tokens=4)
    assert torch.equal(several, model.generate(latents=latents.flatten(0, 1), max_new_tokens=4))
    assert torch.equal(several, model.decode(latents, max_new_tokens=4))
    with pytest.raises(ValueError, match=r"got \(4,\); latents\[None\] makes a batch of one"):
        model.generate(latents=latents[0, 0])
    with pytest.raises(ValueError, match=r"latents must be \(batch, 4\) or .* got \(3, 5\)"):
        model.generate(latents=torch.zeros(3, 5))


@pytest.mark.parametrize("name", WHOLE)
def test_what_a_recurrent_model_cannot_do_is_refused_in_one_sentence(name):
    model, batch = make(name), make_batch([6, 9, 4])
    with pytest.raises(ValueError, match="has no attentions"):
        model.generate(batch["input_ids"], output_attentions=True, return_dict_in_generate=True)
    with pytest.raises(ValueError, match="assisted generation is not supported with stateful models"):
        model.generate(batch["input_ids"][:1], assistant_model=make(name), max_new_tokens=3)


def test_a_language_model_without_an_end_symbol_generates():
    model = make("language model", eos_token_id=None)
    assert model.generate(torch.tensor([[1, 5]]), max_new_tokens=3).shape == (1, 5)


def test_labels_that_are_shifted_already_are_read_as_they_are():
    model, batch = make("language model"), make_batch([6, 9, 4])
    shifted = nn.functional.pad(batch["labels"], (0, 1), value=-100)
    torch.testing.assert_close(
        model(batch["input_ids"], shift_labels=shifted).loss, model(batch["input_ids"], labels=batch["labels"]).loss
    )


@pytest.mark.parametrize("name", ["vae", "tied"])
def test_the_whole_forward_is_exported(name):
    model, batch = still(name), make_batch([6, 6])
    program = torch.export.export(model, (), batch | {"use_cache": False})
    torch.testing.assert_close(program.module()(**batch, use_cache=False).loss, model(**batch, use_cache=False).loss)


# Labels


def in_usual_form(batch: dict) -> dict:
    """The same batch with labels that repeat what they are of, start symbol and all."""
    labels = nn.functional.pad(batch["labels"], (1, 0), value=1)
    return batch | {"labels": labels}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", WHOLE)
def test_labels_with_the_start_symbol_give_the_loss_of_those_without(name, training):
    model, batch = still(name).train(training), make_batch([6, 9, 4])
    wanted = model(**batch, noise_seed=1)
    usual = in_usual_form(batch)
    assert torch.equal(usual["labels"] == -100, batch["attention_mask"] == 0)
    given = [usual]
    if name != "language model":
        inputs = model.prepare_decoder_input_ids_from_labels(usual["labels"])
        assert torch.equal(inputs[:, :-1], model.prepare_decoder_input_ids_from_labels(batch["labels"]))
        given.append(usual | {"decoder_input_ids": inputs})
    for other in given:
        found = model(**other, noise_seed=1)
        torch.testing.assert_close(found.loss, wanted.loss)
        assert found.kl is None or torch.equal(found.kl, wanted.kl)


@pytest.mark.parametrize("name", ["vae", "tied", "dialogue"])
def test_labels_padded_on_the_left_give_the_loss_of_those_padded_on_the_right(name):
    model, batch = still(name), make_batch([6, 9, 4])
    wanted = model(**batch).loss
    for right in (batch, in_usual_form(batch)):
        labels = torch.full_like(right["labels"], -100)
        for row, length in enumerate((right["labels"] != -100).sum(1).tolist()):
            labels[row, -length:] = right["labels"][row, :length]
        torch.testing.assert_close(model(**batch | {"labels": labels}).loss, wanted)
        inputs = model.prepare_decoder_input_ids_from_labels(labels)
        torch.testing.assert_close(model(**batch | {"labels": labels}, decoder_input_ids=inputs).loss, wanted)
        latents = torch.zeros(3, getattr(model.config, "condition_size", model.config.latent_size))
        losses = model.sentence_losses(labels, latents)
        torch.testing.assert_close(losses, model.sentence_losses(batch["labels"], latents))


def test_a_language_model_predicts_no_start_behind_padding():
    model, batch = still("language model"), make_batch([6, 9, 4])
    left = padded_on_the_left(batch)
    labels = left["input_ids"].masked_fill(left["attention_mask"] == 0, -100)
    torch.testing.assert_close(model(**left, labels=labels).loss, model(**batch).loss)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["vae", "language model"])
def test_a_collator_takes_labels_that_repeat_the_input(name, training):
    model = still(name).train(training)
    rows = [{"input_ids": [1, 5, 6, 2]}, {"input_ids": [1, 7, 2]}]
    repeated = [row | {"labels": row["input_ids"]} for row in rows]
    wanted, found = (model(**VaeCollator(0)(some), noise_seed=1).loss for some in (rows, repeated))
    torch.testing.assert_close(found, wanted)


def test_decoder_inputs_of_the_caller_keep_their_labels_where_they_are():
    model, batch = still("vae"), make_batch([6, 9, 4])
    inputs = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    rest = batch["labels"].clone()
    rest[:, :2] = -100
    output = model(**batch | {"labels": rest}, decoder_input_ids=inputs)
    words = rest != -100
    losses = nn.functional.cross_entropy(output.logits[words], rest[words], reduction="sum")
    torch.testing.assert_close(output.reconstruction_loss, losses / 3)


@pytest.mark.parametrize("end", [1, 2])
def test_only_a_start_symbol_is_dropped(end):
    config = SimpleNamespace(decoder_start_token_id=1)
    for rows in ([[5, end], [end, -100]], [[end, -100], [end, -100]], [[end], [end]], [[1, 5], [6, end]]):
        labels = torch.tensor(rows)
        assert torch.equal(words_to_predict(labels, config), labels)
    some = torch.tensor([[1, 5, end], [1, end, -100], [-100, -100, -100]])
    wanted = torch.tensor([[5, end, -100], [end, -100, -100], [-100, -100, -100]])
    assert torch.equal(words_to_predict(some, config), wanted)


# generate


class Letters:
    """Writes a letter for every token."""

    def batch_decode(self, rows, skip_special_tokens=True):
        return [" ".join(chr(97 + number % 26) for number in row) for row in rows.tolist()]


@pytest.mark.parametrize("name", WHOLE)
def test_a_max_length_counts_and_the_saved_number_of_new_tokens_does_not(name):
    model, batch = make(name), make_batch([6, 9, 4])
    model.generation_config.eos_token_id = None
    prompt = 9 if name == "language model" else 1
    for options in ({"max_length": prompt + 3}, {"generation_config": GenerationConfig(max_length=prompt + 3)}):
        assert model.generate(batch["input_ids"], **options).shape == (3, prompt + 3)
    assert model.generate(batch["input_ids"], max_new_tokens=2).shape == (3, prompt + 2)


@pytest.mark.parametrize("name", ["vae", "dialogue", "language model"])
def test_stop_strings_end_texts_of_any_tokenizer(name):
    model, ids = make(name), make_batch([6, 9, 4])["input_ids"][:1, :3]
    model.generation_config.eos_token_id = None
    prompt = ids.size(1) if name == "language model" else 1
    free = model.generate(ids, max_new_tokens=6)
    letter = Letters().batch_decode(free[:, prompt:])[0].split()[0]
    stopped = model.generate(ids, max_new_tokens=6, stop_strings=letter, tokenizer=Letters())
    assert torch.equal(stopped, free[:, : prompt + 1])
    with pytest.raises(ValueError, match="stop_strings need the tokenizer"):
        model.generate(ids, stop_strings=letter)


def test_generation_says_what_it_lacks():
    model, ids = make("vae"), make_batch([6, 9, 4])["input_ids"]
    with pytest.raises(ValueError, match=r"^generate needs input_ids or latents: sample\(n\) decodes draws"):
        model.generate(max_new_tokens=3)
    for given in ({"inputs": ids}, {"decoder_input_ids": ids[:, :1]}):
        with pytest.raises(ValueError, match=r"^latents have 2 rows and the tokens that the decoder reads 3: "):
            model.generate(**given, latents=torch.zeros(2, 4), max_new_tokens=3)


def test_latents_may_be_arrays_and_lists_and_are_finite():
    model, latents = make("vae"), torch.randn(2, 4)
    wanted = model.decode(latents, max_new_tokens=3)
    for same in (latents.numpy(), latents.tolist(), list(latents), list(latents.numpy()), latents.double()):
        assert torch.equal(model.decode(same, max_new_tokens=3), wanted)
    latents[1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"^latents must be finite numbers, got others in row 1, counted from 0$"):
        model.decode(latents)
    with pytest.raises(ValueError, match=r"^latents must be \(batch, 4\) or .* numbers, got a list of str$"):
        model.decode(["a"])


# Dialogue


def test_a_dialogue_model_reads_decoder_inputs_of_the_caller():
    model, batch = make("dialogue"), make_batch([6, 9, 4])
    inputs = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    given, by_default = model(**batch, decoder_input_ids=inputs), model(**batch)
    torch.testing.assert_close(given.loss, by_default.loss)
    torch.testing.assert_close(given.logits, by_default.logits)
    del batch["labels"]
    alone = model(**batch, decoder_input_ids=inputs)
    assert alone.loss is None and alone.kl is None and alone.logits.shape == given.logits.shape


@pytest.mark.parametrize("name", ["vae", "dialogue", "language model"])
def test_a_row_with_nothing_to_predict_costs_nothing(name):
    model, batch = still(name), make_batch([6, 9, 4])
    alone = {key: value[:2] for key, value in batch.items()}
    batch["labels"][2] = -100
    for training in (False, True):
        all_three, first_two = loss_of(model, training, batch), loss_of(model, training, alone)
        torch.testing.assert_close(3 * all_three, 2 * first_two, rtol=1e-5, atol=1e-4)


def test_labels_left_out_in_the_middle_leave_the_others_where_they_are():
    model, batch = still("dialogue"), make_batch([6, 9, 4])
    latents = torch.zeros(3, model.config.condition_size)
    whole = model.sentence_losses(batch["labels"], latents)
    first, rest = batch["labels"].clone(), batch["labels"].clone()
    first[:, 1:], rest[:, :1] = -100, -100
    inputs = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    outputs, _ = model.decoder_states(inputs, latents)
    for labels in (first, rest):
        words = labels != -100
        wanted = torch.zeros(labels.shape).masked_scatter(
            words, model.decoder.token_losses(outputs[words], labels[words])
        )
        assert wanted.sum() < whole.sum()


def test_a_dialogue_encoder_gives_its_states():
    model, batch = make("dialogue encoder"), make_batch([6, 9, 4])
    turns, context = model(**batch, output_hidden_states=True).hidden_states
    assert turns.shape == (3, 1, 10)
    torch.testing.assert_close(context, model(**batch).context)


# Quantised


@pytest.mark.parametrize("name", ["vae", "tied", "classifier", "dialogue", "language model"])
def test_quantised_models_work(name):
    model, batch = make(name), make_batch([6, 9, 4])
    if name == "classifier":
        batch["labels"] = torch.arange(3) % 3
    exact = model(**batch)
    for kinds in ({nn.Linear}, {nn.Linear, nn.LSTM, nn.GRU}):
        quantised = torch.ao.quantization.quantize_dynamic(model, kinds)
        found = quantised(**batch)
        torch.testing.assert_close(found.loss, exact.loss, rtol=0.1, atol=0.1)
    if name != "classifier":
        assert quantised.generate(batch["input_ids"], max_new_tokens=3).shape[0] == 3


def test_every_class_with_a_loss_says_that_it_does_not_divide_by_the_words_of_all_batches():
    for kind in (BnVaeForConditionalGeneration, BnCvaeForConditionalGeneration, LstmLMForCausalLM):
        assert kind.accepts_loss_kwargs is False
