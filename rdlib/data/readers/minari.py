"""Minari datasets read as transitions, with a flat copy for speed.

Minari keeps an episode's T+1 observations, so no step has to be dropped: a truncated episode's last
step is kept and is not terminal. A second reading comes from `flat.safetensors` beside the data.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data.dataset import DataError, Dataset, NotFoundError, check_actions, one_line
from rdlib.data.readers import flat, hdf5, minari_download
from rdlib.data.readers.episodes import Arrays, Episode, checked, join, transitions

MAIN_FILE = "main_data.hdf5"  # Minari's


def minari_root() -> Path:
    """Where Minari keeps its datasets: $MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets").expanduser()


def id_in(folder: Path) -> str:
    """The id that the dataset in `folder` (which holds data/metadata.json) goes by."""
    known = _metadata(folder).get("dataset_id")
    return known if known and isinstance(known, str) else folder.name


def read_minari(
    dataset_id: str,
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    cache: bool = True,
    clip_actions: bool = False,
    source: str = "minari",
    name: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> Dataset:
    """Read Minari dataset `dataset_id` (namespace/name-vN) as transitions.

    root: folder of datasets (default: `minari_root()`). A dataset that is not there is fetched by
    Minari's own download (from $MINARI_REMOTE) unless `download` is false. cache: keep a flat copy
    beside the data for the next reading. A step is terminal where Minari says terminated; an
    episode's final step is `last`, however it ended. clip_actions: set actions beyond the limits in the
    metadata to them.
    Raises DataError: not found, no network, not readable, observations or actions that are not flat
    vectors or do not fit the spaces in the metadata.
    """
    base = Path(root) if root is not None else minari_root()
    folder = base / dataset_id
    if not (folder / "data" / "metadata.json").is_file():
        if not download:
            raise NotFoundError(f"Minari dataset {dataset_id} is not in {base}")
        minari_download.download(dataset_id, base)
    where = f"Minari dataset {dataset_id}"
    metadata = _metadata(folder)
    count = _episode_count(metadata, folder)
    for space in ("observation_space", "action_space"):
        _check_kind(metadata, space, folder)
    key = flat.key_of(folder / "data" / MAIN_FILE) if _is_hdf5(metadata) else None
    kept = flat.read(folder, key) if cache else None
    if kept is not None and len(kept["lengths"]) != count:
        kept = None  # the reading below says what is wrong
    arrays = _read_episodes(folder, metadata, count, where) if kept is None else kept
    for space, part in (("observation_space", "observations"), ("action_space", "actions")):
        _check_space(metadata, space, arrays[part], part, folder, clip_actions)
    env_id, max_episode_steps = _environment_of(metadata, folder)
    made = Dataset.make(
        name=name or dataset_id,
        source=source,
        env_id=env_id,
        max_episode_steps=max_episode_steps,
        notes=_notes(metadata, dataset_id) | {"path": str(folder)} | dict(notes or {}),
        where=where,
        **transitions(arrays),
    )
    # Only of data that passed every check, and not where an episode was skipped.
    if cache and kept is None and key is not None and len(arrays["lengths"]) == count:
        # A read-only or full disk costs speed, not the dataset.
        with contextlib.suppress(OSError):
            flat.write(folder, key, arrays)
    limits = _action_limits(metadata, folder) if clip_actions else None
    return made.clipped(*limits) if limits else made


# ---- reading and downloading


def _metadata(folder: Path) -> dict[str, Any]:
    file = folder / "data" / "metadata.json"
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
            f"{folder / 'data' / 'metadata.json'}: {key!r} is not readable ({one_line(error)}); "
            "it must be a JSON object written as text"
        ) from error
    return found


