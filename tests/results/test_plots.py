"""Figures show every record they are given, within finite limits, and the numbers that they should."""

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.synthetic import dataset

from rdlib.data import load
from rdlib.results import plots
from rdlib.training.record import Record, RecordError

REFERENCE = [-20.272305, 3234.3]


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    plt.switch_backend("agg")
    yield
    plt.close("all")


def record(seed=0, steps=(0, 10, 20), critic=True, reference=REFERENCE, episodes=4, **more):
    """A record whose returns are seed + step + episode, with a None among its diagnostics."""
    evaluations = [
        {
            "step": s, "returns": [float(seed + s + e) for e in range(episodes)], "lengths": [5] * episodes,
            "diagnostics": {"policy_data_distance": 0.1 * s}
            | ({"q_data": float(s), "q_policy": None if s == 20 else 2.0 * s} if critic else {}),
            "training": {"actor_loss": 1.0 / s} | ({"q_data": -1.0} if critic else {}) if s else {},
        }
        for s in steps
    ]  # fmt: skip
    values = {
        "algo": "td3n", "dataset": "hopper-medium", "dataset_source": "bundled", "dataset_digest": "0",
        "dataset_size": 9, "env_id": "Hopper-v5", "seed": seed, "scale": "quick", "steps": 20,
        "config": {}, "plugin": None, "config_hash": "0", "status": "finished", "stopped_at": 20,
        "last_k": 2, "reference": reference, "evaluations": evaluations, "versions": {},
        "device": "cpu", "matmul": "default", "commit": None, "started": "", "seconds": 1.0, "agents": 1,
        "dtype": "float32", "max_episode_steps": 1000, "earlier": [], "env_kwargs": {},
        "env_wrappers": [], "env_rewards": None,
    }  # fmt: skip
    return Record(**{**values, **more})


def score(value):
    return 100 * (value - REFERENCE[0]) / (REFERENCE[1] - REFERENCE[0])


def curves_of(axes):
    """Lines with a label of their own, by label."""
    return {x.get_label(): x for x in axes.get_lines() if not x.get_label().startswith("_")}


def assert_finite(figure):
    figure.canvas.draw()
    for axes in figure.axes:
        low_high = (*axes.get_xlim(), *axes.get_ylim())
        assert all(map(math.isfinite, low_high)) and low_high[0] < low_high[1], axes.get_title()


def test_evaluations_is_one_row_each():
    frame = plots.evaluations([record(0), record(3)])
    assert len(frame) == 6 and frame.seed.tolist() == [0] * 3 + [3] * 3
    assert frame.step.tolist() == [0, 10, 20] * 2
    np.testing.assert_allclose(frame.score, [score(s + k + 1.5) for k in (0, 3) for s in (0, 10, 20)])
    assert frame.q_policy.isna().tolist() == [False, False, True] * 2  # None, not 0
    assert frame.actor_loss.isna().tolist() == [True, False, False] * 2
    assert frame.q_data.tolist() == [0, 10, 20] * 2  # the moment's, not the mean since the last
    assert "q_data" not in plots.evaluations([record(critic=False)])


def test_scores():
    np.testing.assert_allclose(record(2).episode_scores(1), [score(12 + e) for e in range(4)])
    np.testing.assert_array_equal(record(2, reference=None).episode_scores(1), [12, 13, 14, 15])
    door = load("door-human")
    assert plots.dataset_score(door) == pytest.approx(29.01, abs=0.01)
    plain = dataset()  # of no known environment
    assert plots.dataset_score(plain) == pytest.approx(plain.episode_returns().mean())
    named = dataset(env_id="Hopper-v5")
    assert plots.dataset_score(named) == pytest.approx(score(named.episode_returns().mean()))


def test_dataset_overview():
    data = dataset(n=300, obs_dim=11)
    figure = plots.dataset_overview(data, points=100)
    left, middle, right, bar = figure.axes
    assert sum(p.get_height() for p in left.patches) == sum(p.get_height() for p in middle.patches) == 50
    [dots] = right.collections
    assert len(dots.get_offsets()) == 100 and bar.get_ylabel() == "reward"
    spread = np.asarray(dots.get_offsets()).std(0)
    assert spread[0] >= spread[1] > 0  # the first component first
    assert_finite(figure)
    constant = plots.dataset_overview(dataset(n=30, obs=np.ones((30, 4)), rew=np.zeros(30)))
    assert_finite(constant)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 5)])
