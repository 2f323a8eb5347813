"""D4RL's files are fetched whole or not at all, over a server on loopback that can misbehave."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.synthetic import write_hdf5

from rdlib.data import DataError
from rdlib.data.readers import d4rl, download

NAME = "hopper-medium-v2"
FILE = "hopper_medium-v2.hdf5"
CHUNK = download.CHUNK


@dataclass
class Server:
    """A file server on loopback that can be told to misbehave."""

    url: str = ""
    body: bytes = b""
    cut: list[int] = field(default_factory=list)  # bytes to send before hanging up, per request
    etag: str | None = '"one"'
    status: int | None = None
    ranges: list[str | None] = field(default_factory=list)  # the Range of each request
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator[Server]:
    state = Server(body=write_hdf5(tmp_path / "served", n=3000).read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            state.paths.append(self.path)
            if state.status:
                self.send_error(state.status)
                return
            start = 0
            if asked and self.headers.get("If-Range", state.etag) == state.etag:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if start >= len(state.body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(state.body)}")
                    self.end_headers()
                    return
            self.send_response(206 if start else 200)
            if start:
                end = len(state.body) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(state.body)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(state.body) - start))
            self.end_headers()
            end = start + state.cut.pop(0) if state.cut else len(state.body)
            self.wfile.write(state.body[start:end])

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/mirror"
    monkeypatch.setenv("RDLIB_D4RL_URL", state.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_download_keeps_a_checked_file(server, tmp_path):
    cache = tmp_path / "cache"
    path = download.download(NAME, cache)
    assert server.paths == [f"/mirror/gym_mujoco_v2/{FILE}"]
    assert path.read_bytes() == server.body
    assert left(cache) == [FILE, FILE + ".sha256"]
    assert len(d4rl.read_hdf5(path)) > 1000
    for lock in cache.glob("*.lock"):
        lock.unlink()
    assert download.download(NAME, cache) == path and len(server.ranges) == 1  # not fetched again
    assert not list(cache.glob("*.lock"))  # nor is anything written: the folder may be read-only
    damaged = bytearray(server.body)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"sha256.*Delete it"):
        download.download(NAME, cache)


def test_a_broken_connection_is_resumed_with_a_range(server, tmp_path):
    server.cut = [2 * CHUNK, CHUNK]
    path = download.download(NAME, tmp_path / "cache")
    assert server.ranges == [None, f"bytes={2 * CHUNK}-", f"bytes={3 * CHUNK}-"]
    assert path.read_bytes() == server.body


def test_a_truncated_download_is_kept_and_continued_by_the_next_call(server, tmp_path):
    cache = tmp_path / "cache"
    server.cut = [CHUNK, 0, 0, 0, 0]
    with pytest.raises(DataError, match=rf"{CHUNK:,} bytes are kept, run again"):
        download.download(NAME, cache)
    assert not (cache / FILE).exists()
    assert (cache / (FILE + ".part")).stat().st_size == CHUNK
    before = len(server.ranges)
    path = download.download(NAME, cache)
    assert server.ranges[before:] == [f"bytes={CHUNK}-"]
    assert path.read_bytes() == server.body
    assert left(cache) == [FILE, FILE + ".sha256"]


def test_a_file_that_changed_on_the_server_is_fetched_whole(server, tmp_path):
    cache = tmp_path / "cache"
    server.cut = [CHUNK, 0, 0, 0, 0]
    with pytest.raises(DataError):
        download.download(NAME, cache)
    server.etag = '"two"'
    server.body = write_hdf5(tmp_path / "newer", seed=1, n=2000).read_bytes()
    before = len(server.ranges)
    assert download.download(NAME, cache).read_bytes() == server.body
    assert len(server.ranges) == before + 1


def test_leftovers_of_a_killed_download(server, tmp_path):
    """A complete .part is finished; one longer than the file is thrown away."""
    for extra in (b"", b"more"):
        cache = tmp_path / f"cache{len(extra)}"
        cache.mkdir()
        (cache / (FILE + ".part")).write_bytes(server.body + extra)
        assert download.download(NAME, cache).read_bytes() == server.body


def test_two_at_once_fetch_once(server, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: download.download(NAME, tmp_path / "cache"), range(2)))
    assert paths[0] == paths[1] and len(server.ranges) == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>gateway</html>", "starts with b'<html>ga'"),
        (download.HDF5_SIGNATURE + b"\0" * 500, "cannot be opened"),
    ],
)
def test_a_corrupt_file_is_refused_and_not_kept(server, tmp_path, body, problem):
    server.body = body
    with pytest.raises(DataError, match=rf"corrupt.*{problem}.*hopper-medium"):
        download.download(NAME, tmp_path / "cache")
    assert left(tmp_path / "cache") == []


def test_an_unexpected_hash_is_refused(server, tmp_path):
    with pytest.raises(DataError, match=r"not the expected 0000"):
        download.download(NAME, tmp_path / "cache", sha256="0" * 64)
    assert left(tmp_path / "cache") == []


def test_refusals_of_the_server(server, tmp_path):
    server.status = 404
    with pytest.raises(DataError, match=r"404.*local \.hdf5.*RDLIB_D4RL_URL.*hopper-medium"):
        download.download(NAME, tmp_path / "cache")
    assert len(server.ranges) == 1  # final: not asked again
    server.status = 503
    with pytest.raises(DataError, match=r"503"):
        download.download(NAME, tmp_path / "cache")
    assert len(server.ranges) == 2 + download.RETRIES


def test_no_server_no_disk_no_name(server, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"hopper-mediun-v2.*hopper-medium-v2"):
        download.download("hopper-mediun-v2", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write.*RDLIB_CACHE"):
        download.download(NAME, tmp_path / "file")
    full = tmp_path / "full"
    full.mkdir()
    (full / (FILE + ".part")).symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"disk full"):
        download.download(NAME, full)
    monkeypatch.setenv("RDLIB_D4RL_URL", "http://127.0.0.1:1")  # nobody listens there
    with pytest.raises(DataError, match=r"refused.*RDLIB_D4RL_URL.*hopper-medium"):
        download.download(NAME, tmp_path / "cache")
    monkeypatch.setenv("RDLIB_D4RL_URL", "no address")
    with pytest.raises(DataError, match=r"RDLIB_D4RL_URL"):
        download.download(NAME, tmp_path / "cache")
