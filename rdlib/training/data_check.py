"""Whether a dataset stands in for D4RL's of the same name, by the criteria of book/data_protocol.md.

    python -m rdlib data check rd/hopper/medium-v2

A dataset is described by its episodes (scores, lengths, numbers) and by what BC and TD3+BC learn from it at
their published settings. D4RL's numbers are `data/d4rl_reference.csv`, and the two agents' scores there are
those of the paper's Table 2.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

import rdlib
from rdlib.data import catalog
from rdlib.data.checks import DataError
from rdlib.data.dataset import Dataset
from rdlib.data.readers import d4rl
from rdlib.engine import strict_csv
from rdlib.engine.config import ConfigError
from rdlib.training.checkpoint import write_atomically
from rdlib.training.request import TrainConfig
from rdlib.training.trainer import train

FILE = Path(catalog.__file__).with_name("d4rl_reference.csv")
NUMBERS = ("mean", "std", "min", "max", "episodes", "transitions", "bc", "td3bc")
CHECK_STEPS, CHECK_SEEDS = 100_000, (0, 1, 2)
EVALUATIONS, LAST = 20, 5  # evaluations of a run, and how many of them its score averages
MARGINS = {"mean": 3.0, "bc": 10.0, "td3bc": 10.0}  # in points of the score
CRITERIA = ("mean", "std", "episodes", "size", "bc", "td3bc")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Reference:
    """D4RL's dataset of one name: undiscounted returns of its episodes, how many there are, and the scores
    of the paper's Table 2. None where no public source is known."""

    dataset: str
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    episodes: float | None
    transitions: float | None
    bc: float | None
    td3bc: float | None


@cache
def references() -> dict[str, Reference]:
    """D4RL's numbers by short name (hopper-medium)."""

    def make(row: dict[str, str]) -> Reference:
        if row["dataset"] not in catalog.PAPER_DATASETS:
            raise ConfigError(f"dataset = {row['dataset']!r}, which the catalogue does not have")
        known = {name: strict_csv.number(row, name) if row[name] else None for name in NUMBERS}
        return Reference(row["dataset"], **known)

    found = strict_csv.read(FILE, ("dataset", *NUMBERS), make, lambda r: r.dataset)
    return {reference.dataset: reference for reference in found}


def describe(d: Dataset, environment: str) -> dict[str, Any]:
    """What a dataset holds: scores of its episodes (normalised as D4RL's `environment`), their number, mean
    length in steps, and transitions."""
    scores = catalog.normalised_score(environment, d.episode_returns())
    return {
        "mean": float(scores.mean()),
        "std": float(scores.std()),
        "quantiles": dict(zip(map(str, QUANTILES), np.quantile(scores, QUANTILES).tolist())),
        "episodes": len(scores),
        "length": len(d) / len(scores),
        "transitions": len(d),
        "terminals": int(d.terminal.sum()),
    }


