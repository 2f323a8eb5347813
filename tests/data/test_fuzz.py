"""Files that nobody vouches for: whatever is wrong with them is one DataError that names it.

Each example takes a valid dataset, changes one thing in it, and either reads the same data (the change was
to their form) or is told the key. No other exception, no hang, nothing left in the folder.
"""

import importlib.util
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from helpers.extras import needed

from rdlib.data import DataError, Dataset
from rdlib.data.checks import check_actions
from rdlib.data.readers import d4rl, minari
from rdlib.data.readers.episodes import Episode
from rdlib.data.readers.minari import read_minari
from rdlib.data.readers.minari_writer import write_minari

hypothesis = needed("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
ROWS = 24
FILE = "hopper_medium-v2.hdf5"  # a name whose action limits are known
ID = "rd/hopper/fuzz-v0"
FLAGS = ("terminals", "timeouts", "terminations", "truncations")
MATRICES = ("observations", "actions")
quick = settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], database=None
)

Change = Callable[[h5py.Group, str, np.ndarray, int], None]  # place, key, the valid values, any number


def valid(rows: int = ROWS) -> dict[str, np.ndarray]:
    """A D4RL file's arrays; small whole numbers, which every type of number can hold."""
    rng = np.random.default_rng(0)
    return {
        "observations": rng.integers(-9, 9, (rows, 4)).astype(np.float32),
        "actions": rng.integers(-1, 2, (rows, 2)).astype(np.float32),
        "rewards": rng.integers(-9, 9, rows).astype(np.float32),
        "terminals": np.arange(rows) % 6 == 5,
        "timeouts": np.arange(rows) % 9 == 8,
    }


# ---- changes to one array


def put(group: h5py.Group, key: str, value: Any, **options: Any) -> None:
    """`value` as array `key`, in place of what was there."""
    del group[key]
    group.create_dataset(key, data=value, **options)


def at(data: np.ndarray, n: int, value: Any, dtype: str = "f8") -> np.ndarray:
    """A copy of `data` with `value` somewhere."""
    changed = data.astype(dtype)
    changed.flat[n % changed.size] = value
    return changed


def as_type(dtype: Any) -> Change:
    return lambda group, key, data, n: put(group, key, data.astype(dtype))


def stored(**options: Any) -> Change:
    return lambda group, key, data, n: put(group, key, data, **options)


def holding(make: Callable[[np.ndarray, int], Any]) -> Change:
    return lambda group, key, data, n: put(group, key, make(data, n))


def replaced(make: Callable[[h5py.Group, str, np.ndarray], Any]) -> Change:
    """What `make` returns instead of the array: a link, a group, a type."""

    def change(group: h5py.Group, key: str, data: np.ndarray, n: int) -> None:
        del group[key]
        made = make(group, key, data)
        if made is not None:
            group[key] = made

    return change


def hidden(group: h5py.Group, key: str, data: np.ndarray) -> h5py.SoftLink:
    group.file[f"elsewhere_{key}"] = data
    return h5py.SoftLink(f"/elsewhere_{key}")


def in_other_file(group: h5py.Group, key: str, data: np.ndarray) -> h5py.ExternalLink:
    other = Path(group.file.filename).with_name("other.hdf5")
    with h5py.File(other, "a") as file:
        file[key] = data
    return h5py.ExternalLink("other.hdf5", key)


def in_a_pipe(group: h5py.Group, key: str, data: np.ndarray) -> None:
    """Opening the pipe to read would never return."""
    pipe = Path(group.file.filename).with_name(f"pipe_{key}")
    os.mkfifo(pipe)
    group.create_dataset(key, data.shape, "f4", external=[(str(pipe), 0, h5py.h5f.UNLIMITED)])


def virtual(group: h5py.Group, key: str, data: np.ndarray) -> None:
    layout = h5py.VirtualLayout(shape=data.shape, dtype="f4")
    layout[...] = h5py.VirtualSource("other.hdf5", key, shape=data.shape)
    group.create_virtual_dataset(key, layout)


def put_in(group: h5py.Group, data: np.ndarray) -> None:
    group["x"] = data


