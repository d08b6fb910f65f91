"""The plateau rule and the warning of a collapse."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, set_seed

from hf_bnvae import BnCvaeConfig, BnVaeConfig
from hf_bnvae.cli.errors import with_flags
from hf_bnvae.evaluation import infer_with_use
from hf_bnvae.training import CollapseCallback, PlateauCallback, callbacks
from hf_bnvae.training import trainer as trainer_module
from tests.helpers import StopAt


class Script(TrainerCallback):
    """Makes the ELBO of each evaluation a number of ours, before the other callbacks see it."""

    def __init__(self, elbos):
        self.elbos = elbos
        self.rates = []

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_elbo"] = self.elbos[round(state.epoch) - 1]

    def on_step_end(self, args, state, control, lr_scheduler=None, **kwargs):
        self.rates.append(lr_scheduler.optimizer.param_groups[0]["lr"])


def run(make_trainer, elbos, **settings):
    script = Script(elbos)
    trainer = make_trainer(num_train_epochs=len(elbos), kl_annealing_epochs=0, save_total_limit=None, **settings)
    handler = trainer.callback_handler.callbacks
    handler.insert(next(i for i, item in enumerate(handler) if isinstance(item, PlateauCallback)), script)
    set_seed(5)
    trainer.train()
    return trainer, script.rates


def test_a_plateau_goes_back_to_the_best_and_halves_the_rate(make_trainer):
    trainer, rates = run(make_trainer, [5, 4, 6, 7, 8], plateau_patience=2)
    assert rates[:32] == [0.05] * 32 and rates[32:] == [0.025] * 8
    folder = Path(trainer.args.output_dir)
    best, after = (load_file(folder / f"checkpoint-{step}" / "model.safetensors") for step in (16, 32))
    for name in best:
        assert torch.equal(best[name], after[name]) or name.endswith("num_batches_tracked"), name


def test_a_plateau_goes_back_to_no_other_weights_than_the_best(make_trainer, warnings):
    steps = {"eval_strategy": "steps", "eval_steps": 8, "save_strategy": "steps", "save_steps": 16}
    trainer, _ = run(
        make_trainer, [9, 8, 5, 6], plateau_patience=1, load_best_model_at_end=False, learning_rate=0.5, **steps
    )
    older = load_file(Path(trainer.args.output_dir) / "checkpoint-16" / "model.safetensors")
    assert trainer.state.best_model_checkpoint.endswith("-16") and trainer.state.best_global_step == 24
    assert not torch.equal(older["decoder.output.weight"], trainer.model.decoder.output.weight)
    said = "the weights of step 24, the best, were not saved (--save_steps), learning rate halved to 0.25."
    assert any(said in warning for warning in warnings)


def test_a_callback_of_ones_own_takes_the_place_of_the_usual_one(make_trainer):
    own = [CollapseCallback(max_mi=3), PlateauCallback(2)]
    trainer = make_trainer(callbacks=own, plateau_patience=1)
    for callback in own:
        assert [item for item in trainer.callback_handler.callbacks if isinstance(item, type(callback))] == [callback]


def test_nothing_stops_or_slows_by_evaluations_with_a_rising_kl_weight(make_trainer):
    class Worse(TrainerCallback):
        """Every evaluation is worse than the one before it."""

        elbo, rates = 0.0, {}

        def on_evaluate(self, args, state, control, metrics, optimizer=None, **kwargs):
            self.elbo += 1
            metrics["eval_elbo"] = self.elbo
            self.rates[state.global_step] = optimizer.param_groups[0]["lr"], metrics["eval_kl_weight"]

    settings = {"kl_schedule": "cyclic", "kl_annealing_steps": 8, "max_steps": 32, "eval_strategy": "steps"}
    settings |= {"eval_steps": 2, "save_strategy": "no", "load_best_model_at_end": False}
    trainer = make_trainer(callbacks=[Worse(), EarlyStoppingCallback(6)], **settings)
    trainer.train()
    weights = [row["eval_kl_weight"] for row in trainer.state.log_history if "eval_elbo" in row]
    assert weights.count(1.0) == 7 and weights[-1] == 1.0 and len(weights) > 9

    worse = Worse()
    plateau = {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0}}
    make_trainer(callbacks=[worse], **(settings | {"max_steps": 16}), **plateau).train()
    rates, weights = zip(*worse.rates.values(), strict=True)
    assert weights[:4] == (0.25, 0.5, 0.75, 1.0) and rates[:5] == (0.05,) * 5 and rates[5] < 0.05


def test_training_ends_after_the_last_halving_and_never_halves_early(make_trainer):
    trainer, rates = run(
        make_trainer, [4, 5, 5, 5, 5, 5, 5], plateau_patience=1, plateau_start_epoch=3, plateau_max_halvings=2
    )
    assert trainer.state.epoch == 4
    assert rates == [0.05] * 24 + [0.025] * 8


def test_evaluations_with_a_rising_kl_weight_do_not_count():
    callback = PlateauCallback(patience=1)
    callback.on_train_begin(None, TrainerState(), None)
    control = TrainerControl()
    rising = {"eval_elbo": 1.0, "eval_kl_weight": 0.5}
    for _ in range(3):
        callback.on_evaluate(None, TrainerState(), control, rising)
    assert callback.halvings == 0 and callback.best > 1e9


def test_its_state_survives_a_checkpoint():
    callback = PlateauCallback(3, 2.0, 4)
    callback.best, callback.evaluations_without_improvement, callback.halvings = 1.5, 2, 1
    copy = PlateauCallback.from_state(callback.state())
    assert copy.state() == callback.state()


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(callbacks.logger, "warning", lambda message: said.append(with_flags(message)))
    return said


def evaluate(callback, au, mi, kl, posterior="gaussian"):
    model = SimpleNamespace(config=BnVaeConfig(latent_size=32, posterior=posterior))
    metrics = {"eval_au": au, "eval_mi": mi, "eval_kl": kl}
    callback.on_evaluate(None, None, None, metrics=metrics, model=model)


def test_a_collapse_is_said_once_in_one_sentence_with_what_to_try(warnings):
    callback = CollapseCallback()
    evaluate(callback, au=32, mi=5.0, kl=8.0)
    assert warnings == []
    evaluate(callback, au=0, mi=0.01, kl=0.02)
    evaluate(callback, au=0, mi=0.01, kl=0.02)
    (sentence,) = warnings
    assert "0 of 32 units are active, MI 0.01 and KL 0.02 nats" in sentence and "--method bn_vae" in sentence
    evaluate(callback, au=20, mi=3.0, kl=4.0)
    evaluate(callback, au=1, mi=3.0, kl=4.0, posterior="batch_norm")
    assert len(warnings) == 2 and "a larger --rate than 7.84 nats" in warnings[1]


def test_low_information_alone_is_a_collapse(warnings):
    evaluate(CollapseCallback(), au=32, mi=0.1, kl=0.3)
    assert len(warnings) == 1


def test_an_estimate_just_below_nothing_is_nothing(warnings):
    evaluate(CollapseCallback(), au=0, mi=-0.001, kl=0.3)
    assert "MI 0.00" in warnings[0]


def test_the_stopwatch_leaves_evaluations_out_and_goes_on_after_a_resume(make_trainer, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: now[0])

    class Clock(TrainerCallback):
        """A step takes a second and an evaluation a hundred."""

        def on_step_end(self, args, state, control, **kwargs):
            now[0] += 1

    def slow(*args, **kwargs):
        now[0] += 100
        return infer_with_use(*args, **kwargs)

    monkeypatch.setattr(trainer_module, "infer_with_use", slow)
    settings = {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 4, "eval_steps": 4}
    stopped = make_trainer(callbacks=[Clock(), StopAt(8)], **settings)
    stopped.train()
    assert stopped.stopwatch.seconds == 8
    resumed = make_trainer(callbacks=[Clock()], **settings)
    resumed.train(resume_from_checkpoint=str(Path(stopped.args.output_dir) / "checkpoint-8"))
    seconds = {line["step"]: line["train_seconds"] for line in resumed.state.log_history if "train_seconds" in line}
    assert seconds == {4: 4, 8: 8, 12: 12, 16: 16}
    assert resumed.stopwatch.seconds == 16
    assert resumed.stopwatch.earlier_runtime == 8 + 2 * 100
    assert resumed.seconds["evaluation"] == 4 * 100


def pretrained_config(**z) -> BnVaeConfig:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BnVaeConfig(decoder="pretrained", decoder_config={"model_type": "llama", **sizes}, latent_size=32, **z)


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        (BnVaeConfig(latent_size=32), "Try --bow_weight 1 or --word_dropout 0.3 or a longer training."),
        (
            BnVaeConfig(latent_size=32, word_dropout=0.3, unk_token_id=3),
            "Try --bow_weight 1 or a longer training.",
        ),
        (BnVaeConfig(latent_size=32, word_dropout=0.3, unk_token_id=3, bow_weight=1), "Try a longer training."),
        (
            pretrained_config(soft_prompt_length=8),
            "Try --latent_memory_length 8 in the place of a soft prompt or a longer training.",
        ),
        (pretrained_config(latent_memory_length=8), "Try a longer training."),
    ],
)
def test_a_latent_that_holds_its_nats_and_is_not_read_has_advice_of_its_own(warnings, config, advice):
    metrics = {"eval_au": 32, "eval_mi": 5.0, "eval_kl": 8.0, "eval_use": 0.03}
    CollapseCallback().on_evaluate(None, None, None, metrics=metrics, model=SimpleNamespace(config=config))
    (sentence,) = warnings
    assert sentence.startswith("The decoder does not read the latent: 32 of 32 units are active, MI 5.00")
    assert "the decoder takes 0.03 nats from the latent" in sentence and sentence.endswith(advice)


def test_a_dialogue_model_with_a_rate_is_told_of_the_rate(warnings):
    config = BnCvaeConfig(latent_size=32, posterior="batch_norm")
    CollapseCallback().on_evaluate(None, None, None, metrics={"eval_kl": 0.1}, model=SimpleNamespace(config=config))
    assert warnings[0].endswith("Try a larger --rate, or longer --kl_annealing_epochs.")
