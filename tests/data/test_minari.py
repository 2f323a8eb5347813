"""Minari datasets: what is written is read, by us and by Minari; the flat cache never lies."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.extras import needed

from rdlib.data import DataError, load
from rdlib.data.readers import flat, minari
from rdlib.data.readers.episodes import Episode
from rdlib.data.readers.minari import read_minari
from rdlib.data.readers.minari_writer import write_minari

ID = "rd/hopper/tiny-v0"
ABOUT = {
    "description": "a test",
    "author": "rdlib",
    "algorithm": "noise",
    "license": "MIT",
    "requirements": ["mujoco==3.4.0"],
}


def episodes(lengths: list[int], seed: int = 0, **replace: Any) -> list[Episode]:
    """Hopper-shaped noise; every other episode terminates, the others are truncated."""
    rng = np.random.default_rng(seed)
    made = []
    for number, steps in enumerate(lengths):
        end = np.arange(steps) == steps - 1
        arrays: dict[str, Any] = {
            "observations": rng.normal(size=(steps + 1, 11)).astype(np.float32),
            "actions": rng.uniform(-1, 1, size=(steps, 3)).astype(np.float32),
            "rewards": rng.normal(size=steps).astype(np.float32),
            "terminations": end & (number % 2 == 0),
            "truncations": end & (number % 2 == 1),
        }
        made.append(Episode(**(arrays | replace), seed=number))
    return made


def write(root: Path, made: Any, dataset_id: str = ID) -> Path:
    return write_minari(dataset_id, root, made, "Hopper-v5", **ABOUT)


def test_round_trip(tmp_path):
    made = episodes([5, 1, 7])
    folder = write(tmp_path, made)
    assert folder == tmp_path / ID
    for cache in (True, False):  # from the flat copy, and from Minari's own file
        got = read_minari(ID, tmp_path, cache=cache)
        np.testing.assert_array_equal(got.obs, np.concatenate([e.observations[:-1] for e in made]))
        np.testing.assert_array_equal(got.next_obs, np.concatenate([e.observations[1:] for e in made]))
        np.testing.assert_array_equal(got.act, np.concatenate([e.actions for e in made]))
        np.testing.assert_array_equal(got.rew, np.concatenate([e.rewards for e in made]))
        assert np.flatnonzero(got.terminal).tolist() == [4, 12]  # truncation is not terminal
        assert np.flatnonzero(got.last).tolist() == [4, 5, 12]
        assert (got.env_id, got.max_episode_steps, got.source) == ("Hopper-v5", 1000, "minari")
        assert got.notes["author"] == "rdlib" and got.notes["mujoco"] == "mujoco==3.4.0"
        assert got.notes["license"] == "MIT" and got.notes["algorithm_name"] == "noise"
        np.testing.assert_allclose(
            got.episode_returns(), [e.rewards.astype(np.float64).sum() for e in made], rtol=1e-12
        )


def test_minari_itself_reads_what_is_written(tmp_path, monkeypatch):
    import minari as farama

    made = episodes([4, 6])
    write(tmp_path, made)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert list(farama.list_local_datasets()) == [ID]
    assert farama.namespace.list_local_namespaces() == ["rd", "rd/hopper"]
    dataset = farama.load_dataset(ID)
    assert (dataset.total_episodes, dataset.total_steps) == (2, 10)
    for episode, original in zip(dataset.iterate_episodes(), made, strict=True):
        np.testing.assert_array_equal(episode.observations, original.observations)
        np.testing.assert_array_equal(episode.truncations, original.truncations)
    assert dataset.recover_environment().spec.id == "Hopper-v5"
    assert [m["seed"] for m in dataset.storage.get_episode_metadata([0, 1])] == [0, 1]
    assert read_minari(ID).name == ID  # Minari's own root is the default


def test_the_flat_copy_is_used_only_while_it_is_true(tmp_path, monkeypatch):
    folder = write(tmp_path, episodes([5, 6]))
    first = read_minari(ID, tmp_path)
    copy = folder / flat.FILE

    with monkeypatch.context() as patch:
        patch.setattr("h5py.File", None)  # must not be needed
        with monkeypatch.context() as same_time:
            same_time.setattr(flat, "file_digest", None)  # nor the hash of the file
            assert read_minari(ID, tmp_path).digest == first.digest
        shutil.copytree(tmp_path / ID, tmp_path / "copy" / ID, copy_function=shutil.copy)
        os.utime(tmp_path / "copy" / ID / "data" / minari.MAIN_FILE, ns=(1, 1))  # another time
        assert read_minari(ID, tmp_path / "copy").digest == first.digest

    damaged = bytearray(copy.read_bytes())
    damaged[-10] ^= 1
    for content in (bytes(damaged), damaged[:-3], b"", b"\xff" * 100):
        copy.write_bytes(content)
        assert read_minari(ID, tmp_path).digest == first.digest
        assert copy.stat().st_size > 100  # and mended

    keep = copy.read_bytes()
    write(tmp_path, episodes([5, 6], seed=1))  # the same size, other content
    copy.write_bytes(keep)
    second = read_minari(ID, tmp_path)
    assert second.digest != first.digest
    assert second.digest == read_minari(ID, tmp_path, cache=False).digest


def test_episodes_in_fortran_order_are_kept_right(tmp_path):
    """safetensors 0.8.0 writes such arrays scrambled (findings/safetensors_numpy_order.sh)."""
    plain = episodes([5, 6])
    turned = [dataclasses.replace(e, observations=np.asfortranarray(e.observations)) for e in plain]
    write(tmp_path / "plain", plain)
    folder = write(tmp_path / "turned", turned)
    assert flat.read(folder, flat.key_of(folder / "data" / minari.MAIN_FILE)) is not None
    assert read_minari(ID, tmp_path / "turned").digest == read_minari(ID, tmp_path / "plain").digest


def test_a_folder_that_cannot_be_written_still_reads(tmp_path, monkeypatch):
    folder = write(tmp_path, episodes([5]))
    (folder / flat.FILE).unlink()

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    assert len(read_minari(ID, tmp_path)) == 5
    assert [path.name for path in folder.iterdir()] == ["data"]


def test_writing_is_all_or_nothing(tmp_path):
    def breaks():
        yield from episodes([3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, breaks())
    assert list(tmp_path.iterdir()) == []
    write(tmp_path, episodes([3]))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, breaks())
    assert len(read_minari(ID, tmp_path)) == 3  # the old one is untouched
    write(tmp_path, episodes([3, 4]))
    assert len(read_minari(ID, tmp_path)) == 7  # and replaced whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rd"]


def test_a_full_disk_and_a_bad_folder_are_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write to .*file while writing rd/hopper/tiny-v0"):
        write(tmp_path / "file", episodes([3]))

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(DataError, match=r"disk full while writing rd/hopper/tiny-v0"):
        write(tmp_path / "full", episodes([3]))
    assert list((tmp_path / "full").iterdir()) == []


def test_leftovers_of_killed_writers_are_swept(tmp_path):
    for name, age in (("old", 2 * 24 * 3600), ("running", 0)):
        (tmp_path / ".staging" / name / "data").mkdir(parents=True)
        then = time.time() - age
        os.utime(tmp_path / ".staging" / name, (then, then))
    write(tmp_path, episodes([3]))
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["running"]


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ({"observations": np.zeros((4, 11))}, r"episode 0: 'observations' has 4 rows for 4 steps"),
        ({"observations": np.zeros((5, 7))}, r"'observations' have shape \(7,\); Hopper-v5 has"),
        ({"actions": np.zeros((3, 3))}, r"'actions' has 3 rows and 'rewards' has 4"),
        ({"rewards": np.full(4, 1e300)}, r"'rewards' row 0 holds 1e\+300.*finite in float32"),
        ({"actions": np.full((4, 3), np.nan)}, r"episode 0: 'actions' row 0 holds nan"),
        ({"observations": {"goal": np.zeros((5, 2))}}, r"'observations' is a dict.*goal"),
        ({"rewards": np.array(["a"] * 4)}, r"'rewards' holds <U1.*numbers"),
        ({"terminations": np.full(4, 3)}, r"'terminations' row 0 holds 3"),
        ({"observations": np.zeros((1, 11)), "rewards": np.zeros(0)}, r"'rewards' has no rows"),
    ],
)
def test_episodes_that_do_not_fit_are_refused(tmp_path, replace, message):
    with pytest.raises(DataError, match=message):
        write(tmp_path, episodes([4], **replace))
    assert list(tmp_path.iterdir()) == []


def test_no_episodes_and_mixed_widths(tmp_path):
    with pytest.raises(DataError, match="no episodes"):
        write(tmp_path, [])
    wide = episodes([4], observations=np.zeros((5, 12), np.float32))
    with pytest.raises(DataError, match=r"'observations' differ in width.*\[11, 12\]"):
        write(tmp_path, episodes([4]) + wide)


def test_a_terminal_inside_an_episode_is_refused(tmp_path):
    write(tmp_path, episodes([4], terminations=np.array([False, True, False, True])))
    with pytest.raises(DataError, match=r"rd/hopper/tiny-v0: 'terminal' row 1 .*inside"):
        read_minari(ID, tmp_path)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_discrete_and_dictionary_data_are_refused_in_those_words(tmp_path, monkeypatch, data_format):
    import gymnasium
    import minari as farama

    needed("pyarrow")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    box = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    goals = gymnasium.spaces.Dict(observation=box, desired_goal=box)
    flat_obs = np.zeros((4, 2), np.float32)
    for name, space, obs, actions, act, words in (
        (
            "goal/reach-v0",
            goals,
            {k: flat_obs for k in goals},
            box,
            flat_obs[1:],
            "dictionary observations",
        ),
        (
            "toy/cart-v0",
            box,
            flat_obs,
            gymnasium.spaces.Discrete(2),
            np.array([0, 1, 1]),
            "discrete actions",
        ),
    ):
        buffer = farama.data_collector.EpisodeBuffer(
            observations=obs,
            actions=act,
            rewards=[0.0] * 3,
            terminations=[False, False, True],
            truncations=[False] * 3,
        )
        with pytest.warns(UserWarning):
            farama.create_dataset_from_buffers(
                name, [buffer], observation_space=space, action_space=actions, data_format=data_format
            )
        file = tmp_path / name / "data" / "metadata.json"
        for about in (json.loads(file.read_text()), {}):  # by the metadata, and by the arrays
            keep = ("total_episodes", "total_steps", "data_format")
            about = about or {k: v for k, v in json.loads(file.read_text()).items() if k in keep}
            file.write_text(json.dumps(about))
            with pytest.raises(DataError, match=rf"{name}.*{words}.* not supported") as caught:
                load(name)
            assert "ear names" not in str(caught.value)


def test_an_id_without_a_namespace_and_a_folder_are_names(tmp_path, monkeypatch):

    write(tmp_path, episodes([5, 6]), "tiny-v0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    by_id = load("tiny-v0")
    by_path = load(tmp_path / "tiny-v0")
    assert by_id.digest == by_path.digest and (by_id.name, by_path.name) == ("tiny-v0", "tiny-v0")
    shutil.move(tmp_path / "tiny-v0", tmp_path / "moved, and renamed")
    monkeypatch.chdir(tmp_path / "moved, and renamed")
    assert (load(".").digest, load(".").name) == (by_id.digest, "tiny-v0")
    with pytest.raises(DataError, match=r"it is a folder, and not a Minari dataset's: no data/metadata"):
        load(tmp_path)


def test_actions_beyond_the_metadata_s_limits_are_clipped_where_asked(tmp_path):
    made = episodes([5, 6])
    made[1].actions[2, 1] = 1.75
    write(tmp_path, made)
    with pytest.raises(
        DataError, match=r"'actions' row 7 holds 1\.75 .*1 such rows in all\); clip_actions"
    ):
        read_minari(ID, tmp_path)
    for _ in range(2):  # from Minari's file and from the flat copy, which keeps what the file holds
        got = read_minari(ID, tmp_path, clip_actions=True)
        assert got.act[7, 1] == 1 and "1 rows" in got.notes["clipped"]
    with pytest.raises(DataError, match=r"clip_actions"):
        read_minari(ID, tmp_path)


def by_minari(root: Path, monkeypatch: Any, data_format: str, lengths: list[int], **more: Any) -> str:
    """A dataset of Minari's own making: observation t of episode e is 100,000 e + t, and the reward t."""
    import gymnasium
    import minari as farama

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    name = "other/reach-v0"
    everything, box = (gymnasium.spaces.Box(-x, x, (2,), np.float32) for x in (np.inf, 1))
    buffers = []
    for number, steps in enumerate(lengths):
        obs = 100_000 * number + np.arange(steps + 1, dtype=np.float32)
        buffers.append(
            farama.data_collector.EpisodeBuffer(
                id=number,
                observations=np.stack([obs, -obs], 1),
                actions=np.full((steps, 2), 0.5, np.float32),
                rewards=list(np.arange(steps, dtype=np.float64)),
                terminations=list(np.arange(steps) == steps - 1),
                truncations=[False] * steps,
                **more,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of all that the metadata could say besides
        farama.create_dataset_from_buffers(
            name, buffers, observation_space=everything, action_space=box, data_format=data_format
        )
    return name


@pytest.mark.parametrize("data_format", ["arrow", "parquet", "hdf5"])
def test_every_format_of_minari_is_read_right_whatever_the_length(tmp_path, monkeypatch, data_format):
    """Minari's reader cuts an Arrow episode above 32,767 steps, and gives the rest to the next episodes."""
    needed("pyarrow")
    lengths = [3, 40_000, 2]
    name = by_minari(tmp_path, monkeypatch, data_format, lengths)
    got = read_minari(name)
    assert got.episode_lengths().tolist() == lengths
    assert np.flatnonzero(got.terminal).tolist() == np.flatnonzero(got.last).tolist() == [2, 40_002, 40_004]
    steps = np.concatenate([np.arange(n) for n in lengths])
    base = np.repeat([0, 100_000, 200_000], lengths)
    np.testing.assert_array_equal(got.obs, np.stack([base + steps, -base - steps], 1))
    np.testing.assert_array_equal(got.next_obs[:, 0], got.obs[:, 0] + 1)
    np.testing.assert_array_equal(got.rew, steps)
    assert (got.act == 0.5).all()
    assert (tmp_path / name / flat.FILE).exists() == (data_format == "hdf5")
    file = tmp_path / name / "data" / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"total_steps": 40_004}))
    with pytest.raises(DataError, match=r"holds 40,005 steps in 3 episodes; 'total_steps' .* is 40,004"):
        read_minari(name, cache=False)


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_infos_that_minari_cannot_decode_are_not_needed(tmp_path, monkeypatch, data_format):
    needed("pyarrow")
    import minari as farama

    name = by_minari(tmp_path, monkeypatch, data_format, [3], infos={"touching": [[], [1], [1, 2], []]})
    with pytest.raises(Exception):  # noqa: B017  (whatever Minari says)
        next(iter(farama.load_dataset(name).iterate_episodes()))
    assert read_minari(name).rew.tolist() == [0, 1, 2]


