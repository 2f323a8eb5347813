"""D4RL files: the same transitions as D4RL's own rule, and refusal of bad files."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.extras import needed

from rdlib.data import DataError
from rdlib.data.readers import d4rl

hypothesis = needed("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
NAME = "hopper-medium-v2"
FILE = "hopper_medium-v2.hdf5"


def write(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value
    return path


def steps(rows: int, seed: int = 0, timeouts: bool = True, dtype: str = "f4") -> dict[str, Any]:
    """A file's arrays with random ends; some rows are both terminal and timed out."""
    rng = np.random.default_rng(seed)
    arrays = {
        "observations": rng.normal(size=(rows, 3)).astype(dtype),
        "actions": rng.uniform(-1, 1, size=(rows, 2)).astype(dtype),
        "rewards": rng.normal(size=rows).astype(dtype),
        "terminals": rng.random(rows) < 0.2,
    }
    if timeouts:
        arrays["timeouts"] = rng.random(rows) < 0.2
    return arrays


def row_by_row(data: dict[str, Any], horizon: int) -> dict[str, np.ndarray]:
    """D4RL's qlearning_dataset rule, one row at a time, with the episodes noted."""
    kept: list[int] = []
    episode_of: list[int] = []
    episode = counter = 0
    for row in range(len(data["rewards"]) - 1):  # the final row has no next observation
        ended = bool(data["terminals"][row])
        if "timeouts" in data:
            cut = bool(data["timeouts"][row])
        else:
            cut = counter == horizon - 1
        if cut:
            counter, episode = 0, episode + 1
            continue
        kept.append(row)
        episode_of.append(episode)
        counter = 1 if ended else counter + 1  # 1: D4RL resets first and counts the row after that
        episode += ended
    index = np.array(kept, dtype=int)
    numbers = np.array([*episode_of, -1])
    return {
        "obs": data["observations"][index].astype(np.float32),
        "next_obs": data["observations"][index + 1].astype(np.float32),
        "act": data["actions"][index].astype(np.float32),
        "rew": data["rewards"][index].astype(np.float32).reshape(-1),
        "terminal": data["terminals"][index],
        "last": numbers[:-1] != numbers[1:],
    }


# ---- reading


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(2, 60),
    seed=st.integers(0, 2**32 - 1),
    timeouts=st.booleans(),
    horizon=st.integers(1, 12),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_same_transitions_as_d4rl(tmp_path_factory, rows, seed, timeouts, horizon, dtype):
    data = steps(rows, seed, timeouts, dtype)
    path = write(tmp_path_factory.mktemp("d4rl") / "x.hdf5", **data)
    expected = row_by_row(data, horizon)
    if not len(expected["rew"]):
        with pytest.raises(DataError, match=r"no transition is left"):
            d4rl.read_hdf5(path, max_episode_steps=horizon)
        return
    got = d4rl.read_hdf5(path, max_episode_steps=horizon)
    for key, value in expected.items():
        np.testing.assert_array_equal(getattr(got, key), value, err_msg=key)
        assert getattr(got, key).dtype == value.dtype


def test_the_counting_slip_is_kept(tmp_path):
    """Without `timeouts`, an episode that follows a terminal is cut one step early, as in D4RL."""
    data = steps(12, timeouts=False)
    data["terminals"] = np.arange(12) == 1
    data["observations"][:, 0] = np.arange(12)
    got = d4rl.read_hdf5(write(tmp_path / "x.hdf5", **data), max_episode_steps=4)
    assert got.obs[:, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 9, 10]  # 4 = 2 + 4 - 1 - 1, then 8
    assert got.episode_lengths().tolist() == [2, 2, 3, 2]


def test_a_known_file_name_brings_its_environment(tmp_path):
    got = d4rl.read_hdf5(write(tmp_path / FILE, **steps(20)))
    assert (got.name, got.source, got.env_id) == (NAME, "hdf5", "Hopper-v4")
    assert got.max_episode_steps == 1000
    assert got.notes["licence"] == "CC-BY-4.0" and "MuJoCo 2" in got.notes["dynamics"]
    other = d4rl.read_hdf5(write(tmp_path / "my_file.hdf5", **steps(20)), env_id="Hopper-v5")
    assert (other.name, other.env_id, other.max_episode_steps) == ("my_file", "Hopper-v5", 1000)
    assert other.digest == got.digest
    third = d4rl.read_hdf5(write(tmp_path / "third.hdf5", **steps(20, seed=1)))
    assert (third.env_id, third.max_episode_steps) == (None, None)
    assert third.digest != got.digest


