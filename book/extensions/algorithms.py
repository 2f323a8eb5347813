"""What the pages on algorithms show of the code itself, so that they cannot drift from it.

    ```{deviations} edac
    ```

the numbered deviations at the top of rdlib/algos/edac.py, as text;

    ```{cells} edac
    ```

the settings of its cells of the paper's tables and of its RD variant's, from rdlib/algos/cells.csv: cells
that are trained alike share a row. {setting}`edac.eta` is a field's default; `edac.steps` the updates at
paper scale; `edac.quick` the updates at quick scale and every field that differs there; `edac.key` the
fields of KEY that it has.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from rdlib.algos import ALGORITHMS
from rdlib.algos.cells import FILE, Settings, cells

COLUMNS = ("datasets", "columns of", "updates", "settings, else the defaults", "source")

KEY = "gamma tau alpha cql_alpha expectile temperature eta actor_lr critic_lr batch_size".split()


def source(algo: str) -> Path:
    """Its file. ValueError for an unknown name."""
    if algo not in ALGORITHMS:
        raise ValueError(f"no algorithm {algo!r}: expected one of {', '.join(ALGORITHMS)}")
    return FILE.with_name(f"{algo}.py")


def deviations(docstring: str) -> tuple[list[str], str]:
    """The numbered items under a header's "Deviations" and what stands below them, each as one line.
    None may be said ("No deviations."), not left out: ValueError."""
    _, found, text = docstring.partition("\nDeviations\n")
    if not found:
        if "No deviations." in docstring:
            return [], "None."
        raise ValueError('neither "Deviations" on a line of its own nor "No deviations."')
    items: list[str] = []
    below: list[str] = []
    for line in text.strip().splitlines():
        if match := re.match(r"(\d+)\. (.*)", line):
            items.append(match[2])
            if int(match[1]) != len(items):
                raise ValueError(f"deviation {match[1]} comes where {len(items)} is due")
        elif line.startswith(" ") and not below:
            items[-1] += f" {line.strip()}"
        else:
            below.append(line.strip())
    return items, " ".join(below)


def inline(text: str) -> nodes.paragraph:
    """A paragraph in which `code` is literal."""
    parts = re.split(r"`([^`]+)`", text)
    found = nodes.paragraph()
    for i, part in enumerate(parts):
        found += nodes.literal(part, part) if i % 2 else nodes.Text(part)
    return found


class Deviations(SphinxDirective):
    """See the top of this file."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A numbered list, or an error at the directive's line."""
        try:
            path = source(self.arguments[0])
            items, below = deviations(ast.get_docstring(ast.parse(path.read_text())) or "")
        except ValueError as error:
            raise self.error(f"deviations: {self.arguments[0]}: {error}") from None
        self.env.note_dependency(str(path))
        found: list[nodes.Node] = []
        if items:
            found.append(nodes.enumerated_list("", *(nodes.list_item("", inline(i)) for i in items)))
        return found + ([inline(below)] if below else [])


def rows(algo: str, every: Sequence[Settings]) -> list[list[str]]:
    """The cells of `algo` and its RD variant, COLUMNS wide: datasets with the same settings in one row."""
    own = [c for c in every if c.algo in (algo, f"{algo}_rd")]
    if not own:
        raise ValueError(f"the tables have no cell of {algo}")
    where: defaultdict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell in own:
        where[cell.dataset][cell.table].append(cell.algo)
    groups: dict[tuple[str, ...], list[str]] = {}
    for cell in own:
        tables = where[cell.dataset].items()
        settings = ", ".join(f"{k} = {v}" for k, v in cell.config.items()) or "none"
        row = (
            "; ".join(f"table {table}: {', '.join(names)}" for table, names in tables),
            f"{cell.steps or ALGORITHMS[algo].scales['paper'].steps:,}", settings, cell.source,
        )  # fmt: skip
        datasets = groups.setdefault(row, [])
        if cell.dataset not in datasets:
            datasets.append(cell.dataset)
    return [[short(datasets), *row] for row, datasets in groups.items()]


def short(datasets: Sequence[str]) -> str:
    """hopper-medium, hopper-expert, pen-human as "hopper: medium, expert; pen: human"; environments of
    the same qualities together."""
    qualities: defaultdict[str, list[str]] = defaultdict(list)
    for dataset in datasets:
        environment, _, quality = dataset.partition("-")
        qualities[environment].append(quality)
    environments: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for environment, found in qualities.items():
        environments[tuple(found)].append(environment)
    return "; ".join(f"{', '.join(e)}: {', '.join(q)}" for q, e in environments.items())


class Cells(SphinxDirective):
    """See the top of this file."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table, or an error at the directive's line."""
        try:
            body = rows(self.arguments[0], cells())
        except ValueError as error:
            raise self.error(f"cells: {error}") from None
        self.env.note_dependency(str(FILE))
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=1) for _ in COLUMNS]
        for wrap, lines in ((nodes.thead(), [COLUMNS]), (nodes.tbody(), body)):
            for line in lines:
                row = nodes.row()
                row += [nodes.entry("", nodes.paragraph(text=text)) for text in line]
                wrap += row
            group += wrap
        return [nodes.table("", group, classes=["cells"])]


def setting(text: str) -> str:
    """The default of `algorithm.field`, or its updates or its quick scale. ValueError without such."""
    algo, _, field = text.partition(".")
    source(algo)
    entry = ALGORITHMS[algo]
    if field == "steps":
        return f"{entry.scales['paper'].steps:,}"
    if field == "quick":
        fields = ", ".join(f"{k} = {v}" for k, v in entry.scales["quick"].overrides.items())
        return f"{entry.scales['quick'].steps:,} updates; {fields}"
    default = entry.config()
    if field == "key":
        return ", ".join(f"{k} = {getattr(default, k):g}" for k in KEY if hasattr(default, k))
    if not hasattr(default, field):
        raise ValueError(f"{algo} has no setting {field!r}: it has {', '.join(vars(default))}")
    value = getattr(default, field)
    return f"{value:,}" if type(value) is int else f"{value:g}" if type(value) is float else str(value)


class Setting(SphinxRole):
    """See the top of this file."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The value, or an error at the role's line."""
        try:
            self.env.note_dependency(str(source(self.text.partition(".")[0])))
            return [nodes.inline("", setting(self.text), classes=["setting"])], []
        except ValueError as error:
            message = self.inliner.reporter.error(f"setting: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives and the role."""
    app.add_directive("deviations", Deviations)
    app.add_directive("cells", Cells)
    app.add_role("setting", Setting())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
