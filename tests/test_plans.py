"""From the name of a method to its values: one rule of precedence, the same in Python and on the command line."""

from dataclasses import fields
from itertools import product

import pytest

from hf_bnvae import BnCvaeConfig, BnVaeConfig, LstmLMConfig
from hf_bnvae.cli.flags import parse_arguments
from hf_bnvae.methods import DIALOGUE_METHODS, METHODS
from hf_bnvae.plans import DIALOGUES, SENTENCES, build_model, resolve
from hf_bnvae.runs.arguments import arguments_from_values
from hf_bnvae.runs.dialogue_model_arguments import DialogueModelArguments
from hf_bnvae.runs.model_arguments import ModelArguments
from hf_bnvae.training import VaeTrainingArguments
from hf_bnvae.training.arguments import LEFT_OUT

FAMILIES = {"sentences": (SENTENCES, ModelArguments), "dialogues": (DIALOGUES, DialogueModelArguments)}
PLANS = [
    (name, method, recipe, size)
    for name, (family, _) in FAMILIES.items()
    for method, recipe, size in product(family.methods, family.recipes, (None, *family.sizes))
]
SMALL = {"vocab_size": 20, "embedding_size": 4, "hidden_size": 6}


def written_out(family, method, recipe, size) -> dict:
    """The rule in three lines: a later one wins."""
    row = family.methods[method]
    values = dict(family.sizes.get(size, family.sizes_without_name)) | LEFT_OUT | family.recipes[recipe]
    values |= {"kl_schedule": row.kl_schedule, "strategy": row.strategy} | dict(row.settings)
    if row.kl_schedule == "cyclic":  # twice at least
        values["kl_annealing_epochs"] = min(values["kl_annealing_epochs"], values["num_train_epochs"] / 4)
    return values | {"posterior": row.posterior, "decoder": row.decoder}


@pytest.mark.parametrize(("kind", "method", "recipe", "size"), PLANS)
def test_the_method_wins_over_the_recipe_and_the_recipe_over_the_size(kind, method, recipe, size):
    family = FAMILIES[kind][0]
    plan = resolve(method, recipe, size)
    expected = written_out(family, method, recipe, size)
    config_fields = {item.name for item in fields(plan.config_class)}
    assert plan.config == {name: value for name, value in expected.items() if name in config_fields}
    training_fields = {item.name for item in fields(plan.arguments_class)}
    assert plan.training == {name: value for name, value in expected.items() if name in training_fields}
    assert expected.keys() - config_fields - training_fields <= {item.name for item in fields(BnVaeConfig)}


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_command_trains_what_the_plan_says(kind, tmp_path):
    family, arguments_class = FAMILIES[kind]
    for method, recipe, size in product(family.methods, family.recipes, (None, list(family.sizes)[-1])):
        argv = ["--method", method, "--recipe", recipe, "--output_dir", str(tmp_path)]
        argv += ["--size", size] if size else []
        plan = resolve(method, recipe, size)
        model, training = parse_arguments(arguments_class, family.arguments_class, description="", argv=argv)
        chosen = {name: getattr(model, name) for name in plan.config if hasattr(model, name)}
        assert chosen == {name: value for name, value in plan.config.items() if name in chosen}
        assert {name: getattr(training, name) for name in plan.training} == plan.training


@pytest.mark.parametrize(
    ("values", "recipe"),
    [
        ({}, "fast"),
        ({"encoder_name_or_path": "a"}, "fast"),
        ({"decoder_name_or_path": "b"}, "pretrained"),
        ({"decoder_name_or_path": "b", "recipe": "fast"}, "fast"),
        ({"decoder_name_or_path": "b", "method": "lm", "learning_rate": 7e-4}, "pretrained"),
    ],
)
def test_under_a_pretrained_decoder_the_recipe_is_that_of_pretrained_parts(values, recipe, tmp_path):
    kinds = (ModelArguments, VaeTrainingArguments)
    values = {**values, "output_dir": str(tmp_path)}
    argv = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    plan = resolve(values.get("method", "bn_vae"), recipe)
    for model, training in (
        parse_arguments(*kinds, description="", argv=argv),
        arguments_from_values(*kinds, values=values),
    ):
        assert model.recipe == recipe
        assert training.num_train_epochs == plan.training["num_train_epochs"]
        assert training.learning_rate == values.get("learning_rate", plan.training["learning_rate"])
        assert training.pretrained_learning_rate == 3e-4 < plan.training["learning_rate"]


def test_overrides_win_over_the_method_and_what_they_contradict_goes():
    assert resolve("beta_vae").config["kl_weight"] == 0.4
    assert resolve("beta_vae", kl_weight=0.7).config["kl_weight"] == 0.7
    assert resolve("cvae", "paper").training["kl_annealing_steps"] == 10_000
    assert "kl_annealing_steps" not in resolve("cvae", "paper", kl_annealing_epochs=2.0).training
    assert resolve("cvae", "paper", kl_annealing_epochs=2.0, kl_annealing_steps=5).training["kl_annealing_steps"] == 5
    assert "bf16" in resolve("vae").training and "bf16" not in resolve("vae", fp16=True).training
    assert (
        resolve("matched_vae").config["decorrelation"] == build_model("matched_vae", **SMALL).config.decorrelation > 0
    )
    assert "decorrelation" not in resolve("matched_vae", posterior="vmf").config
    assert build_model("matched_vae", posterior="gaussian", **SMALL).config.decorrelation == 0
    assert resolve("matched_vae", posterior="gaussian", decorrelation=3.0).config["decorrelation"] == 3.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "magic"}, "method must be one of lstm_lm, vae, .*, got 'magic'"),
        ({"method": "vae", "recipe": "slow"}, "recipe must be one of paper, fast, muon, pretrained, got 'slow'"),
        ({"method": "vae", "size": "switchboard"}, "size must be one of .*, got 'switchboard'"),
        (
            {"method": "vae", "bow_hidden_size": 1},
            "bow_hidden_size is a field of neither BnVaeConfig nor VaeTrainingArguments",
        ),
    ],
)
def test_a_name_that_is_not_there_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        resolve(**arguments)