def test_arrow_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    folder = write(tmp_path, episodes([3]))
    file = folder / "data" / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data_format": "arrow"}))
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(DataError, match=r"tiny-v0 needs pyarrow: pip install 'minari\[arrow\]'"):
        read_minari(ID, tmp_path)


def test_rewards_and_flags_of_one_column_are_read_as_in_hdf5(tmp_path):
    plain, columns = episodes([5, 6]), episodes([5, 6])
    columns = [
        dataclasses.replace(
            e, **{k: getattr(e, k)[:, None] for k in ("rewards", "terminations", "truncations")}
        )
        for e in columns
    ]
    write(tmp_path / "a", plain)
    write(tmp_path / "b", columns)
    digests = {read_minari(ID, tmp_path / x, cache=False).digest for x in ("a", "b")}
    assert len(digests) == 1


def test_an_episode_without_steps_is_skipped_and_said(tmp_path):
    folder = write(tmp_path, episodes([5, 6, 4]))
    with h5py.File(folder / "data" / minari.MAIN_FILE, "r+") as file:
        episode = file["episode_1"]
        for key in list(episode):
            keep = episode[key][: key == "observations"]  # Minari keeps the first observation
            del episode[key]
            episode[key] = keep
    meta = folder / "data" / "metadata.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"total_steps": 9}))
    for _ in range(2):  # no flat copy hides it the second time
        with pytest.warns(UserWarning, match=r"tiny-v0: episodes without a step are skipped: 1$"):
            got = read_minari(ID, tmp_path)
        assert got.episode_lengths().tolist() == [5, 4]
    expected = [e for i, e in enumerate(episodes([5, 6, 4])) if i != 1]
    np.testing.assert_array_equal(got.obs, np.concatenate([e.observations[:-1] for e in expected]))


