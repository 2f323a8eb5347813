"""What a Minari dataset's `metadata.json` says: its spaces, its environment, references and origin."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data.checks import DataError, check_actions, one_line
from rdlib.data.dataset import check_environment
from rdlib.data.env_spec import EnvSpec, SimulationError, complete


def _file(folder: Path) -> Path:
    return folder / "data" / "metadata.json"


def read(folder: Path) -> dict[str, Any]:
    """The metadata of the dataset in `folder`. Raises DataError."""
    file = _file(folder)
    try:
        metadata = json.loads(file.read_text())
        if not isinstance(metadata, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable ({one_line(error)})") from error
    return metadata


def _parsed(metadata: Mapping[str, Any], key: str, folder: Path) -> dict[str, Any]:
    """The JSON object that `metadata` keeps as text under `key`; empty where there is none."""
    text = metadata.get(key)
    if text is None:
        return {}
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{_file(folder)}: {key!r} is not readable ({one_line(error)}); "
            "it must be a JSON object written as text"
        ) from error
    return found


def environment_of(metadata: Mapping[str, Any], key: str, folder: Path) -> EnvSpec | None:
    """The environment that `key` specifies, by gymnasium's own registration of its id: its code is not
    taken from the data."""
    spec = _parsed(metadata, key, folder)
    env_id, limit, at = spec.get("id"), spec.get("max_episode_steps"), f"{_file(folder)}: {key!r} has"
    # `module:Name-v0` would have gymnasium import that module.
    if env_id is not None and not (isinstance(env_id, str) and re.fullmatch(r"[\w./-]+", env_id)):
        raise DataError(f"{at} the id {env_id!r:.80}; it must be one like Hopper-v5")
    if limit is not None and not (type(limit) is int and limit > 0):
        raise DataError(f"{at} max_episode_steps = {limit!r:.80}; it must be a whole number from 1")
    if env_id is None:
        return None
    kwargs, wrappers = spec.get("kwargs") or {}, spec.get("additional_wrappers") or ()
    check_environment(f"{_file(folder)}, {key!r}", kwargs, wrappers)
    found = EnvSpec(env_id, limit, kwargs, tuple(wrappers))
    with contextlib.suppress(SimulationError):  # whoever makes it is told why it cannot be made
        found = complete(found)
    return found


def reference(metadata: Mapping[str, Any], folder: Path) -> tuple[float, float] | None:
    """Returns of a random and an expert policy, where the metadata state both."""
    low, high = (metadata.get(key) for key in ("ref_min_score", "ref_max_score"))
    if low is None or high is None:
        return None
    check_environment(f"{_file(folder)}, ref_min_score and ref_max_score", reference=[low, high])
    return float(low), float(high)


def action_limits(
    metadata: Mapping[str, Any], folder: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Those of the metadata's space of actions, which `check_space` has seen."""
    space = _parsed(metadata, "action_space", folder)
    return (np.array(space["low"], float), np.array(space["high"], float)) if space else None


def check_kind(metadata: Mapping[str, Any], key: str, folder: Path) -> None:
    """DataError where a space of the metadata is of a kind that no algorithm here takes."""
    kind, what = _parsed(metadata, key, folder).get("type"), key.removesuffix("_space")
    if kind in ("Discrete", "MultiDiscrete", "MultiBinary"):
        why = f"discrete {what}s are not supported, only vectors of continuous numbers (a Box)"
    elif kind in ("Dict", "Tuple"):
        why = f"dictionary {what}s (with goals, say) are not supported, only flat vectors (a Box)"
    else:
        return
    raise DataError(f"{_file(folder)}: {key!r} is {kind}; {why}")


def check_space(
    metadata: Mapping[str, Any], key: str, array: NDArray[Any], part: str, folder: Path, clip: bool
) -> None:
    """DataError unless `array` fits the Box that the metadata name, if they do: its width, and for actions
    its limits. (Observations beyond theirs are common and harmless.)"""
    space = _parsed(metadata, key, folder)
    if not space:
        return
    width = array.shape[1]
    try:
        low, high = (np.array(space[end], dtype=np.float64) for end in ("low", "high"))
        fits = space["type"] == "Box" and low.shape == high.shape == (width,)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise DataError(f"{_file(folder)}: {key!r} is not a Box of {width} numbers, the width of {part!r}")
    if part == "actions" and not clip:
        check_actions(array, low, high, str(folder), part)


def notes_of(metadata: Mapping[str, Any], dataset_id: str) -> dict[str, str]:
    """Origin, author, licence, MuJoCo version, as far as stated."""
    known = {"origin": f"Minari {dataset_id}"}
    for entry in ("author", "code_permalink", "algorithm_name", "minari_version", "license"):
        if value := metadata.get(entry):
            known[entry] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    requirements = metadata.get("requirements")
    for requirement in requirements if isinstance(requirements, list) else ():
        if str(requirement).startswith("mujoco"):
            known["mujoco"] = str(requirement)
    return known


def episode_count(metadata: Mapping[str, Any], folder: Path) -> int:
    """How many episodes the metadata promise, in a format that can be read."""
    file, count = _file(folder), metadata.get("total_episodes")
    if type(count) is not int or count < 0:
        raise DataError(f"{file}: 'total_episodes' is {count!r:.80}; it must be a whole number")
    if not is_hdf5(metadata) and metadata["data_format"] not in ("arrow", "parquet"):
        raise DataError(
            f"{file}: 'data_format' is {metadata['data_format']!r:.80}; it must be hdf5, arrow or parquet"
        )
    return count


def is_hdf5(metadata: Mapping[str, Any]) -> bool:
    """Whether the episodes are kept in Minari's HDF5 layout."""
    return metadata.get("data_format", "hdf5") == "hdf5"