def endless(group: h5py.Group, key: str, data: np.ndarray) -> None:
    """A terabyte and more is declared, and the beginning of it written."""
    shape = (10**12, *data.shape[1:])
    array = group.create_dataset(key, shape, data.dtype, chunks=(64, *data.shape[1:]))
    array[: len(data)] = data


def lists(group: h5py.Group, key: str, data: np.ndarray) -> None:
    array = group.create_dataset(key, data.shape, h5py.vlen_dtype("i4"))
    array[(0,) * data.ndim] = [1, 2, 3]


def references(group: h5py.Group, key: str, data: np.ndarray) -> None:
    array = group.create_dataset(key, data.shape, h5py.ref_dtype)
    array[(0,) * data.ndim] = group.ref


def unwritten(group: h5py.Group, key: str, data: np.ndarray) -> None:
    group.create_dataset(key, data.shape, data.dtype)


def garbled(group: h5py.Group, key: str, data: np.ndarray) -> None:
    array = group.create_dataset(key, data.shape, data.dtype, chunks=data.shape, compression="gzip")
    array.id.write_direct_chunk((0,) * data.ndim, b"not what gzip writes")


def labelled(group: h5py.Group, key: str, data: np.ndarray, n: int) -> None:
    group[key].attrs["note"] = "x" * 60_000
    for i in range(n % 50):
        group[key].attrs[f"{i}"] = np.arange(i)


def renamed(group: h5py.Group, key: str, data: np.ndarray, n: int) -> None:
    """The array under a second name as well."""
    group[f"also_{key}"] = group[key]


PAIR = np.dtype([("a", "f4"), ("b", "S3")])
BROKEN: dict[str, Change] = {
    "a group with an array": replaced(lambda g, key, data: put_in(g.create_group(key), data)),
    "a soft link": replaced(hidden),
    "a soft link to nothing": replaced(lambda *_: h5py.SoftLink("/nothing")),
    "a soft link to itself": replaced(lambda group, key, _: h5py.SoftLink(f"{group.name}/{key}")),
    "an external link": replaced(in_other_file),
    "an external link to nothing": replaced(lambda *_: h5py.ExternalLink("nothing.hdf5", "x")),
    "values in a pipe": replaced(in_a_pipe),
    "values in another file": replaced(virtual),
    "a type": replaced(lambda *_: np.dtype("f4")),
    "empty": replaced(lambda *_: h5py.Empty("f4")),
    "declared, endless": replaced(endless),
    "declared, not written": replaced(unwritten),
    "compressed, garbled": replaced(garbled),
    "strings": holding(lambda data, n: np.full(data.shape, b"1")),
    "objects": holding(lambda data, n: np.full(data.shape, "1", dtype=h5py.string_dtype())),
    "lists": replaced(lists),
    "references": replaced(references),
    "records": holding(lambda data, n: np.zeros(data.shape, dtype=PAIR)),
    "arrays as values": holding(lambda data, n: np.zeros(len(data), dtype=[("a", "f4", (3,))])),
    "opaque": holding(lambda data, n: np.zeros(data.shape, dtype="V4")),
    "complex": holding(lambda data, n: data.astype(complex)),
    "a scalar": holding(lambda data, n: 1.0),
    "one dimension more": holding(lambda data, n: np.stack([data, data], -1)),
    "no rows": holding(lambda data, n: data[:0]),
    "rows missing": holding(lambda data, n: data[: -1 - n % (len(data) - 1)]),
    "rows too many": holding(lambda data, n: np.concatenate([data, data[: 1 + n % len(data)]])),
}  # fmt: skip
BROKEN_NUMBERS: dict[str, Change] = {
    "nan": holding(lambda data, n: at(data, n, np.nan)),
    "infinite": holding(lambda data, n: at(data, n, -np.inf, "f4")),
    "too large": holding(lambda data, n: at(data, n, 1e39)),
}
BROKEN_FLAGS: dict[str, Change] = {
    "negative": holding(lambda data, n: at(data, n, -1, "i8")),
    "of two": holding(lambda data, n: at(data, n, 2, "u1")),
    "fractional": holding(lambda data, n: at(data, n, 0.5, "f4")),
    "nearly one": holding(lambda data, n: at(data, n, 1 + 1e-12)),
    "nearly none": holding(lambda data, n: at(data, n, 1e-300)),
    "nan": holding(lambda data, n: at(data, n, np.nan)),
}
BROKEN_MATRICES: dict[str, Change] = {
    "flat": holding(lambda data, n: data[:, 0]),
    "no width": holding(lambda data, n: data[:, :0]),
}
BROKEN_ACTIONS: dict[str, Change] = {
    "beyond the limits": holding(lambda data, n: at(data, n, (-1) ** n * (1.01 + n % 7), "f4"))
}
OTHER_FORM: dict[str, Change] = {
    "float64": as_type("f8"), "float16": as_type("f2"), "big-endian": as_type(">f4"),
    "long double": as_type(np.longdouble), "int8": as_type("i1"), "int64": as_type(">i8"),
    "compressed": stored(compression="gzip", shuffle=True),
    "resizable": lambda g, key, data, n: put(g, key, data, maxshape=(None, *data.shape[1:])),
    "checked": stored(chunks=True, fletcher32=True), "labelled": labelled, "renamed": renamed,
}  # fmt: skip