def test_curves(seeds):
    frame = plots.evaluations([record(s) for s in seeds])
    axes = plots.curves(frame, {"score": "score", "q_policy": "Q(s, π(s))"}, "value", "title")
    shown = curves_of(axes)
    assert shown.keys() == {"score", "Q(s, π(s))"}
    wanted = [score(np.mean(seeds) + s + 1.5) for s in (0, 10, 20)]
    np.testing.assert_allclose(shown["score"].get_ydata(), wanted)
    np.testing.assert_array_equal(shown["Q(s, π(s))"].get_xdata(), [0, 10])  # None is not drawn
    many = len(seeds) > 1
    assert len(axes.get_lines()) == 2 + 2 * many * len(seeds)
    assert len(axes.collections) == 2 * many
    assert axes.get_xlabel() == "gradient updates"
    assert (axes.get_ylabel(), axes.get_title()) == ("value", "title")
    assert_finite(axes.figure)


def test_curves_into_given_axes():
    _, axes = plt.subplots()
    frame = plots.evaluations([record(critic=False)])
    assert plots.curves(frame, {"policy_data_distance": "d"}, "", "", axes) is axes
    assert list(curves_of(axes)) == ["d"]


def test_learning_curves_over_seeds():
    groups = {"td3n": [record(s) for s in (0, 3, 30)], "bc": [record(0, critic=False)]}
    figure = plots.learning_curves(groups, {"behaviour": 44.0})
    [axes] = figure.axes
    shown = curves_of(axes)
    assert shown.keys() == {"td3n", "bc", "behaviour"} and len(axes.collections) == 2
    np.testing.assert_allclose(shown["td3n"].get_ydata(), [score(s + 12.5) for s in (0, 10, 20)])
    np.testing.assert_allclose(shown["bc"].get_ydata(), [score(s + 1.5) for s in (0, 10, 20)])
    assert set(shown["behaviour"].get_ydata()) == {44.0} and axes.get_ylabel() == "normalised score"
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    # The interval of the mean of three seeds: wide, but within the seeds themselves.
    assert score(1.5) <= band.min() < score(12.5) < band.max() <= score(20 + 31.5) + 1e-9
    assert_finite(figure)


def test_learning_curves_of_one_seed_are_over_episodes():
    figure = plots.learning_curves({"a": [record(0, reference=None, episodes=50)]}, {})
    [axes] = figure.axes
    band = axes.collections[0].get_paths()[0].vertices
    first = band[band[:, 0] == 0, 1]
    error = np.std(np.arange(50)) / math.sqrt(50)
    assert first.min() == pytest.approx(24.5 - 1.96 * error, rel=0.1)
    assert first.max() == pytest.approx(24.5 + 1.96 * error, rel=0.1)
    assert axes.get_ylabel() == "return"


def test_wider_intervals_are_wider():
    records = {"a": [record(s) for s in (0, 3, 30)]}
    widths = []
    for interval in (50, 95):
        [axes] = plots.learning_curves(records, {}, interval=interval).axes
        band = axes.collections[0].get_paths()[0].vertices
        widths.append(np.ptp(band[band[:, 0] == 10, 1]))
    assert 0 < widths[0] < widths[1]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_diverged_seed_is_named_wherever_it_stands(order):
    """It may come first: the others must not vanish for it, nor it without a word."""
    some = [record(0), record(4), record(9, steps=(0,), status="diverged")]
    [axes] = plots.learning_curves({"td3n": [some[i] for i in order]}, {}).axes
    [(label, line)] = curves_of(axes).items()
    assert label == "td3n (2 of 3 seeds, the others diverged)"
    np.testing.assert_allclose(line.get_ydata(), [score(s + 3.5) for s in (0, 10, 20)])


def test_no_group_or_level_is_dropped():
    groups = {f"algorithm {i}": [record(i)] for i in range(13)}
    levels = {f"level {i}": float(i) for i in range(5)}
    [axes] = plots.learning_curves(groups, levels).axes
    assert len(curves_of(axes)) == 18


def test_the_style(monkeypatch):
    with mpl.rc_context():
        plots.use_style()
        assert not plt.rcParams["axes.spines.top"] and plt.rcParams["axes.grid"]
    assert len(set(plots.PALETTE)) == 10


def test_a_curve_is_of_one_dataset():
    """Two files of one name would be averaged without a word."""
    with pytest.raises(RecordError, match="a curve of different datasets, all called"):
        plots.learning_curves({"a": [record(0), record(1, dataset_digest="another")]}, {})
