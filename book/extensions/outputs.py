"""A progress bar of an executed cell is one line, as a terminal shows it at its end.

tqdm draws a bar over itself, which a page would show as a line each time.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

BAR = re.compile(r"(?P<what>.*?)\s*\d+%\|.*\|\s*\d+/\d+ \[.*\]\s*")


def ended(text: str) -> str:
    """`text` without the lines of a bar that a later one draws over."""
    lines = text.split("\n")
    bars = {i: found["what"] for i, line in enumerate(lines) if (found := BAR.fullmatch(line))}
    last = {what: i for i, what in bars.items()}
    return "\n".join(line for i, line in enumerate(lines) if i not in bars or last[bars[i]] == i)


def collapse(app: Sphinx, tree: nodes.document) -> None:
    """Does this to every stream of the page."""
    for block in tree.findall(nodes.literal_block):
        if {"stderr", "stream"} & set(block["classes"]):
            text = ended(block.astext())
            block.rawsource, block.children = text, []
            block += nodes.Text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the step between reading and writing a page."""
    app.connect("doctree-read", collapse)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
