"""`papermill NOTEBOOK -p NAME VALUE` works wherever it is typed; all else stays papermill's."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill.cli
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

PAPERMILL = Path(sys.executable).parent / "papermill"
NOTE = "papermill: no output path given, writing runs/tiny.ipynb"


@pytest.fixture
def folder(tmp_path):
    """A folder with a notebook of one parameter."""
    parameters = new_code_cell("algo = 'none'", metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[parameters, new_code_cell("print('algo', algo)")])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (tmp_path / "nb").mkdir()
    nbformat.write(notebook, tmp_path / "nb" / "tiny.ipynb")
    return tmp_path


def papermill_in(folder, *args, command=(PAPERMILL,), **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, **options}
    return subprocess.run([*command, *args], cwd=folder, text=True, timeout=120, **options)


def injected(path):
    """The source of the cell that papermill injected."""
    [cell] = [c for c in nbformat.read(path, 4).cells if "injected-parameters" in c.metadata.tags]
    return cell.source


def printed(path):
    return "".join(
        o.text for c in nbformat.read(path, 4).cells for o in c.outputs if o.output_type == "stream"
    )


def test_the_installed_command_is_ours():
    text = PAPERMILL.read_text()
    assert "rdlib.training.papermill_cli" in text, (
        "papermill's own script has replaced rdlib's: pip install --no-deps -e . again"
    )


def test_in_a_terminal(folder):
    """The user's own command: a terminal on all three streams, one path."""
    ours, theirs = pty.openpty()
    try:
        result = papermill_in(
            folder,
            "nb/tiny.ipynb",
            "-p",
            "algo",
            "td3n_rd",
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            capture_output=False,
        )
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert result.returncode == 0, shown
    assert NOTE in shown
    assert printed(folder / "runs" / "tiny.ipynb") == "algo td3n_rd\n"


def test_with_stdin_a_pipe_and_stdout_piped(folder):
    """In a shell loop papermill alone would read a notebook from stdin and write over its input."""
    before = (folder / "nb" / "tiny.ipynb").read_bytes()
    result = papermill_in(
        folder, "-p", "algo", "x", "nb/tiny.ipynb", "--prepare-only", stdin=None, input=""
    )
    assert result.returncode == 0, result.stderr
    assert NOTE in result.stderr and result.stdout == ""
    assert 'algo = "x"' in injected(folder / "runs" / "tiny.ipynb")
    assert (folder / "nb" / "tiny.ipynb").read_bytes() == before


def test_as_a_module(folder):
    command = (sys.executable, "-m", "rdlib.training.papermill_cli")
    result = papermill_in(folder, "nb/tiny.ipynb", "--prepare-only", command=command)
    assert result.returncode == 0, result.stderr
    assert (folder / "runs" / "tiny.ipynb").exists()


def test_unchanged_with_two_paths(folder):
    result = papermill_in(folder, "nb/tiny.ipynb", "out.ipynb", "--prepare-only")
    assert result.returncode == 0, result.stderr
    assert (folder / "out.ipynb").exists() and not (folder / "runs").exists()


def test_unchanged_to_stdout(folder):
    result = papermill_in(folder, "nb/tiny.ipynb", "-", "--prepare-only")
    assert result.returncode == 0, result.stderr
    assert nbformat.reads(result.stdout, 4).cells and not (folder / "runs").exists()


def test_a_notebook_is_never_written_over_by_itself(folder):
    (folder / "runs").mkdir()
    source = (folder / "nb" / "tiny.ipynb").rename(folder / "runs" / "tiny.ipynb")
    before = source.read_bytes()
    result = papermill_in(folder, "runs/tiny.ipynb", "-p", "algo", "x", "--prepare-only")
    assert NOTE not in result.stderr and source.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nb/tiny.ipynb", "--no-such-flag"], "No such option"),
        (["missing.ipynb", "--prepare-only"], "No such file or directory"),
        (["nb/tiny.ipynb", "a.ipynb", "b.ipynb"], "unexpected extra argument"),
    ],
)
def test_errors_are_papermills_own(folder, args, message):
    result = papermill_in(folder, *args)
    assert result.returncode != 0
    assert message in result.stderr
    assert not (folder / "runs").exists()


def test_help_is_papermills_own(folder):
    ours = papermill_in(folder, "--help").stdout
    theirs = CliRunner().invoke(papermill.cli.papermill, ["--help"], prog_name="papermill").output
    assert ours.split() == theirs.replace("[NOTEBOOK_PATH]", "NOTEBOOK_PATH").split()
    about = papermill_in(folder, "--help-notebook", "nb/tiny.ipynb")
    assert "algo" in about.stdout and not (folder / "runs").exists()
