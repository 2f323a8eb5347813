"""Files of the cache: one writer at a time, and nothing in its place before it is whole."""

import contextlib
import hashlib
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
def only_one(lock: Path) -> Iterator[None]:
    """Hold `lock`: two processes never make the same thing, and the second finds it made."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there, do not make one thing twice at once
        yield
        return
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
