"""`papermill NOTEBOOK -p NAME VALUE` works wherever it is typed; all else stays papermill's."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import click
import nbformat
import papermill.cli
import pytest
from helpers.synthetic import write_hdf5
from nbformat.v4 import new_code_cell, new_notebook

from rdlib.training import papermill_cli

PAPERMILL = Path(sys.executable).parent / "papermill"
TRAIN = Path(__file__).parents[2] / "notebooks" / "train.ipynb"
NOTE = "papermill: no output path given, writing runs/tiny.ipynb"


@pytest.fixture
def folder(tmp_path):
    """A folder with a notebook of one parameter."""
    return with_notebook(tmp_path, "algo = 'none'", "print('algo', algo)")


def with_notebook(folder, parameters, *code):
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(new_code_cell, code)]
    notebook = new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "nb").mkdir()
    nbformat.write(notebook, folder / "nb" / "tiny.ipynb")
    return folder


def papermill_in(folder, *args, command=(PAPERMILL,), **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, **options}
    return subprocess.run([*command, *args], cwd=folder, text=True, timeout=300, **options)


def injected(path):
    """The source of the cell that papermill injected."""
    [cell] = [c for c in nbformat.read(path, 4).cells if "injected-parameters" in c.metadata.tags]
    return cell.source


def printed(path):
    return "".join(
        o.text for c in nbformat.read(path, 4).cells for o in c.outputs if o.output_type == "stream"
    )


def test_rdlib_is_registered_and_the_command_is_papermills_own():
    found = {point.name for point in metadata.entry_points(group="papermill.io")}
    assert papermill_cli.PLACE in found, (
        "rdlib was installed before it had this: pip install --no-deps -e ."
    )
    assert "papermill.__main__" in PAPERMILL.read_text(), (
        "pip install --force-reinstall --no-deps papermill"
    )


def test_every_option_of_papermill_is_known():
    options = [o for o in papermill.cli.papermill.params if isinstance(o, click.Option)]
    theirs = {
        name: 0 if option.is_flag else option.nargs
        for option in options
        for name in (*option.opts, *option.secondary_opts)
    }
    for alone in ("--help-notebook", "--version"):  # with these there is no output
        theirs.pop(alone)
    assert theirs == papermill_cli.OPTIONS


def test_in_a_terminal(folder):
    """The user's own command: a terminal on all three streams, one path."""
    ours, theirs = pty.openpty()
    words, streams = (
        ["nb/tiny.ipynb", "-p", "algo", "td3n_rd"],
        dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
    )
    try:
        result = papermill_in(folder, *words, capture_output=False, **streams)
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
    command = (sys.executable, "-m", "papermill")
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
    assert result.returncode == 1 and "would be written over" in result.stderr
    assert source.read_bytes() == before


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


def test_help_of_a_notebook(folder):
    about = papermill_in(folder, "--help-notebook", "nb/tiny.ipynb")
    assert "algo" in about.stdout and not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, "runs/td3n_rd/hopper-medium"),
        ({"algo": "bc", "dataset": "../my data/x.hdf5"}, "runs/bc/my data-x.hdf5"),
        ({"out": "deep/run"}, "deep/run"),
        ({"algos": "bc"}, "runs"),  # refused, so it has no records to lie beside
        ({"steps": "many"}, "runs"),
    ],
)
def test_an_executed_notebook_lies_beside_its_records(tmp_path, given, where):
    words = [word for name, value in given.items() for word in ("-p", name, value)]
    result = papermill_in(tmp_path, str(TRAIN), "--prepare-only", *words)
    assert result.returncode == 0, result.stderr
    assert [p.parent.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.ipynb")] == [where]
    assert json.loads(next(tmp_path.rglob("*.ipynb")).read_text())["nbformat"] == 4


def test_what_fails_writes_over_nothing_that_is_whole(tmp_path):
    folder = with_notebook(tmp_path, "x = 0", "assert x != 1", "print('end', x)")
    assert papermill_in(folder, "nb/tiny.ipynb").returncode == 0
    whole = (folder / "runs" / "tiny.ipynb").read_bytes()
    failed = papermill_in(folder, "nb/tiny.ipynb", "-p", "x", "1")
    assert failed.returncode == 1 and "AssertionError" in failed.stderr
    last = failed.stderr.splitlines()[-1]
    assert last == "papermill: not finished; what ran is in runs/tiny.unfinished.ipynb"
    assert (folder / "runs" / "tiny.ipynb").read_bytes() == whole
    assert "x = 1" in injected(folder / "runs" / "tiny.unfinished.ipynb")
    assert papermill_in(folder, "nb/tiny.ipynb", "-p", "x", "2").returncode == 0
    assert [p.name for p in (folder / "runs").iterdir()] == ["tiny.ipynb"]
    assert printed(folder / "runs" / "tiny.ipynb") == "end 2\n"


def test_a_folder_that_cannot_be_written_to_is_one_line(folder):
    (folder / "runs").write_text("a file")
    result = papermill_in(folder, "nb/tiny.ipynb", "--prepare-only")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    told = [line for line in result.stderr.splitlines() if line.startswith("papermill: cannot write ")]
    assert len(told) == 1 and told[0].endswith("give an output path")


def test_an_interrupted_training_says_that_it_resumes(tmp_path):
    data = write_hdf5(tmp_path / "tiny.hdf5")
    tiny = "width=8,depth=1,n_critics=2,actor_width=8,actor_depth=1,batch_size=16"
    words = [PAPERMILL, TRAIN, "-p", "dataset", data.name, "-p", "env", "Hopper-v5", "-p", "steps", "1e7"]
    words += ["-p", "config", tiny, "-p", "episodes", "1", "-p", "eval_every", "1e7"]
    # Where tests run in the background, Ctrl-C is ignored, and a child inherits that.
    run = subprocess.Popen(
        words,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    checkpoint = tmp_path / "runs" / "td3n_rd" / data.name / "checkpoint.safetensors"
    while not checkpoint.exists() and run.poll() is None:
        time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=60)
    last = told.splitlines()[-1]
    assert run.returncode != 0 and last.startswith("papermill: not finished; what ran is in runs/td3n_rd/")
    assert last.endswith("the same command resumes the run from its last checkpoint")