def changes(key: str) -> list[tuple[str, bool, Change]]:
    """All changes that fit `key`: name, whether the file must then be refused, and the change."""
    broken = BROKEN | (BROKEN_FLAGS if key in FLAGS else BROKEN_NUMBERS)
    broken |= BROKEN_MATRICES if key in MATRICES else {}
    broken |= BROKEN_ACTIONS if key == "actions" else {}
    found = [(f"broken, {name}", True, change) for name, change in broken.items()]
    return [*found, *((name, False, change) for name, change in OTHER_FORM.items())]


# ---- D4RL files


@pytest.fixture(scope="module")
def d4rl_file(tmp_path_factory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("valid") / FILE
    with h5py.File(path, "w") as file:
        for key, value in valid().items():
            file[key] = value
        file["infos/qpos"] = np.zeros((3, 3))  # D4RL's files hold more than is read
        file["metadata/algorithm"] = "SAC"
    return path, d4rl.read_hdf5(path).digest


@pytest.mark.parametrize("n", [0, 7, 9_999])
@pytest.mark.parametrize("key", valid())
def test_every_change_of_a_d4rl_file(tmp_path, d4rl_file, key, n):
    source, digest = d4rl_file
    for name, fatal, change in changes(key):
        folder = tmp_path / name
        folder.mkdir()
        path = shutil.copy(source, folder / FILE)
        with h5py.File(path, "r+") as file:
            change(file, key, valid()[key], n)
        before = sorted(os.listdir(folder))
        if not fatal:
            assert d4rl.read_hdf5(path).digest == digest, name
            continue
        with pytest.raises(DataError, match=rf"{FILE}: .*'{key}'") as caught:
            d4rl.read_hdf5(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000, name
        assert sorted(os.listdir(folder)) == before


def test_a_missing_array_is_named(tmp_path, d4rl_file):
    source, _ = d4rl_file
    for key in ("observations", "actions", "rewards", "terminals"):  # files before `timeouts` are valid
        path = shutil.copy(source, tmp_path / FILE)
        with h5py.File(path, "r+") as file:
            del file[key]
        with pytest.raises(DataError, match=rf"{FILE}: '{key}' is missing; there is "):
            d4rl.read_hdf5(path)


def other_files(path: Path, whole: bytes) -> dict[str, Callable[[], Any]]:
    """Things at `path` that are no HDF5 file."""
    return {
        "nothing in it": lambda: path.write_bytes(b""),
        "text": lambda: path.write_text("observations,actions\n1,2\n"),
        "a pickle": lambda: path.write_bytes(pickle.dumps(valid())),
        "an archive of NumPy's": lambda: np.savez(path.open("wb"), **valid()),
        "a signature and zeros": lambda: path.write_bytes(whole[:8] + bytes(4096)),
        "garbage before": lambda: path.write_bytes(b"garbage" + whole),
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a link to nothing": lambda: path.symlink_to("nothing"),
        "a link to itself": lambda: path.symlink_to(path),
    }


@pytest.mark.parametrize("what", other_files(Path(), bytes(9)))
def test_what_is_no_hdf5_file_is_refused_by_path(tmp_path, d4rl_file, what):
    path = tmp_path / FILE
    other_files(path, d4rl_file[0].read_bytes())[what]()
    with pytest.raises(DataError, match=rf"{path}: (not a readable HDF5|no such file|it is a folder)"):
        d4rl.read_hdf5(path)


def test_paths_that_no_disk_can_hold():
    for path in ("x" * 5000 + ".hdf5", "a\0b.hdf5"):
        with pytest.raises(DataError, match="no such file"):
            d4rl.read_hdf5(path)


def test_garbage_after_a_file_is_no_part_of_it(tmp_path, d4rl_file):
    source, digest = d4rl_file
    (tmp_path / FILE).write_bytes(source.read_bytes() + b"garbage" * 100)
    assert d4rl.read_hdf5(tmp_path / FILE).digest == digest


# ---- Minari folders


def episodes() -> list[Episode]:
    """Three episodes of Hopper's widths."""
    rng = np.random.default_rng(0)
    made = []
    for number, steps in enumerate((5, 8, 6)):
        end = np.arange(steps) == steps - 1
        made.append(
            Episode(
                rng.integers(-9, 9, (steps + 1, 11)).astype(np.float32),
                rng.integers(-1, 2, (steps, 3)).astype(np.float32),
                rng.integers(-9, 9, steps).astype(np.float32),
                end & (number != 1),
                end & (number == 1),
            )
        )
    return made


KEYS = ("observations", "actions", "rewards", "terminations", "truncations")


@pytest.fixture(scope="module")
def minari_root(tmp_path_factory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("minari")
    write_minari(
        ID, root, episodes(), "Hopper-v5", description="", author="a", algorithm="b", license="MIT"
    )
    return root, read_minari(ID, root).digest


def copied(minari_root: tuple[Path, str], to: Path, flat: bool) -> Path:
    """The dataset's folder below `to`, with the flat copy of the time before the change or without."""
    folder = to / ID
    shutil.copytree(minari_root[0] / ID, folder)
    if not flat:
        (folder / "flat.safetensors").unlink()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(folder: Path, *named: str) -> None:
    """Reading `folder` is a DataError that names one of `named`, and writes nothing."""
    root = folder.parents[len(Path(ID).parts) - 1]
    before = contents(folder)
    for _ in range(2):  # the second time too
        with pytest.raises(DataError) as caught:
            read_minari(ID, root, download=False)
        message = str(caught.value)
        assert any(text in message for text in named) and ID in message, message
        assert "\n" not in message and len(message) < 1000
    assert contents(folder) == before


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_every_change_of_a_minari_episode(tmp_path, minari_root, key, flat):
    for at_episode, (name, fatal, change) in enumerate(changes(key)):
        number = at_episode % 3
        folder = copied(minari_root, tmp_path / name, flat)
        with h5py.File(folder / "data" / minari.MAIN_FILE, "r+") as file:
            change(file[f"episode_{number}"], key, getattr(episodes()[number], key), 7)
        if fatal:
            refused(folder, f"'{key}'")
            continue
        for _ in range(2):  # from the episodes, and from the flat copy that this leaves
            assert read_minari(ID, tmp_path / name, download=False).digest == minari_root[1], name
        assert sorted(os.listdir(folder)) == ["data", "flat.safetensors"]


def other_episodes(file: h5py.File) -> dict[str, tuple[str, Callable[[], Any]]]:
    """Changes to whole episodes, and what the refusal names."""
    return {
        "missing": ("total_episodes", lambda: file.pop("episode_1")),
        "one too many": ("total_episodes", lambda: file.copy("episode_1", "episode_3")),
        "a gap": ("'episode_1'", lambda: file.move("episode_1", "episode_7")),
        "an array": ("'episode_1'", lambda: put(file, "episode_1", np.zeros(3))),
        "a link": ("'episode_1'", lambda: linked(file, h5py.SoftLink("/episode_0"))),
        "a link to elsewhere": ("'episode_1'", lambda: linked(file, h5py.ExternalLink("x.hdf5", "/"))),
        "empty": ("'observations'", lambda: file["episode_1"].clear()),
        "no episodes": ("total_episodes", lambda: file.clear()),
    }


def linked(file: h5py.File, link: Any) -> None:
    del file["episode_1"]
    file["episode_1"] = link


@pytest.mark.parametrize("flat", [True, False])
def test_whole_episodes(tmp_path, minari_root, flat):
    with h5py.File("none", "w", driver="core", backing_store=False) as none:
        cases = list(other_episodes(none))
    for case in cases:
        folder = copied(minari_root, tmp_path / case, flat)
        with h5py.File(folder / "data" / minari.MAIN_FILE, "r+") as file:
            named, change = other_episodes(file)[case]
            change()
        refused(folder, named)


DEEP = "[" * 100_000
METADATA: dict[str, tuple[bool, dict[str, Any]]] = {  # whether it is refused, and what replaces what
    "count too small": (True, {"total_episodes": 2}),
    "count endless": (True, {"total_episodes": 10**15}),
    "count negative": (True, {"total_episodes": -1}),
    "count a fraction": (True, {"total_episodes": 3.0}),
    "count true": (True, {"total_episodes": True}),
    "count text": (True, {"total_episodes": "3"}),
    "count missing": (True, {"total_episodes": None}),
    "format a pickle": (True, {"data_format": "pickle"}),
    "format a list": (True, {"data_format": []}),
    "format of other files": (True, {"data_format": "arrow"}),
    "environment no JSON": (True, {"env_spec": "{"}),
    "environment a number": (True, {"env_spec": 5}),
    "environment a list": (True, {"env_spec": "[1]"}),
    "environment deep": (True, {"env_spec": DEEP}),
    "environment in a module": (True, {"env_spec": '{"id": "antigravity:Fly-v0"}'}),
    "environment unnamed": (True, {"env_spec": '{"id": 7}'}),
    "environment of no steps": (True, {"env_spec": '{"max_episode_steps": 0}'}),
    "environment of text steps": (True, {"env_spec": '{"max_episode_steps": "9"}'}),
    "action_space no JSON": (True, {"action_space": "Box(3)"}),
    "action_space a number": (True, {"action_space": 3}),
    "action_space too wide": (
        True,
        {"action_space": '{"type": "Box", "low": [-1, -1, -1, -1], "high": [1, 1, 1, 1]}'},
    ),
    "action_space ragged": (
        True,
        {"action_space": '{"type": "Box", "low": [[-1], -1, -1], "high": [1, 1, 1]}'},
    ),
    "action_space of words": (
        True,
        {"action_space": '{"type": "Box", "low": ["a", "b", "c"], "high": [1, 1, 1]}'},
    ),
    "action_space discrete": (True, {"action_space": '{"type": "Discrete", "n": 3, "start": 0}'}),
    "observation_space narrow": (True, {"observation_space": '{"type": "Box", "low": [0], "high": [1]}'}),
    "actions beyond": (True, {"action_space": '{"type": "Box", "low": [-0.5, -1, -1], "high": [1, 1, 1]}'}),
    "author a number": (False, {"author": 5}),
    "author a list of all sorts": (False, {"author": [None, {"a": 1}]}),
    "requirements a number": (False, {"requirements": 5}),
    "requirements of all sorts": (False, {"requirements": [None, 3, {"mujoco": 1}]}),
    "licence an object": (False, {"license": {"a": [1]}}),
    "description huge": (False, {"description": "x" * 10_000_000}),
    "more": (False, {"🙂": [[[]]], "total_steps": "many", "dataset_size": float("nan")}),
    "spaces missing": (False, {"observation_space": None, "action_space": None}),
    "format missing": (False, {"data_format": None}),
    "environment missing": (False, {"env_spec": None}),
}
# Other files have no episodes of Arrow; without pyarrow nobody looks.
NO_ARROW = "total_episodes" if importlib.util.find_spec("pyarrow") else "needs pyarrow"
NAMED = {  # by the case, or by its first word
    "count": "total_episodes", "format": "data_format", "format of other files": NO_ARROW,
    "environment": "env_spec",
}  # fmt: skip


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("case", METADATA)
def test_broken_metadata(tmp_path, minari_root, case, flat):
    refuse, change = METADATA[case]
    folder = copied(minari_root, tmp_path, flat)
    file = folder / "data" / "metadata.json"
    metadata = json.loads(file.read_text()) | change
    file.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))
    if refuse:
        first = case.split()[0]
        refused(folder, NAMED.get(case, NAMED.get(first, f"'{first}'")))
    else:
        assert read_minari(ID, tmp_path, download=False).digest == minari_root[1]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"5", b"null", b"\xff\xfe\x00", DEEP.encode(), b'{"a":' * 50_000]
)
def test_metadata_that_are_no_json_object(tmp_path, minari_root, content):
    folder = copied(minari_root, tmp_path, flat=True)
    (folder / "data" / "metadata.json").write_bytes(content)
    refused(folder, "metadata.json: not readable")


