"""{delta}: the unified diff of two source files, so that the book shows what one algorithm adds to another.

    ```{delta} sacn.py edac.py
    :pyobject: SACN EDAC
    ```

Paths are relative to rdlib/algos. `:pyobject:` takes a class or function of each (one name serves for
both), and `:docstring: no` leaves the files' header docstrings out. The caption counts the changed lines.
"""

import ast
import difflib
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path("rdlib/algos")


def chosen(path: Path, name: str | None, docstring: bool) -> list[str]:
    """The lines of the file at `path`, or of one top-level object of it. ValueError without such."""
    if not path.is_file():
        raise ValueError(f"no file {path}")
    lines = path.read_text().splitlines()
    body = ast.parse("\n".join(lines)).body
    if name:
        found = [n for n in body if getattr(n, "name", None) == name]
        if not found:
            raise ValueError(f"{path} has no class or function {name!r} at its top level")
        [node] = found
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)])
        return lines[first - 1 : node.end_lineno]
    if not docstring and isinstance(body[0], ast.Expr):
        return lines[body[0].end_lineno :]
    return lines


def changes(diff: list[str]) -> tuple[int, int]:
    """Lines that a unified diff adds and removes; its two header lines do not count."""
    body = diff[2:]
    return sum(x.startswith("+") for x in body), sum(x.startswith("-") for x in body)


class Delta(SphinxDirective):
    """See the top of this file."""

    required_arguments = 2
    option_spec: ClassVar = {
        "pyobject": directives.unchanged_required,
        "docstring": lambda text: directives.choice(text, ("yes", "no")) == "yes",
        "context": directives.nonnegative_int,
    }

    def run(self) -> list[nodes.Node]:
        """A captioned literal block, or an error at the directive's line."""
        objects = self.options.get("pyobject", "").split() or [None]
        if len(objects) > 2:
            raise self.error(f"delta: pyobject names {len(objects)} objects, expected one or two")
        texts = []
        for argument, name in zip(self.arguments, (objects[0], objects[-1]), strict=True):
            path = Path(self.env.srcdir) / ROOT / argument
            self.env.note_dependency(str(path))
            try:
                texts.append(chosen(path, name, self.options.get("docstring", True)))
            except ValueError as error:
                raise self.error(f"delta: {error}") from None
        context = self.options.get("context", 3)
        diff = list(difflib.unified_diff(*texts, *self.arguments, n=context, lineterm=""))
        if not diff:
            raise self.error(f"delta: {' and '.join(self.arguments)} do not differ")
        added, removed = changes(diff)
        block = nodes.literal_block("\n".join(diff), "\n".join(diff), language="diff")
        old, new = self.arguments
        caption = nodes.caption("", "", nodes.literal(old, old), nodes.Text(" → "), nodes.literal(new, new))
        caption += nodes.Text(f": {added} lines added, {removed} removed")
        box = nodes.container("", literal_block=True, classes=["literal-block-wrapper", "delta"])
        box += [caption, block]
        self.set_source_info(block)
        return [box]


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("delta", Delta)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
