"""Whether two results differ by more than noise: of the test sentences, and of the seeds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.05


class Difference(NamedTuple):
    """A difference of means with the interval that holds it with a probability of 1 − `LEVEL`."""

    mean: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], resamples: int = 9_999, seed: int = 0
) -> Difference:
    """first − second for two models on the same sentences, by the paired bootstrap over sentences.

    It speaks of these two models: another seed of either may fall on the other side.

    Args:
        first, second: a value of each sentence, in the same order, such as its NLL in nats.
        resamples: samples of sentences with replacement.
        seed: of the resampling.

    Raises:
        ValueError: there are fewer than two sentences, or not as many of one as of the other.
    """
    bootstrap = _scipy_stats().bootstrap
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"a paired bootstrap needs the same two sentences or more, got {len(first)} and {len(second)}")
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if np.ptp(differences) == 0:
        return Difference(*[float(differences[0])] * 3)
    resampled = bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        batch=100,
        confidence_level=1 - LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Difference(float(differences.mean()), *map(float, resampled.confidence_interval))


def over_seeds(first: Sequence[float], second: Sequence[float]) -> Difference:
    """first − second for two methods with several training seeds each, by Welch's t-test.

    Args:
        first, second: a result of each seed.

    Raises:
        ValueError: a method has fewer than two seeds.
    """
    ttest_ind = _scipy_stats().ttest_ind
    if min(len(first), len(second)) < 2:
        raise ValueError(f"a difference over seeds needs two of each method, got {len(first)} and {len(second)}")
    mean = float(np.mean(first) - np.mean(second))
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return Difference(mean, mean, mean)
    interval = ttest_ind(first, second, equal_var=False).confidence_interval(1 - LEVEL)
    return Difference(mean, float(interval.low), float(interval.high))


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError("what is beyond noise is told by scipy: pip install 'hf-bnvae[classification]'") from error
    return stats
