"""rdlib.results.stats against `rliable`, scipy, and NumPy written out."""

import itertools
import math

import numpy as np
import pytest
from helpers.extras import needed

from rdlib.results import stats
from rdlib.results.stats import StatsError

RNG = np.random.default_rng(7)
X = RNG.normal(50, 20, (5, 9))
Y = RNG.normal(45, 30, (3, 9))
TIED = np.round(RNG.normal(0, 2, (4, 6)))
SHAPES = [(1, 1), (3, 1), (2, 3), (5, 9), (10, 4), (7, 7)]


def rliables_interval(given, statistic, reps):
    """It draws from NumPy's global state, whatever `random_state` (findings/rliable_random_state.sh)."""
    np.random.seed(0)
    return (
        needed("rliable", "library")
        .get_interval_estimates({"x": given}, statistic, reps=reps)[1]["x"]
        .squeeze()
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_aggregates_are_rliables(shape):
    x = np.random.default_rng(shape[0]).normal(30, 25, shape)
    metrics = needed("rliable", "metrics")
    assert stats.mean(x) == pytest.approx(metrics.aggregate_mean(x))
    assert stats.median(x) == pytest.approx(metrics.aggregate_median(x))
    assert stats.iqm(x) == pytest.approx(metrics.aggregate_iqm(x))


@pytest.mark.parametrize("ours, base", [(X, Y), (Y, X), (TIED, TIED[::-1]), (TIED, TIED[:2])])
def test_probability_of_improvement_is_rliables(ours, base):
    theirs = needed("rliable", "metrics").probability_of_improvement(ours, base)
    assert stats.improvement(ours, base) == pytest.approx(theirs)


def test_the_profile_is_rliables_with_its_intervals():
    taus = np.linspace(0, 100, 21)
    np.random.seed(0)  # rliable has no other
    found, bands = needed("rliable", "library").create_performance_profile({"x": X}, taus, reps=4000)
    np.testing.assert_allclose(stats.profile(X, taus), found["x"])
    low, high = stats.interval(lambda x: stats.profile(x, taus), X, repeats=4000)
    np.testing.assert_allclose([low, high], bands["x"], atol=0.03)


@pytest.mark.parametrize("name", ["mean", "median", "iqm"])
def test_intervals_are_rliables_within_monte_carlo_error(name):
    theirs = rliables_interval(X, getattr(needed("rliable", "metrics"), f"aggregate_{name}"), 4000)
    ours = stats.interval(getattr(stats, name), X, repeats=4000)
    width = theirs[1] - theirs[0]
    np.testing.assert_allclose(ours, theirs, atol=0.06 * width)


def test_the_interval_of_improvement_is_rliables():
    theirs = rliables_interval((X, Y), needed("rliable", "metrics").probability_of_improvement, 500)
    np.testing.assert_allclose(stats.interval(stats.improvement, X, Y, repeats=4000), theirs, atol=0.03)


def test_ten_lines_of_numpy():
    flat = np.sort(X.ravel())
    assert stats.iqm(X) == pytest.approx(flat[11:34].mean())  # 45 scores: 11 go at either end
    assert stats.mean(X) == pytest.approx(sum(X[s, d] for s in range(5) for d in range(9)) / 45)
    wins = [
        np.mean([(X[i, d] > Y[j, d]) + 0.5 * (X[i, d] == Y[j, d]) for i in range(5) for j in range(3)])
        for d in range(9)
    ]
    assert stats.improvement(X, Y) == pytest.approx(np.mean(wins))
    assert stats.profile(X, [40.0])[0] == sum(v > 40 for v in X.ravel()) / 45
    assert stats.profile([[1.0], [2.0]], [1.0]) == [0.5]  # above, not at least
    column = X[:, 0]
    assert stats.std(column) == pytest.approx(math.sqrt(((column - column.mean()) ** 2).sum() / 5))
    assert math.isnan(stats.std([3.0]))


def test_seeds_are_drawn_within_each_dataset_and_datasets_are_kept():
    """Two seeds on two datasets: every one of the 16 samples, written out."""
    x = np.array([[0.0, 100.0], [1.0, 200.0]])
    every = [
        np.mean([x[a, 0], x[b, 0], x[c, 1], x[d, 1]])
        for a, b, c, d in itertools.product(range(2), repeat=4)
    ]
    seen = np.concatenate([s[0].mean((1, 2)) for s in stats._resampled([x], 4000, 1)])
    for value in set(every):
        assert np.mean(np.isclose(seen, value)) == pytest.approx(every.count(value) / 16, abs=0.03)
    assert np.isclose(seen[:, None], every).any(1).all()


@pytest.mark.parametrize("statistic", [stats.mean, stats.iqm])
def test_what_is_taken_at_once_is_what_one_by_one_gives(statistic):
    at_once = stats.interval(statistic, X, repeats=700)
    assert at_once == pytest.approx(stats.interval(lambda x: statistic(x), X, repeats=700))
    improved = stats.interval(stats.improvement, X, Y, repeats=700)
    assert improved == pytest.approx(
        stats.interval(lambda x, y: stats.improvement(x, y), X, Y, repeats=700)
    )


def test_an_interval_is_reproducible_and_wider_at_a_higher_level():
    assert stats.interval(stats.mean, X) == stats.interval(stats.mean, X)
    low, high = stats.interval(stats.mean, X)
    lower, higher = stats.interval(stats.mean, X, level=0.99)
    assert lower < low < stats.mean(X) < high < higher
    assert stats.interval(stats.mean, np.full((3, 2), 4.0)) == (4.0, 4.0)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 4), (5, 3), (2, 6)])
