"""`data check`: D4RL's numbers are read whole, a dataset is described and judged, agents are trained."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic import write_hdf5

from rdlib.__main__ import main
from rdlib.data import DataError, catalog, load
from rdlib.data.bundled import rollout
from rdlib.training import data_check

ROOT = Path(__file__).parents[2]
HOPPER = data_check.references()["hopper-medium"]
LIKE_D4RL = {
    "mean": 44.3,
    "std": 11.6,
    "episodes": 2190,
    "transitions": 1_000_000,
    "bc": [50.0, 55.0],
    "td3bc": [60.0],
}


def test_the_fifteen_datasets_have_their_reference():
    wanted = {f"{e}-{q}" for e in ("hopper", "halfcheetah", "walker2d") for q in rollout.LOCOMOTION}
    assert data_check.references().keys() == wanted
    for name, reference in data_check.references().items():
        if (score := catalog.PAPER_DATASETS[name].d4rl_score) is not None:
            environment = catalog.environment_of(name)
            assert catalog.normalised_score(environment, reference.mean) == pytest.approx(score)


def test_the_agents_scores_are_the_paper_s_table_2():
    with open(ROOT / "book" / "results" / "paper.csv", newline="") as file:
        printed = {(r["table"], r["algo"], r["dataset"]): float(r["mean"]) for r in csv.DictReader(file)}
    for name, reference in data_check.references().items():
        for algo in ("bc", "td3bc"):
            assert getattr(reference, algo) == printed["2", algo, name]


def test_medium_expert_s_numbers_follow_from_its_halves():
    for environment in ("hopper", "halfcheetah", "walker2d"):
        halves = [data_check.references()[f"{environment}-{q}"] for q in ("medium", "expert")]
        whole = data_check.references()[f"{environment}-medium-expert"]
        shares = np.array([h.episodes for h in halves]) / sum(h.episodes for h in halves)
        means, stds = np.array([(h.mean, h.std) for h in halves]).T
        assert whole.mean == pytest.approx(shares @ means, abs=0.01)
        variance = shares @ (stds**2 + means**2) - (shares @ means) ** 2
        assert whole.std == pytest.approx(np.sqrt(variance), abs=0.01)


def test_a_dataset_like_d4rl_s_passes():
    assert set(data_check.judge(LIKE_D4RL, HOPPER).values()) == {True}


@pytest.mark.parametrize(
    ("key", "criterion", "near", "far"),
    [
        ("mean", "mean", 47.2, 47.5),
        ("std", "std", 5.9, 5.7),
        ("std", "std", 23.2, 23.4),
        ("episodes", "episodes", 1650, 1630),
        ("transitions", "size", 999_100, 998_900),
        ("bc", "bc", [62.8], [63.0]),
        ("td3bc", "td3bc", [50.5], [50.3]),
    ],
)
def test_each_criterion_has_its_margin(key, criterion, near, far):
    for value, passes in ((near, True), (far, False)):
        verdicts = data_check.judge({**LIKE_D4RL, key: value}, HOPPER)
        assert [k for k, verdict in verdicts.items() if not verdict] == ([] if passes else [criterion])


def test_what_is_not_known_is_not_judged():
    replay = data_check.references()["hopper-medium-replay"]
    described = {"mean": 10.0, "std": 9.0, "episodes": 2000, "transitions": 402_000}
    verdicts = data_check.judge(described, replay)
    assert verdicts == {
        "mean": None,
        "std": None,
        "episodes": True,
        "size": True,
        "bc": None,
        "td3bc": None,
    }


def test_a_dataset_is_described_in_scores():
    data = load("hopper-random", size=500)
    found = data_check.describe(data, "hopper")
    scores = catalog.normalised_score("hopper", data.episode_returns())
    assert found["mean"] == pytest.approx(scores.mean()) and found["std"] == pytest.approx(scores.std())
    assert found["quantiles"]["0.0"] == scores.min() and found["quantiles"]["1.0"] == scores.max()
    assert found["episodes"] * found["length"] == pytest.approx(found["transitions"]) == 500


def test_the_command_trains_both_agents_and_keeps_what_it_found(tmp_path, capsys):
    arguments = ["--size", "300", "--steps", "4", "--seeds", "3", "--out", str(tmp_path / "out")]
    assert main(["data", "check", "hopper-random", *arguments]) == 0
    said = capsys.readouterr().out
    assert "hopper-random beside D4RL's hopper-random; agents after 4 updates, seeds 3" in said
    assert "transitions" in said and "FAIL" in said
    found = json.loads((tmp_path / "out" / "check.json").read_text())
    assert found["steps"] == 4 and found["seeds"] == [3] and found["verdicts"]["size"] is False
    assert len(found["bc"]) == len(found["td3bc"]) == 1
    assert found["digest"] == load("hopper-random", size=300).digest


def test_a_dataset_that_d4rl_has_not_needs_a_name_to_be_held_against(tmp_path):
    file = write_hdf5(tmp_path / "tiny.hdf5")
    with pytest.raises(DataError, match=r"no D4RL dataset 'tiny' to hold it against; known: half"):
        data_check.check(str(file), tmp_path / "out")
    found = data_check.check(str(file), tmp_path / "out", like="hopper-medium", algos=())
    assert found["like"] == "hopper-medium" and found["verdicts"]["size"] is False
