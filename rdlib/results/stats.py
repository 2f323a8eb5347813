"""Statistics of scores. The seed is the replication unit: a score here is one run's, episodes averaged.

Scores are arrays (S,D): S seeds on each of D datasets; a vector (S,) is one dataset. Intervals are
percentile intervals of the stratified bootstrap: seeds are drawn anew within each dataset, datasets are
kept. The same quantities as in Agarwal et al., NeurIPS 2021, against whose `rliable` tests/test_stats.py
checks each. Where NaN or infinity comes in, or seeds are missing, a StatsError: nothing is dropped.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
PERMUTATIONS = 20_000  # where there are more ways to relabel the seeds, so many are drawn
CHUNK = 500  # bootstrap samples held at once


class StatsError(ValueError):
    """Scores that no statistic can be taken of."""


def scores(values: ArrayLike) -> Array:
    """`values` as (S,D). Raises StatsError unless finite, rectangular and not empty."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise StatsError(f"scores are no array of seeds x datasets: {error}") from None
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or not found.size:
        raise StatsError(f"scores have shape {found.shape}, expected (seeds, datasets), none of them 0")
    if not np.isfinite(found).all():
        seed, dataset = np.argwhere(~np.isfinite(found))[0]
        raise StatsError(f"the score of seed {seed} on dataset {dataset} is {found[seed, dataset]}")
    return found


def mean(values: ArrayLike) -> float:
    """Mean over datasets of the mean over seeds."""
    return float(scores(values).mean())


def std(values: ArrayLike) -> float:
    """Deviation over the seeds of one dataset, √(Σ(x - x̄)²/S), as the field's code reports it (NumPy's
    default); NaN for a single seed, which says nothing of its deviation."""
    x = scores(values)
    if x.shape[1] != 1:
        raise StatsError(f"the deviation over seeds is one dataset's; there are {x.shape[1]}")
    return float(x.std()) if len(x) > 1 else math.nan


def median(values: ArrayLike) -> float:
    """Median over datasets of the mean over seeds."""
    return float(np.median(scores(values).mean(0)))


def iqm(values: ArrayLike) -> float:
    """Interquartile mean: of all S·D scores, the mean without the lowest and highest quarter (⌊S·D/4⌋
    each)."""
    return float(_iqms(scores(values)[None])[0])


def _iqms(samples: Array) -> Array:
    """(R,S,D) -> (R,)."""
    flat = np.sort(samples.reshape(len(samples), -1), axis=1)
    cut = flat.shape[1] // 4
    return flat[:, cut : flat.shape[1] - cut].mean(1)


def profile(values: ArrayLike, thresholds: ArrayLike) -> Array:
    """Performance profile: the share of runs that score above each threshold. (T,) -> (T,)."""
    x, t = scores(values), np.asarray(thresholds, dtype=np.float64)
    return (x[..., None] > t).mean((0, 1))


def improvement(ours: ArrayLike, base: ArrayLike) -> float:
    """Probability of improvement: that a run of `ours` scores above one of `base`, ties being half, mean
    over datasets. Seeds may differ in number. Raises StatsError unless both have the same datasets."""
    x, y = _pair(ours, base)
    return float(_improvements(x[None], y[None])[0])


def _improvements(x: Array, y: Array) -> Array:
    """(R,S,D), (R,S',D) -> (R,)."""
    above = x[:, :, None] - y[:, None]  # (R,S,S',D)
    return ((above > 0) + 0.5 * (above == 0)).mean((1, 2, 3))


def difference(ours: ArrayLike, base: ArrayLike) -> float:
    """The mean of `ours` less that of `base`. Raises StatsError unless both have the same datasets."""
    x, y = _pair(ours, base)
    return float(x.mean() - y.mean())


def _pair(ours: ArrayLike, base: ArrayLike) -> tuple[Array, Array]:
    x, y = scores(ours), scores(base)
    if x.shape[1] != y.shape[1]:
        raise StatsError(f"cannot compare {x.shape[1]} datasets with {y.shape[1]}")
    return x, y


def interval(
    statistic: Callable[..., float | Array],
    *values: ArrayLike,
    level: float = 0.95,
    repeats: int = 10_000,
    seed: int = 0,
) -> tuple[float, float] | tuple[Array, Array]:
    """Stratified bootstrap interval of `statistic(*values)`, for example `interval(iqm, x)`,
    `interval(improvement, x, base)` or `interval(lambda x: profile(x, thresholds), x)`.

    Each of `values` (S,D) is resampled on its own: S seeds with replacement in each dataset. With few
    seeds such intervals are too narrow: three seeds can only be drawn in ten ways.
    """
    arrays = [scores(v) for v in values]
    found = np.concatenate([_statistics(statistic, s) for s in _resampled(arrays, repeats, seed)])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return (float(low), float(high)) if low.ndim == 0 else (low, high)


def _resampled(arrays: Sequence[Array], repeats: int, seed: int) -> Iterator[list[Array]]:
    """Chunks of resampled arrays, (R,S,D) each."""
    rng = np.random.default_rng(seed)
    for begin in range(0, repeats, CHUNK):
        count = min(CHUNK, repeats - begin)
        yield [
            np.take_along_axis(x[None], rng.integers(0, len(x), (count, *x.shape)), axis=1) for x in arrays
        ]


def _statistics(statistic: Callable[..., float | Array], samples: list[Array]) -> Array:
    """(R,) or (R,T): at once where we know how, else one by one."""
    at_once: dict[Callable[..., float | Array], Callable[..., Array]] = {
        mean: lambda x: x.mean((1, 2)),
        iqm: _iqms,
        improvement: _improvements,
        difference: lambda x, y: x.mean((1, 2)) - y.mean((1, 2)),
    }
    if statistic in at_once:
        return at_once[statistic](*samples)
    return np.array([statistic(*sample) for sample in zip(*samples)])


def p_value(ours: ArrayLike, base: ArrayLike, seed: int = 0) -> float:
    """Two-sided permutation test of equal means: the share of ways to deal the same scores to the two
    sides that part their means at least as far. Of several datasets scores are dealt within each, and the
    means over datasets compared: one test of a whole pair, where one of each dataset would be many.

    One dataset: exact up to PERMUTATIONS ways. Else so many are drawn. With three seeds a side on one
    dataset it cannot fall below 0.1: then no difference is significant, however large.
    """
    x, y = _pair(ours, base)
    pool, n = np.concatenate([x, y]), len(x)
    exact = pool.shape[1] == 1 and math.comb(len(pool), n) <= PERMUTATIONS
    if exact:
        dealt = pool[np.array(list(itertools.combinations(range(len(pool)), n)))]
    else:
        rng = np.random.default_rng(seed)
        dealt = rng.permuted(np.tile(pool, (PERMUTATIONS, 1, 1)), axis=1)[:, :n]
    first = dealt.mean((1, 2))
    second = (pool.sum(0).mean() - n * first) / (len(pool) - n)
    observed = abs(x.mean() - y.mean())
    at_least = (np.abs(first - second) >= observed - 1e-9 * max(1.0, observed)).sum()
    # Drawn ways: the observed one counts as one of them, or p could be 0.
    return float(at_least / len(dealt) if exact else (at_least + 1) / (len(dealt) + 1))
