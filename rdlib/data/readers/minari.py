"""Minari datasets read as transitions, with a flat copy for speed.

Minari keeps an episode's T+1 observations, so no step has to be dropped: a truncated episode's last
step is kept and is not terminal. A second reading comes from `flat.safetensors` beside the data.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data import adroit
from rdlib.data.checks import DataError, NotFoundError, one_line
from rdlib.data.dataset import Dataset
from rdlib.data.readers import flat, hdf5, minari_download, minari_metadata
from rdlib.data.readers.episodes import Arrays, Episode, checked, join, transitions

MAIN_FILE = "main_data.hdf5"  # Minari's


def minari_root() -> Path:
    """Where Minari keeps its datasets: $MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets").expanduser()


def id_in(folder: Path) -> str:
    """The id that the dataset in `folder` (which holds data/metadata.json) goes by."""
    known = minari_metadata.read(folder).get("dataset_id")
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
    metadata = minari_metadata.read(folder)
    count = minari_metadata.episode_count(metadata, folder)
    for space in ("observation_space", "action_space"):
        minari_metadata.check_kind(metadata, space, folder)
    key = flat.key_of(folder / "data" / MAIN_FILE) if minari_metadata.is_hdf5(metadata) else None
    kept = flat.read(folder, key) if cache else None
    if kept is not None and len(kept["lengths"]) != count:
        kept = None  # the reading below says what is wrong
    arrays = _read_episodes(folder, metadata, count, where) if kept is None else kept
    for space, part in (("observation_space", "observations"), ("action_space", "actions")):
        minari_metadata.check_space(metadata, space, arrays[part], part, folder, clip_actions)
    found, added = transitions(arrays), {"path": str(folder)}
    collected_in = minari_metadata.environment_of(metadata, "env_spec", folder)
    if collected_in and adroit.correction(collected_in.id, collected_in.kwargs):
        found["rew"] = adroit.corrected(collected_in.id, found["rew"], found["next_obs"])
        added["rewards"] = adroit.D4RL_SIGN
    env = minari_metadata.environment_of(metadata, "eval_env_spec", folder) or collected_in
    limits = minari_metadata.action_limits(metadata, folder)
    made = Dataset.make(
        name=name or dataset_id,
        source=source,
        env_id=env.id if env else None,
        max_episode_steps=env.max_episode_steps if env else None,
        env_kwargs=dict(env.kwargs) if env else {},
        env_wrappers=env.wrappers if env else (),
        act_limits=limits,
        reference=None if "rewards" in added else minari_metadata.reference(metadata, folder),
        notes=minari_metadata.notes_of(metadata, dataset_id) | added | dict(notes or {}),
        where=where,
        **found,
    )
    # Only of data that passed every check, and not where an episode was skipped.
    if cache and kept is None and key is not None and len(arrays["lengths"]) == count:
        # A read-only or full disk costs speed, not the dataset.
        with contextlib.suppress(OSError):
            flat.write(folder, key, arrays)
    return made.clipped(*limits) if limits and clip_actions else made


# ---- reading and downloading


def _read_episodes(folder: Path, metadata: Mapping[str, Any], count: int, where: str) -> Arrays:
    """All episodes of a local dataset that have steps."""
    if minari_metadata.is_hdf5(metadata):
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
