"""Records that no run made, and the numbers printed beside them."""

import dataclasses
from pathlib import Path
from typing import Any

from rdlib.results import printed
from rdlib.training.record import Record

RESULTS = Path(__file__).parents[2] / "book" / "results"
PAPER = printed.read_paper(RESULTS / "paper.csv")
CORL = printed.read_corl(RESULTS / "corl.csv")
FOUR = [10.0, 20.0, 30.0, 40.0]
BETTER = [60.0, 70.0, 80.0, 90.0]


def evaluation(step: int, *returns: float) -> dict[str, Any]:
    more = {"lengths": [10] * len(returns), "diagnostics": {"q_policy": 1.5}, "training": {"loss": None}}
    return {"step": step, "returns": list(returns), **more}


RECORD = Record(
    algo="td3n_rd", dataset="made-up", dataset_source="hdf5", dataset_digest="ab", dataset_size=200,
    env_id="Hopper-v5", max_episode_steps=1000, env_kwargs={},
    env_wrappers=[], env_rewards=None, seed=3, scale="quick", steps=400,
    config={"beta": 1.0}, plugin={"weight": 0.1},
    config_hash="cd", status="finished", stopped_at=400, last_k=2, reference=[-20.0, 180.0],
    evaluations=[
        evaluation(0, 0.0, 0.0), evaluation(100, 400.0, 600.0), evaluation(200, 10.0, 30.0),
        evaluation(400, 50.0, 70.0),
    ],
    dtype="float32", versions={"torch": "2"}, device="cpu", matmul="default", commit=None,
    started="2026-01-01T00:00:00+00:00", seconds=1.5, agents=2, earlier=[],
)  # fmt: skip


REFERENCE = [-20.272305, 3234.3]


def record(algo="td3n", dataset="hopper-medium", seed=0, score=50.0, **more):
    """A record at the paper's scale whose last-iterate score is `score`."""
    raw = REFERENCE[0] + score * (REFERENCE[1] - REFERENCE[0]) / 100
    values = {
        "algo": algo, "dataset": dataset, "dataset_source": "bundled", "dataset_digest": f"of {dataset}",
        "seed": seed, "scale": "paper", "reference": REFERENCE, "config": {}, "last_k": 1,
        "config_hash": f"{algo} {seed} {more}", "plugin": None, "versions": {"mujoco": "3.4.0"},
        "evaluations": [evaluation(200, raw + 100), evaluation(400, raw)],
    }  # fmt: skip
    return dataclasses.replace(RECORD, **{**values, **more})


def runs(algo, scores, dataset="hopper-medium", **more):
    return [record(algo, dataset, seed, score, **more) for seed, score in enumerate(scores)]
