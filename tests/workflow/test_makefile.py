"""The Makefile: the book's pages run again where anything that they show has changed."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_page_runs_again_when_a_file_that_it_may_show_came_went_or_changed(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (
        "rdlib/a.py",
        "book/results/quick/one.jsonl",
        "book/results/quick/two.jsonl",
        "requirements.lock",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    ran = tmp_path / "_build" / ".jupyter_cache"

    def runs_again() -> bool:
        ran.mkdir(parents=True, exist_ok=True)
        subprocess.run(["make", "-s", "_build/.code"], cwd=tmp_path, check=True)
        return not ran.exists()

    assert runs_again() and not runs_again()
    (tmp_path / "book/results/quick/one.jsonl").unlink()
    assert runs_again() and not runs_again()
    (tmp_path / "book/results/quick/a record.jsonl").write_text("new")
    assert runs_again() and not runs_again()
    (tmp_path / "requirements.lock").write_text("other")
    assert runs_again() and not runs_again()
    (tmp_path / "rdlib/__pycache__").mkdir()
    (tmp_path / "rdlib/__pycache__/a.pyc").write_text("compiled")
    assert not runs_again()
