"""Minari datasets: reading them as transitions, with a flat cache for speed, and writing them.

Minari keeps an episode's T+1 observations, so no step has to be dropped: a truncated episode's last
step is kept and is not terminal. A second reading comes from `flat.safetensors` beside the data.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data.dataset import (
    Bool,
    DataError,
    Dataset,
    Float32,
    as_flags,
    as_float32,
    check_actions,
    disk_error,
    one_line,
    same_length,
    sha256_of,
)
from rdlib.data.readers import hdf5
from rdlib.data.readers.cache import file_digest, staging

MAIN_FILE = "main_data.hdf5"  # Minari's
FLAT_FILE = "flat.safetensors"  # ours, beside Minari's data/
FLAT_FORMAT = "1"
FLAT_ARRAYS = ("observations", "actions", "rewards", "terminations", "lengths")


@dataclass(frozen=True)
class Episode:
    """One episode as Minari keeps it: one observation more than there are steps."""

    observations: NDArray[Any]  # (T+1,O)
    actions: NDArray[Any]  # (T,U)
    rewards: NDArray[Any]  # (T,)
    terminations: NDArray[Any]  # (T,)
    truncations: NDArray[Any]  # (T,)
    seed: int | None = None


def minari_root() -> Path:
    """Where Minari keeps its datasets: $MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets").expanduser()


