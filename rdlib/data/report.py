"""What a dataset holds, whether it can be trained on, and what in it is worth a second look."""

from __future__ import annotations

import dataclasses
import json
import warnings
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from rdlib.data import catalog, environments
from rdlib.data.checks import DataError, check_actions
from rdlib.data.dataset import Dataset, moments
from rdlib.data.env_spec import EnvSpec, SimulationError

AT_LIMIT = 0.999  # of half an action's range, from its middle: such a component counts as saturated
MANY_AT_LIMIT = 0.5  # share of saturated components that is warned of
LIKELY_SCORES = (-20.0, 150.0)  # mean normalised scores beyond these are warned of


@dataclass(frozen=True)
class Spread:
    """Smallest, mean, largest and deviation of some numbers."""

    min: float
    mean: float
    max: float
    std: float


@dataclass(frozen=True)
class Report:
    """What `examine` found. Times and lengths are in steps."""

    name: str
    source: str
    path: str | None
    env_id: str | None  # with arguments and wrappers, if it has any
    max_episode_steps: int | None
    licence: str
    digest: str
    mujoco: str  # that the data were made with
    mujoco_here: str
    notes: dict[str, str]

    shapes: dict[str, tuple[int, ...]]
    columns: dict[str, Spread]  # by key and dimension: "obs 3"
    constant: tuple[str, ...]  # columns that never change

    episodes: int
    lengths: Spread
    returns: Spread
    score: float | None  # mean normalised score, where the data or D4RL have a reference
    terminals: int
    timeouts: int  # episodes that end otherwise: at a time limit, or cut

    duplicates: int  # transitions equal to an earlier one in all they hold
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None  # of actions, where known
    saturated: float | None  # share of action components at their limit

    warnings: tuple[str, ...]  # worth a look; the data can be trained on
    problems: tuple[str, ...]  # the data cannot be trained on

    @property
    def usable(self) -> bool:
        """Whether the data can be trained on."""
        return not self.problems


def examine(d: Dataset) -> Report:
    """Look at all of `d`. Values that are not finite never come this far: reading refuses them."""
    arrays = {"obs": d.obs, "act": d.act, "rew": d.rew[:, None]}
    columns: dict[str, Spread] = {}
    for key, array in arrays.items():
        mean, std = moments(array)
        low, high = array.min(0), array.max(0)
        for i in range(array.shape[1]):
            columns[f"{key} {i}" if key != "rew" else key] = Spread(
                float(low[i]), float(mean[i]), float(high[i]), float(std[i])
            )
    constant = tuple(key for key, s in columns.items() if s.min == s.max)
    returns, lengths = d.episode_returns(), d.episode_lengths()
    reference = catalog.reference_of(d)
    score = float(catalog.score(returns, reference).mean()) if reference else None
    terminals = int(d.terminal.sum())
    repeated = count_duplicates(d)
    env, unknown = _environment(d)

    problems, saturated, limits = [], None, None
    if env is not None:
        try:
            environments.check_fits(env, d)
            limits = env.act_low, env.act_high
            check_actions(d.act, *limits, d.name)
        except DataError as error:
            problems.append(str(error))
        env.close()
        if limits is not None:
            saturated = _saturated(d.act, *limits)

    made_with = d.notes.get("mujoco", "").removeprefix("mujoco==")
    found = []
    if unknown:
        found.append(f"{unknown}: actions are not held against its limits")
    if repeated:
        found.append(f"{repeated:,} transitions ({repeated / len(d):.1%}) repeat an earlier one")
    if constant:
        found.append(f"constant: {', '.join(constant)}")
    if saturated is not None and saturated > MANY_AT_LIMIT:
        found.append(f"{saturated:.1%} of all action components are at their limit")
    if len(returns) > 1 and returns.max() == returns.min():
        found.append("all episodes have one return, so rewards have no scale")
    if score is not None and not LIKELY_SCORES[0] <= score <= LIKELY_SCORES[1]:
        found.append(f"a mean score of {score:.1f}, where random policies reach 0 and experts 100")
    if d.max_episode_steps is not None and lengths.max() > d.max_episode_steps:
        found.append(
            f"episodes of up to {lengths.max()} steps, where {d.env_id or 'one'} ends after "
            f"{d.max_episode_steps}"
        )
    if made_with not in ("", mujoco.__version__):
        found.append(
            f"made with MuJoCo {made_with}, and this is {mujoco.__version__}: contacts differ from 3.5.0 on"
        )
    return Report(
        name=d.name,
        source=d.source,
        path=d.notes.get("path"),
        env_id=None if d.env_id is None else str(EnvSpec.of(d)),
        max_episode_steps=d.max_episode_steps,
        licence=d.notes.get("licence") or d.notes.get("license") or "not stated",
        digest=d.digest,
        mujoco=made_with or "not stated",
        mujoco_here=mujoco.__version__,
        notes=dict(d.notes),
        shapes={key: array.shape for key, array in d.arrays.items()},
        columns=columns,
        constant=constant,
        episodes=len(returns),
        lengths=_spread(lengths),
        returns=_spread(returns),
        score=score,
        terminals=terminals,
        timeouts=len(returns) - terminals,
        duplicates=repeated,
        limits=limits and (tuple(limits[0].tolist()), tuple(limits[1].tolist())),
        saturated=saturated,
        warnings=tuple(found),
        problems=tuple(problems),
    )


