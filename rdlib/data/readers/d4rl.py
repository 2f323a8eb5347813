"""D4RL's HDF5 files: reading them as D4RL's own `qlearning_dataset` does, and downloading them
safely.

Semantics from Farama-Foundation/D4RL, d4rl/__init__.py and offline_env.py; names and addresses from
d4rl/infos.py.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rdlib.data.dataset import (
    Bool,
    DataError,
    Dataset,
    as_flags,
    as_float32,
    cache_root,
    check_actions,
    disk_error,
    one_line,
    same_length,
)
from rdlib.data.readers import hdf5
from rdlib.data.readers.cache import file_digest, only_one

DEFAULT_URL = "https://rail.eecs.berkeley.edu/datasets/offline_rl"  # RDLIB_D4RL_URL replaces it
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
PAUSE = 1.0  # seconds after a request that brought nothing, times the number of such in a row
ATTEMPTS = 3  # requests in a row that may bring nothing before a download gives up


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
    source: str = "hdf5",
) -> Dataset:
    """Read a D4RL HDF5 file exactly as D4RL's `qlearning_dataset` does.

    The file holds `observations` (T,O), `actions` (T,U), `rewards` (T,), `terminals` (T,) and, in
    newer files, `timeouts` (T,). The next observation is the next row's (`next_observations` in the
    file is not used); the final row of the file and every row with a timeout are dropped;
    `terminal` comes from `terminals` alone. Without `timeouts` an episode is cut after
    `max_episode_steps` (default: that of `env_id` or of a recognised name), counted as D4RL counts.

    name: of the dataset (default: the file's, `hopper_medium-v2.hdf5` being recognised as
    hopper-medium-v2).
    env_id: gymnasium id to evaluate on (default: known from a recognised name, otherwise None).
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
            rew = as_float32(_column(file, "rewards", where), where, "rewards", 1)
            terminal = as_flags(_column(file, "terminals", where, True), where, "terminals")
            timeout = None
            if hdf5.has(file, "timeouts"):
                timeout = as_flags(_column(file, "timeouts", where, True), where, "timeouts")
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{where}: no permission to read it ({error.strerror})") from error
    except Exception as error:  # OSError, RuntimeError, KeyError, TypeError ... by kind of damage
        raise DataError(
            f"{where}: not a readable HDF5 file, or a truncated one ({one_line(error)})"
        ) from error
    same_length(where, observations=obs, actions=act, rewards=rew, terminals=terminal)
    if parsed is not None:
        check_actions(act, -np.ones(act.shape[1]), np.ones(act.shape[1]), where, "actions")
    if timeout is not None:
        same_length(where, observations=obs, timeouts=timeout)
        cut = timeout[:-1]
    else:
        horizon = max_episode_steps or _horizon(env_id)
        if horizon is None:
            raise DataError(
                f"{where}: 'timeouts' is missing and the horizon is not known; "
                "pass max_episode_steps, or an env_id that has one"
            )
        cut = _cut_by_counting(terminal[:-1], horizon)

    keep = ~cut  # (T-1,)
    if not keep.any():
        raise DataError(
            f"{where}: no transition is left of {len(obs)} rows; D4RL's rule drops the final and "
            "timed-out rows"
        )
    # A kept row is its episode's last when it terminates, or when the row after it was dropped or
    # is the file's final one.
    last = terminal[:-1].copy()
    last[:-1] |= cut[1:]
    last[-1] = True
    return Dataset.make(
        name=name,
        source=source,
        env_id=env_id,
        max_episode_steps=max_episode_steps or _horizon(env_id),
        obs=obs[:-1][keep],
        act=act[:-1][keep],
        rew=rew[:-1][keep],
        next_obs=obs[1:][keep],
        terminal=terminal[:-1][keep],
        last=last[keep],
        notes=notes,
        where=where,
    )


def _column(file: Any, key: str, where: str, as_is: bool = False) -> Any:
    """Array `key`, with (T,1) read as (T,), which D4RL's loader accepts too."""
    array = hdf5.read_array(file, key, where, as_is=as_is)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


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
    import gymnasium

    if env_id.startswith("Adroit"):
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
    try:
        return gymnasium.spec(env_id).max_episode_steps
    except gymnasium.error.Error as error:
        raise DataError(f"environment {env_id!r} is not known to gymnasium ({error})") from error


# ---- downloading


def download(
    name: str,
    cache: str | os.PathLike[str] | None = None,
    *,
    base_url: str | None = None,
    sha256: str | None = None,
    timeout: float = 30.0,
) -> Path:
    """Path of D4RL file `name` (hopper-medium-v2) in `cache`, fetched first if it is not there.

    cache: a folder (default: d4rl/ below `cache_root()`). base_url: default $RDLIB_D4RL_URL, or
    D4RL's public server.
    sha256: expected digest; D4RL publishes none, so the first download's is kept beside the file
    and checked ever after.
    timeout: seconds without an answer before an attempt counts as failed.
    An interrupted download continues where it stopped. The file appears under its name only when
    complete and checked.
    Raises DataError: no network, not on the server, truncated, corrupt, disk full, no permission,
    changed on disk.
    """
    relative = url_path(name)
    folder = Path(cache) if cache is not None else cache_root() / "d4rl"
    target = folder / Path(relative).name
    url = f"{(base_url or os.environ.get('RDLIB_D4RL_URL') or DEFAULT_URL).rstrip('/')}/{relative}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(target.with_name(target.name + ".lock")):
            if target.exists():
                _check_kept(target, sha256)
                return target
            part = target.with_name(target.name + ".part")
            _fetch(url, part, timeout)
            digest = _check_fetched(url, part, sha256)
            _sidecar(target).write_text(f"{digest}  {target.name}\n")
            os.replace(part, target)
    except OSError as error:
        raise disk_error(f"downloading {name} (what arrived is kept)", folder, error) from error
    return target


