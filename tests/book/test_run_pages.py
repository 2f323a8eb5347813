"""Notebooks run once, into the book's cache, and one that fails is an error."""

from pathlib import Path

import nbformat
from helpers.extras import needed
from nbformat.v4 import new_code_cell, new_notebook


def write(path: Path, code: str) -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[new_code_cell(code)], metadata={"kernelspec": kernel}), path)
    return path


def test_a_page_runs_once_and_a_cell_that_fails_is_an_error(tmp_path, monkeypatch, capsys):
    needed("jupyter_cache")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "book"))
    import run_pages

    ran = "print('here', file=open('ran', 'a'))"  # in the notebook's own folder
    good, bad = write(tmp_path / "good.ipynb", ran), write(tmp_path / "bad.ipynb", "1 / 0")
    assert run_pages.main([bad, good], tmp_path / "cache") == 1
    assert "bad.ipynb" in (told := capsys.readouterr().err) and "ZeroDivisionError" in told
    assert run_pages.main([good], tmp_path / "cache") == 0
    assert (tmp_path / "ran").read_text() == "here\n"
    write(good, f"{ran}  # edited")
    assert run_pages.main([good], tmp_path / "cache") == 0
    assert (tmp_path / "ran").read_text() == "here\nhere\n"
