"""D4RL's HDF5 files: their names, and reading them as D4RL's own `qlearning_dataset` does.

Semantics from Farama-Foundation/D4RL, d4rl/__init__.py and offline_env.py; names and addresses from
d4rl/infos.py.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data import env_spec
from rdlib.data.checks import (
    Bool,
    DataError,
    Float32,
    as_flags,
    as_float32,
    check_actions,
    one_line,
    same_length,
)
from rdlib.data.dataset import Dataset
from rdlib.data.readers import hdf5
from rdlib.data.readers.episodes import column

ROUNDING = 1e-4  # of a column's spread and of a value: how far two ways of storing it may be apart


@dataclass(frozen=True)
class Family:
    """What D4RL's files of one environment share."""

    version: str  # of the dataset: v2 for locomotion, v1 for Adroit
    folder: str
    qualities: tuple[str, ...]
    env_id: str  # gymnasium's, for evaluation
    max_episode_steps: int


# Locomotion was collected on gym's -v2 with MuJoCo 2.x. Of what gymnasium still offers, -v4 keeps
# v2's reward (v5 pays no healthy reward on the step that ends an episode). D4RL runs pen for 100
# steps, gymnasium-robotics for 200. All of them take actions within [-1, 1].
_GYM = ("random", "medium", "medium-replay", "full-replay", "medium-expert", "expert")
_HAND = ("human", "cloned", "expert")
FAMILIES = {
    "halfcheetah": Family("v2", "gym_mujoco_v2", _GYM, "HalfCheetah-v4", 1000),
    "hopper": Family("v2", "gym_mujoco_v2", _GYM, "Hopper-v4", 1000),
    "walker2d": Family("v2", "gym_mujoco_v2", _GYM, "Walker2d-v4", 1000),
    "pen": Family("v1", "hand_dapg_v1", _HAND, "AdroitHandPen-v1", 100),
    "door": Family("v1", "hand_dapg_v1", _HAND, "AdroitHandDoor-v1", 200),
}


def parse_name(name: str) -> tuple[str, str] | None:
    """(environment, quality) of a D4RL name such as `hopper-medium-v2`; None for other text."""
    match = re.fullmatch(r"([a-z0-9]+)-([a-z-]+)-(v\d+)", name)
    family = FAMILIES.get(match[1]) if match else None
    if match is None or family is None or match[2] not in family.qualities or match[3] != family.version:
        return None
    return match[1], match[2]


def dataset_names() -> list[str]:
    """All D4RL names that `parse_name` and `download` know."""
    return [f"{env}-{quality}-{f.version}" for env, f in FAMILIES.items() for quality in f.qualities]


def url_path(name: str) -> str:
    """D4RL's path to `name` below its base address, e.g. gym_mujoco_v2/hopper_medium-v2.hdf5."""
    parsed = parse_name(name)
    if parsed is None:
        raise DataError(f"{name!r} is not a D4RL dataset known here; known: {', '.join(dataset_names())}")
    env, quality = parsed
    family = FAMILIES[env]
    if family.folder == "gym_mujoco_v2":
        return f"{family.folder}/{env}_{quality.replace('-', '_')}-{family.version}.hdf5"
    return f"{family.folder}/{name}.hdf5"


# ---- reading


