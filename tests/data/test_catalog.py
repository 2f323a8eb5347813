"""Names lead where they should, scores are D4RL's, and the bundled human dataset is whole."""

import hashlib
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.synthetic import write_hdf5

import rdlib.data
from rdlib.data import DataError, catalog, load, normalised_score
from rdlib.data.readers import d4rl, download, minari

DOOR = Path(rdlib.data.__file__).parent / "bundled" / "door_human"


def test_the_bundled_human_dataset():
    data = load("door-human")
    assert len(data) == 6729 and len(data.episode_lengths()) == 25
    assert (data.obs_dim, data.act_dim) == (39, 28)
    assert (data.source, data.env_id, data.max_episode_steps) == ("bundled", "AdroitHandDoor-v1", 200)
    assert not data.terminal.any() and data.last.sum() == 25
    assert np.abs(data.act).max() <= 1
    assert data.notes["licence"] == "CC-BY-4.0" and "Rajeswaran" in data.notes["author"]
    assert load("D4RL/door/human-v2").digest == data.digest
    # Returns against the sums that Minari keeps beside each episode, of the other sign of the distance.
    with h5py.File(DOOR / "D4RL/door/human-v2/data/main_data.hdf5") as file:
        kept = np.array([file[f"episode_{i}"].attrs["rewards_sum"] for i in range(25)])
    distance = np.linalg.norm(data.next_obs[:, 35:38].astype(np.float64), axis=1)
    of_episodes = np.add.reduceat(distance, np.cumsum(data.episode_lengths()) - data.episode_lengths())
    np.testing.assert_allclose(data.episode_returns(), kept - 0.2 * of_episodes, rtol=1e-6)
    assert "-0.1 times the distance" in data.notes["rewards"] and data.reference is None
    assert normalised_score("door-human", data.episode_returns()).mean() == pytest.approx(29.01, abs=0.01)


def test_the_bundled_files_are_those_that_are_attributed():
    text = (DOOR / "ATTRIBUTION.md").read_text()
    stated = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    found = {
        path.relative_to(DOOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (DOOR / "D4RL").rglob("*")
        if path.is_file()
    }
    assert found == stated
    assert "CC BY 4.0" in text and "Rajeswaran" in text


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("hopper", "hopper"),
        ("Hopper-v5", "hopper"),
        ("HalfCheetah-v4", "halfcheetah"),
        ("hopper-medium", "hopper"),
        ("d4rl/walker2d-medium-replay-v2", "walker2d"),
        ("rd/hopper/medium-v1", "hopper"),
        ("mujoco/halfcheetah/expert-v0", "halfcheetah"),
        ("pen-human", "pen"),
        ("AdroitHandPen-v1", "pen"),
        ("AdroitHandDoor-v1", "door"),
        ("D4RL/door/human-v2", "door"),
        ("/some/where/hopper_medium_expert-v2.hdf5", "hopper"),
    ],
)
def test_scores_are_found_by_any_name(name, environment):
    low, high = catalog.REFERENCE_SCORES[environment]
    np.testing.assert_allclose(normalised_score(name, [low, high]), [0, 100], atol=1e-12)


@pytest.mark.parametrize(
    "name", ["Ant-v5", "InvertedDoublePendulum-v5", "bullet-hopper-medium-v0", "open-door-v1", ""]
)
def test_no_score_is_invented(name):
    with pytest.raises(DataError, match=r"no D4RL reference score"):
        normalised_score(name, 1.0)


def test_scores_agree_with_published_ones():
    """Dataset means that the D4RL literature quotes, from returns: hopper-medium 44.3, ..."""
    expected = {"halfcheetah-medium": 40.7, "hopper-medium": 44.3, "walker2d-medium": 62.1}
    for name, score in expected.items():
        assert catalog.PAPER_DATASETS[name].d4rl_score == pytest.approx(score, abs=0.05)
    assert normalised_score("hopper", np.zeros((2, 3))).shape == (2, 3)


def test_the_table_is_the_paper_s():
    entries = catalog.PAPER_DATASETS
    assert len(entries) == 18 and "door-human" in entries
    assert {e.environment for e in entries.values()} == set(catalog.REFERENCE_SCORES)
    assert d4rl.url_path(entries["hopper-medium-replay"].d4rl) == (
        "gym_mujoco_v2/hopper_medium_replay-v2.hdf5"
    )
    assert d4rl.url_path(entries["pen-cloned"].d4rl) == "hand_dapg_v1/pen-cloned-v1.hdf5"
    listed = rdlib.data.names()
    assert len({name.name for name in listed}) == len(listed)
    assert {name.name for name in listed if name.source == "bundled"} >= {
        "hopper-medium",
        "rd/hopper/medium-v1",
        "door-human",
    }
    for name in listed:
        assert name.licence and catalog.environment_of(name.name)