def test_minari_s_file_is_something_else(tmp_path, minari_root):
    for what in other_files(Path(), bytes(9)):
        folder = copied(minari_root, tmp_path / what, flat=True)
        main = folder / "data" / minari.MAIN_FILE
        whole = main.read_bytes()
        main.unlink()
        other_files(main, whole)[what]()
        refused(folder, "is not readable", "is not a file")


@settings(quick, max_examples=30)
@given(share=st.floats(0, 1, exclude_max=True), flat=st.booleans())
def test_minari_s_file_cut_anywhere(tmp_path_factory, minari_root, share, flat):
    folder = copied(minari_root, tmp_path_factory.mktemp("cut"), flat)
    main = folder / "data" / minari.MAIN_FILE
    whole = main.read_bytes()
    main.write_bytes(whole[: int(share * len(whole))])
    refused(folder, "not readable", "holds no data")


def test_an_environment_in_the_metadata_is_never_built(tmp_path, minari_root, monkeypatch):
    """Minari builds what `env_spec` names when a space is missing: any function, with any arguments."""
    folder = copied(minari_root, tmp_path, flat=False)
    file = folder / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    spec = json.loads(metadata["env_spec"])
    spec |= {"entry_point": "pathlib:Path.touch", "kwargs": {"self": str(tmp_path / "built")}}
    metadata |= {"env_spec": json.dumps(spec)}
    del metadata["action_space"]
    monkeypatch.setattr("gymnasium.make", lambda *a, **k: pytest.fail("built"))
    file.write_text(json.dumps(metadata))
    assert read_minari(ID, tmp_path, download=False).digest == minari_root[1]
    file.write_text(json.dumps(metadata | {"data_format": "arrow"}))
    refused(folder, NO_ARROW)
    assert not (tmp_path / "built").exists()


