"""The walkthroughs of book/extend.md run: Python in one namespace, commands, the change to the package."""

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import rdlib
from rdlib import algos
from rdlib.training.record import load_records

PAGE = (Path(__file__).parents[2] / "book" / "extend.md").read_text()
COMMON = "--dataset pendulum.hdf5 --env Pendulum-v1 --steps 20 --scale quick --device cpu"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def edited(text: str, diff: str) -> str:
    """`text` with each hunk's lines, which it must hold once, replaced."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(old) == 1, old
        text = text.replace(old, "".join(line[1:] for line in lines if line[0] != "-"))
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page's Python has run."""
    where = tmp_path_factory.mktemp("extend")
    module = types.ModuleType("walkthrough")
    sys.modules["walkthrough"] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        for code in blocks("python"):
            exec(compile(code, "book/extend.md", "exec"), module.__dict__)
    yield where
    del sys.modules["walkthrough"]
    algos.ALGORITHMS.pop("awc", None)


def test_the_python_of_the_page_trains_what_it_says(folder):
    [record] = load_records(folder / "runs" / "td3bc")
    assert (record.algo, record.dataset, record.env_id) == ("td3bc", "pendulum", "Pendulum-v1")
    found = load_records(folder / "runs" / "awc_rd")
    assert sorted((r.config["temperature"], r.seed) for r in found) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert all(r.algo == "awc_rd" and r.status == "finished" for r in found)
    uniform, sharp = (
        [r.evaluations[-1]["training"]["weight"] for r in found if r.config["temperature"] == t]
        for t in (0.0, 2.0)
    )
    assert uniform == [1.0, 1.0] and min(sharp) != 1.0


def test_the_commands_of_the_page_run(folder):
    commands = re.findall(r"^\$ python (.*)$", "".join(blocks("console")), re.MULTILINE)
    assert len(commands) == PAGE.count("$ python") == 2
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command.split()], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    [record] = load_records(folder / "runs" / "bc" / "pendulum.hdf5")
    assert record.steps == 200


def test_the_change_to_the_package_makes_the_regulariser_a_suffix(folder, tmp_path):
    package, unneeded = Path(rdlib.__file__).parent, ("policies", "door_human", "__pycache__")
    copy = shutil.copytree(package, tmp_path / "rdlib", ignore=shutil.ignore_patterns(*unneeded))
    [code] = [b for b in blocks("python") if b.startswith('"""FeatureNorm')]
    (copy / "feature_norm.py").write_text(code)
    [diff] = blocks("diff")
    names = copy / "algos" / "registry.py"
    names.write_text(edited(names.read_text(), diff))
    script = "import sys; from rdlib.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = f"train --algo edac_norm --plugin weight=0.5 {COMMON} --out {tmp_path / 'runs'}"
    done = subprocess.run(
        [sys.executable, "-c", script, *words.split()], cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [record] = load_records(tmp_path / "runs")
    assert record.algo == "edac_norm" and record.plugin == {"weight": 0.5}
    assert record.evaluations[-1]["training"]["feature_size"] > 0
