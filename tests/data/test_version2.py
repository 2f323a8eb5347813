"""Version 2 of the bundled data: bundled from runs, loaded by its ids, apart from version 1."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from behaviour_policies import OnlineRun, Snapshots, train_online
from safetensors import safe_open
from safetensors.torch import load_file

from rdlib.algos import sacn
from rdlib.data import DataError, catalog, load
from rdlib.data.bundled import POLICIES, policies_folder, rollout, statistics
from rdlib.training import data_check

WORKFLOW = Path(__file__).parents[2] / "workflow"
SAC = sacn.Config(n_critics=2, target="min", depth=1, width=16, actor_width=8, actor_depth=1, batch_size=16)


def load_script(name):
    """A script of workflow/, as a module."""
    spec = importlib.util.spec_from_file_location(name, WORKFLOW / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    """The script that bundles."""
    return load_script("bundle_policies")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run with snapshots at 0, 40, …, 160."""
    out = tmp_path_factory.mktemp("online") / "hopper-s1"
    tiny = OnlineRun(steps=160, copies=4, random_steps=40, snapshot_every=40, episodes=1, sac=SAC)
    train_online(tiny, out)
    return out


@pytest.fixture
def bundled(script, run, tmp_path, monkeypatch):
    """Policies of version 2, of that run only."""
    monkeypatch.setattr("rdlib.data.bundled.POLICIES", tmp_path)
    rollout.about.cache_clear()
    options = ["--medium", f"{run}:120", "--expert", f"{run}:160", "--replay", "3"]
    script.main(["hopper", *options])
    yield
    rollout.about.cache_clear()
    statistics.cache_clear()


def test_the_policies_are_the_snapshots(bundled, run):
    about, source = rollout.about("hopper", 2), Snapshots(run)
    assert about["replay"] == [0, 80, 120] and about["qualities"] == list(rollout.LOCOMOTION)
    assert sum(about["replay_weights"]) == pytest.approx(1)
    assert about["medium"]["run"] == "hopper-s1" and about["runs"]["hopper-s1"]["steps"] == 160
    expected = {"random": 0, "medium": 120, "expert": 160, "replay/0": 0, "replay/1": 80, "replay/2": 120}
    for name, step in expected.items():
        state = rollout.policy("hopper", name, 2).state_dict()
        for key, value in source.weights(step).items():
            assert np.array_equal(state[key], value), (name, key)


def test_the_untrained_policy_has_its_5000_steps_of_medium_replay(bundled):
    parts = rollout.parts_of("hopper", "medium-replay", 402_000, 2)
    assert [(name, size) for name, size, _ in parts] == [
        ("replay/0", 5_000),
        ("replay/1", 198_500),
        ("replay/2", 198_500),
    ]


def test_a_snapshot_may_be_left_out(script, run, tmp_path):
    script.main(["hopper", "--medium", f"{run}:160", "--without", "120", "--target", str(tmp_path / "new")])
    with safe_open(tmp_path / "new", "pt") as file:
        assert json.loads(file.metadata()["about"])["replay"] == [0, 80, 160]


def test_medium_replay_may_go_on_beyond_medium(script, run, tmp_path):
    options = ["--medium", f"{run}:80", "--until", "160", "--target", str(tmp_path / "new")]
    script.main(["hopper", *options])
    with safe_open(tmp_path / "new", "pt") as file:
        assert json.loads(file.metadata()["about"])["replay"] == [0, 80, 120, 160]


def test_version_1_s_policies_may_stay(script, tmp_path):
    options = ["--medium", "version-1", "--expert", "version-1", "--target", str(tmp_path / "new")]
    script.main(["walker2d", *options])
    old, new = load_file(POLICIES / "walker2d.safetensors"), load_file(tmp_path / "new")
    assert old.keys() == new.keys() and all(np.array_equal(old[k], new[k]) for k in old)
    with safe_open(tmp_path / "new", "pt") as file:
        about, before = json.loads(file.metadata()["about"]), rollout.about("walker2d")
    assert about["qualities"] == list(rollout.LOCOMOTION) and about["replay"] == before["replay"]
    assert about["medium"] == {"run": "version-1-medium", **before["medium"]}


