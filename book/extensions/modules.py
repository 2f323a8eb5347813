"""A line `% modules: rdlib.data` of a page becomes a section for each module of that package."""

import pkgutil
import re
from importlib import import_module
from typing import Any

from sphinx.application import Sphinx

LINE = re.compile(r"^% modules: ([\w.]+)$", re.MULTILINE)
HIDDEN = ("__main__",)  # the command line, which is not for importing


def modules(package: str) -> list[str]:
    """The modules of `package` at any depth, without the packages themselves; a plain module is its own."""
    found = import_module(package)
    if not hasattr(found, "__path__"):
        return [package]
    walked = pkgutil.walk_packages(found.__path__, f"{package}.")
    return [m.name for m in walked if not m.ispkg and m.name.rpartition(".")[2] not in HIDDEN]


def sections(match: re.Match[str]) -> str:
    """Markdown: a heading and autodoc's directive for each module."""
    part = "## `{0}`\n\n```{{eval-rst}}\n.. automodule:: {0}\n```\n"
    return "\n".join(part.format(name) for name in modules(match[1]))


def expand(app: Sphinx, page: str, source: list[str]) -> None:
    """Sphinx's hook: `source` is changed in place."""
    source[0] = LINE.sub(sections, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects to the reading of pages."""
    app.connect("source-read", expand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
