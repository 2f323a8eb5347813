"""Checkpoints: what a run saves, and files that are either whole or absent (written aside, synced,
renamed).

Tensors are safetensors with a JSON note in the header; nothing that can run code is ever loaded. `Progress`
is a run's note, and `save_run` and `load_run` alone know the names of its tensors.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

SCHEMA = 1
CHECKPOINT = "checkpoint.safetensors"  # in a run's folder


class CheckpointError(RuntimeError):
    """A file of a run that cannot be written or read; the message names it."""


def write_atomically(path: Path, content: bytes) -> None:
    """`content` at `path`, whole or not at all; the file there before stays if anything fails."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        kept = f"; the earlier {path.name} is intact" if path.exists() else ""
        raise CheckpointError(
            f"cannot write {path} ({len(content)} bytes): {error.strerror or error}{kept}"
        ) from error


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Tensors by name and a JSON-serialisable note. Raises CheckpointError."""
    header = {"note": json.dumps({"schema": SCHEMA, **note})}
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(whole, metadata=header))


def load_checkpoint(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` wrote: tensors and note. Raises CheckpointError, naming the file, if it is
    unreadable, not a checkpoint of rdlib, or of another schema."""
    with _opened(path, device) as (file, note):
        return {name: file.get_tensor(name) for name in file.keys()}, note


@contextmanager
def _opened(path: Path, device: str = "cpu") -> Iterator[tuple[Any, dict[str, Any]]]:
    """The open file and its note; tensors are read when asked for."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no run")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            note = json.loads((file.metadata() or {}).get("note", "null"))
            if not isinstance(note, dict) or note.get("schema") != SCHEMA:
                found = note.get("schema") if isinstance(note, dict) else None
                raise CheckpointError(f"{path} has schema {found!r}, this version reads {SCHEMA}")
            yield file, note
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({error}); delete it to start the run anew"
        ) from error


@dataclass(frozen=True)
class About:
    """Who the agents of a run are: what acting needs to know, one entry per agent in each list."""

    algo: str
    configs: list[dict[str, Any]]
    plugins: list[dict[str, Any] | None]
    seeds: list[int]
    datasets: list[str]
    env_id: str
    max_episode_steps: int | None
    dtype: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)  # older checkpoints do not say these three
    env_wrappers: list[dict[str, Any]] = field(default_factory=list)
    references: list[Any] | None = None  # (min, max) return, or None, of each

    def __str__(self) -> str:
        datasets, seeds = sorted(set(self.datasets)), sorted(set(self.seeds))
        return f"{self.algo} on {', '.join(datasets)}, seeds {seeds}"


@dataclass
class Progress:
    """Where a run stands, tensors apart; one entry per agent in `alive`, `stopped_at`, `evaluations`.
    Fields with a default are missing from older checkpoints."""

    fingerprint: str
    policy: About
    provenance: dict[str, Any]  # versions and commit of the process that trains
    started: str
    alive: list[bool]
    stopped_at: list[int]
    evaluations: list[list[dict[str, Any]]]
    matmul: str = ""
    step: int = 0
    steps: int = 0  # asked for; 0: not recorded
    weights: dict[str, int] = field(default_factory=dict)  # how many updates each sum is of
    seconds: float = 0.0
    compiled: bool = False  # from update `compiled_from` on
    compiled_from: int = 0
    device: str = "not recorded"
    earlier: list[dict[str, Any]] = field(default_factory=list)  # see Record


@dataclass(frozen=True)
class Saved:
    """A run's checkpoint: where it stands, and its tensors by the names that their owners gave them."""

    progress: Progress
    agents: dict[str, Tensor]
    normaliser: dict[str, Tensor]
    sums: dict[str, Tensor]  # of training metrics since the last evaluation, (A,)


def save_run(path: Path, saved: Saved) -> None:
    """Write a run's checkpoint. Raises CheckpointError."""
    tensors = dict(saved.agents)
    tensors |= {f"norm/{name}": value for name, value in saved.normaliser.items()}
    tensors |= {f"sums/{name}": value for name, value in saved.sums.items()}
    save_checkpoint(path, tensors, {**vars(saved.progress), "policy": vars(saved.progress.policy)})


def load_run(path: Path, device: str = "cpu") -> Saved:
    """What `save_run` wrote. Raises CheckpointError."""
    tensors, note = load_checkpoint(path, device)
    apart: dict[str, dict[str, Tensor]] = {"norm": {}, "sums": {}}
    for name in list(tensors):
        kind, _, own = name.partition("/")
        if kind in apart:
            apart[kind][own] = tensors.pop(name)
    return Saved(_progress(path, note), tensors, apart["norm"], apart["sums"])


def load_progress(path: Path) -> Progress:
    """Where the run of this checkpoint stands, read without its tensors. Raises CheckpointError."""
    with _opened(path) as (_, note):
        return _progress(path, note)


def saved_step(folder: Path) -> int:
    """How many updates the run in `folder` has saved; 0 where there is no checkpoint."""
    path = folder / CHECKPOINT
    return load_progress(path).step if path.exists() else 0


def _progress(path: Path, note: dict[str, Any]) -> Progress:
    known = {f.name for f in fields(Progress)}
    try:
        about = About(**note["policy"])
        return Progress(**{k: v for k, v in note.items() if k in known} | {"policy": about})
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of a training run ({error})") from error


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; a second run into it is refused. The system drops the lock with
    the process, so a killed run leaves nothing to clean up."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")
    except OSError as error:
        raise CheckpointError(f"cannot write into {folder}: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"another run is writing into {folder}; wait for it or choose another out folder"
            ) from None
        yield
