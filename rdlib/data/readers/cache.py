"""Folders of the cache: nothing is in its place before it is whole."""

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

LEFTOVER = 24 * 3600  # seconds after which a hidden folder is one of a process that was killed


def file_digest(path: Path) -> str:
    """Hex sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to: at the end it is renamed to `path`, or gone if writing failed."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield part
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def staging(base: Path) -> Iterator[Path]:
    """A folder of this process on the disk of `base`, hidden from Minari's listing and gone at the end."""
    folder = base / ".staging" / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for other in folder.parent.glob("*"):
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > LEFTOVER:
                    shutil.rmtree(other)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # only when empty


def move_into_place(folder: Path, base: Path, dataset_id: str) -> None:
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
