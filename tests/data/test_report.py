"""What `examine` says of a dataset is what plain NumPy finds in it."""

import dataclasses
import json
import re

import numpy as np
import pytest
from helpers.extras import needed
from helpers.synthetic import dataset

from rdlib.data.dataset import Dataset
from rdlib.data.report import Spread, count_duplicates, examine, print_report

hypothesis = needed("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
HOPPER = {"obs_dim": 11, "act_dim": 3, "env_id": "Hopper-v5", "max_episode_steps": 1000}


def rows_of(d: Dataset, rows: np.ndarray) -> Dataset:
    """The transitions `rows` of `d`, all of one episode."""
    arrays = {k: getattr(d, k)[rows] for k in ("obs", "act", "rew", "next_obs")}
    last = np.arange(len(rows)) == len(rows) - 1
    return dataset(n=len(rows), **arrays, terminal=d.terminal[rows] & last, last=last)


def repeated(d: Dataset) -> int:
    """Duplicates by a dictionary of tuples."""
    columns = [d.obs, d.act, d.rew[:, None], d.next_obs, d.terminal[:, None]]
    rows = [tuple(row) for row in np.concatenate(columns, axis=1).tolist()]
    return len(rows) - len(set(rows))  # 0.0 and -0.0 are equal and hash alike


# ---- duplicates


@settings(max_examples=60, deadline=None)
@given(
    which=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    zeros=st.lists(st.booleans(), min_size=10, max_size=10),
)
def test_duplicates_are_exact(which, zeros):
    """Rows that differ in little are no duplicates; both zeros are one value."""
    d = dataset(n=10)
    obs = d.obs.copy()
    obs[:, 0] = np.where(zeros, 0.0, -0.0)
    obs[5:, 1:] = obs[:5, 1:]  # rows 0 and 5, 1 and 6, ... differ in little
    d = rows_of(dataclasses.replace(d, obs=obs, next_obs=obs), np.array(which))
    assert count_duplicates(d) == repeated(d)


def test_every_key_makes_a_difference():
    d = dataset(n=2)
    same = {"obs": d.obs[[0, 0]], "act": d.act[[0, 0]], "rew": d.rew[[0, 0]], "next_obs": d.obs[[0, 0]]}
    same |= {"terminal": [False, False], "last": [False, True]}
    assert count_duplicates(dataset(n=2, **same)) == 1  # `last` is where the rows are, not what they hold
    for key in ("obs", "act", "rew", "next_obs"):
        other = same[key].copy()
        other[1] += 1
        assert count_duplicates(dataset(n=2, **(same | {key: other}))) == 0, key
    assert count_duplicates(dataset(n=2, **(same | {"terminal": [False, True]}))) == 0


def test_a_million_transitions_are_counted():
    d = dataset(n=1_000_000, **HOPPER)
    for array in (d.obs, d.act, d.rew, d.next_obs, d.terminal):
        array[999_000:] = array[:1_000]
    assert count_duplicates(d) == 1_000


# ---- the report


def test_the_report_is_what_numpy_finds():
    d = dataset(n=250, **HOPPER)
    r = examine(d)
    assert r.shapes == {
        "obs": (250, 11), "act": (250, 3), "rew": (250,), "next_obs": (250, 11), "terminal": (250,),
        "last": (250,),
    }  # fmt: skip
    assert list(r.columns) == [*(f"obs {i}" for i in range(11)), *(f"act {i}" for i in range(3)), "rew"]
    for key, column in (("obs 4", d.obs[:, 4]), ("act 2", d.act[:, 2]), ("rew", d.rew)):
        exact = column.astype(np.float64)
        expected = Spread(exact.min(), exact.mean(), exact.max(), exact.std())
        assert dataclasses.astuple(r.columns[key]) == pytest.approx(dataclasses.astuple(expected))
    lengths = np.array([6] * 41 + [4])
    returns = [part.sum() for part in np.split(d.rew.astype(np.float64), np.cumsum(lengths)[:-1])]
    assert (r.episodes, r.terminals, r.timeouts) == (42, d.terminal.sum(), 42 - d.terminal.sum())
    assert (r.lengths.min, r.lengths.max, r.lengths.mean) == (4, 6, pytest.approx(250 / 42))
    assert (r.returns.mean, r.returns.std) == pytest.approx((np.mean(returns), np.std(returns)))
    assert r.score == pytest.approx(100 * (np.mean(returns) + 20.272305) / (3234.3 + 20.272305))
    assert r.limits == ((-1, -1, -1), (1, 1, 1)) and r.digest == d.digest
    assert r.saturated == pytest.approx((np.abs(d.act) >= 0.999).mean())
    assert r.usable and not r.warnings and not r.constant and r.duplicates == 0


def test_what_is_odd_is_warned_of_and_stays_usable(capsys):
    n = 200
    base = dataset(n=n, **HOPPER)
    obs = base.obs.copy()
    obs[:, 2] = 0.5
    act = np.sign(base.act)
    act[7, 1] = 1 + 5e-4  # a file's rounding
    arrays = {"obs": obs, "next_obs": obs, "act": act, "rew": np.full(n, 1000.0)}
    for key in ("obs", "next_obs", "act"):
        arrays[key][11] = arrays[key][10]
    one = np.arange(n) % 50 == 49
    d = dataset(n=n, **{**HOPPER, "max_episode_steps": 40}, **arrays, terminal=one, last=one,
                notes={"mujoco": "mujoco==3.5.0", "license": "MIT"})  # fmt: skip
    r = examine(d)
    assert r.usable and r.constant == ("obs 2", "rew") and r.duplicates == 1
    assert (r.saturated, r.licence, r.mujoco) == (1.0, "MIT", "3.5.0")
    expected = (
        "1 transitions (0.5%) repeat", "constant: obs 2, rew", "100.0% of all action components",
        "all episodes have one return",
        "up to 50 steps, where Hopper-v5 ends after 40", "MuJoCo 3.5.0",
    )  # fmt: skip
    for text in expected:
        assert sum(text in warning for warning in r.warnings) == 1, text
    assert len(r.warnings) == len(expected)
    print_report(r)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("warning: ") for line in lines) == 6 and lines[-1] == "usable"
    whole = examine(dataset(n=n, **HOPPER, **arrays, terminal=one, last=one))  # D4RL's task
    assert r.score is None and sum("a mean score of 1536" in w for w in whole.warnings) == 1


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"act_dim": 2}, r"observations of 11 and actions of 2; Hopper-v5 has 11 and 3"),
        ({"obs_dim": 12}, r"observations of 12 and actions of 3"),
        (
            {"act": np.where(np.arange(600).reshape(200, 3) == 50, -1.25, 0.0)},
            r"'act' row 16 holds -1\.25 in dimension 2; .*limits there are -1 and 1 \(1 such rows",
        ),
    ],
)
def test_what_does_not_fit_the_environment_is_not_usable(more, problem, capsys):
    r = examine(dataset(**{**HOPPER, **more}))
    assert not r.usable and len(r.problems) == 1
    print_report(r)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"not usable: {r.problems[0]}"
    assert re.search(problem, last)


@pytest.mark.parametrize("env_id", [None, "Nowhere-v0", "CartPole-v1"])
def test_without_an_environment_limits_are_not_known(env_id):
    r = examine(dataset(env_id=env_id))
    assert r.usable and (r.limits, r.saturated) == (None, None)
    [warning] = r.warnings
    assert (env_id or "the environment is not stated") in warning


def test_json_is_the_report(capsys):
    r = examine(dataset(**HOPPER))
    print_report(r, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown.pop("usable") is True
    assert shown == json.loads(json.dumps(dataclasses.asdict(r)))