def test_names_lead_to_their_readers(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(download, "download", lambda *a: calls.append(("download", *a)) or "file")
    monkeypatch.setattr(d4rl, "read_hdf5", lambda *a, **k: calls.append(("hdf5", *a, k)))
    monkeypatch.setattr(minari, "read_minari", lambda *a, **k: calls.append(("minari", *a)))
    load("d4rl/hopper-medium-v2", root=tmp_path)
    load(tmp_path / "my.hdf5")
    load("mujoco/hopper/medium-v0", root=tmp_path)
    load("D4RL/pen/human-v2")
    assert calls == [
        ("download", "hopper-medium-v2", tmp_path),
        ("hdf5", "file", "d4rl/hopper-medium-v2", {"clip_actions": False, "source": "d4rl"}),
        (
            "hdf5",
            str(tmp_path / "my.hdf5"),
            {"max_episode_steps": None, "env": None, "clip_actions": False},
        ),
        ("minari", "mujoco/hopper/medium-v0", tmp_path),
        ("minari", "D4RL/pen/human-v2", None),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hopper-meduim", r"unknown dataset 'hopper-meduim'; near names: hopper-medium,"),
        ("hoper", r"hopper-"),
        ("d4rl/hopper-medium-v1", r"d4rl/hopper-medium-v2"),
        ("rd/hopper/mediun-v0", r"rd/hopper/medium-v1"),
        ("Hopper-Medium", r"near names: hopper-medium"),
        ("", r"unknown dataset ''"),
        ("walker2d-expertt", r"near names: walker2d-expert,"),
        ("pen-human", r"near names: (?=.*d4rl/pen-human-v1)(?=.*D4RL/pen/human-v2)(?=.*pen-demos)"),
        ("/no/such/file.hdf5", r"no such file"),
        ("hopper-medium-v2", r"unknown dataset 'hopper-medium-v2'; near names: .*d4rl/hopper-medium-v2"),
    ],
)
def test_unknown_names_list_the_near_ones(name, message):
    with pytest.raises(DataError, match=message):
        load(name)


def test_size_is_for_rolled_out_data_only():
    with pytest.raises(DataError, match=r"size=100 applies to the bundled rd/"):
        load("door-human", size=100)
    with pytest.raises(DataError, match=r"size is 0"):
        load("hopper-medium", size=0)


def test_horizon_and_env_are_for_data_that_do_not_say(tmp_path):
    path = write_hdf5(tmp_path / "own.hdf5")
    assert load(path).max_episode_steps is None
    assert load(path, horizon=77).max_episode_steps == 77
    with pytest.raises(DataError, match=r"door-human: its episodes end after 200 steps; horizon=77 is for"):
        load("door-human", horizon=77)
    assert load("door-human", horizon=200).max_episode_steps == 200
    with pytest.raises(DataError, match=r"horizon is 0; it must be at least 1"):
        load(path, horizon=0)


def test_actions_are_clipped_to_the_environment_s_limits(tmp_path):
    actions = np.full((300, 3), 0.25, np.float32)
    actions[5, 2] = -3
    path = write_hdf5(tmp_path / "own.hdf5", actions=actions)
    got = load(path, env="Hopper-v5", clip_actions=True)
    assert got.act[5, 2] == -1 and (got.act == 0.25).sum() == got.act.size - 1
    assert load(path).act[5, 2] == -3  # nobody knows its limits
    with pytest.raises(DataError, match=r"own: clip_actions needs limits.*give env"):
        load(path, clip_actions=True)
    within = write_hdf5(tmp_path / "within.hdf5")
    assert load(within, env="Hopper-v5", clip_actions=True).digest == load(within).digest


def test_a_minari_id_that_cannot_be_had_lists_the_near_names(monkeypatch, tmp_path):
    import minari as farama

    monkeypatch.setattr(farama, "download_dataset", lambda *a, **k: 1 / 0)
    with pytest.raises(DataError, match=r"could not be downloaded.*Near names: mujoco/hopper/med"):
        load("mujoco/hoper/medium-v0", root=tmp_path)


def test_the_cache_root_is_configurable(monkeypatch, tmp_path):
    monkeypatch.setenv("RDLIB_CACHE", str(tmp_path))
    assert rdlib.data.cache_root() == tmp_path
    monkeypatch.delenv("RDLIB_CACHE")
    assert rdlib.data.cache_root() == Path.home() / ".cache" / "rdlib"
