"""Checkpoints and other files that are either whole or absent: written aside, synced, renamed.

Tensors are safetensors with a JSON note in the header; nothing that can run code is ever loaded.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no run")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            note = json.loads((file.metadata() or {}).get("note", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({error}); delete it to start the run anew"
        ) from error
    if not isinstance(note, dict) or note.get("schema") != SCHEMA:
        found = note.get("schema") if isinstance(note, dict) else None
        raise CheckpointError(f"{path} has schema {found!r}, this version reads {SCHEMA}")
    return tensors, note


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