def test_version_2_has_ids_and_names_of_its_own(bundled):
    data = load("rd/hopper/medium-v2", size=120)
    assert (data.name, len(data), data.source) == ("rd/hopper/medium-v2", 120, "bundled")
    assert catalog.short_name(data.name) == "hopper-medium"
    assert catalog.is_rolled_out(data.name)
    assert (rollout.cache_root() / "minari/rd/hopper/medium-120-v2").is_dir()


def test_version_1_is_not_misread_as_version_2(bundled):
    with pytest.raises(DataError, match="no bundled dataset hopper-medium; environments: ; qual"):
        load("rd/hopper/medium-v1", size=120)


@pytest.mark.parametrize(
    ("environment", "size"), [("hopper", 402_000), ("halfcheetah", 202_000), ("walker2d", 302_000)]
)
def test_medium_replay_has_d4rl_s_size(environment, size):
    assert rollout.default_size(environment, "medium-replay", 2) == size


def test_what_was_checked_is_kept_and_listed(bundled, tmp_path):
    def listed():
        return {n.name: n.score for n in catalog.names()}.get("rd/hopper/medium-v2")

    assert listed() is None
    collect = load_script("collect_checks")
    for mean in (40.0, 44.0):
        found = {"dataset": "rd/hopper/medium-v2", "like": "hopper-medium", "mean": mean}
        found |= {"steps": 100, "seeds": [0, 1], "td3bc": [50.0, 60.0]}
        (tmp_path / "check.json").write_text(json.dumps(found))
        collect.main([str(tmp_path)])
        statistics.cache_clear()
    kept = statistics(2)["hopper-medium"]
    statistics.cache_clear()
    command = "python -m rdlib data check rd/hopper/medium-v2 --steps 100 --seeds 0,1 --algos td3bc"
    assert kept["command"] == command
    assert kept["mean"] == 44.0 and listed() == 44.0


def test_medium_alone_brings_no_expert(script, run, tmp_path, monkeypatch):
    monkeypatch.setattr("rdlib.data.bundled.POLICIES", tmp_path)
    rollout.about.cache_clear()
    script.main(
        ["hopper", "--medium", f"{run}:80", "--target", str(policies_folder(2) / "hopper.safetensors")]
    )
    assert rollout.qualities("hopper", 2) == ("random", "medium", "medium-replay")
    with pytest.raises(DataError, match="no bundled dataset hopper-expert of version 2; env.*hopper"):
        load("rd/hopper/expert-v2", size=10)
    rollout.about.cache_clear()


def test_a_run_of_another_environment_is_refused(script, run):
    with pytest.raises(ValueError, match="is a run in Hopper-v5, not in walker2d"):
        script.main(["walker2d", "--medium", f"{run}:80"])


# ---- what ships


def test_shipped_policies_are_whole_and_small():
    files = list(POLICIES.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 15 * 2**20
    assert rollout.bundled_environments(2)
    for environment in rollout.bundled_environments(2):
        about = rollout.about(environment, 2)
        names = [q for q in about["qualities"] if not q.startswith("medium-")]
        names += [f"replay/{i}" for i in range(len(about["replay"]))]
        with safe_open(policies_folder(2) / f"{environment}.safetensors", "pt") as file:
            assert {key.rsplit("/", 1)[0] for key in file.keys()} == set(names)
        for name in names:
            assert rollout.policy(environment, name, 2).net.head.weight.isfinite().all()


def test_shipped_measurements_are_of_shipped_datasets():
    for short, found in statistics(2).items():
        entry = catalog.PAPER_DATASETS[short]
        assert found["dataset"] == catalog.newer(entry) and catalog.has_newer(entry)
        verdicts = data_check.judge(found, data_check.references()[short])
        assert found["verdicts"] == verdicts
