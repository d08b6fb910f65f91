"""Training: the loss, the KL weight, the choice of the best model, resuming, statistics, and a loss that breaks."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, set_seed

from hf_bnvae import BnVaeForConditionalGeneration
from hf_bnvae.data import VaeCollator, build_tokenizer, token_store
from hf_bnvae.data.streaming import Source
from hf_bnvae.errors import ParameterError
from hf_bnvae.evaluation import elbo_metrics, infer
from hf_bnvae.training import (
    DIALOGUE_RECIPES,
    RECIPES,
    DialogueTrainingArguments,
    NonFiniteLossError,
    PlateauCallback,
    VaeTrainer,
    VaeTrainingArguments,
)
from hf_bnvae.training.schedules import constant, linear
from tests.helpers import StopAt


def train_seeded(trainer, **options):
    set_seed(5)
    return trainer.train(**options)


def test_schedules():
    assert [linear(4, 20)(step) for step in (0, 1, 2, 4, 9)] == [0, 0.25, 0.5, 1, 1]
    assert linear(0, 20)(0) == constant(7, 20)(0) == 1


def test_the_log_holds_the_weighted_loss_and_its_parts(make_trainer):
    trainer = make_trainer(max_steps=12, kl_annealing_steps=8, eval_strategy="no", load_best_model_at_end=False)
    trainer.model.config.kl_weight = 0.5
    train_seeded(trainer)
    logs = [line for line in trainer.state.log_history if "loss" in line]
    assert len(logs) == 12
    for line in logs:
        share = min(1.0, (line["step"] - 1) / 8)
        assert line["kl_weight"] == 0.5 * share
        assert line["loss"] == pytest.approx(line["rec"] + 0.5 * share * line["kl"], rel=1e-5)


def test_evaluation_reports_every_metric_at_weight_one(make_trainer, sentences):
    trainer = make_trainer(num_train_epochs=1, kl_annealing_epochs=2)
    train_seeded(trainer)
    line = next(line for line in trainer.state.log_history if "eval_elbo" in line)
    assert {f"eval_{name}" for name in ("loss", "elbo", "rec", "kl", "mi", "au", "agg_kl")} <= line.keys()
    assert line["eval_kl_weight"] == 0.5
    assert line["eval_elbo"] == pytest.approx(line["eval_rec"] + line["eval_kl"])
    assert line["eval_loss"] == pytest.approx(line["eval_rec"] + 0.5 * line["eval_kl"])
    again = trainer.evaluate()
    direct = elbo_metrics(infer(trainer.model, trainer.get_eval_dataloader(), seed=1))
    assert again["eval_elbo"] == direct["elbo"] and again["eval_mi"] == direct["mi"]


def test_the_best_model_is_chosen_on_the_elbo_and_not_before_the_weight_is_full(make_trainer):
    class Script(TrainerCallback):
        """Makes the ELBO of each evaluation a number of ours: best while the KL weight is still rising."""

        elbos = [1.0, 9.0, 5.0, 7.0]

        def on_evaluate(self, args, state, control, metrics, **kwargs):
            metrics["eval_elbo"] = self.elbos[round(state.epoch) - 1]

    trainer = make_trainer(num_train_epochs=4, kl_annealing_epochs=2, callbacks=[Script()], save_total_limit=4)
    train_seeded(trainer)
    assert trainer.state.best_metric == 5.0
    assert trainer.state.best_global_step == 3 * 8
    best = load_file(Path(trainer.args.output_dir) / "checkpoint-24" / "model.safetensors")
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, best[name]), name


@pytest.mark.parametrize("posterior", ["batch_norm", "tied_scales", "du"])
def test_matrices_decay_and_shifts_scales_and_biases_do_not(make_trainer, make_model, posterior):
    trainer = make_trainer(make_model(posterior=posterior), weight_decay=0.1)
    names = trainer.get_decay_parameter_names(trainer.model)
    matrices = {name for name, parameter in trainer.model.named_parameters() if parameter.dim() > 1}
    assert set(names) == matrices


@pytest.mark.parametrize("stop", [3, 8, 13])
@pytest.mark.parametrize("posterior", ["batch_norm", "gaussian"])
def test_a_resumed_run_ends_with_the_weights_of_one_never_stopped(make_trainer, make_model, tmp_path, stop, posterior):
    def trainer(folder, callbacks=()):
        torch.manual_seed(3)
        return make_trainer(
            make_model(posterior=posterior),
            callbacks,
            output_dir=str(tmp_path / folder),
            num_train_epochs=3,
            save_strategy="steps",
            save_steps=stop,
            eval_strategy="steps",
            eval_steps=stop,
            save_total_limit=None,
            load_best_model_at_end=False,
            optim="adamw_torch",
            lr_scheduler_type="linear",
            learning_rate=1.0,
            kl_annealing_epochs=0,
            plateau_patience=1,
            plateau_max_halvings=99,
        )

    whole = trainer("whole")
    train_seeded(whole)
    train_seeded(trainer("stopped", [StopAt(stop)]))
    resumed = trainer("stopped")
    output = resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / f"checkpoint-{stop}"))
    assert output.training_loss == output.metrics["train_loss"]
    assert resumed.state.global_step == whole.state.global_step == 24
    for name, value in whole.model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    plateaus = [
        next(item for item in run.callback_handler.callbacks if isinstance(item, PlateauCallback)).state()
        for run in (whole, resumed)
    ]
    assert plateaus[0] == plateaus[1] and (stop != 3 or plateaus[0]["attributes"]["halvings"] > 0)
    losses = [
        {line["step"]: line["loss"] for line in run.state.log_history if "loss" in line} for run in (whole, resumed)
    ]
    assert losses[0] == losses[1]


def test_evaluation_leaves_training_untouched(make_trainer, make_model, tmp_path):
    weights = []
    for strategy in ("no", "epoch"):
        torch.manual_seed(3)
        run = make_trainer(
            make_model(),
            output_dir=str(tmp_path / strategy),
            eval_strategy=strategy,
            save_strategy=strategy,
            load_best_model_at_end=False,
        )
        train_seeded(run)
        weights.append({name: parameter.clone() for name, parameter in run.model.named_parameters()})
    for name, parameter in weights[0].items():
        assert torch.equal(parameter, weights[1][name]), name


def exact_statistics(model, sentences):
    batch = VaeCollator(0)(sentences.to_list())
    states = model.model.read(batch["input_ids"], batch["attention_mask"]).last
    raw = model.model.posterior.mean(states)
    return raw.mean(0), raw.var(0, correction=0)


def test_every_saved_model_carries_the_statistics_of_the_corpus(make_trainer, sentences):
    trainer = make_trainer(save_total_limit=None)
    train_seeded(trainer)
    saved = [
        BnVaeForConditionalGeneration.from_pretrained(folder)
        for folder in Path(trainer.args.output_dir).glob("checkpoint-*")
    ]
    assert len(saved) == 2
    for model in [*saved, trainer.model]:
        mean, variance = exact_statistics(model.eval(), sentences)
        norm = model.model.posterior.mean_norm
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-6)


def test_during_training_a_sample_stands_for_the_corpus_and_at_the_end_all_of_it(make_trainer, sentences):
    seen = []

    class Look(TrainerCallback):
        def on_evaluate(self, args, state, control, model=None, **kwargs):
            seen.append(model.model.posterior.mean_norm.running_var.clone())

    trainer = make_trainer(statistics_samples=30, num_train_epochs=1, callbacks=[Look()])
    train_seeded(trainer)
    _, variance = exact_statistics(trainer.model.eval(), sentences)
    assert not torch.allclose(seen[0], variance, rtol=1e-3)
    torch.testing.assert_close(seen[0], variance, rtol=1.0, atol=0)
    torch.testing.assert_close(trainer.model.model.posterior.mean_norm.running_var, variance, rtol=1e-4, atol=0)


def test_a_loaded_model_is_judged_with_its_own_statistics(make_trainer):
    trainer = make_trainer()
    before = trainer.model.model.posterior.mean_norm.running_var.clone()
    trainer.evaluate()
    assert torch.equal(trainer.model.model.posterior.mean_norm.running_var, before)


def test_the_gradient_of_a_step_is_the_mean_over_its_sentences_whatever_its_micro_batches(make_trainer, make_model):
    torch.manual_seed(2)
    model = make_model(posterior="gaussian", embedding_dropout=0.0, output_dropout=0.0)
    start = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer = make_trainer(
        model,
        max_steps=1,
        gradient_accumulation_steps=4,
        equal_length=True,
        kl_annealing_steps=0,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        max_grad_norm=0.0,
    )
    batches = [batch for batch, _ in zip(trainer.get_train_dataloader(), range(4), strict=False)]
    sizes = [len(batch["labels"]) for batch in batches]
    assert len(set(sizes)) > 1
    noise_seed = trainer._noise_seed()
    train_seeded(trainer)
    stepped = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.load_state_dict(start, strict=False)
    model.zero_grad()
    model.train()
    means = dict.fromkeys(("loss", "rec", "kl"), 0.0)
    for batch, size in zip(batches, sizes, strict=True):
        outputs = model(**batch, noise_seed=noise_seed)
        (outputs.loss * size / sum(sizes)).backward()
        for name, part in zip(means, ("loss", "reconstruction_loss", "kl"), strict=True):
            means[name] += float(outputs[part].detach()) * size / sum(sizes)
    for name, parameter in model.named_parameters():
        expected = start[name] if parameter.grad is None else start[name] - 0.05 * parameter.grad
        torch.testing.assert_close(stepped[name], expected, rtol=1e-4, atol=1e-6)
    line = next(line for line in trainer.state.log_history if "loss" in line)
    assert {name: line[name] for name in means} == pytest.approx(means, rel=1e-5)


def test_the_parts_of_the_loss_are_means_over_the_same_steps_as_the_loss(make_trainer):
    """Also where the last step of an epoch has fewer micro-batches, and over a rising KL weight."""
    trainer = make_trainer(num_train_epochs=1, gradient_accumulation_steps=3, kl_annealing_epochs=0, logging_steps=3)
    train_seeded(trainer)
    (line,) = (line for line in trainer.state.log_history if "loss" in line)
    assert trainer.state.global_step == 3 and len(trainer.train_sampler()) == 8
    assert line["loss"] == pytest.approx(line["rec"] + line["kl"], rel=1e-5)
    rising = make_trainer(max_steps=8, kl_annealing_steps=8, logging_steps=4)
    train_seeded(rising)
    weights = [line["kl_weight"] for line in rising.state.log_history if "loss" in line]
    assert weights == [(0 + 1 + 2 + 3) / 4 / 8, (4 + 5 + 6 + 7) / 4 / 8]


def test_a_loss_that_breaks_stops_the_run_and_keeps_the_last_good_checkpoint(make_trainer):
    class Poison(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 10:
                with torch.no_grad():
                    model.decoder.output.weight[0, 0] = math.nan

    trainer = make_trainer(num_train_epochs=3, callbacks=[Poison()], logging_steps=4)
    with pytest.raises(NonFiniteLossError, match=r"since step 11; the last good checkpoint is .*checkpoint-8") as error:
        train_seeded(trainer)
    assert "\n" not in str(error.value)
    kept = list(Path(trainer.args.output_dir).glob("checkpoint-*"))
    assert [folder.name for folder in kept] == ["checkpoint-8"]
    weights = load_file(kept[0] / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())


def test_a_loss_that_breaks_in_the_last_steps_is_not_saved_either(make_trainer):
    class Poison(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 10:
                with torch.no_grad():
                    model.decoder.output.weight[0, 0] = math.nan

    quiet = {"logging_steps": 1000, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    with pytest.raises(NonFiniteLossError, match="since step 11; there is no checkpoint yet"):
        train_seeded(make_trainer(max_steps=12, callbacks=[Poison()], **quiet))


def test_a_training_that_broke_leaves_nothing_to_the_next(make_trainer, make_model):
    class Poison(TrainerCallback):
        poisons = True

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if self.poisons and state.global_step == 3:
                with torch.no_grad():
                    model.decoder.output.weight[0, 0] = math.nan

    poison = Poison()
    trainer = make_trainer(num_train_epochs=1, callbacks=[poison])
    trainer.model_init = lambda trial: make_model()
    with pytest.raises(NonFiniteLossError, match="since step 4"):
        train_seeded(trainer)
    assert not trainer.is_in_train
    stopped = trainer.stopwatch.seconds
    assert trainer.stopwatch.seconds == stopped
    poison.poisons = False
    assert train_seeded(trainer).global_step == 8


def test_a_second_training_begins_as_the_first(make_trainer, sentences):
    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.first = None

        def on_save(self, args, state, control, model=None, **kwargs):
            if self.first is None:
                norm = model.model.posterior.mean_norm
                mean, _ = exact_statistics(model.eval(), sentences)
                self.first = mean, norm.running_mean.clone()

    look = Look()
    trainer = make_trainer(num_train_epochs=1, callbacks=[look], plateau_patience=1, load_best_model_at_end=False)
    for item in ("evaluation", "statistics"):
        trainer.seconds[item] = 1e6
    train_seeded(trainer)
    assert max(trainer.seconds.values()) < 1e6
    plateau = trainer.callback(PlateauCallback)
    plateau.best, plateau.halvings = -math.inf, 3
    trainer.stopwatch.earlier = 1e6
    train_seeded(trainer)
    assert trainer.stopwatch.seconds < 1e6 and plateau.halvings < 3 and math.isfinite(plateau.best)
    torch.testing.assert_close(*look.first, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_half_written(make_trainer, monkeypatch):
    trainer = make_trainer(num_train_epochs=1)

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", full_disk)
    with pytest.raises(OSError, match="No space left"):
        train_seeded(trainer)
    assert list(Path(trainer.args.output_dir).glob("checkpoint-*")) == []


def test_nothing_is_pickled_beside_the_model(make_trainer, tmp_path):
    trainer = make_trainer(num_train_epochs=1)
    train_seeded(trainer)
    trainer.save_model(str(tmp_path / "saved"))
    assert not list((tmp_path / "saved").glob("*.bin"))
    assert (tmp_path / "saved" / "model.safetensors").exists()


def test_bf16_needs_no_other_flag_on_a_machine_without_an_accelerator(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_bnvae.training.arguments.bf16_pays", lambda: True)
    assert VaeTrainingArguments(output_dir=str(tmp_path), bf16=True).use_cpu != torch.accelerator.is_available()


@pytest.mark.parametrize(
    "flag",
    [{"kl_annealing_epochs": -1.0}, {"kl_annealing_steps": -1}, {"plateau_patience": 0}, {"statistics_samples": 1}],
)
def test_bad_arguments_are_named(tmp_path, flag):
    (name,) = flag
    with pytest.raises(ValueError, match=f"`{name}` must be at least"):
        VaeTrainingArguments(output_dir=str(tmp_path), **flag)


def record_sentences(trainer):
    """The sentences that the steps of a training see, in their order."""
    seen, step = [], trainer.training_step

    def recording(model, inputs, *args):
        rows = zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
        seen.extend(ids[there].tolist() for ids, there in rows)
        return step(model, inputs, *args)

    trainer.training_step = recording
    return seen


def test_a_stored_corpus_trains_and_goes_on_like_one_in_memory(make_trainer, make_model, sentences, tmp_path):
    tokenizer = build_tokenizer([" ".join(f"w{number}" for number in range(36))])
    lines = [" ".join(f"w{number - 4}" for number in row[1:-1]) for row in sentences["input_ids"]]
    store = token_store([Source("lines", "lines", tuple(lines))], tokenizer, 20, folder=tmp_path / "cache")

    def trainer(folder, *callbacks):
        torch.manual_seed(3)
        return make_trainer(
            make_model(posterior="batch_norm"),
            callbacks,
            store,
            output_dir=str(tmp_path / folder),
            save_strategy="steps",
            save_steps=9,
            eval_strategy="steps",
            eval_steps=9,
            load_best_model_at_end=False,
        )

    whole, stopped, resumed = trainer("whole"), trainer("stopped", StopAt(9)), trainer("stopped")
    seen = record_sentences(whole)
    train_seeded(whole)
    epochs = seen[:60], seen[60:]
    assert all(sorted(epoch) == sorted(store.select(range(60))["input_ids"][:]) for epoch in epochs)
    assert epochs[0] != epochs[1]
    train_seeded(stopped)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-9"))
    assert whole.state.global_step == resumed.state.global_step == 2 * math.ceil(60 / 8)
    assert whole.state.epoch == 2
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    exact = make_trainer(whole.model, train_dataset=store.select(range(len(store))))
    stored = {name: value.clone() for name, value in whole.model.named_buffers() if "running" in name}
    exact.refresh_statistics(exact=True)
    for name, value in whole.model.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, stored[name])


def test_the_bag_of_words_stands_in_the_log_and_in_the_evaluation(make_trainer, make_model):
    trainer = make_trainer(make_model(bow_weight=2.0), logging_steps=1, max_steps=2, kl_annealing_epochs=0)
    trainer.train()
    row = next(row for row in trainer.state.log_history if "loss" in row)
    assert row["bow_loss"] > 0
    assert row["loss"] == pytest.approx(row["rec"] + row["kl_weight"] * row["kl"] + 2 * row["bow_loss"], rel=1e-3)
    found = trainer.evaluate()
    parts = found["eval_rec"] + found["eval_kl"] * found.get("eval_kl_weight", 1.0) + 2 * found["eval_bow_loss"]
    assert found["eval_elbo"] == pytest.approx(found["eval_rec"] + found["eval_kl"], rel=1e-6)
    assert found["eval_loss"] == pytest.approx(parts, rel=1e-5)


def test_the_total_correlation_stands_in_the_log_and_not_in_the_evaluation(make_trainer, make_model):
    model = make_model(posterior="matched", decorrelation=3.0)
    trainer = make_trainer(model, max_steps=4, kl_annealing_epochs=0, eval_strategy="no", load_best_model_at_end=False)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 4
    for row in rows:
        assert row["total_correlation"] != 0
        assert row["loss"] == pytest.approx(row["rec"] + row["kl"] + 3 * row["total_correlation"], rel=1e-5)
    found = trainer.evaluate()
    assert "eval_total_correlation" not in found
    assert found["eval_loss"] == pytest.approx(found["eval_elbo"], rel=1e-6)


@pytest.mark.parametrize("mode", ["dim", "sum"])
def test_the_loss_of_an_evaluation_has_the_free_bits_of_the_training_loss(make_trainer, make_model, mode, sentences):
    trainer = make_trainer(make_model(posterior="gaussian", free_bits=8.0, free_bits_mode=mode))
    found = trainer.evaluate()
    batch = next(iter(trainer.get_eval_dataloader()))
    assert len(batch["labels"]) == len(trainer.eval_dataset)
    latents = infer(trainer.model, [batch], seed=1).latents
    rec = float(trainer.model(labels=batch["labels"], latents=latents).reconstruction_loss)
    loss = trainer.model.eval()(**batch)
    kl = float(loss.loss - loss.reconstruction_loss)
    assert kl > found["eval_kl"] + 0.5
    assert found["eval_loss"] == pytest.approx(rec + kl, rel=1e-5)


def test_what_a_trainer_would_not_read_is_refused(make_trainer, tmp_path):
    with pytest.raises(ValueError, match="`compute_metrics` has no effect here"):
        make_trainer(compute_metrics=lambda prediction: {})


def test_more_information_is_better_and_a_larger_loss_is_not(tmp_path):
    for metric, better in (("mi", True), ("eval_use", True), ("au", True), ("elbo", False), ("eval_labels_kl", False)):
        args = VaeTrainingArguments(str(tmp_path), metric_for_best_model=metric)
        assert args.greater_is_better is better
    assert replace(args, seed=3).seed == 3


@pytest.mark.parametrize(
    ("metric", "config", "words"),
    [
        ("bow_loss", {}, "bow_loss is not computed here, which takes a model with a `bow_weight`: use elbo, rec"),
        ("use", {"rows": 1}, "use is not computed here, which takes a latent and at least two sentences to evaluate"),
        ("use", {"sets": "ab", "rows": 1}, "use is not computed here"),
        ("c_elbo", {"sets": "ab"}, "c_elbo is not computed here: use elbo, .*, a_elbo, .*, b_elbo"),
        ("a_elbo", {}, "a_elbo is not computed here: use elbo"),
    ],
)
def test_the_best_model_is_chosen_by_what_is_computed(make_model, sentences, tmp_path, metric, config, words):
    rows = sentences.select(range(config.get("rows", 3)))
    data = dict.fromkeys(config["sets"], rows) if "sets" in config else rows

    def trainer(**settings):
        args = VaeTrainingArguments(str(tmp_path), metric_for_best_model=metric, use_cpu=True, **settings)
        return VaeTrainer(make_model(), args, train_dataset=sentences, eval_dataset=data, data_collator=VaeCollator(0))

    with pytest.raises(ValueError, match=f"`metric_for_best_model` {words}"):
        trainer()
    trainer(eval_strategy="no", save_strategy="no", load_best_model_at_end=False)


def test_arguments_are_made_again_of_what_they_say(tmp_path):
    args = VaeTrainingArguments(str(tmp_path), seed=3, use_cpu=True)
    assert VaeTrainingArguments(**args.to_dict()).to_dict() == args.to_dict()


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [(VaeTrainingArguments, RECIPES["fast"]), (DialogueTrainingArguments, DIALOGUE_RECIPES["fast"])],
)
def test_the_defaults_are_those_of_the_recipe_fast_in_fp32(tmp_path, kind, recipe):
    args = kind(str(tmp_path), use_cpu=True)
    names = {item.name for item in fields(kind)} & recipe.keys() | {"bf16"}
    assert {"optim", "learning_rate", "warmup_steps", "weight_decay", "num_train_epochs"} <= names
    assert {name: getattr(args, name) for name in names} == {name: recipe.get(name) for name in names} | {"bf16": False}


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({}, 3.5),
        ({"num_train_epochs": 2}, 1.0),
        ({"num_train_epochs": 2, "kl_schedule": "cyclic"}, 0.5),
        ({"num_train_epochs": 2, "max_steps": 900}, 3.5),
        ({"num_train_epochs": 2, "kl_annealing_epochs": 2}, 2),
    ],
)
def test_annealing_ends_by_half_of_a_training_where_nobody_says_when(tmp_path, settings, epochs):
    assert VaeTrainingArguments(str(tmp_path), **settings).kl_annealing_epochs == epochs


@pytest.mark.parametrize(
    ("settings", "saves"),
    [
        ({}, ("epoch", 500, True)),
        ({"eval_strategy": "no"}, ("epoch", 500, False)),
        ({"eval_strategy": "steps", "eval_steps": 30}, ("steps", 30, True)),
        ({"eval_strategy": "steps"}, ("steps", 100, True)),
        ({"eval_strategy": "steps", "save_strategy": "steps", "save_steps": 200}, ("steps", 200, True)),
        ({"eval_strategy": "steps", "save_strategy": "no"}, ("no", 500, False)),
        ({"save_strategy": "best"}, ("best", 500, True)),
        ({"load_best_model_at_end": False}, ("epoch", 500, False)),
    ],
)
def test_saving_and_the_best_model_follow_the_evaluations(tmp_path, settings, saves):
    args = VaeTrainingArguments(str(tmp_path), **settings)
    assert (args.save_strategy.value, args.save_steps, args.load_best_model_at_end) == saves
    assert replace(args, seed=3).save_steps == args.save_steps


def test_a_best_model_without_its_checkpoint_is_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"^`load_best_model_at_end` takes .* leave it out, or let both be"):
        VaeTrainingArguments(str(tmp_path), eval_strategy="no", load_best_model_at_end=True)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rate", "1e-3", 1e-3),
        ("max_steps", "3", 3),
        ("seed", np.int64(3), 3),
        ("equal_length", "yes", True),
        ("overwrite_output_dir", "false", False),
        ("kl_annealing_epochs", "0.5", 0.5),
        ("output_dir", Path("out"), "out"),
        ("resume_from_checkpoint", True, "true"),
    ],
)
def test_a_text_that_reads_as_a_value_is_that_value(tmp_path, name, text, value):
    found = getattr(VaeTrainingArguments(**{"output_dir": str(tmp_path), name: text}), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("learning_rate", "fast", "a number"),
        ("learning_rate", None, "a number"),
        ("max_steps", 2.5, "a whole number"),
        ("seed", True, "a whole number"),
        ("equal_length", "perhaps", "true or false"),
        ("overwrite_output_dir", 2, "true or false"),
        ("kl_schedule", ["linear"], "text"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_its_field_holds(tmp_path, name, value, kind):
    with pytest.raises(ParameterError) as error:
        VaeTrainingArguments(**{"output_dir": str(tmp_path), name: value})
    assert str(error.value) == f"`{name}` must be {kind}, got {value!r}"