def walks(lengths: list[int], timeouts: bool = True) -> dict[str, Any]:
    """Episodes of random walks, each cut by a timeout, with the state that follows each row."""
    rng = np.random.default_rng(0)
    states = [np.cumsum(rng.normal(size=(n + 1, 3)), axis=0).astype("f4") for n in lengths]
    rows = sum(lengths)
    data = steps(rows) | {"terminals": np.zeros(rows, bool)}
    data["observations"] = np.concatenate([s[:-1] for s in states])
    data["next_observations"] = np.concatenate([s[1:] for s in states])
    data["timeouts"] = np.isin(np.arange(rows) + 1, np.cumsum(lengths)) & timeouts
    return data


def test_next_observations_that_agree_change_nothing(tmp_path):
    data = walks([50, 30])
    rounded = data["next_observations"] * (1 + 1e-6)
    plain = {k: v for k, v in data.items() if k != "next_observations"}
    digests = {
        d4rl.read_hdf5(write(tmp_path / f"{i}.hdf5", **arrays)).digest
        for i, arrays in enumerate((plain, data, data | {"next_observations": rounded}))
    }
    assert len(digests) == 1


def test_a_shuffled_replay_buffer_is_refused(tmp_path):
    """795 rows that claim to go on; nearly all have a next state that the next row denies."""
    data = walks([200, 200, 200, 200])
    order = np.random.default_rng(1).permutation(800)
    shuffled = {k: v[order] for k, v in data.items()}
    inside = ~shuffled["timeouts"][:-1]
    apart = (shuffled["next_observations"][:-1] != shuffled["observations"][1:]).any(axis=1) & inside
    for name in ("buffer.hdf5", FILE):
        with pytest.raises(
            DataError, match=rf"'next_observations' .* in {apart.sum()} of {inside.sum()} rows"
        ):
            d4rl.read_hdf5(write(tmp_path / name, **shuffled))
    assert apart.sum() > 0.98 * inside.sum()


def test_a_row_that_is_contradicted_ends_its_episode_and_keeps_its_own(tmp_path):
    """Episodes whose ends no flag marks: their last rows would get the next episode's first state."""
    data = walks([50, 30, 20], timeouts=False)
    got = d4rl.read_hdf5(write(tmp_path / "own.hdf5", **data))
    assert got.episode_lengths().tolist() == [50, 30, 19] and not got.terminal.any()
    np.testing.assert_array_equal(got.next_obs, data["next_observations"][:-1])
    assert got.notes["next_observations"].startswith("of 2 rows")
    theirs = d4rl.read_hdf5(write(tmp_path / FILE, **data))  # of D4RL's name: its rule, and a word
    np.testing.assert_array_equal(theirs.next_obs, data["observations"][1:])
    assert theirs.notes["next_observations"].startswith("not the next row's in 2 rows")
    data["next_observations"][49] = np.nan
    with pytest.raises(DataError, match=r"'next_observations' row 49 holds nan"):
        d4rl.read_hdf5(write(tmp_path / "own.hdf5", **data))
    data["next_observations"] = data["next_observations"][:, :2]
    with pytest.raises(DataError, match=r"'next_observations' has shape \(100, 2\); .*\(100, 3\)"):
        d4rl.read_hdf5(write(tmp_path / "own.hdf5", **data))


def test_rewards_of_one_column_are_read(tmp_path):
    data = steps(20)
    column = data | {"rewards": data["rewards"][:, None]}
    a, b = write(tmp_path / "a.hdf5", **data), write(tmp_path / "b.hdf5", **column)
    assert d4rl.read_hdf5(a).digest == d4rl.read_hdf5(b).digest


@pytest.mark.parametrize(
    ("given", "length"),
    [({"max_episode_steps": 7}, 6), ({"env": "Hopper-v5"}, 999), ({"env": "Reacher-v5"}, 49)],
)
def test_without_timeouts_a_horizon_or_an_environment_cuts(tmp_path, given, length):
    """The last step of each full episode is dropped, as in D4RL."""
    data = steps(2500, timeouts=False) | {"terminals": np.zeros(2500, bool)}
    path = write(tmp_path / "own.hdf5", **data)
    got = d4rl.read_hdf5(path, **given)
    assert got.episode_lengths()[0] == length
    assert (got.env_id, got.max_episode_steps) == (None, given.get("max_episode_steps"))


def test_actions_beyond_the_limits_are_clipped_where_asked(tmp_path):
    data = steps(50)
    data["actions"][[3, 8], 0] = (1.5, -7.0)
    path = write(tmp_path / FILE, **data)
    with pytest.raises(DataError, match=r"'actions' row 3 holds 1\.5 .*2 such rows in all\); clip_actions"):
        d4rl.read_hdf5(path)
    got = d4rl.read_hdf5(path, clip_actions=True)
    clipped = d4rl.read_hdf5(
        write(tmp_path / "b.hdf5", **(data | {"actions": np.clip(data["actions"], -1, 1)}))
    )
    assert got.digest == clipped.digest and "clipped" in got.notes and "clipped" not in clipped.notes


