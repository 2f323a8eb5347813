"""Laws of the whole package. Its layers are held by import-linter (pyproject.toml), in `make lint`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rdlib

ROOT = Path(rdlib.__file__).parent
MODULES = {str(p.relative_to(ROOT)): p for p in sorted(ROOT.rglob("*.py"))}


@pytest.mark.parametrize(
    "module", ["rdlib", "rdlib.engine.config", "rdlib.engine.strict_csv", "rdlib.training.request"]
)
def test_torch_is_not_imported_before_it_is_used(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_public_names_are_there():
    for name in rdlib.__all__:
        assert getattr(rdlib, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(rdlib, "nothing")  # noqa: B009


def test_files_are_short():
    long = {name: n for name, p in MODULES.items() if (n := len(p.read_text().splitlines())) > 350}
    assert not long


# A process hands its own child what to compile, through a file that has no name: nobody else writes it.
OWN_CHILD = {"engine/compiled.py": "pickle"}


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_nothing_that_can_run_code_is_ever_loaded(path):
    text = path.read_text()
    own = next((name for end, name in OWN_CHILD.items() if path.as_posix().endswith(end)), "")
    for name in {"pickle", "torch.load(", "joblib", "eval(", "exec(", "allow_pickle=True"} - {own}:
        assert not re.search(rf"(?<![\w.]){re.escape(name)}", text), name