# ---- arrays


class Refuses:
    """Says that it is an array, and is none."""

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise RuntimeError("no array after all")


SHAPES = {"obs": (ROWS, 4), "act": (ROWS, 2), "rew": (ROWS,), "next_obs": (ROWS, 4)}
BAD_ARRAYS: dict[str, Callable[[np.ndarray, int], Any]] = {
    "none": lambda a, n: None,
    "text": lambda a, n: "1, 2, 3",
    "texts": lambda a, n: a.astype(str),
    "objects": lambda a, n: a.astype(object),
    "records": lambda a, n: np.zeros(a.shape, dtype=PAIR),
    "complex": lambda a, n: a.astype(complex),
    "dates": lambda a, n: a.astype("M8[s]"),
    "ragged": lambda a, n: [[1.0], [1.0, 2.0]],
    "a mapping": lambda a, n: {"values": a},
    "a generator": lambda a, n: (row for row in a),
    "an unwilling array": lambda a, n: Refuses(),
    "a scalar": lambda a, n: 1.0,
    "one dimension more": lambda a, n: np.stack([a, a], -1),
    "no rows": lambda a, n: a[:0],
    "rows missing": lambda a, n: a[: -1 - n % (ROWS - 1)],
    "rows too many": lambda a, n: np.concatenate([a, a[: 1 + n % ROWS]]),
    "nan": lambda a, n: at(a, n, np.nan),
    "infinite": lambda a, n: at(a, n, np.inf, "f4"),
}
GOOD_ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda a: a.astype("f8"),
    "big-endian": lambda a: a.astype(">f4"),
    "int": lambda a: a.astype("i8"),
    "column order": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "a list": lambda a: a.tolist(),
    "a tensor": lambda a: torch.from_numpy(a.copy()),
}
BAD_LABELS: dict[str, tuple[Any, ...]] = {
    "name": (None, "", 5, b"x"),
    "env_id": ("", 5, b"Hopper-v5"),
    "max_episode_steps": (0, -1, 1.5, True, "9", float("nan")),
    "notes": (5, ["a"], "text"),
    "source": (None, "web", []),
}


