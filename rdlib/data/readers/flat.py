"""A flat copy of a Minari dataset in float32, `flat.safetensors` beside its data, for quick reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rdlib.data.dataset import sha256_of
from rdlib.data.readers.cache import file_digest, replacing
from rdlib.data.readers.episodes import Arrays

FILE = "flat.safetensors"
FORMAT = "1"
ARRAYS = ("observations", "actions", "rewards", "terminations", "lengths")


def key_of(main: Path) -> dict[str, str] | None:
    """What the flat copy is valid for: path, size and time of Minari's file. None where there is no such
    file."""
    if not main.is_file():
        return None
    stat = main.stat()
    return {"size": str(stat.st_size), "mtime": str(stat.st_mtime_ns), "path": str(main)}


def read(folder: Path, key: Mapping[str, str] | None) -> Arrays | None:
    """The flat copy, or None when there is none, it belongs to other data, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    file = folder / FILE
    if key is None or not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as flat:
            kept = flat.metadata() or {}
            if kept.get("format") != FORMAT or kept.get("size") != key["size"]:
                return None
            # A copied folder has a new time and the same content, and is fine.
            if kept.get("mtime") != key["mtime"]:
                if kept.get("sha256") != file_digest(Path(key["path"])):
                    return None
            arrays = {name: flat.get_tensor(name) for name in ARRAYS}
            return arrays if sha256_of(arrays) == kept.get("content") else None
    except (OSError, SafetensorError, ValueError, TypeError):  # the last of arrays without rows
        return None


def write(folder: Path, key: Mapping[str, str], arrays: Arrays) -> None:
    """Keep `arrays` as the flat copy. Raises OSError where the folder is full or closed."""
    from safetensors.numpy import save_file

    metadata = {
        "format": FORMAT,
        "size": key["size"],
        "mtime": key["mtime"],
        "sha256": file_digest(Path(key["path"])),
        "content": sha256_of(arrays),
    }
    try:
        with replacing(folder / FILE) as part:
            save_file(arrays, part, metadata=metadata)
    except Exception as error:  # safetensors reports a full disk as its own error
        raise error if isinstance(error, OSError) else OSError(str(error)) from error
