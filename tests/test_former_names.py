"""Former public names: they give what the present ones give, with a warning that says so."""

from types import SimpleNamespace

import pytest

import hf_bnvae.analysis
import hf_bnvae.evaluation
from hf_bnvae.training import CollapseCallback, VaeTrainer


@pytest.mark.parametrize(
    ("module", "former", "name"),
    [
        (hf_bnvae.analysis, "METRICS", "COMPARED_METRICS"),
        (hf_bnvae.evaluation, "judge_reconstructions", "evaluate_reconstructions"),
        (hf_bnvae.evaluation, "judge_responses", "evaluate_responses"),
    ],
)
def test_a_former_name_of_a_module_is_the_present_one(module, former, name):
    with pytest.warns(DeprecationWarning, match=f"{former} is called {name} now"):
        assert getattr(module, former) is getattr(module, name)
    assert name in module.__all__ and former not in module.__all__


def test_former_names_of_methods_give_what_the_present_ones_give():
    trainer = SimpleNamespace(kl_annealing_factor=lambda step: (step, "factor"), is_sharded=lambda rows: len(rows) > 2)
    with pytest.warns(FutureWarning, match="kl_annealing_factor"):
        assert VaeTrainer.kl_share(trainer, 3) == (3, "factor")
    with pytest.warns(FutureWarning, match="is_sharded"):
        assert VaeTrainer.shares(trainer, [1, 2, 3])
    callback, metrics = CollapseCallback(), {"eval_au": 0, "eval_mi": 0.01, "eval_kl": 0.02}
    with pytest.warns(DeprecationWarning, match="verdict"):
        assert callback.judge(metrics, 32) == callback.verdict(metrics, 32)


def test_a_name_that_never_was_is_no_attribute():
    with pytest.raises(AttributeError, match="nothing"):
        _ = hf_bnvae.evaluation.nothing
