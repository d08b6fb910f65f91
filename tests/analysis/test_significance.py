"""When a difference is one."""

import numpy as np
import pytest

from hf_bnvae.analysis.significance import Difference, over_seeds, paired_bootstrap


def test_the_interval_of_a_paired_bootstrap_holds_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        hardness = generator.normal(50, 20, 400)
        first = hardness + generator.normal(0.3, 1, 400)
        difference = paired_bootstrap(first, hardness, resamples=500, seed=trial)
        held += difference.low <= 0.3 <= difference.high
    assert 0.9 <= held / 200 <= 0.99


def test_pairing_sees_a_difference_that_the_hardness_of_sentences_would_hide():
    hardness = np.random.default_rng(0).normal(50, 20, 200)
    noise = np.random.default_rng(1).normal(0, 0.5, 200)
    assert paired_bootstrap(hardness + 0.5 + noise, hardness).beyond_noise
    assert not over_seeds(hardness + 0.5 + noise, hardness).beyond_noise


def test_a_difference_of_seeds_is_noise_until_it_is_above_their_spread():
    assert not over_seeds([36.1, 36.6, 36.4], [36.5, 36.2, 36.7]).beyond_noise
    assert over_seeds([36.1, 36.2, 36.15], [37.1, 37.2, 37.15]).beyond_noise


def test_the_difference_turns_its_sign_with_the_order():
    first, second = [1.0, 2.0, 4.0], [3.0, 3.5, 3.0]
    one, other = over_seeds(first, second), over_seeds(second, first)
    assert one == pytest.approx(Difference(-other.mean, -other.high, -other.low))
    one, other = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert one == pytest.approx(Difference(-other.mean, -other.high, -other.low), abs=1e-9)


def test_what_does_not_vary_has_an_interval_without_width():
    assert paired_bootstrap([2.0, 3.0], [1.0, 2.0]) == (1.0, 1.0, 1.0)
    assert over_seeds([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("call", "words"), [(paired_bootstrap, "same two sentences"), (over_seeds, "two of each")])
def test_too_few_values_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call([1.0], [2.0])


def test_values_of_other_sentences_are_refused():
    with pytest.raises(ValueError, match="got 2 and 3"):
        paired_bootstrap([1.0, 2.0], [1.0, 2.0, 3.0])