def transitions() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays = {k: rng.integers(-1, 2, shape).astype(np.float32) for k, shape in SHAPES.items()}
    last = np.arange(ROWS) % 6 == 5
    return {"name": "x", "source": "hdf5", **arrays, "terminal": last & (np.arange(ROWS) > 9), "last": last}


DIGEST = Dataset.make(**transitions()).digest


@pytest.mark.parametrize("n", [0, 7, 9_999])
@pytest.mark.parametrize("key", [*SHAPES, "terminal", "last"])
@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_every_bad_array(key, name, n):
    arguments = transitions()
    arguments[key] = BAD_ARRAYS[name](arguments[key], n)
    with pytest.raises(DataError, match=f"^here: .*'{key}'"):
        Dataset.make(**arguments, where="here")


@pytest.mark.parametrize("name", GOOD_ARRAYS)
def test_every_form_of_array(name):
    arguments = transitions()
    arrays = {key: GOOD_ARRAYS[name](arguments[key]) for key in (*SHAPES, "terminal", "last")}
    assert Dataset.make(**(arguments | arrays)).digest == DIGEST


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in BAD_LABELS.items() for v in values])
def test_labels_of_the_wrong_type(key, value):
    with pytest.raises(DataError, match=key):
        Dataset.make(**(transitions() | {key: value}))