@pytest.mark.parametrize("method", [*METHODS, *DIALOGUE_METHODS])
def test_a_model_of_every_method_has_the_choices_of_its_row(method):
    config = build_model(method, **SMALL, latent_size=4).config
    row = (METHODS | DIALOGUE_METHODS)[method]
    kind = LstmLMConfig if not row.has_latent else BnVaeConfig if method in METHODS else BnCvaeConfig
    assert type(config) is kind and config.hidden_size == 6
    if row.has_latent:
        assert config.posterior == row.posterior and config.latent_size == 4
    for name, value in row.settings.items():
        assert getattr(config, name, value) == value


def test_a_plan_builds_its_model():
    model = resolve("bn_vae", size="synthetic", gamma=0.5).build_model(vocab_size=30)
    assert (model.config.gamma, model.config.hidden_size, model.config.vocab_size) == (0.5, 50, 30)
    with pytest.raises(ValueError, match="hiden_size is no field of BnVaeConfig"):
        build_model("vae", hiden_size=6)


FOLLOWING = ("learning_rate", "pretrained_learning_rate", "weight_decay", "adam_beta1", "adam_beta2")


def followed(recipe="fast", **given):
    training = resolve("bn_vae", recipe, **given).training
    return [training[name] for name in (*FOLLOWING, "num_train_epochs", "kl_annealing_epochs") if name in training]


def test_the_fast_recipe_follows_the_sentences_of_a_step(monkeypatch):
    usual = resolve("bn_vae").training
    four = resolve("bn_vae", per_device_train_batch_size=256).training
    for name in ("learning_rate", "pretrained_learning_rate", "weight_decay"):
        assert four[name] == pytest.approx(2 * usual[name])
    for name in ("adam_beta1", "adam_beta2"):
        assert 1 - four[name] == pytest.approx(4 * (1 - usual[name]))
    assert four["num_train_epochs"] == usual["num_train_epochs"]
    assert resolve("bn_vae", per_device_train_batch_size=6400).training["adam_beta1"] == 0
    given = {"num_train_epochs": 3, "learning_rate": 1e-3, "adam_beta2": 0.99}
    training = resolve("bn_vae", per_device_train_batch_size=256, **given).training
    assert {name: training[name] for name in given} == given and training["kl_annealing_epochs"] == 1.5
    larger = followed(per_device_train_batch_size=256)
    assert followed(gradient_accumulation_steps=4) == larger
    for recipe in ("paper", "pretrained"):
        assert followed(recipe) == followed(recipe, per_device_train_batch_size=256)
    for batch in (64, 256, 1024):
        assert followed(per_device_train_batch_size=batch) == followed("muon", per_device_train_batch_size=batch)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert followed() == larger


@pytest.mark.parametrize("given", [{"optim": "sgd"}, {"fsdp": "full_shard"}, {"deepspeed": "zero.json"}])
def test_recipe_muon_gives_way_to_an_optimiser_that_is_not_its_own(given):
    assert resolve("bn_vae", "muon", optim="adamw_torch").training["muon"]
    assert "muon" not in resolve("bn_vae", "muon", **given).training
    assert resolve("bn_vae", "muon", muon=True, **given).training["muon"]


@pytest.mark.parametrize(
    ("method", "recipe", "epochs", "annealing"),
    [
        ("bn_vae", "fast", 2.0, 1.0),
        ("bn_vae", "fast", 100.0, 3.5),
        ("bn_vae", "paper", 8.0, 4.0),
        ("bn_vae", "paper", 20.0, 10.0),
        ("cyclic_vae", "fast", 6.0, 1.5),
        ("cyclic_vae", "fast", 10.0, 2.5),
        ("cyclic_vae", "paper", 100.0, 5.0),
        ("bn_cvae", "fast", 1.0, 0.5),
    ],
)
def test_annealing_ends_by_half_of_the_epochs_that_are_asked_for(method, recipe, epochs, annealing):
    assert resolve(method, recipe, num_train_epochs=epochs).training["kl_annealing_epochs"] == annealing
    given = resolve(method, recipe, num_train_epochs=epochs, kl_annealing_epochs=7.0).training
    assert given["kl_annealing_epochs"] == 7


def test_annealing_by_steps_and_epochs_that_do_not_count_leave_it_as_it_is():
    assert resolve("bn_vae", kl_schedule="cyclic").training["kl_annealing_epochs"] == 2.5
    training = resolve("cvae", "paper", num_train_epochs=2.0).training
    assert training["kl_annealing_steps"] == 10_000 and "kl_annealing_epochs" not in training
    assert resolve("vae", num_train_epochs=2.0, max_steps=900).training["kl_annealing_epochs"] == 3.5