def test_returns_are_sums_over_kept_steps(tmp_path):
    data = steps(6)
    data["terminals"] = np.array([0, 0, 1, 0, 0, 0], dtype=np.uint8)
    data["timeouts"] = np.array([0, 0, 0, 0, 1, 0], dtype=np.uint8)
    got = d4rl.read_hdf5(write(tmp_path / "x.hdf5", **data))
    reward = data["rewards"].astype(np.float64)
    np.testing.assert_allclose(got.episode_returns(), [reward[:3].sum(), reward[3]], rtol=1e-12)
    assert got.episode_lengths().tolist() == [3, 1]


# ---- refusing


def bad(key: str, value: Any) -> dict[str, Any]:
    return steps(20) | {key: value}


def put(key: str, row: int, value: float) -> dict[str, Any]:
    array = steps(20)[key].astype(np.float64)
    array[row] = value
    return bad(key, array)


MALFORMED = {
    "no observations": ({k: v for k, v in steps(20).items() if k != "observations"}, "observations"),
    "no terminals": ({k: v for k, v in steps(20).items() if k != "terminals"}, "terminals"),
    "short actions": (bad("actions", np.zeros((19, 2))), "actions.*19.*20"),
    "long timeouts": (bad("timeouts", np.zeros(21, bool)), "timeouts.*21.*20"),
    "discrete actions": (
        bad("actions", np.arange(20) % 3),
        "'actions'.*discrete actions are not supported",
    ),
    "flat observations": (bad("observations", np.zeros(20)), r"observations.*\(20,\)"),
    "image observations": (bad("observations", np.zeros((20, 3, 3))), "observations.*shape"),
    "wide rewards": (bad("rewards", np.zeros((20, 2))), "rewards.*shape"),
    "scalar rewards": (bad("rewards", 1.0), "rewards"),
    "no rows": ({k: v[:0] for k, v in steps(20).items()}, "observations.*no rows"),
    "empty rows": (bad("actions", np.zeros((20, 0))), "actions.*must not be empty"),
    "strings": (bad("actions", np.array([b"ab"] * 20)), "actions.*numbers"),
    "objects": (bad("actions", np.array(["a"] * 20, dtype=h5py.string_dtype())), "actions.*numbers"),
    "complex": (bad("rewards", np.zeros(20, complex)), "rewards.*numbers"),
    "a nan": (put("observations", 7, np.nan), "observations.*row 7.*nan.*finite"),
    "an inf": (put("rewards", 3, np.inf), "rewards.*row 3.*inf.*finite"),
    "too large for float32": (put("actions", 4, 1e300), "actions.*row 4.*finite in float32"),
    "terminal of 2": (put("terminals", 5, 2), "terminals.*row 5.*0 or 1"),
    "terminal of nan": (put("terminals", 6, np.nan), "terminals.*row 6.*0 or 1"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused_by_name(tmp_path, case):
    arrays, message = MALFORMED[case]
    path = write(tmp_path / "odd.hdf5", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        d4rl.read_hdf5(path)
    assert "odd.hdf5" in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    key=st.sampled_from(["observations", "actions", "rewards", "terminals", "timeouts"]),
    row=st.integers(0, 19),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1e39]),
)
def test_any_bad_value_is_found_where_it_is(tmp_path_factory, key, row, value):
    path = write(tmp_path_factory.mktemp("bad") / "x.hdf5", **put(key, row, value))
    with pytest.raises(DataError, match=f"'{key}' row {row} "):
        d4rl.read_hdf5(path)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, share):
    path = write(tmp_path_factory.mktemp("cut") / "x.hdf5", **steps(200))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"x\.hdf5.*(HDF5|no data)"):
        d4rl.read_hdf5(path)


def test_other_refusals(tmp_path):
    with pytest.raises(DataError, match=r"no such file"):
        d4rl.read_hdf5(tmp_path / "absent.hdf5")
    path = write(tmp_path / "x.hdf5", **steps(20, timeouts=False))
    with pytest.raises(DataError, match=r"'timeouts' is missing.*horizon .* env "):
        d4rl.read_hdf5(path)
    with pytest.raises(DataError, match=r"at least 1"):
        d4rl.read_hdf5(path, max_episode_steps=-3)
    with pytest.raises(DataError, match=r"Hopper-v77"):
        d4rl.read_hdf5(path, env_id="Hopper-v77")
    with h5py.File(tmp_path / "huge.hdf5", "w") as file:  # declared, never written
        file.create_dataset("observations", shape=(10**12, 3), chunks=(1024, 3), dtype="f4")
    with pytest.raises(DataError, match=r"observations.*holds no data"):
        d4rl.read_hdf5(tmp_path / "huge.hdf5")
    group = tmp_path / "group.hdf5"
    with h5py.File(group, "w") as file:
        file.create_group("observations")
    with pytest.raises(DataError, match=r"observations.*not an array"):
        d4rl.read_hdf5(group)
