"""The notebook is the third interface to the same training, and refuses what it does not know."""

import re
import shlex
from pathlib import Path

import nbformat
import papermill
import pytest
import torch
from helpers.synthetic import write_hdf5
from papermill.exceptions import PapermillExecutionError
from safetensors.torch import load_file

import rdlib
from rdlib.__main__ import parse
from rdlib.training.parameters import literals
from rdlib.training.record import load_records

NOTEBOOK = str(Path(__file__).parents[2] / "notebooks" / "train.ipynb")
TINY = {
    "batch_size": 16, "n_critics": 2, "width": 8, "depth": 1, "actor_width": 8, "actor_depth": 1,
}  # fmt: skip
CONFIG = ",".join(f"{k}={v}" for k, v in TINY.items())


def execute(folder, **parameters):
    """Papermill's own function, in `folder`; the executed notebook."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RDLIB_CACHE", str(folder / "cache"))
        target = folder / "executed.ipynb"
        papermill.execute_notebook(
            NOTEBOOK, str(target), parameters, cwd=str(folder), progress_bar=False, log_output=False
        )
    return nbformat.read(target, as_version=4)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One small run of two seeds: its folder and the executed notebook."""
    folder = tmp_path_factory.mktemp("notebook")
    data = write_hdf5(folder / "tiny.hdf5")
    notebook = execute(
        folder, algo="td3n_rd", dataset=str(data), env="Hopper-v5", seeds="0,1", steps=20, config=CONFIG,
        rd="weight=0.5", device="cpu", scale="quick", episodes=1, dtype="float64",
        variants=[{}, {"beta": 2.0}], out="deep/run",
    )  # fmt: skip
    return folder, notebook


def outputs(notebook, kind):
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.output_type == kind]


def printed(notebook):
    return "".join(o.text for o in outputs(notebook, "stream") if o.name == "stdout")


def test_it_runs_to_the_end(done):
    folder, notebook = done
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    assert all(c.execution_count for c in code) and not outputs(notebook, "error")
    run = folder / "deep" / "run"
    assert len(load_records(run)) == 2 * 2
    clones = load_records(run / "bc")  # beside it, of two seeds, and for no more updates
    assert [(r.algo, r.steps) for r in clones] == [("bc", 20)] * 2
    assert not (folder / "runs").exists()


def test_it_shows_what_it_should(done):
    _, notebook = done
    shown = outputs(notebook, "display_data") + outputs(notebook, "execute_result")
    images = [o for o in shown if "image/png" in o.data]
    assert len(images) == 5  # data, learning curves, Q, kernels, distance
    html = "".join(o.data.get("text/html", "") for o in shown)
    for text in ("width 8", "weight 0.5", "behaviour policy", "untrained"):
        assert text in html, text
    assert any("Quick scale" in o.data.get("text/markdown", "") for o in shown)
    assert "<video " in html or "No video: no offscreen OpenGL: install" in printed(notebook)


def test_it_trains_what_python_trains(done, tmp_path, same_product):
    folder, _ = done
    asked = rdlib.TrainConfig(
        algo="td3n_rd", dataset=str(folder / "tiny.hdf5"), env="Hopper-v5", seeds=(0, 1), steps=20,
        config=TINY, plugin={"weight": 0.5}, device="cpu", scale="quick", episodes=1, dtype="float64",
        variants=({}, {"beta": 2.0}), out=str(tmp_path),
    )  # fmt: skip
    ours = rdlib.train(asked, progress=False).algorithm.tensors()
    theirs = load_file(folder / "deep" / "run" / "checkpoint.safetensors")
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-12)


def test_the_command_that_it_prints(done):
    folder, notebook = done
    [line] = re.findall(r"^python -m rdlib train .*$", printed(notebook), re.MULTILINE)
    a = parse(shlex.split(line)[3:]).asked()
    assert (a.algo, a.dataset, a.seeds) == ("td3n_rd", str(folder / "tiny.hdf5"), (0, 1))
    assert (a.steps, a.config, a.plugin, a.out) == (20, TINY, {"weight": 0.5}, "deep/run")
    assert a.variants == ({}, {"beta": 2.0})


def test_without_the_clone(tmp_path):
    write_hdf5(tmp_path / "tiny.hdf5")
    notebook = execute(
        tmp_path, algo="td3bc", dataset="tiny.hdf5", env="Hopper-v5", steps=1e1, rd=None, episodes=1,
        config="width=8,actor_width=8", beside="false",
    )  # fmt: skip
    assert not outputs(notebook, "error")
    run = tmp_path / "runs" / "td3bc" / "tiny.hdf5"
    assert load_records(str(run)) and not (run / "bc").exists()


def test_all_cells_run_again_in_the_same_kernel_with_imports_of_the_reader_s_own(tmp_path):
    """As "run all" does twice, after what the reader has imported above; on Colab `google` is there."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    end = next(i for i, c in enumerate(notebook.cells) if "make_plan(asked)" in c.source)
    cells = [c for c in notebook.cells[:end] if c.cell_type == "code"]
    own = nbformat.v4.new_code_cell("import os, math\ngoogle = object()\ncommand = 3")
    twice = [own, *cells, *cells, nbformat.v4.new_code_cell("print(asked == type(asked)())")]
    notebook.cells = [nbformat.v4.new_code_cell(c.source) for c in twice]
    nbformat.write(notebook, tmp_path / "twice.ipynb")
    papermill.execute_notebook(
        str(tmp_path / "twice.ipynb"), str(tmp_path / "done.ipynb"), cwd=str(tmp_path), progress_bar=False
    )
    assert printed(nbformat.read(tmp_path / "done.ipynb", as_version=4)).endswith("True\n")


OTHERS = sorted(p for p in Path(NOTEBOOK).parent.glob("*.ipynb") if p.name != "train.ipynb")


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_every_other_notebook_checks_its_parameters_straight_after_them(path):
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    [at] = [i for i, c in enumerate(cells) if "parameters" in c.metadata.get("tags", [])]
    assert literals(cells[at].source) and "check_parameters(globals())" in cells[at + 1].source


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"update": 1}, "'update' is unknown; near: updates"),
        ({"updates": "many"}, "updates: 'many' is a str"),
    ],
)
def test_another_notebook_refuses_what_it_does_not_know(given, message, tmp_path):
    source, target = Path(NOTEBOOK).with_name("rd.ipynb"), tmp_path / "x.ipynb"
    with pytest.raises(PapermillExecutionError, match=f"ConfigError.*{message}"):
        papermill.execute_notebook(str(source), str(target), given, cwd=str(tmp_path), progress_bar=False)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"algos": "td3n"}, "parameter 'algos' is unknown; near: algo"),
        ({"steps": "many"}, "steps: 'many' is a str, expected an int"),
    ],
)
def test_what_it_refuses(parameters, message, tmp_path):
    with pytest.raises(PapermillExecutionError, match=message):
        execute(tmp_path, **parameters)
    notebook = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    [error] = outputs(notebook, "error")
    assert error.ename == "ConfigError" and message in error.evalue
    assert not (tmp_path / "runs").exists() and not (tmp_path / "cache").exists()
