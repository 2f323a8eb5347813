"""Minari datasets written whole or not at all, in its HDF5 layout, with the flat copy beside them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rdlib.data.checks import DataError, disk_error
from rdlib.data.readers import flat
from rdlib.data.readers.cache import move_into_place, staging
from rdlib.data.readers.episodes import Arrays, Episode, checked, join
from rdlib.data.readers.minari import MAIN_FILE


def write_minari(
    dataset_id: str,
    root: str | os.PathLike[str],
    episodes: Iterable[Episode],
    env_id: str,
    *,
    description: str,
    author: str,
    algorithm: str,
    license: str,
    code_permalink: str | None = None,
    requirements: Sequence[str] = (),
    max_episode_steps: int | None = None,
) -> Path:
    """Write `episodes` as Minari dataset `dataset_id` below `root` and return its folder.

    It appears whole or not at all. The layout is Minari's HDF5 one (any Minari tool reads it), with
    the flat cache beside it. Values are stored in the types given (float32 halves the size). An
    existing dataset of that id is replaced. max_episode_steps: default, that of `env_id`.
    Raises DataError on episodes that do not fit together, and on a folder that is full or closed.
    """
    base, where = Path(root), f"Minari dataset {dataset_id}"
    try:
        with staging(base) as folder:
            data = folder / "data"
            data.mkdir()
            arrays = _write_hdf5(data / MAIN_FILE, episodes, where)
            metadata = _new_metadata(dataset_id, env_id, arrays, max_episode_steps)
            metadata |= {
                "author": [author],
                "algorithm_name": algorithm,
                "description": description,
                "license": license,
                "requirements": list(requirements),
                "dataset_size": round((data / MAIN_FILE).stat().st_size / 1e6, 1),
            }
            if code_permalink:
                metadata["code_permalink"] = code_permalink
            (data / "metadata.json").write_text(json.dumps(metadata))
            key = flat.key_of(data / MAIN_FILE)
            assert key is not None
            flat.write(folder, key, arrays)
            move_into_place(folder, base, dataset_id)
    except OSError as error:
        raise disk_error(f"writing {dataset_id}", base, error) from error
    return base / dataset_id


def _write_hdf5(path: Path, episodes: Iterable[Episode], where: str) -> Arrays:
    """Minari's HDF5 layout, written directly: through its buffers an episode costs several times as
    much, because each of its arrays is made resizable. Returns the same episodes laid end to
    end.
    """
    import h5py

    parts = []
    with h5py.File(path, "w", track_order=True) as file:
        for number, episode in enumerate(episodes):
            parts.append(checked(episode, f"{where}, episode {number}"))
            group = file.create_group(f"episode_{number}")
            group.attrs["id"] = number
            group.attrs["total_steps"] = int(parts[-1]["lengths"][0])
            if episode.seed is not None:
                group.attrs["seed"] = episode.seed
            for key in ("observations", "actions", "rewards"):
                group.create_dataset(key, data=getattr(episode, key))
            for key in ("terminations", "truncations"):
                group.create_dataset(key, data=np.asarray(getattr(episode, key), dtype=bool))
    return join(parts, where)


def _new_metadata(
    dataset_id: str, env_id: str, arrays: Arrays, max_episode_steps: int | None
) -> dict[str, Any]:
    """Minari's metadata: the environment and its spaces (checked against the arrays), counts and
    versions.
    """
    import gymnasium
    import minari
    from minari.serialization import serialize_space

    where = f"Minari dataset {dataset_id}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium calls -v4 out of date; D4RL's data needs it
        env = gymnasium.make(env_id)
    try:
        spec, spaces = env.spec, (env.observation_space, env.action_space)
    finally:
        env.close()
    for space, key in zip(spaces, ("observations", "actions")):
        if space.shape != arrays[key].shape[1:]:
            raise DataError(
                f"{where}: {key!r} have shape {arrays[key].shape[1:]}; {env_id} has {space.shape}"
            )
    assert spec is not None
    if max_episode_steps is not None:
        spec.max_episode_steps = max_episode_steps
    return {
        "dataset_id": dataset_id,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": serialize_space(spaces[0]),
        "action_space": serialize_space(spaces[1]),
        "env_spec": spec.to_json(),
        "minari_version": minari.__version__,
        "total_episodes": len(arrays["lengths"]),
        "total_steps": int(arrays["lengths"].sum()),
    }
