"""Datasets saved are read back the same; OGBench's layout is read as OGBench reads it."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic import dataset

from rdlib.data import DataError, load

META = {"env_id": "Hopper-v5", "max_episode_steps": 500, "notes": {"licence": "MIT", "author": "ÅÄ"}}


def ogbench(rows: int = 12, length: int = 4) -> dict[str, np.ndarray]:
    """Trajectories of `length` rows, the last of each the state that it ended in."""
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(rows, 3)).astype("f4"),
        "actions": rng.uniform(-1, 1, (rows, 2)).astype("f4"),
        "rewards": -np.ones(rows, "f4"),
        "terminals": (np.arange(rows) % length == length - 1).astype("f4"),
        "qpos": np.zeros((rows, 2)),
    }


def test_what_is_saved_is_read_back(tmp_path):
    wrapper = {"name": "RescaleAction", "entry_point": "gymnasium.wrappers:R", "kwargs": {"min_action": 0}}
    task = {"env_kwargs": {"g": 1.5}, "env_wrappers": [wrapper], "reference": (0.0, 9.5)}
    d = dataset(**META, **task, act_limits=([-1, -1], [1, 0.5]))
    path = d.save(tmp_path / "mine.npz")
    got = load(path)
    assert (got.name, got.env_id, got.max_episode_steps) == (d.name, "Hopper-v5", 500)
    assert got.digest == d.digest and got.source == "npz"
    assert (got.env_kwargs, got.env_wrappers, got.reference) == ({"g": 1.5}, (wrapper,), (0.0, 9.5))
    np.testing.assert_array_equal(got.act_limits, d.act_limits)
    assert got.notes == META["notes"] | {"path": str(path)}
    assert [p.name for p in tmp_path.iterdir()] == ["mine.npz"]
    again = load(got.save(path))  # in its own place
    assert again.digest == d.digest


def test_ogbench_s_files_are_read_as_ogbench_reads_them(tmp_path):
    """Three transitions of each four rows, from each row to the next."""
    data = ogbench()
    np.savez(tmp_path / "maze.npz", **data)
    got = load(tmp_path / "maze.npz")
    first = np.array([0, 1, 2, 4, 5, 6, 8, 9, 10])
    np.testing.assert_array_equal(got.obs, data["observations"][first])
    np.testing.assert_array_equal(got.next_obs, data["observations"][first + 1])
    np.testing.assert_array_equal(got.act, data["actions"][first])
    assert np.flatnonzero(got.last).tolist() == [2, 5, 8] and not got.terminal.any()
    assert got.name == "maze"


def test_masks_end_an_episode_where_the_task_is_solved(tmp_path):
    data = ogbench()
    data |= {"next_observations": data["observations"] + 1, "masks": np.ones(12)}
    data["masks"][[5, 11]] = 0
    np.savez(tmp_path / "cube.npz", **data)
    got = load(tmp_path / "cube.npz")
    np.testing.assert_array_equal(got.next_obs, data["observations"] + 1)
    assert np.flatnonzero(got.terminal).tolist() == [5, 11]
    assert np.flatnonzero(got.last).tolist() == [3, 5, 7, 11]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": None}, r"'rewards' is missing; there is .*relabel"),
        ({"terminals": None}, r"'terminals' is missing"),
        ({"timeouts": np.zeros(12)}, r"'timeouts' is D4RL's"),
        ({"terminals": np.zeros(12)}, r"'terminals' must be 1 on the final row"),
        ({"terminals": np.ones(12)}, r"every row ends a trajectory"),
        ({"terminals": np.full(12, 2)}, r"'terminals' row 0 holds 2; it must be 0 or 1"),
        ({"masks": np.ones(11)}, r"'masks' has 11 rows and 'observations' has 12"),
        ({"next_observations": np.zeros((12, 2))}, r"'next_obs' has shape \(12, 2\)"),
        ({"observations": np.full((12, 3), np.nan)}, r"'observations' row 0 holds nan"),
        ({"observations": np.array([{}] * 12)}, r"not a readable \.npz file.*pickle"),
        ({"actions": np.arange(12) % 4}, r"'actions'.*discrete actions are not supported"),
        ({"rdlib": np.array("{")}, r"'rdlib' is not as Dataset\.save writes it"),
        ({"rdlib": np.array('{"name": 5}')}, r"'name' is 5; it must be text"),
    ],
)
def test_malformed_files_are_refused_by_name(tmp_path, change, message):
    arrays = {k: v for k, v in (ogbench() | change).items() if v is not None}
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / "odd.npz")
    assert "odd.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_archive_is_refused(tmp_path):
    path = dataset().save(tmp_path / "whole.npz")
    whole = path.read_bytes()
    for name, content in (("empty", b""), ("text", b"a,b\n1,2\n"), ("cut", whole[: len(whole) // 2])):
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.npz: not an \.npz file"):
            load(tmp_path / f"{name}.npz")
    damaged = bytearray(whole)
    damaged[300] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"whole\.npz: not a readable \.npz file"):
        load(path)
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"one\.npz: it holds one array"):
        load(tmp_path / "one.npz")
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        load(tmp_path / "none.npz")


def test_where_it_cannot_be_saved_it_says_so(tmp_path):
    with pytest.raises(DataError, match=r"mine\.pkl: a dataset is saved as \.npz"):
        dataset().save(tmp_path / "mine.pkl")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write to .*file while saving made-up-0"):
        dataset().save(tmp_path / "file" / "mine.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_folder_of_the_home_is_a_folder_of_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    d = dataset(**META)
    assert d.save("~/mine.npz") == tmp_path / "mine.npz"
    assert load("~/mine.npz").digest == d.digest
    assert json.loads(str(np.load(Path(tmp_path / "mine.npz"))["rdlib"]))["env_id"] == "Hopper-v5"