def _environment_of(metadata: Mapping[str, Any], folder: Path) -> tuple[str | None, int | None]:
    """gymnasium id and time limit; nothing else of the specification is used, least of all its code."""
    spec = _parsed(metadata, "env_spec", folder)
    env_id, limit = spec.get("id"), spec.get("max_episode_steps")
    file = folder / "data" / "metadata.json"
    # `module:Name-v0` would have gymnasium import that module.
    if env_id is not None and not (isinstance(env_id, str) and re.fullmatch(r"[\w./-]+", env_id)):
        raise DataError(f"{file}: 'env_spec' has the id {env_id!r:.80}; it must be one like Hopper-v5")
    if limit is not None and not (type(limit) is int and limit > 0):
        raise DataError(
            f"{file}: 'env_spec' has max_episode_steps = {limit!r:.80}; it must be a whole number from 1"
        )
    return env_id, limit


def _action_limits(
    metadata: Mapping[str, Any], folder: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Those of the metadata's space of actions, which `_check_space` has seen."""
    space = _parsed(metadata, "action_space", folder)
    return (np.array(space["low"], float), np.array(space["high"], float)) if space else None


def _check_kind(metadata: Mapping[str, Any], key: str, folder: Path) -> None:
    """DataError where a space of the metadata is of a kind that no algorithm here takes."""
    kind, what = _parsed(metadata, key, folder).get("type"), key.removesuffix("_space")
    if kind in ("Discrete", "MultiDiscrete", "MultiBinary"):
        why = f"discrete {what}s are not supported, only vectors of continuous numbers (a Box)"
    elif kind in ("Dict", "Tuple"):
        why = f"dictionary {what}s (with goals, say) are not supported, only flat vectors (a Box)"
    else:
        return
    raise DataError(f"{folder / 'data' / 'metadata.json'}: {key!r} is {kind}; {why}")


def _check_space(
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
        raise DataError(
            f"{folder / 'data' / 'metadata.json'}: {key!r} is not a Box of {width} numbers, the width of "
            f"{part!r}"
        )
    if part == "actions" and not clip:
        check_actions(array, low, high, str(folder), part)


def _notes(metadata: Mapping[str, Any], dataset_id: str) -> dict[str, str]:
    known = {"origin": f"Minari {dataset_id}"}
    for entry in ("author", "code_permalink", "algorithm_name", "minari_version", "license"):
        if value := metadata.get(entry):
            known[entry] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    requirements = metadata.get("requirements")
    for requirement in requirements if isinstance(requirements, list) else ():
        if str(requirement).startswith("mujoco"):
            known["mujoco"] = str(requirement)
    return known


def _episode_count(metadata: Mapping[str, Any], folder: Path) -> int:
    """How many episodes the metadata promise, in a format that can be read."""
    file, count = folder / "data" / "metadata.json", metadata.get("total_episodes")
    if type(count) is not int or count < 0:
        raise DataError(f"{file}: 'total_episodes' is {count!r:.80}; it must be a whole number")
    if not _is_hdf5(metadata) and metadata["data_format"] not in ("arrow", "parquet"):
        raise DataError(
            f"{file}: 'data_format' is {metadata['data_format']!r:.80}; it must be hdf5, arrow or parquet"
        )
    return count


def _is_hdf5(metadata: Mapping[str, Any]) -> bool:
    return metadata.get("data_format", "hdf5") == "hdf5"


def _read_episodes(folder: Path, metadata: Mapping[str, Any], count: int, where: str) -> Arrays:
    """All episodes of a local dataset that have steps."""
    if _is_hdf5(metadata):
        episodes = _hdf5_episodes(folder / "data" / MAIN_FILE, count, where)
    else:
        episodes = _arrow_episodes(folder, metadata, count, where)
    parts, empty = [], []
    try:
        for number, episode in enumerate(episodes):
            if not np.size(episode.rewards) and not np.size(episode.actions):
                empty.append(number)
            else:
                parts.append(checked(episode, f"{where}, episode {number}"))
    except DataError:
        raise
    except Exception as error:  # whatever the storage raises on damaged files
        raise DataError(
            f"{where} in {folder} is not readable ({type(error).__name__}: {one_line(error)}); "
            "delete that folder to fetch it again"
        ) from error
    if empty:
        warnings.warn(f"{where}: episodes without a step are skipped: {_few(empty)}", stacklevel=3)
    arrays = join(parts, where)
    steps, promised = int(arrays["lengths"].sum()), metadata.get("total_steps")
    if type(promised) is int and promised != steps:
        raise DataError(
            f"{where} holds {steps:,} steps in {len(parts):,} episodes; 'total_steps' in metadata.json is "
            f"{promised:,}; delete its folder to fetch it again"
        )
    return arrays


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def _hdf5_episodes(file: Path, count: int, where: str) -> Iterator[Episode]:
    """Minari's HDF5 layout, read directly: Minari's reader also loads `infos`, and follows what a foreign
    file leads it to."""
    import h5py

    if not file.is_file():  # to open a pipe would never return
        raise DataError(f"{where}: {file} is not a file; delete its folder to fetch it again")
    with h5py.File(file, "r") as main:
        found = sum(re.fullmatch(r"episode_\d+", key) is not None for key in main)
        if found != count:
            raise DataError(f"{file} holds {found} episodes; 'total_episodes' in metadata.json is {count}")
        for number in range(count):
            at = f"{where}, episode {number}"
            group = hdf5.own(main, f"episode_{number}", where)
            if not isinstance(group, h5py.Group):
                raise DataError(f"{where}: 'episode_{number}' is not a group; it must hold one episode")
            yield Episode(
                hdf5.read_array(group, "observations", at),
                hdf5.read_array(group, "actions", at),
                hdf5.read_array(group, "rewards", at),
                hdf5.read_array(group, "terminations", at, as_is=True),
                hdf5.read_array(group, "truncations", at, as_is=True),
            )


def _arrow_episodes(folder: Path, metadata: Mapping[str, Any], count: int, where: str) -> Iterator[Episode]:
    """Minari's other layouts, Arrow and Parquet, read directly: Minari's reader takes the pieces of 32,768
    rows that pyarrow hands out for whole episodes (findings/minari_arrow_cut.sh), and decodes `infos`."""
    try:
        import pyarrow.dataset as tables
    except ImportError as error:
        raise DataError(f"{where} needs pyarrow: pip install 'minari[arrow]'") from error
    found = sum(part.name.isdecimal() for part in (folder / "data").iterdir())
    if found != count:
        raise DataError(f"{folder} holds {found} episodes; 'total_episodes' in metadata.json is {count}")
    keys = ("observations", "actions", "rewards", "terminations", "truncations")
    for number in range(count):
        at, part = f"{where}, episode {number}", folder / "data" / str(number)
        file = tables.dataset(
            part, format=metadata["data_format"], ignore_prefixes=["_", ".", "metadata.json"]
        )
        if missing := [key for key in keys if key not in file.schema.names]:
            raise DataError(f"{at}: {missing[0]!r} is missing; there is {', '.join(file.schema.names)}")
        columns = file.to_table(columns=list(keys)).combine_chunks()
        arrays = [_arrow_array(columns[key], at, key) for key in keys]
        # Minari pads all but the observations by one row.
        act, rew, terminal, truncated = (array[:-1] for array in arrays[1:])
        yield Episode(arrays[0], act, rew, terminal, truncated)


def _arrow_array(column: Any, at: str, key: str) -> NDArray[Any]:
    """A column as (N,) or, of lists of one length, as (N,D)."""
    import pyarrow as arrow

    if arrow.types.is_struct(column.type):
        raise DataError(
            f"{at}: {key!r} is a dictionary or tuple; dictionary observations, as goal-conditioned "
            "environments have, are not supported, only flat vectors"
        )
    if not arrow.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    flat_values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat_values.reshape(len(column), column.type.list_size)
