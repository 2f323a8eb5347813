"""Every notebook is its reviewed .py pair and nothing more: no outputs, one cell of parameters."""

import ast
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from helpers.extras import needed

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PAIRS = sorted({path.stem for pattern in ("*.ipynb", "*.py") for path in NOTEBOOKS.glob(pattern)})


def test_there_are_notebooks():
    assert "train" in PAIRS


@pytest.mark.parametrize("name", PAIRS)
def test_pair_in_sync(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    script = needed("jupytext").read(NOTEBOOKS / f"{name}.py", fmt="py:percent")

    def cells(node):
        return [(c.cell_type, c.source, sorted(c.metadata.get("tags", []))) for c in node.cells]

    update = f"jupytext --to ipynb --update notebooks/{name}.py"
    assert cells(notebook) == cells(script), f"the .py is the source; {update}"
    assert notebook.metadata.kernelspec.name == script.metadata.kernelspec.name == "python3"
    assert script.metadata.jupytext.formats == "ipynb,py:percent"


@pytest.mark.parametrize("name", PAIRS)
def test_notebook_is_valid_and_clean(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.source for cell in code if cell.outputs or cell.execution_count is not None]
    leftovers = {"papermill", "execution", "collapsed"}  # of an executed notebook, or of an editor
    assert not [cell.source for cell in notebook.cells if leftovers & cell.metadata.keys()]
    assert "papermill" not in notebook.metadata


@pytest.mark.parametrize("name", PAIRS)
def test_one_cell_of_literal_parameters(name):
    """papermill only warns where the tag is missing, and then runs the defaults."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    [cell] = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    assert statements
    for statement in statements:
        assert isinstance(statement, ast.Assign | ast.AnnAssign), ast.unparse(statement)
        assert statement.value is not None, ast.unparse(statement)
        ast.literal_eval(statement.value)


def colab_cell(name):
    """The first cell of code, which comes before the parameters: papermill's own follow those."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    first, second = [c for c in notebook.cells if c.cell_type == "code"][:2]
    assert first.metadata.tags == ["remove-cell"] and second.metadata.tags[:1] == ["parameters"]
    return first.source


def test_every_notebook_begins_alike_on_colab():
    assert len({colab_cell(name) for name in PAIRS}) == 1


@pytest.mark.parametrize(("colab", "cloned"), [(True, False), (True, True), (False, False)])
def test_colab_gets_the_repository_and_others_get_nothing(monkeypatch, tmp_path, colab, cloned):
    (tmp_path / "notebooks").mkdir()
    if cloned:
        (tmp_path / "book/results").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    ran, moved = [], []
    monkeypatch.setattr("subprocess.run", lambda words, check: ran.append((words, check)))
    monkeypatch.setattr("os.chdir", moved.append)
    names = {}
    exec(colab_cell("train"), names)
    assert not [n for n in names if not n.startswith("_")]  # train.ipynb takes names for parameters
    if not colab or cloned:
        assert not ran and not moved
        return
    (clone, strict), (install, strict_too) = ran
    assert strict and strict_too and moved == ["/content/rdlib/notebooks"]
    assert clone[:2] == ["git", "clone"] and clone[-1] == "/content/rdlib"
    assert install[1:4] == ["-m", "pip", "install"] and install[-1] == "/content/rdlib"


@pytest.mark.parametrize("name", ["backup", "kernel", "overgeneralisation", "rd"])
def test_on_a_page_that_teaches_what_is_not_folded_has_ten_lines(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    folded = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and not folded & set(cell.metadata.get("tags", [])):
            assert sum(bool(line.strip()) for line in cell.source.splitlines()) <= 10, cell.source