def _fetch(url: str, part: Path, timeout: float) -> None:
    """Bring `url` into `part`, continuing what is there, for as long as requests bring bytes."""
    idle, reason = 0, "the connection broke"
    while idle < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        try:
            total = _request(url, part, before, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # nothing after our offset: complete, or another file's
                if error.headers.get("Content-Range", "").removeprefix("bytes */") == str(before):
                    return
                part.unlink(missing_ok=True)
            elif error.code == 404:
                raise DataError(f"{url} is not there (404); {_instead()}") from error
            elif error.code < 500:
                raise DataError(
                    f"{url}: the server answered {error.code} {error.reason}; {_instead()}"
                ) from error
            reason = f"the server answered {error.code} {error.reason}"
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            ConnectionError,
            TimeoutError,
            ssl.SSLError,
        ) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except ValueError as error:
            raise DataError(
                f"{url} is not an address that can be downloaded ({error}); check RDLIB_D4RL_URL"
            ) from error
        else:
            size = part.stat().st_size
            if total is None or size == total:
                return
            reason = f"truncated: {size:,} of {total:,} bytes arrived"
            if size > total:
                part.unlink()
        after = part.stat().st_size if part.exists() else 0
        idle = 0 if after > before else idle + 1
        if 0 < idle < ATTEMPTS:
            time.sleep(PAUSE * idle)
    kept = part.stat().st_size if part.exists() else 0
    again = f"{kept:,} bytes are kept, run again to continue" if kept else _instead()
    raise DataError(f"could not download {url} ({reason}); {again}")


def _request(url: str, part: Path, offset: int, timeout: float) -> int | None:
    """One request, appended to `part` if the server goes along. Returns the full size, if told."""
    tag_file = part.with_name(part.name + ".etag")
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "rdlib"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if tag_file.exists():  # the file on the server may have changed: then it sends all of it
            request.add_header("If-Range", tag_file.read_text())
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        length = reply.headers.get("Content-Length")
        content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
        resumed = reply.status == 206 and content_range is not None and int(content_range[1]) == offset
        start = offset if resumed else 0
        tag = reply.headers.get("ETag") or reply.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            tag_file.write_text(tag)
        else:
            tag_file.unlink(missing_ok=True)
        total = start + int(length) if length is not None else None
        bar = tqdm(
            total=total, initial=start, desc=url.rsplit("/", 1)[1], unit="B", unit_scale=True, disable=None
        )
        with bar, open(part, "ab" if resumed else "wb") as out:
            while chunk := reply.read(1 << 20):
                out.write(chunk)
                bar.update(len(chunk))
            out.flush()
            os.fsync(out.fileno())
    return total


def _check_fetched(url: str, part: Path, sha256: str | None) -> str:
    """The sha256 of a finished download that is sound; one that is not is removed."""
    import h5py

    digest = file_digest(part)
    problem = None
    if sha256 is not None and digest != sha256.lower():
        problem = f"its sha256 is {digest}, not the expected {sha256.lower()}"
    else:
        with open(part, "rb") as file:
            head = file.read(len(HDF5_SIGNATURE))
        if head != HDF5_SIGNATURE:
            problem = f"it is not an HDF5 file (it starts with {head!r}; a proxy's or an error page?)"
        else:
            try:
                with h5py.File(part, "r") as file:
                    list(file)
            except (OSError, RuntimeError) as error:
                problem = f"it cannot be opened as HDF5 ({one_line(error)})"
    part.with_name(part.name + ".etag").unlink(missing_ok=True)
    if problem is not None:
        part.unlink(missing_ok=True)
        raise DataError(f"{url} arrived corrupt: {problem}. It was removed; {_instead()}")
    return digest


def _check_kept(target: Path, sha256: str | None) -> None:
    """Raise DataError when a file downloaded earlier is no longer what it was."""
    sidecar = _sidecar(target)
    known = sidecar.read_text().split()[:1] if sidecar.exists() else []
    expected = sha256.lower() if sha256 is not None else known[0] if known else None
    if expected is not None and (digest := file_digest(target)) != expected:
        raise DataError(
            f"{target}: its sha256 is {digest}, not {expected}; it changed since its download or "
            "is damaged. "
            f"Delete it and {sidecar.name} to download it again"
        )


def _sidecar(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _instead() -> str:
    return (
        "give the path of a local .hdf5 file, set RDLIB_D4RL_URL to a mirror that you trust, or "
        "use the bundled stand-in "
        "hopper-medium, which needs no network"
    )