def test_the_permutation_test_is_scipys(sizes):
    rng = np.random.default_rng(sizes[0])
    x, y = rng.normal(0, 1, sizes[0]), rng.normal(1, 2, sizes[1])
    theirs = needed("scipy", "stats").permutation_test(
        (x, y), lambda a, b: abs(a.mean() - b.mean()), alternative="greater"
    )
    assert stats.p_value(x, y) == pytest.approx(theirs.pvalue)


def test_three_seeds_a_side_can_never_be_significant_and_drawn_permutations_are_near_exact():
    assert stats.p_value([1000.0, 1001.0, 1002.0], [0.0, 1.0, 2.0]) == pytest.approx(0.1)
    assert stats.p_value([1.0, 2.0], [1.0, 2.0]) == 1.0
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 1, 10), rng.normal(0.8, 1, 10)  # 184,756 ways: drawn
    pool = np.concatenate([x, y])
    firsts = np.array([pool[list(c)].mean() for c in itertools.combinations(range(20), 10)])
    exact = np.mean(np.abs(2 * firsts - 2 * pool.mean()) >= abs(x.mean() - y.mean()) - 1e-12)
    assert stats.p_value(x, y) == pytest.approx(exact, abs=0.01)


def test_the_permutation_test_over_datasets_deals_within_each():
    """Every way to deal two seeds a side in each of three datasets: 6 x 6 x 6."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(0.5, 1, (2, 3)), rng.normal(0, 1, (2, 3))
    x[:, 1] += 100.0  # a gap between datasets, which dealing across them would take for noise
    y[:, 1] += 100.0
    pool, sides = np.concatenate([x, y]), list(itertools.combinations(range(4), 2))
    apart = [
        np.mean([pool[list(c), d].mean() * 2 - pool[:, d].mean() * 2 for d, c in enumerate(cs)])
        for cs in itertools.product(sides, repeat=3)
    ]
    exact = np.mean(np.abs(apart) >= abs(x.mean() - y.mean()) - 1e-12)
    assert stats.p_value(x, y) == pytest.approx(exact, abs=0.01)
    assert stats.p_value(x, x) == 1.0


def test_three_seeds_on_nine_datasets_can_be_significant():
    rng = np.random.default_rng(5)
    base = rng.normal(0, 1, (3, 9))
    assert stats.p_value(base + 2.0, base) < 0.001 < 0.1 <= stats.p_value(base[:, 0] + 9, base[:, 0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: stats.mean([1.0, math.nan]), "seed 1 on dataset 0 is nan"),
        (lambda: stats.iqm([[1.0, 2.0], [math.inf, 3.0]]), "seed 1 on dataset 0 is inf"),
        (lambda: stats.iqm([[1.0, 2.0], [3.0]]), "seeds x datasets"),
        (lambda: stats.mean([]), "shape"), (lambda: stats.mean(np.zeros((2, 0))), "shape"),
        (lambda: stats.mean(np.zeros((2, 2, 2))), "shape"), (lambda: stats.std(X), "one dataset"),
        (lambda: stats.improvement(X, Y[:, :4]), "9 datasets with 4"),
        (lambda: stats.p_value(X, Y[:, :4]), "9 datasets with 4"),
    ],
)  # fmt: skip
def test_what_no_statistic_can_be_taken_of_is_refused(call, message):
    with pytest.raises(StatsError, match=message):
        call()