# ---- actions and their limits


@settings(quick, max_examples=200)
@given(
    low=st.lists(st.floats(-9, 0) | st.just(-np.inf), min_size=3, max_size=3),
    span=st.lists(st.floats(0.5, 9) | st.just(np.inf), min_size=3, max_size=3),
    row=st.integers(0, 19),
    column=st.integers(0, 2),
    beyond=st.floats(0, 3),
    above=st.booleans(),
)
def test_an_action_beyond_its_limits_is_found_where_it_is(low, span, row, column, beyond, above):
    """Up to a thousandth of half the range is rounding; an infinite limit is never passed."""
    bottom = np.array(low)
    top = np.where(np.isfinite(bottom), bottom, 0.0) + np.array(span)
    start = np.where(np.isfinite(bottom), bottom, np.where(np.isfinite(top), top, 0.0))
    act = np.tile(start, (20, 1))
    limit = (top if above else bottom)[column]
    half = (top[column] - bottom[column]) / 2
    unit = half if np.isfinite(half) else 1.0
    if np.isfinite(limit):
        act[row, column] = limit + (1 if above else -1) * beyond * unit
    if not np.isfinite(limit) or beyond <= 0.9e-3:
        check_actions(act, bottom, top, "here")
    elif beyond >= 1.1e-3:
        with pytest.raises(DataError) as caught:
            check_actions(act, bottom, top, "here")
        message = str(caught.value)
        assert f"'act' row {row} holds {act[row, column]:.6g} in dimension {column}" in message
        assert f"are {bottom[column]:g} and {top[column]:g} (1 such rows" in message
