"""Packages that only an extra of rdlib's brings: without one, what needs it is skipped by its name."""

from types import ModuleType

import pytest

EXTRAS = {
    "notebooks": ("jupytext",),
    "test": ("hatchling", "hypothesis", "psutil", "pyarrow", "rliable", "scipy"),
    "book": ("docutils", "jupyter_cache", "playwright", "sphinx"),
    "workflow": ("snakemake",),
}


def needed(package: str, module: str = "") -> ModuleType:
    """`package`, or its `module`; else the test, or the file that asks at its top, is skipped."""
    [extra] = (name for name, packages in EXTRAS.items() if package in packages)
    lack = f"NOT TESTED: needs {package}, of rdlib's extra {extra!r}"
    try:
        return pytest.importorskip(f"{package}.{module}" if module else package, reason=lack)
    except TypeError as error:  # rliable 1.2.0 calls what pandas 3 has changed
        pytest.skip(f"{lack}, which says: {error}", allow_module_level=True)
