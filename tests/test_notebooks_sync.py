"""Every notebook is its reviewed .py pair and nothing more: no outputs, one cell of parameters."""

import ast
from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PAIRS = sorted({path.stem for pattern in ("*.ipynb", "*.py") for path in NOTEBOOKS.glob(pattern)})


def test_there_are_notebooks():
    assert "train" in PAIRS


@pytest.mark.parametrize("name", PAIRS)
def test_pair_in_sync(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    script = jupytext.read(NOTEBOOKS / f"{name}.py", fmt="py:percent")

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
