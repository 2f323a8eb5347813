"""rdlib's docstrings are plain text (|x| is a norm, `x` is code, an indented block is shown as it stands);
autodoc reads reStructuredText. This turns the one into the other."""

import re
from itertools import groupby
from typing import Any

from sphinx.application import Sphinx

MARKUP = re.compile(r"([\\*_|`])")
ITEM = re.compile(r"(\d+\.|-) ")


def plain(text: str) -> str:
    """A line of prose: `code` becomes literal, every other sign of markup itself."""
    parts = re.split(r"`([^`]+)`", text)
    parts[::2] = [MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"\\ ``{part}``\\ " for part in parts[1::2]]
    return "".join(parts)


def kinds(lines: list[str]) -> list[tuple[str, str]]:
    """Each line with what it is: blank, prose, item (and its continuation), block, doctest."""
    found: list[tuple[str, str]] = []
    now = "blank"
    for line in lines:
        if not line.strip():
            # A blank line ends a list; a block goes on across it as long as lines are indented.
            found.append(("blank", ""))
            now = "prose" if now == "item" else now
            continue
        if line.startswith((">>> ", "... ")):
            now = "doctest"
        elif ITEM.match(line):
            now = "item"
        elif not line.startswith(" "):
            now = "prose"
        elif now != "item":
            now = "block"
        found.append((now, line))
    return found


def to_rst(lines: list[str]) -> list[str]:
    """The docstring in reStructuredText: its blocks literal, its lists lists."""
    found: list[str] = []
    for kind, group in groupby(kinds(lines), key=lambda pair: pair[0]):
        texts = [text for _, text in group]
        if kind == "block":
            found += ["", "::", "", *texts, ""]
        elif kind == "item":
            indents = [text[: len(text) - len(text.lstrip())] for text in texts]
            found += ["", *(i + plain(t.lstrip()) for i, t in zip(indents, texts)), ""]
        elif kind == "prose":
            found += [plain(text) for text in texts]
        else:
            found += texts
    return found


def convert(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """autodoc's hook: `lines` are changed in place."""
    lines[:] = to_rst(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects to autodoc."""
    app.connect("autodoc-process-docstring", convert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