def test_damaged_and_absent_datasets(tmp_path):
    folder = write(tmp_path, episodes([5, 6]))
    main = folder / "data" / minari.MAIN_FILE
    main.write_bytes(main.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"rd/hopper/tiny-v0.*not readable.*fetch it again"):
        read_minari(ID, tmp_path)
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(DataError, match=r"metadata\.json: not readable"):
        read_minari(ID, tmp_path)
    with pytest.raises(DataError, match=r"rd/hopper/none-v0 is not in "):
        read_minari("rd/hopper/none-v0", tmp_path, download=False)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    import minari as farama

    def offline(*args: Any, **options: Any) -> None:
        assert os.environ["MINARI_DATASETS_PATH"] != str(tmp_path)  # never into place directly
        raise ConnectionError("Network is unreachable\nand so on")

    monkeypatch.setattr(farama, "download_dataset", offline)
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    with pytest.raises(DataError, match=r"Network is unreachable\).*hopper-medium, door-human"):
        read_minari("mujoco/hopper/medium-v0", tmp_path)
    assert "MINARI_DATASETS_PATH" not in os.environ


def test_a_download_leaves_another_s_unfinished_one_alone(tmp_path, monkeypatch):
    import minari as farama

    other = tmp_path / ".staging" / "other" / "mirror" / "b-v0" / "data" / "metadata.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")

    def bring(name: str, **options: Any) -> None:
        write(Path(os.environ["MINARI_DATASETS_PATH"]), episodes([5]), name)

    monkeypatch.setattr(farama, "download_dataset", bring)
    assert len(read_minari("mirror/a-v0", tmp_path)) == 5
    assert other.exists() and not (tmp_path / "mirror" / "b-v0").exists()