def read_minari(
    dataset_id: str,
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    cache: bool = True,
    source: str = "minari",
    name: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> Dataset:
    """Read Minari dataset `dataset_id` (namespace/name-vN) as transitions.

    root: folder of datasets (default: `minari_root()`). A dataset that is not there is fetched by
    Minari's own download (from $MINARI_REMOTE) unless `download` is false. cache: keep a flat copy
    beside the data for the next reading. A step is terminal where Minari says terminated; an
    episode's final step is `last`, however it ended.
    Raises DataError: not found, no network, not readable, observations or actions that are not flat
    vectors or do not fit the spaces in the metadata.
    """
    base = Path(root) if root is not None else minari_root()
    folder = base / dataset_id
    if not (folder / "data" / "metadata.json").is_file():
        if not download:
            raise DataError(f"Minari dataset {dataset_id} is not in {base}")
        _download(dataset_id, base)
    where = f"Minari dataset {dataset_id}"
    metadata = _metadata(folder)
    count = _episode_count(metadata, folder)
    key = _flat_key(folder / "data" / MAIN_FILE) if _is_hdf5(metadata) else None
    kept = _load_flat(folder, key) if cache else None
    if kept is not None and len(kept["lengths"]) != count:
        kept = None  # the reading below says what is wrong
    arrays = _read_episodes(folder, metadata, count, where) if kept is None else kept
    for space, part in (("observation_space", "observations"), ("action_space", "actions")):
        _check_space(metadata, space, arrays[part], part, folder)
    env_id, max_episode_steps = _environment_of(metadata, folder)
    made = Dataset.make(
        name=name or dataset_id,
        source=source,
        env_id=env_id,
        max_episode_steps=max_episode_steps,
        notes=_notes(metadata, dataset_id) | {"path": str(folder)} | dict(notes or {}),
        where=where,
        **_transitions(arrays),
    )
    if cache and kept is None and key is not None:  # only of data that passed every check
        # A read-only or full disk costs speed, not the dataset.
        with contextlib.suppress(OSError):
            _save_flat(folder, key, arrays)
    return made


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
            key = _flat_key(data / MAIN_FILE)
            assert key is not None
            _save_flat(folder, key, arrays)
            _move_into_place(folder, base, dataset_id)
    except OSError as error:
        raise disk_error(f"writing {dataset_id}", base, error) from error
    return base / dataset_id


# ---- transitions from episodes laid end to end

# observations (sum of T+1, O), actions (sum of T, U), rewards, terminations, lengths (episodes,)
Arrays = dict[str, NDArray[Any]]


def _transitions(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The six arrays of a Dataset from episodes laid end to end."""
    lengths = arrays["lengths"]
    ends = np.cumsum(lengths)
    final = np.zeros(
        len(arrays["observations"]), dtype=bool
    )  # the one observation of each episode with no action
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


def _checked(episode: Any, number: int, where: str) -> tuple[Float32, Float32, Float32, Bool, int]:
    """One episode as (observations, actions, rewards, terminations, steps), or DataError."""
    at = f"{where}, episode {number}"
    for key in ("observations", "actions"):
        if isinstance(getattr(episode, key), dict | tuple):
            raise DataError(
                f"{at}: {key!r} is a {type(getattr(episode, key)).__name__}; only flat vectors "
                "are supported "
                "(goal-conditioned environments are not)"
            )
    obs = as_float32(episode.observations, at, "observations", 2)
    act = as_float32(episode.actions, at, "actions", 2)
    rew = as_float32(episode.rewards, at, "rewards", 1)
    terminal = as_flags(episode.terminations, at, "terminations")
    truncated = as_flags(episode.truncations, at, "truncations")
    same_length(at, rewards=rew, actions=act, terminations=terminal, truncations=truncated)
    if len(obs) != len(rew) + 1:
        raise DataError(
            f"{at}: 'observations' has {len(obs)} rows for {len(rew)} steps; it must have one "
            "more than steps"
        )
    return obs, act, rew, terminal, len(rew)


def _join(parts: list[tuple[Float32, Float32, Float32, Bool, int]], where: str) -> Arrays:
    if not parts:
        raise DataError(f"{where}: it has no episodes; a dataset needs at least one transition")
    for key, widths in {
        "observations": {part[0].shape[1] for part in parts},
        "actions": {part[1].shape[1] for part in parts},
    }.items():
        if len(widths) > 1:
            raise DataError(f"{where}: {key!r} differ in width between episodes: {sorted(widths)}")
    return {
        "observations": np.concatenate([part[0] for part in parts]),
        "actions": np.concatenate([part[1] for part in parts]),
        "rewards": np.concatenate([part[2] for part in parts]),
        "terminations": np.concatenate([part[3] for part in parts]),
        "lengths": np.array([part[4] for part in parts], dtype=np.int64),
    }


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


def _check_space(
    metadata: Mapping[str, Any], key: str, array: NDArray[Any], part: str, folder: Path
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
    if part == "actions":
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
    """All episodes of a local dataset."""
    if _is_hdf5(metadata):
        episodes = _hdf5_episodes(folder / "data" / MAIN_FILE, count, where)
    else:
        episodes = _arrow_episodes(folder, metadata, where)
    parts = []
    try:
        for number, episode in enumerate(episodes):
            parts.append(_checked(episode, number, where))
    except DataError:
        raise
    except Exception as error:  # whatever Minari or the storage below it raises on damaged files
        raise DataError(
            f"{where} in {folder} is not readable ({type(error).__name__}: {one_line(error)}); "
            "delete that folder to fetch it again"
        ) from error
    return _join(parts, where)


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


def _arrow_episodes(folder: Path, metadata: Mapping[str, Any], where: str) -> Iterator[Any]:
    """Minari's other layouts, Arrow and Parquet, through its API."""
    import minari  # type: ignore[import-untyped]

    for space in ("observation_space", "action_space"):
        if not _parsed(metadata, space, folder):  # Minari would build the environment that is named
            raise DataError(f"{where}: {space!r} is missing in metadata.json")
    try:
        yield from minari.MinariDataset(folder / "data").iterate_episodes()
    except ImportError as error:
        raise DataError(f"{where} needs pyarrow: pip install 'minari[arrow]'") from error


def _download(dataset_id: str, base: Path) -> None:
    """Minari's own download, into a hidden folder and then into place, so that a killed one never
    looks complete.
    """
    import minari

    try:
        with staging(base) as aside:
            with _with_variable("MINARI_DATASETS_PATH", str(aside)), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer versions; the folder of an earlier attempt
                minari.download_dataset(dataset_id, force_download=True)
            for metadata in sorted(aside.rglob("data/metadata.json")):
                folder = metadata.parent.parent  # a combined dataset brings its parts along
                _move_into_place(folder, base, folder.relative_to(aside).as_posix())
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise DataError(
            f"Minari dataset {dataset_id} is not in {base} and could not be downloaded ({reason}); "
            "check the name and the network, put the dataset below $MINARI_DATASETS_PATH, or use "
            "a bundled one (hopper-medium, door-human)"
        ) from error
    if not (base / dataset_id / "data" / "metadata.json").is_file():
        raise DataError(f"Minari's download of {dataset_id} ended without bringing it to {base}")


def _move_into_place(folder: Path, base: Path, dataset_id: str) -> None:
    """Rename a complete dataset folder to base/dataset_id, replacing an old one, and make Minari's
    namespaces.
    """
    target = base / dataset_id
    target.parent.mkdir(parents=True, exist_ok=True)
    for parent in target.parents:
        if parent == base:
            break
        if not (namespace := parent / "namespace_metadata.json").exists():
            namespace.write_text("{}")
    if target.exists():  # a folder cannot be replaced by one rename: the old one leaves first
        old = folder.with_name(f"{folder.name}.old-{uuid.uuid4().hex}")
        os.replace(target, old)
        os.replace(folder, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(folder, target)


@contextlib.contextmanager
def _with_variable(variable: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while: Minari takes its root from nowhere else."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


# ---- the flat cache


def _flat_key(main: Path) -> dict[str, str] | None:
    """What the flat copy is valid for: path, size and time of Minari's file. None where it keeps another
    format."""
    if not main.is_file():
        return None
    stat = main.stat()
    return {"size": str(stat.st_size), "mtime": str(stat.st_mtime_ns), "path": str(main)}


def _load_flat(folder: Path, key: Mapping[str, str] | None) -> Arrays | None:
    """The flat copy, or None when there is none, it belongs to other data, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    file = folder / FLAT_FILE
    if key is None or not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as flat:
            kept = flat.metadata() or {}
            if kept.get("format") != FLAT_FORMAT or kept.get("size") != key["size"]:
                return None
            # A copied folder has a new time and the same content, and is fine.
            if kept.get("mtime") != key["mtime"]:
                if kept.get("sha256") != file_digest(Path(key["path"])):
                    return None
            arrays = {name: flat.get_tensor(name) for name in FLAT_ARRAYS}
            return arrays if sha256_of(arrays) == kept.get("content") else None
    except (OSError, SafetensorError, ValueError, TypeError):  # the last of arrays without rows
        return None


def _save_flat(folder: Path, key: Mapping[str, str], arrays: Arrays) -> None:
    from safetensors.numpy import save_file

    temporary = folder / f"{FLAT_FILE}.{uuid.uuid4().hex}.tmp"
    metadata = {
        "format": FLAT_FORMAT,
        "size": key["size"],
        "mtime": key["mtime"],
        "sha256": file_digest(Path(key["path"])),
        "content": sha256_of(arrays),
    }
    try:
        save_file(arrays, temporary, metadata=metadata)
        os.replace(temporary, folder / FLAT_FILE)
    except Exception as error:  # safetensors reports a full disk as its own error
        temporary.unlink(missing_ok=True)
        raise error if isinstance(error, OSError) else OSError(str(error)) from error


# ---- writing


def _write_hdf5(path: Path, episodes: Iterable[Episode], where: str) -> Arrays:
    """Minari's HDF5 layout, written directly: through its buffers an episode costs several times as
    much, because each of its arrays is made resizable. Returns the same episodes laid end to
    end.
    """
    import h5py

    parts = []
    with h5py.File(path, "w", track_order=True) as file:
        for number, episode in enumerate(episodes):
            parts.append(_checked(episode, number, where))
            group = file.create_group(f"episode_{number}")
            group.attrs["id"] = number
            group.attrs["total_steps"] = parts[-1][-1]
            if episode.seed is not None:
                group.attrs["seed"] = episode.seed
            for key in ("observations", "actions", "rewards"):
                group.create_dataset(key, data=getattr(episode, key))
            for key in ("terminations", "truncations"):
                group.create_dataset(key, data=np.asarray(getattr(episode, key), dtype=bool))
    return _join(parts, where)


def _new_metadata(
    dataset_id: str, env_id: str, arrays: Arrays, max_episode_steps: int | None
) -> dict[str, Any]:
    """Minari's metadata: the environment and its spaces (checked against the arrays), counts and
    versions.
    """
    import gymnasium
    import minari
    from minari.serialization import serialize_space  # type: ignore[import-untyped]

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
