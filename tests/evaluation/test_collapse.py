"""One verdict on a posterior, for the log, the report, the page and the card."""

import pytest

from hf_bnvae.evaluation import collapse_verdict
from hf_bnvae.training import CollapseCallback


@pytest.mark.parametrize(
    ("kl", "mi", "au", "collapsed"),
    [(0.02, 0.01, 0, True), (3.0, 2.5, 1, True), (0.3, 0.2, 32, True), (7.8, 5.0, 32, False), (0.3, 0.8, 32, False)],
)
def test_few_units_or_little_information_at_little_cost_is_a_collapse(kl, mi, au, collapsed):
    metrics = {"eval_kl": kl, "eval_mi": mi, "eval_au": au}
    assert collapse_verdict(metrics, 32)[0] is collapsed
    assert CollapseCallback().verdict(metrics, 32) == collapse_verdict(metrics, 32)


def test_a_latent_that_the_decoder_does_not_read_has_collapsed_whatever_it_holds():
    metrics = {"eval_kl": 7.8, "eval_mi": 5.0, "eval_au": 32}
    collapsed, signs = collapse_verdict(metrics | {"eval_use": 0.01}, 32)
    assert collapsed and "the decoder takes 0.01 nats from the latent" in signs
    assert not collapse_verdict(metrics | {"eval_use": 3.0}, 32)[0]
    assert CollapseCallback().verdict(metrics | {"eval_use": 0.01}, 32)[0]


def test_a_sharp_posterior_on_the_sphere_has_not_collapsed_while_it_tells_sentences_apart():
    metrics = {"test_kl": 130.0, "test_mi": 7.5, "test_au": 1}
    assert collapse_verdict(metrics, 32, "test")[0]
    assert not collapse_verdict(metrics, 32, "test", posterior="vmf")[0]
    assert collapse_verdict(metrics | {"test_mi": 0.1}, 32, "test", posterior="vmf")[0]