# ---- Minari's own download, from a server on loopback that speaks the Hugging Face hub's protocol

FETCH = """
import sys
from rdlib.data import load
data = load("mirror/hopper/tiny-v0", root=sys.argv[1])
print(data.digest, data.source)
"""


def test_minari_s_own_download_over_loopback(tmp_path):
    """In a process of its own: the hub's client reads its endpoint when it is imported."""
    server_root, root = tmp_path / "server", tmp_path / "local"
    write(server_root, episodes([5, 6]), "mirror/hopper/tiny-v0")
    expected = read_minari("mirror/hopper/tiny-v0", server_root).digest
    repository = server_root / "mirror"
    (repository / "namespace_metadata.json").write_text(
        json.dumps({"namespaces": ["mirror/hopper"], "datasets": ["mirror/hopper/tiny-v0"]})
    )
    files = {
        path.relative_to(repository).as_posix(): path.read_bytes()
        for path in repository.rglob("*")
        if path.is_file() and path.name != flat.FILE
    }
    commit, asked = "c" * 40, []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            about = {"id": "org/mirror", "sha": commit, "private": False, "tags": []}
            about |= {"siblings": [{"rfilename": name} for name in files]}
            if path == "/api/datasets":
                self.answer(json.dumps([about]).encode())
            elif path.startswith("/api/datasets/org/mirror/tree/"):
                tree = [
                    {"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in files.items()
                ]
                self.answer(json.dumps(tree).encode())
            elif path.startswith("/api/datasets/org/mirror"):
                self.answer(json.dumps(about).encode())
            elif found := re.fullmatch(r"/datasets/org/mirror/resolve/\w+/(.+)", path):
                self.answer(files.get(found[1]))
            else:
                self.answer(None)

        def answer(self, body: bytes | None) -> None:
            self.send_response(200 if body is not None else 404)
            body = body or b""
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{http.server_port}",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MINARI_REMOTE": "hf://org",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", FETCH, str(root)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == [expected, "minari"]
    assert any(path.endswith("/hopper/tiny-v0/data/main_data.hdf5") for path in asked)
    assert [path.name for path in root.iterdir()] == ["mirror"]  # no staging is left
    assert (root / "mirror/hopper/namespace_metadata.json").exists()
