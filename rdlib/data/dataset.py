"""One offline dataset on the host: checked NumPy arrays of transitions, and what is known about
their origin.

Every reader (D4RL, Minari, bundled roll-outs) ends in `Dataset.make`, so whatever trains has passed
the same checks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data.checks import Bool, DataError, Float32, as_flags, as_float32, same_length

DATA_SOURCES = ("bundled", "d4rl", "minari", "hdf5", "npz")


def cache_root() -> Path:
    """The folder that downloads and roll-outs are kept in: $RDLIB_CACHE, or ~/.cache/rdlib."""
    return Path(os.environ.get("RDLIB_CACHE") or "~/.cache/rdlib").expanduser()


def moments(array: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each column of (N,D), float64 (D,); in chunks, to copy nothing large."""
    chunks = np.array_split(array, max(1, len(array) // 100_000))
    mean = sum(c.sum(0, dtype=np.float64) for c in chunks) / len(array)
    square = 0.0
    for chunk in chunks:
        gap = chunk - mean
        square = square + np.square(gap, out=gap).sum(0)
    return mean, np.sqrt(square / len(array))


@dataclass(frozen=True, eq=False)
class Dataset:
    """N transitions on the host, in the order of collection, one whole episode after another.

    Build one with `Dataset.make`, which checks; `terminal` is the environment's own ending only,
    never a time limit.
    """

    name: str
    source: str  # one of DATA_SOURCES
    env_id: str | None  # gymnasium id that scores on this data are evaluated on
    max_episode_steps: int | None  # horizon of that evaluation
    obs: Float32  # (N,O)
    act: Float32  # (N,U)
    rew: Float32  # (N,)
    next_obs: Float32  # (N,O)
    terminal: Bool  # (N,)
    last: Bool  # (N,) the last kept transition of its episode
    digest: str  # sha256 over the six arrays, hex
    notes: dict[str, str] = field(default_factory=dict)  # licence, author, origin, MuJoCo version, ...
    env_kwargs: dict[str, Any] = field(default_factory=dict)  # of that environment, see `EnvSpec`
    env_wrappers: tuple[dict[str, Any], ...] = ()
    act_limits: tuple[NDArray[Any], NDArray[Any]] | None = None  # (U,) each, where the data state them
    reference: tuple[float, float] | None = None  # returns of score 0 and 100, where the data state them

    @classmethod
    def make(
        cls,
        *,
        name: str,
        source: str,
        obs: Any,
        act: Any,
        rew: Any,
        next_obs: Any,
        terminal: Any,
        last: Any,
        env_id: str | None = None,
        max_episode_steps: int | None = None,
        notes: Mapping[str, str] | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        env_wrappers: Sequence[Mapping[str, Any]] = (),
        act_limits: Any = None,
        reference: Any = None,
        where: str | None = None,
    ) -> Dataset:
        """Check the arrays (shapes as in the class) and hash them.

        obs, next_obs (N,O); act (N,U); rew, terminal, last (N,). `where` names the origin in errors
        (default: `name`). Arrays that are contiguous float32 or bool already are kept, not copied.
        Raises DataError on wrong shapes, unequal lengths, no rows, values that are not numbers or
        not finite, a terminal inside an episode, an open last episode, and on a name, environment,
        limit, notes, action limits or reference of the wrong type.
        """
        where = where or str(name)
        _check_labels(where, name, env_id, max_episode_steps, notes)
        check_environment(where, env_kwargs, env_wrappers, reference)
        if source not in DATA_SOURCES:
            raise DataError(f"{where}: source is {source!r}; it must be one of {', '.join(DATA_SOURCES)}")
        obs = as_float32(obs, where, "obs", 2)
        act = as_float32(act, where, "act", 2)
        rew = as_float32(rew, where, "rew", 1)
        next_obs = as_float32(next_obs, where, "next_obs", 2)
        terminal = as_flags(terminal, where, "terminal")
        last = as_flags(last, where, "last")
        arrays = {"obs": obs, "act": act, "rew": rew, "next_obs": next_obs}
        arrays |= {"terminal": terminal, "last": last}
        same_length(where, **arrays)
        if obs.shape != next_obs.shape:
            raise DataError(
                f"{where}: 'next_obs' has shape {next_obs.shape}; it must be that of 'obs', {obs.shape}"
            )
        if (inside := terminal & ~last).any():
            raise DataError(
                f"{where}: 'terminal' row {int(np.argmax(inside))} is set inside an episode; "
                "an episode must end where it terminates"
            )
        if not last[-1]:
            raise DataError(f"{where}: 'last' must be set on the final row, which ends an episode")
        if act_limits is not None:
            low, high = (np.array(limit, dtype=np.float64) for limit in act_limits)
            if low.shape != (act.shape[1],) or high.shape != low.shape or not (low <= high).all():
                raise DataError(f"{where}: 'act_limits' must be two rows of {act.shape[1]} numbers")
            act_limits = low, high
        return cls(
            name=name,
            source=source,
            env_id=env_id,
            max_episode_steps=max_episode_steps,
            **arrays,
            digest=sha256_of(arrays),
            notes=dict(notes or {}),
            env_kwargs=dict(env_kwargs or {}),
            env_wrappers=tuple(map(dict, env_wrappers)),
            act_limits=act_limits,
            reference=tuple(reference) if reference else None,
        )

    def __len__(self) -> int:
        return len(self.rew)

    def __repr__(self) -> str:  # not the arrays
        return (
            f"Dataset({self.name!r}, {self.source}, {len(self):,} transitions, obs {self.obs_dim}, "
            f"act {self.act_dim}, env {self.env_id})"
        )

    @property
    def obs_dim(self) -> int:
        """O, the dimension of an observation."""
        return self.obs.shape[1]

    @property
    def act_dim(self) -> int:
        """U, the dimension of an action."""
        return self.act.shape[1]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The six arrays, by field."""
        return {key: getattr(self, key) for key in ("obs", "act", "rew", "next_obs", "terminal", "last")}

    def clipped(self, low: NDArray[Any], high: NDArray[Any]) -> Dataset:
        """The same data with actions within `low` and `high` (U,); `notes` say how many rows were not."""
        beyond = int(((self.act < low) | (self.act > high)).any(axis=1).sum())
        if not beyond:
            return self
        notes = self.notes | {"clipped": f"the actions of {beyond:,} rows to the limits"}
        act = np.clip(self.act, low, high).astype(np.float32)
        digest = sha256_of(self.arrays | {"act": act})
        return dataclasses.replace(self, act=act, digest=digest, notes=notes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an .npz file that `rdlib.data.load` reads back as the same data; see `readers.npz`."""
        from rdlib.data.readers import npz

        return npz.write_npz(self, path)

    def episode_lengths(self) -> NDArray[np.int64]:
        """Kept transitions of each episode, (n_episodes,). D4RL's rule drops the last step of a
        timed-out one.
        """
        return np.diff(np.flatnonzero(self.last), prepend=-1).astype(np.int64)

    def episode_returns(self) -> NDArray[np.float64]:
        """Undiscounted return of each episode over its kept transitions, summed in float64,
        (n_episodes,).
        """
        starts = np.flatnonzero(self.last)[:-1] + 1
        return np.add.reduceat(self.rew, np.concatenate(([0], starts)), dtype=np.float64)


def _check_labels(where: str, name: Any, env_id: Any, max_episode_steps: Any, notes: Any) -> None:
    """DataError unless what is said about the data has the types that Dataset declares."""
    limit = max_episode_steps
    for key, value, good, want in (
        ("name", name, isinstance(name, str) and name, "text"),
        ("env_id", env_id, env_id is None or (isinstance(env_id, str) and env_id), "text or None"),
        (
            "max_episode_steps",
            limit,
            limit is None or (isinstance(limit, int | np.integer) and limit is not True and limit > 0),
            "a whole number from 1, or None",
        ),
        ("notes", notes, notes is None or isinstance(notes, Mapping), "a mapping of text to text"),
    ):
        if not good:
            raise DataError(f"{where}: {key!r} is {value!r:.80}; it must be {want}")


def check_environment(where: str, kwargs: Any = None, wrappers: Any = (), reference: Any = None) -> None:
    """DataError unless what is said about an environment and its scores has the types of `Dataset`."""
    pair: Any = reference if isinstance(reference, tuple | list) and len(reference) == 2 else ("", "")
    ordered = all(type(x) in (int, float) and np.isfinite(x) for x in pair) and pair[0] < pair[1]
    for key, value, good, want in (
        ("env_kwargs", kwargs, kwargs is None or isinstance(kwargs, Mapping), "a mapping of arguments"),
        (
            "env_wrappers",
            wrappers,
            isinstance(wrappers, tuple | list) and all(map(_is_wrapper, wrappers)),
            "a list of objects with name, entry_point and kwargs",
        ),
        ("reference", reference, reference is None or ordered, "two finite numbers, the smaller first"),
    ):
        if not good:
            raise DataError(f"{where}: {key!r} is {value!r:.80}; it must be {want}")


def _is_wrapper(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("entry_point"), str)
        and isinstance(value.get("kwargs", 0), Mapping | None)
    )


def sha256_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hex sha256 over name, type, shape and bytes of non-empty arrays: the identity of the data."""
    sha = hashlib.sha256()
    for key, array in arrays.items():
        array = np.ascontiguousarray(array)
        sha.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.data.cast("B"))
    return sha.hexdigest()
