"""NumPy archives in OGBench's layout, which `Dataset.save` writes too.

`observations` (T,O), `actions` (T,U), `rewards` (T,); `terminals` (T,) is 1 on the last row of a
trajectory, however that ended. `masks` (T,), where there are any, is 0 where the environment itself ended
it, or the task is solved. Without `next_observations` (T,O) a trajectory's last row is only the state that
it ended in, as in OGBench's files (ogbench/utils.py). Source: Park et al. 2025, arXiv 2410.20092.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data.checks import DataError, as_flags, as_float32, disk_error, one_line, same_length
from rdlib.data.dataset import Dataset
from rdlib.data.readers.cache import replacing
from rdlib.data.readers.episodes import column

ABOUT = "rdlib"  # the array of one text with what the others do not say: name, environment, notes
ENVIRONMENT = ("env_id", "max_episode_steps", "env_kwargs", "env_wrappers", "reference")
KEYS = ("observations", "actions", "rewards", "terminals")


def write_npz(d: Dataset, path: str | os.PathLike[str]) -> Path:
    """Write `d` to `path` (.npz), whole or not at all, and return it. Raises DataError where it cannot."""
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        raise DataError(f"{path}: a dataset is saved as .npz; give a path that ends so")
    about = {key: getattr(d, key) for key in ("name", "notes", *ENVIRONMENT)}
    if d.act_limits:
        about["act_limits"] = [limit.tolist() for limit in d.act_limits]
    try:
        with replacing(path) as part, open(part, "wb") as file:
            np.savez(
                file,
                observations=d.obs,
                actions=d.act,
                rewards=d.rew,
                next_observations=d.next_obs,
                terminals=d.last,
                masks=~d.terminal,
                rdlib=np.array(json.dumps(about)),
            )
    except OSError as error:
        raise disk_error(f"saving {d.name}", path.parent, error) from error
    return path


def read_npz(path: str | os.PathLike[str]) -> Dataset:
    """The dataset in `path`; what `write_npz` wrote has the name, environment and digest that it had.

    Raises DataError naming file and array on anything missing, malformed or not finite.
    """
    path, where = Path(path), str(path)
    arrays = _arrays(path, where)
    if "timeouts" in arrays:
        raise DataError(
            f"{where}: 'timeouts' is D4RL's; in OGBench's layout 'terminals' end any trajectory. Keep "
            "D4RL's arrays as .hdf5, or give 'terminals' and 'masks'"
        )
    for key in KEYS:
        if key not in arrays:
            task = "; OGBench's play data have none: relabel them for one task" if key == "rewards" else ""
            raise DataError(f"{where}: {key!r} is missing; there is {', '.join(sorted(arrays))}{task}")
    obs = as_float32(arrays["observations"], where, "observations", 2)
    act = as_float32(arrays["actions"], where, "actions", 2)
    rew = as_float32(column(arrays["rewards"]), where, "rewards", 1)
    ends = as_flags(column(arrays["terminals"]), where, "terminals")
    goes_on = np.ones(len(ends), dtype=bool)
    if "masks" in arrays:
        goes_on = as_flags(column(arrays["masks"]), where, "masks")
    same_length(where, observations=obs, actions=act, rewards=rew, terminals=ends, masks=goes_on)
    if not ends[-1]:
        raise DataError(f"{where}: 'terminals' must be 1 on the final row, which ends a trajectory")
    if "next_observations" in arrays:
        keep, last = np.ones(len(ends), dtype=bool), ends
        next_obs = as_float32(arrays["next_observations"], where, "next_observations", 2)
    else:
        keep, last, next_obs = ~ends, np.append(ends[1:], True), np.roll(obs, -1, axis=0)
        if not keep.any():
            raise DataError(f"{where}: every row ends a trajectory, and there are no 'next_observations'")
    about = _about(arrays, where)
    return Dataset.make(
        name=about.get("name") or path.stem,
        source="npz",
        **{key: about[key] for key in (*ENVIRONMENT, "act_limits") if key in about},
        obs=obs[keep],
        act=act[keep],
        rew=rew[keep],
        next_obs=next_obs[keep],
        terminal=~goes_on[keep],
        last=(last | ~goes_on)[keep],  # OGBench goes on after success; an episode here ends with it
        notes={**about.get("notes", {}), "path": where},
        where=where,
    )


def _arrays(path: Path, where: str) -> dict[str, NDArray[Any]]:
    if not os.path.isfile(path):
        raise DataError(f"{where}: no such file; give the path of an .npz file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise DataError(f"{where}: it holds one array; it must be an .npz of several, by name")
        with loaded as file:
            wanted = {*KEYS, "masks", "next_observations", ABOUT}
            return {key: file[key] if key in wanted else np.empty(0) for key in file.files}
    except DataError:
        raise
    except Exception as error:  # BadZipFile, ValueError, EOFError, MemoryError ... by kind of damage
        what = "not a readable .npz file, or a truncated one"
        if not zipfile.is_zipfile(path):
            what = "not an .npz file"
        raise DataError(f"{where}: {what} ({one_line(error)})") from error


def _about(arrays: dict[str, NDArray[Any]], where: str) -> dict[str, Any]:
    """What `write_npz` noted; {} in other files."""
    if ABOUT not in arrays:
        return {}
    try:
        about = json.loads(str(arrays[ABOUT]))
        if not isinstance(about, dict) or not isinstance(about.get("notes", {}), dict):
            raise ValueError("not a JSON object with notes")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: {ABOUT!r} is not as Dataset.save writes it ({one_line(error)})"
        ) from error
    return about
