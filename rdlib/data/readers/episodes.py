"""Episodes as Minari keeps them, checked one by one, laid end to end, and as transitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data.checks import DataError, as_flags, as_float32, same_length

# observations (sum of T+1, O), actions (sum of T, U), rewards, terminations, lengths (episodes,)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Episode:
    """One episode as Minari keeps it: one observation more than there are steps."""

    observations: NDArray[Any]  # (T+1,O)
    actions: NDArray[Any]  # (T,U)
    rewards: NDArray[Any]  # (T,) or (T,1)
    terminations: NDArray[Any]  # (T,) or (T,1)
    truncations: NDArray[Any]  # (T,) or (T,1)
    seed: int | None = None


def column(array: Any) -> Any:
    """(T,1) as (T,), which D4RL's loader accepts too; other shapes as they are."""
    return array[:, 0] if getattr(array, "ndim", 0) == 2 and array.shape[1] == 1 else array


def checked(episode: Episode, at: str) -> Arrays:
    """One episode in float32 and booleans, as `join` takes it, or DataError naming `at` and the array."""
    for key in ("observations", "actions"):
        if isinstance(getattr(episode, key), dict | tuple):
            kind = f"a {type(getattr(episode, key)).__name__}"
            raise DataError(
                f"{at}: {key!r} is {kind}; dictionary observations, as goal-conditioned environments have, "
                "are not supported, only flat vectors"
            )
    obs = as_float32(episode.observations, at, "observations", 2)
    act = as_float32(episode.actions, at, "actions", 2)
    rew = as_float32(column(episode.rewards), at, "rewards", 1)
    terminal = as_flags(column(episode.terminations), at, "terminations")
    truncated = as_flags(column(episode.truncations), at, "truncations")
    same_length(at, rewards=rew, actions=act, terminations=terminal, truncations=truncated)
    if len(obs) != len(rew) + 1:
        raise DataError(
            f"{at}: 'observations' has {len(obs)} rows for {len(rew)} steps; it must have one "
            "more than steps"
        )
    lengths = np.array([len(rew)], dtype=np.int64)
    return {
        "observations": obs,
        "actions": act,
        "rewards": rew,
        "terminations": terminal,
        "lengths": lengths,
    }


def join(parts: list[Arrays], where: str) -> Arrays:
    """Checked episodes laid end to end."""
    if not parts:
        raise DataError(f"{where}: it has no episodes; a dataset needs at least one transition")
    for key in ("observations", "actions"):
        widths = {part[key].shape[1] for part in parts}
        if len(widths) > 1:
            raise DataError(f"{where}: {key!r} differ in width between episodes: {sorted(widths)}")
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def transitions(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The six arrays of a Dataset from episodes laid end to end."""
    lengths = arrays["lengths"]
    ends = np.cumsum(lengths)
    final = np.zeros(len(arrays["observations"]), dtype=bool)  # an episode's observation without action
    final[ends + np.arange(len(lengths))] = True
    first = np.zeros_like(final)
    first[0] = True
    first[1:] = final[:-1]
    last = np.zeros(len(arrays["rewards"]), dtype=bool)
    last[ends - 1] = True
    return {
        "obs": arrays["observations"][~final],
        "next_obs": arrays["observations"][~first],
        "act": arrays["actions"],
        "rew": arrays["rewards"],
        "terminal": arrays["terminations"],
        "last": last,
    }
