"""KL schedules, and the aggressive strategy: whom its steps update, and when it ends."""

from itertools import pairwise

import pytest
import torch
from transformers import TrainerCallback

from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.train import main as train
from hf_bnvae.training import KL_SCHEDULES, VaeTrainingArguments
from hf_bnvae.training.strategies import INNER_STEPS_AT_MOST, STRATEGIES, AggressiveCallback


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_the_cyclic_weight_rises_holds_and_starts_again(steps):
    weight = KL_SCHEDULES["cyclic"](steps, 8 * steps)
    for cycle in range(4):
        start = 2 * steps * cycle
        rise = [weight(start + step) for step in range(1, steps + 1)]
        assert rise == pytest.approx([step / steps for step in range(1, steps + 1)])
        assert all(weight(start + step) == 1 for step in range(steps, 2 * steps + 1))
    assert weight(0) == 0


@pytest.mark.parametrize(("annealing", "total"), [(50, 140), (50, 101), (3, 20), (1000, 37)])
def test_cycles_are_cut_so_that_the_last_one_ends_with_the_training_at_the_full_weight(annealing, total):
    weight = KL_SCHEDULES["cyclic"](annealing, total)
    weights = [weight(step) for step in range(total + 1)]
    assert weights[-1] == 1
    starts = sum(after < before for before, after in pairwise(weights))
    assert starts + 1 == -(-total // (2 * annealing))


@pytest.mark.parametrize("name", KL_SCHEDULES)
def test_no_annealing_is_the_full_weight_from_the_start(name):
    assert [KL_SCHEDULES[name](0, 60)(step) for step in (0, 1, 50)] == [1.0, 1.0, 1.0]


class Watch(TrainerCallback):
    """What of the model each optimiser step changed."""

    def __init__(self):
        self.inner = []
        self.outer = []
        self.previous = None

    def attach(self, trainer):
        model, step = trainer.model, None
        self.previous = self.snapshot(model)
        create = trainer.create_optimizer

        def watched(*args, **kwargs):
            optimizer = create(*args, **kwargs)
            nonlocal step
            step = optimizer.step

            def stepped(*args, **kwargs):
                result = step(*args, **kwargs)
                now = self.snapshot(model)
                self.inner.append(tuple(not torch.equal(a, b) for a, b in zip(self.previous, now, strict=True)))
                self.previous = now
                return result

            optimizer.step = stepped
            return optimizer

        trainer.create_optimizer = watched

    @staticmethod
    def snapshot(model):
        return [
            torch.cat([value.detach().flatten() for name, value in model.named_parameters() if in_encoder(name)])
            for in_encoder in (lambda name: name.startswith("model."), lambda name: not name.startswith("model."))
        ]

    def on_step_end(self, args, state, control, **kwargs):
        self.outer.append(len(self.inner))


ENCODER, DECODER, BOTH = (True, False), (False, True), (True, True)


def test_inner_steps_move_the_encoder_alone_and_the_outer_one_the_decoder_alone(make_trainer, make_model):
    watch = Watch()
    model = make_model(posterior="gaussian", bow_weight=1.0)
    trainer = make_trainer(model, [watch], strategy="aggressive", max_steps=3)
    watch.attach(trainer)
    trainer.train()
    starts = [0, *watch.outer[:-1]]
    for start, end in zip(starts, watch.outer, strict=True):
        *inner, outer = watch.inner[start:end]
        assert outer == DECODER
        assert set(inner) == {ENCODER} and 20 <= len(inner) <= INNER_STEPS_AT_MOST


def test_it_ends_for_good_when_mi_stops_climbing_and_then_costs_nothing(make_trainer, make_model):
    class FallingMi(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            metrics["eval_mi"] = -state.global_step

    watch = Watch()
    model = make_model(posterior="gaussian")
    often = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "no", "load_best_model_at_end": False}
    trainer = make_trainer(model, strategy="aggressive", max_steps=6, **often)
    trainer.callback_handler.callbacks.insert(0, FallingMi())
    trainer.add_callback(watch)
    watch.attach(trainer)
    trainer.train()
    # The second evaluation is the first that can fall.
    assert [after - before for before, after in zip(watch.outer[1:], watch.outer[2:], strict=False)] == [1] * 4
    assert watch.inner[watch.outer[1] :] == [BOTH] * 4 and watch.outer[0] > 10


def test_its_state_survives_a_checkpoint():
    callback = AggressiveCallback()
    callback.active, callback.last_mi = False, 1.25
    assert AggressiveCallback.from_state(callback.state()).state() == callback.state()


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"gradient_accumulation_steps": 2}, {}, "`strategy` aggressive updates at every batch"),
        ({"eval_strategy": "no"}, {}, "`strategy` aggressive ends by the MI of evaluations"),
        ({}, {"streaming": True}, "draws sentences from all of the corpus: leave out `streaming`"),
        ({}, {"method": "lstm_lm"}, "trains an encoder, and `method` lstm_lm has none"),
    ],
)
def test_a_strategy_says_in_one_sentence_what_it_cannot_train(tmp_path, changes, options, sentence):
    quiet = {"save_strategy": "no", "load_best_model_at_end": False} | changes
    args = VaeTrainingArguments(output_dir=str(tmp_path), **quiet)
    STRATEGIES["standard"]().check(args, **options)
    with pytest.raises(ValueError, match=sentence):
        STRATEGIES["aggressive"]().check(args, **options)
    STRATEGIES["aggressive"]().check(VaeTrainingArguments(output_dir=str(tmp_path)), method="agg_vae")


def test_a_command_names_the_flags_where_the_library_names_parameters(tmp_path):
    command = ["--output_dir", str(tmp_path / "run"), "--method", "agg_vae"]
    with pytest.raises(UsageError, match=r"^--strategy aggressive draws .*: leave out --streaming$"):
        train([*command, "--streaming", "true"])
    with pytest.raises(UsageError, match=r"^--strategy aggressive updates .*: use --gradient_accumulation_steps 1$"):
        train([*command, "--gradient_accumulation_steps", "2"])
