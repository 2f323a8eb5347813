"""D4RL's files from its public server: pooch fetches them, and what arrived before a break is kept."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import h5py
import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from rdlib.data.checks import DataError, disk_error, one_line
from rdlib.data.dataset import cache_root
from rdlib.data.readers import d4rl

DEFAULT_URL = "https://rail.eecs.berkeley.edu/datasets/offline_rl"  # RDLIB_D4RL_URL replaces it
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
RETRIES = 3  # attempts after the first that may bring nothing; pooch waits one second longer before each
CHUNK = 1 << 14  # bytes at a time: what arrives of one before a connection breaks is lost
INSTEAD = (
    "give the path of a local .hdf5 file, set RDLIB_D4RL_URL to a mirror that you trust, or use the "
    "bundled stand-in hopper-medium, which needs no network"
)


class _Final(Exception):
    """A failure that another attempt would meet again; pooch retries on requests' errors and ValueError."""


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
    D4RL's public server. timeout: seconds without an answer before an attempt counts as failed.
    sha256: expected digest; D4RL publishes none, so the first download's is kept beside the file
    and checked ever after.
    An interrupted download continues where it stopped. The file appears under its name only when
    complete and checked; one that is there already may lie in a folder that cannot be written to.
    Raises DataError: no network, not on the server, truncated, corrupt, disk full, no permission,
    changed on disk.
    """
    relative = d4rl.url_path(name)
    folder = Path(cache) if cache is not None else cache_root() / "d4rl"
    target = folder / Path(relative).name
    if target.exists():
        return _unchanged(target, sha256)
    url = f"{(base_url or os.environ.get('RDLIB_D4RL_URL') or DEFAULT_URL).rstrip('/')}/{relative}"
    part = target.with_name(target.name + ".part")

    def bring(url: str, output: str, _: Any) -> None:
        _resume(url, part, timeout)
        _sidecar(target).write_text(f"{_sound(url, part, sha256)}  {target.name}\n")
        os.replace(part, output)

    pooch.get_logger().setLevel(logging.WARNING)  # the bar says what it does
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            known = pooch.create(
                folder, "", registry={target.name: None}, urls={target.name: url}, retry_if_failed=RETRIES
            )
            known.fetch(target.name, downloader=bring)
    except _Final as error:
        raise DataError(f"{error}; {INSTEAD}") from error
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, ValueError) as error:
        raise DataError(
            f"{url} is not an address that can be downloaded ({one_line(error)}); check RDLIB_D4RL_URL"
        ) from error
    except requests.RequestException as error:
        kept = part.stat().st_size if part.exists() else 0
        again = f"{kept:,} bytes are kept, run again to continue" if kept else INSTEAD
        raise DataError(f"could not download {url} ({_reason(error)}); {again}") from error
    except OSError as error:
        raise disk_error(f"downloading {name} (what arrived is kept)", folder, error) from error
    return target


def _resume(url: str, part: Path, timeout: float) -> None:
    """Bring all of `url` into `part`, going on from what is there for as long as requests bring bytes."""
    while True:
        before = _size(part)
        try:
            return _request(url, part, before, timeout)
        except requests.RequestException:
            if _size(part) <= before:
                raise


def _request(url: str, part: Path, done: int, timeout: float) -> None:
    """One request, appended to the `done` bytes of `part` if the server goes along."""
    tag_file = part.with_name(part.name + ".etag")
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if tag_file.exists():  # the file on the server may have changed: then it sends all of it
            headers["If-Range"] = tag_file.read_text()
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as reply:
        content_range = reply.headers.get("Content-Range", "")
        if reply.status_code == 416:  # nothing after our offset: complete, or another's
            if content_range != f"bytes */{done}":
                part.unlink()
                raise requests.ConnectionError("the file on the server is a shorter one")
            return
        if 400 <= reply.status_code < 500:
            raise _Final(f"{url}: the server answered {reply.status_code} {reply.reason}")
        reply.raise_for_status()
        resumed = reply.status_code == 206 and re.match(rf"bytes {done}-", content_range) is not None
        tag = reply.headers.get("ETag") or reply.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            tag_file.write_text(tag)
        else:
            tag_file.unlink(missing_ok=True)
        length = reply.headers.get("Content-Length")
        bar = tqdm(
            total=int(length) + done * resumed if length else None,
            initial=done * resumed,
            desc=url.rsplit("/", 1)[1],
            unit="B",
            unit_scale=True,
            disable=None,
        )
        with bar, open(part, "ab" if resumed else "wb") as out:
            for chunk in reply.iter_content(CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
            out.flush()
            os.fsync(out.fileno())


def _sound(url: str, part: Path, sha256: str | None) -> str:
    """The sha256 of a finished download that is sound; one that is not is removed."""
    digest, problem = pooch.file_hash(str(part)), None
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
        part.unlink()
        raise _Final(f"{url} arrived corrupt: {problem}. It was removed")
    return digest


def _unchanged(target: Path, sha256: str | None) -> Path:
    """`target`, or DataError when it is no longer what was downloaded."""
    sidecar = _sidecar(target)
    known = sidecar.read_text().split()[:1] if sidecar.exists() else []
    expected = sha256.lower() if sha256 is not None else known[0] if known else None
    if expected is not None and (digest := pooch.file_hash(str(target))) != expected:
        raise DataError(
            f"{target}: its sha256 is {digest}, not {expected}; it changed since its download or "
            f"is damaged. Delete it and {sidecar.name} to download it again"
        )
    return target


def _reason(error: requests.RequestException) -> str:
    """The cause of a failed request, without the layers that it was wrapped in."""
    cause: BaseException | None = error
    while cause is not None:
        said = one_line(cause) or type(cause).__name__
        inside = [getattr(cause, "reason", None), *reversed(cause.args)]
        cause = next((e for e in inside if isinstance(e, BaseException)), None)
    return said


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sidecar(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")