def print_report(report: Report, as_json: bool = False) -> None:
    """Print `report`, as text or as one JSON object; the last line of text is the verdict."""
    if as_json:
        print(json.dumps({**dataclasses.asdict(report), "usable": report.usable}, indent=1))
        return
    r, ret = report, report.returns
    print(f"{r.name}: {r.shapes['rew'][0]:,} transitions, {r.source}, licence {r.licence}")
    print("  ".join(f"{key} {_shape(shape)}" for key, shape in r.shapes.items()))
    limit = f", ends after {r.max_episode_steps:,} steps" if r.max_episode_steps else ""
    print(f"environment {r.env_id or 'not stated'}{limit}")
    print(f"MuJoCo of the data {r.mujoco}, here {r.mujoco_here}")
    print(
        f"episodes {r.episodes:,}, of {r.lengths.min:.0f} to {r.lengths.max:.0f} steps, "
        f"{r.lengths.mean:.1f} ± {r.lengths.std:.1f}"
    )
    line = f"returns {ret.mean:.1f} ± {ret.std:.1f}, from {ret.min:.1f} to {ret.max:.1f}"
    print(line if r.score is None else f"{line}; mean score {r.score:.1f}")
    print(f"ends: {r.terminals:,} terminal, {r.timeouts:,} by a time limit or a cut")
    print(f"duplicate transitions {r.duplicates:,}; constant columns {', '.join(r.constant) or 'none'}")
    if r.saturated is not None:
        print(f"action components at their limit {r.saturated:.1%}")
    print("not finite: none")  # or the data would not have been read
    print(f"\n{'':8s} {'min':>11s} {'mean':>11s} {'max':>11s} {'std':>11s}")
    for key, s in r.columns.items():
        print(f"{key:8s} {s.min:11.4g} {s.mean:11.4g} {s.max:11.4g} {s.std:11.4g}")
    print(f"\ndigest {r.digest}")
    for key, value in r.notes.items():
        if key not in ("licence", "license", "mujoco"):  # said above
            print(f"{key}: {value}")
    for text in r.warnings:
        print(f"warning: {text}")
    print("usable" if r.usable else f"not usable: {'; '.join(r.problems)}")


def count_duplicates(d: Dataset) -> int:
    """Transitions that equal an earlier one in all of state, action, reward, next state and terminal."""
    arrays = [array.reshape(len(d), -1) for key, array in d.arrays.items() if key != "last"]
    # Rows are compared as bytes. + 0: the two zeros are equal and their bytes are not.
    rows = np.concatenate(arrays, axis=1, dtype=np.float32) + np.float32(0)
    return len(d) - len(np.unique(rows.view(np.dtype((np.void, rows[0].nbytes)))))


def _environment(d: Dataset) -> tuple[environments.BatchedEnv | None, str]:
    """The data's environment, or why it cannot be made; warnings of outdated versions are D4RL's due."""
    spec = EnvSpec.of(d)
    if spec is None:
        return None, "the environment is not stated"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return environments.make(spec, 1), ""
    except SimulationError as error:
        return None, f"{spec} cannot be made here ({error})"


def _saturated(act: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> float:
    """Share of action components at or beyond a finite limit."""
    half = (high - low) / 2
    slack = np.where(np.isfinite(half), (1 - AT_LIMIT) * half, 0.0).astype(np.float32)
    return float(((act <= low + slack) | (act >= high - slack)).mean())


def _spread(values: NDArray[Any]) -> Spread:
    return Spread(float(values.min()), float(values.mean()), float(values.max()), float(values.std()))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