def read_hdf5(
    path: str | os.PathLike[str],
    name: str | None = None,
    env_id: str | None = None,
    *,
    max_episode_steps: int | None = None,
    env: str | None = None,
    clip_actions: bool = False,
    source: str = "hdf5",
) -> Dataset:
    """Read a D4RL HDF5 file exactly as D4RL's `qlearning_dataset` does.

    The file holds `observations` (T,O), `actions` (T,U), `rewards` (T,), `terminals` (T,) and, in
    newer files, `timeouts` (T,). The next observation is the next row's; the final row of the file and
    every row with a timeout are dropped; `terminal` comes from `terminals` alone. Without `timeouts` an
    episode is cut after `max_episode_steps` (default: that of `env_id`, of a recognised name or of
    `env`), counted as D4RL counts.
    `next_observations`, where the file has them, are held against the next rows. In a file that is not
    D4RL's, a row that they contradict ends its episode and keeps its own; a file most of whose rows they
    contradict is in no order, and is refused.

    name: of the dataset (default: the file's, `hopper_medium-v2.hdf5` being recognised as
    hopper-medium-v2).
    env_id: gymnasium id to evaluate on (default: known from a recognised name, otherwise None).
    clip_actions: in a file of a recognised name, set actions beyond the limits to them.
    Raises DataError naming file, key and row on anything missing, malformed, not finite, or, in a file
    of a recognised name, beyond the actions' limits.
    """
    import h5py

    path = Path(path)
    if name is None:
        d4rl_name = path.stem.replace("_", "-")
        name = d4rl_name if parse_name(d4rl_name) else path.stem
    parsed = parse_name(name.removeprefix("d4rl/"))
    notes = {"path": str(path)}
    if parsed is not None:
        family = FAMILIES[parsed[0]]
        env_id = env_id or family.env_id
        max_episode_steps = max_episode_steps or family.max_episode_steps
        notes |= {"licence": "CC-BY-4.0", "author": "Fu et al. 2020 (D4RL)"}
        notes["origin"] = f"D4RL {url_path(name.removeprefix('d4rl/'))}"
        if family.folder == "gym_mujoco_v2":
            notes["dynamics"] = f"collected on gym -v2 with MuJoCo 2.x, evaluated on {family.env_id}"
    where = str(path)
    if max_episode_steps is not None and max_episode_steps < 1:
        raise DataError(f"{where}: max_episode_steps is {max_episode_steps}; it must be at least 1")
    if not os.path.isfile(path):  # unlike path.is_file(), False for names that no disk can hold
        what = "it is a folder" if os.path.isdir(path) else "no such file"
        raise DataError(f"{where}: {what}; give the path of a D4RL HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            obs = as_float32(hdf5.read_array(file, "observations", where), where, "observations", 2)
            act = as_float32(hdf5.read_array(file, "actions", where), where, "actions", 2)
            rew = as_float32(column(hdf5.read_array(file, "rewards", where)), where, "rewards", 1)
            terminal = _flags(file, "terminals", where)
            timeout = None
            if hdf5.has(file, "timeouts"):
                timeout = _flags(file, "timeouts", where)
            following = None
            if hdf5.has(file, "next_observations"):
                following = hdf5.read_array(file, "next_observations", where)
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{where}: no permission to read it ({error.strerror})") from error
    except Exception as error:  # OSError, RuntimeError, KeyError, TypeError ... by kind of damage
        raise DataError(
            f"{where}: not a readable HDF5 file, or a truncated one ({one_line(error)})"
        ) from error
    same_length(where, observations=obs, actions=act, rewards=rew, terminals=terminal)
    limits = -np.ones(act.shape[1]), np.ones(act.shape[1])
    if parsed is not None and not clip_actions:
        check_actions(act, *limits, where, "actions")
    if timeout is not None:
        same_length(where, observations=obs, timeouts=timeout)
        cut = timeout[:-1]
    else:
        horizon = max_episode_steps or _horizon(env_id) or _horizon(env)
        if horizon is None:
            raise DataError(
                f"{where}: 'timeouts' is missing, and the steps of an episode are not known; give horizon "
                "(their number) or env (a gymnasium id that has a limit)"
            )
        cut = _cut_by_counting(terminal[:-1], horizon)

    next_obs, apart = obs[1:], np.zeros_like(cut)
    if following is not None:
        apart = _contradicted(following, obs, ~cut & ~terminal[:-1], where)
        if apart.any() and parsed is not None:
            notes["next_observations"] = (
                f"not the next row's in {int(apart.sum()):,} rows; D4RL takes the rows"
            )
            apart[:] = False
        elif apart.any():
            notes["next_observations"] = f"of {int(apart.sum()):,} rows end an episode that no flag ends"
            given = as_float32(following, where, "next_observations", 2)
            next_obs = np.where(apart[:, None], given[:-1], next_obs)
    keep = ~cut  # (T-1,)
    if not keep.any():
        raise DataError(
            f"{where}: no transition is left of {len(obs)} rows; D4RL's rule drops the final and "
            "timed-out rows"
        )
    # A kept row is its episode's last when it terminates, or when the row after it was dropped or
    # is the file's final one.
    last = terminal[:-1] | apart
    last[:-1] |= cut[1:]
    last[-1] = True
    made = Dataset.make(
        name=name,
        source=source,
        env_id=env_id,
        max_episode_steps=max_episode_steps or _horizon(env_id),
        obs=obs[:-1][keep],
        act=act[:-1][keep],
        rew=rew[:-1][keep],
        next_obs=next_obs[keep],
        terminal=terminal[:-1][keep],
        last=last[keep],
        notes=notes,
        where=where,
    )
    return made.clipped(*limits) if clip_actions and parsed is not None else made


def _contradicted(following: NDArray[Any], obs: Float32, inside: Bool, where: str) -> Bool:
    """Rows (T-1,) among `inside`, those that the next row continues, whose next observation the file gives
    otherwise than in the next row, beyond rounding. Raises DataError where they are most."""
    if following.shape != obs.shape:
        raise DataError(
            f"{where}: 'next_observations' has shape {following.shape}; it must be that of 'observations', "
            f"{obs.shape}"
        )
    slack = ROUNDING * (obs.std(axis=0) + np.abs(obs[1:]))
    apart = inside & ~(np.abs(following[:-1] - obs[1:]) <= slack).all(axis=1)  # not of nan either
    count, rows = int(apart.sum()), int(inside.sum())
    if 2 * count > rows:
        raise DataError(
            f"{where}: 'next_observations' are not the next row's 'observations' in {count:,} of {rows:,} "
            f"rows, from row {int(np.argmax(apart))} on: the rows are in no order, as in a shuffled replay "
            "buffer; keep whole episodes in order, or make the dataset by rdlib.data.Dataset.make, which "
            "takes transitions in any order if each is the `last` of its own episode"
        )
    return apart


def _flags(file: Any, key: str, where: str) -> Bool:
    return as_flags(column(hdf5.read_array(file, key, where, as_is=True)), where, key)


def _cut_by_counting(terminal: Bool, horizon: int) -> Bool:
    """Rows that D4RL drops in files without `timeouts`, by counting up to `horizon`, (T-1,).

    D4RL sets the counter to 0 on a terminal row and *then* adds one, so the episode after a
    terminal starts at 1 and is cut one step early. That is a slip, but it is what every published
    number on such files was trained on.
    """
    cut = np.zeros(len(terminal), dtype=bool)
    start, count = 0, 0
    for end in [*(np.flatnonzero(terminal) + 1).tolist(), len(terminal)]:  # per terminal, not per row
        cut[start + horizon - 1 - count : end : horizon] = True
        count = 0 if end > start and cut[end - 1] else 1
        start = end
    return cut


def _horizon(env_id: str | None) -> int | None:
    if env_id is None:
        return None
    try:
        return env_spec.registered(env_id).max_episode_steps
    except env_spec.SimulationError as error:
        raise DataError(str(error)) from error