def learn(
    algo: str,
    name: str,
    out: Path,
    steps: int = CHECK_STEPS,
    seeds: Sequence[int] = CHECK_SEEDS,
    size: int | None = None,
    env: str = "",
) -> list[float]:
    """Each seed's last-iterate score, (len(seeds),), after `steps` updates at the published settings.

    The run is kept in `out`, and a finished one is not repeated.
    """
    every = max(1, steps // EVALUATIONS)
    asked = TrainConfig(
        algo=algo,
        dataset=name,
        seeds=tuple(seeds),
        steps=steps,
        scale="paper",
        size=size or 0,
        eval_every=every,
        last_k=min(LAST, math.ceil(steps / every)),
        env=env,
        out=str(out),
    )
    return [record.last_score() for record in train(asked).records]


def judge(found: Mapping[str, Any], wanted: Reference) -> dict[str, bool | None]:
    """Each criterion's verdict on what was `found` (see `describe`, and "bc" and "td3bc", scores of seeds);
    None where D4RL's number or ours is not known."""
    score = catalog.normalised_score
    environment = catalog.PAPER_DATASETS[wanted.dataset].environment
    low, high = catalog.REFERENCE_SCORES[environment]
    verdicts: dict[str, bool | None] = dict.fromkeys(CRITERIA)
    if wanted.mean is not None:
        gap = found["mean"] - float(score(environment, wanted.mean))
        verdicts["mean"] = abs(gap) <= MARGINS["mean"]
    if wanted.std is not None:
        theirs = 100 * wanted.std / (high - low)
        small = max(theirs, found["std"]) <= MARGINS["mean"]
        verdicts["std"] = small or theirs / 2 <= found["std"] <= 2 * theirs
    if wanted.episodes is not None:
        verdicts["episodes"] = abs(found["episodes"] / wanted.episodes - 1) <= 0.25
    if wanted.transitions is not None:
        verdicts["size"] = abs(found["transitions"] / wanted.transitions - 1) <= 0.001
    for algo in ("bc", "td3bc"):
        theirs_of = getattr(wanted, algo)
        if theirs_of is not None and found.get(algo):
            verdicts[algo] = abs(float(np.mean(found[algo])) - theirs_of) <= MARGINS[algo]
    return verdicts


def check(
    name: str,
    out: Path,
    steps: int = CHECK_STEPS,
    seeds: Sequence[int] = CHECK_SEEDS,
    size: int | None = None,
    like: str = "",
    algos: Sequence[str] = ("bc", "td3bc"),
) -> dict[str, Any]:
    """Describe the dataset `name`, train `algos` on it, and judge it beside D4RL's `like` (default: its own
    name's). Runs and `check.json` go into `out`. Raises DataError where D4RL has no such dataset."""
    data = catalog.load(name, size=size)
    like = like or catalog.short_name(data.name)
    if like not in references():
        known = ", ".join(references())
        raise DataError(f"{name}: no D4RL dataset {like!r} to hold it against; known: {known}")
    found: dict[str, Any] = {"dataset": name, "like": like, "digest": data.digest}
    environment = catalog.PAPER_DATASETS[like].environment
    found |= describe(data, environment)
    env = "" if data.env_id else d4rl.FAMILIES[environment].env_id
    for algo in algos:
        found[algo] = learn(algo, name, out / algo, steps, seeds, size, env)
    found["verdicts"] = judge(found, references()[like])
    found |= {
        "steps": steps,
        "seeds": list(seeds),
        "rdlib": rdlib.__version__,
        "torch": torch.__version__,
        "mujoco": mujoco.__version__,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "check.json", (json.dumps(found, indent=1) + "\n").encode())
    return found


def table(found: Mapping[str, Any]) -> str:
    """The result of `check` as text: ours, D4RL's, and pass or fail."""
    wanted = references()[found["like"]]
    environment = catalog.PAPER_DATASETS[wanted.dataset].environment
    low, high = catalog.REFERENCE_SCORES[environment]

    def score(value: float | None) -> float | None:
        return None if value is None else float(catalog.normalised_score(environment, value))

    def number(value: float | None, digits: int = 1) -> str:
        return "–" if value is None else f"{value:,.{digits}f}"

    theirs_std = None if wanted.std is None else 100 * wanted.std / (high - low)
    length = None
    if wanted.episodes is not None and wanted.transitions is not None:
        length = wanted.transitions / wanted.episodes
    quantiles = {float(q): value for q, value in found["quantiles"].items()}
    inner = [q for q in quantiles if 0 < q < 1]
    lines = [
        ("mean score", number(found["mean"]), number(score(wanted.mean)), "mean"),
        ("deviation of scores", number(found["std"]), number(theirs_std), "std"),
        ("lowest score", number(quantiles[0.0]), number(score(wanted.min)), ""),
        *[(f"{100 * q:.0f} % quantile", number(quantiles[q]), "–", "") for q in inner],
        ("highest score", number(quantiles[1.0]), number(score(wanted.max)), ""),
        ("episodes", number(found["episodes"], 0), number(wanted.episodes, 0), "episodes"),
        ("steps per episode", number(found["length"]), number(length), ""),
        ("transitions", number(found["transitions"], 0), number(wanted.transitions, 0), "size"),
    ]
    for algo, title in (("bc", "BC"), ("td3bc", "TD3+BC")):
        if scores := found.get(algo):
            each = ", ".join(f"{s:.1f}" for s in scores)
            ours = f"{np.mean(scores):.1f} ({each})"
            lines.append((title, ours, number(getattr(wanted, algo)), algo))
    verdicts = {True: "pass", False: "FAIL", None: "not judged"}
    head = f"{found['dataset']} beside D4RL's {wanted.dataset}"
    if {"bc", "td3bc"} & found.keys():
        seeds = ", ".join(map(str, found["seeds"]))
        head += f"; agents after {found['steps']:,} updates, seeds {seeds}"
    body = [
        f"{title:20s} {ours:>26s} {theirs:>12s}  {verdicts[found['verdicts'][key]] if key else ''}".rstrip()
        for title, ours, theirs, key in lines
    ]
    return "\n".join([head, f"{'':20s} {'here':>26s} {'D4RL/paper':>12s}", *body])
