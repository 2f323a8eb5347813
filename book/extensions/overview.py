"""The results at a glance, from the published records at build time.

{claims} has a row for each claim of `rdlib.results.claims`, with a verdict and its number for each folder
of SCALES whose records can answer one. {ran} has a row for each algorithm and what ran of it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from records import RESULTS, Records, table
from sphinx import addnodes
from sphinx.application import Sphinx

from rdlib.data import catalog
from rdlib.results import claims, printed
from rdlib.training.record import Record, files_in

SCALES = {  # of these folders: what the records are called, and what the page calls them
    "quick": ("quick", "quick scale"), "study": ("study", "study scale"),
    "paper-tenth": ("paper", "a tenth of the paper's scale"), "paper-whole": ("paper", "one whole run"),
    "paper": ("paper", "the paper's scale"),
}  # fmt: skip
ENVIRONMENTS = {"hopper": "Hopper", "halfcheetah": "HalfCheetah", "walker2d": "Walker2d", "pen": "pen"}


class Ran(Records):
    """See the top of this file."""

    def names(self, root: Path) -> list[str]:
        """Those of SCALES that are there."""
        return [name for name in SCALES if files_in(root / name)]

    def tables(self, folders: Mapping[str, Sequence[Record]]) -> list[nodes.Node]:
        """A row for each algorithm, a column for each environment."""
        return [table("", "", ("algorithm", "also with", *ENVIRONMENTS.values()), ran(folders))]


class Claims(Ran):
    """See the top of this file."""

    def tables(self, folders: Mapping[str, Sequence[Record]]) -> list[nodes.Node]:
        """A row for each claim, a column for each folder that can answer one."""
        root = Path(self.env.srcdir) / RESULTS
        cells = {name: claims.read(root, name, SCALES[name][0]) for name in folders}
        found = {
            name: answers for name, those in cells.items()
            if set(answers := [claim.ask(those) for claim in claims.CLAIMS]) != {claims.NOT_RUN}
        }  # fmt: skip
        body: list[list[str | nodes.Node]] = [
            [claim.words, *(verdict(SCALES[name][1], answers[i]) for name, answers in found.items()),
             page(self.env.docname, claim.page)]
            for i, claim in enumerate(claims.CLAIMS)
        ]  # fmt: skip
        made = table("", "", ("the paper says", *(SCALES[name][1] for name in found), "more"), body)
        made["classes"] = ["stacked"]
        return [made]


def verdict(scale: str, found: claims.Finding) -> nodes.Node:
    """A cell of {claims}: after the name of the scale, which shows where a phone has no headings."""
    kind = "verdict-" + found.verdict.replace(" ", "-")
    parts = [
        nodes.inline("", f"{scale}: ", classes=["heading"]),
        nodes.strong("", found.verdict, classes=[kind]),
    ]
    number = re.sub(r" ([<=]) ", "\u00a0\\1\u00a0", found.number)  # p = 0.05 on one line
    return nodes.paragraph("", "", *parts, nodes.Text(number and f": {number}"))


def page(here: str, target: str) -> nodes.Node:
    """A link to a page of the book: "Table 1" for notebooks/table1."""
    name = target.rpartition("/")[2].replace("table", "Table ")
    link = addnodes.pending_xref(
        "", nodes.inline("", name), refdomain="std", reftype="doc", reftarget=f"/{target}", refdoc=here,
        refexplicit=True, refwarn=True,
    )  # fmt: skip
    return nodes.paragraph("", "", link)


def ran(folders: Mapping[str, Sequence[Record]]) -> list[list[str]]:
    """What ran on what: the algorithm, what it also ran with, and the folders by environment."""
    runs = [(name, r, catalog.short_name(r.dataset)) for name, found in folders.items() for r in found]
    lines = []
    for base in printed.TITLES:
        mine = [run for run in runs if run[1].algo == base or run[1].algo.startswith(f"{base}_")]
        title = printed.title(base)
        more = {printed.title(r.algo).removeprefix(f"{title} + ") for _, r, _ in mine} - {title}
        line = [title, ", ".join(sorted(more, key=lambda m: (m != "RD", m)))]
        for environment in ENVIRONMENTS:
            here: dict[str, tuple[set[str], set[int]]] = {}
            for name, r, d in mine:
                if d.startswith(environment):
                    names, seeds = here.setdefault(name, (set(), set()))
                    names.add(d)
                    seeds.add(r.seed)
            line.append("; ".join(f"{name} {len(n)} × {len(s)}" for name, (n, s) in here.items()))
        lines.append(line)
    return lines


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    app.add_directive("claims", Claims)
    app.add_directive("ran", Ran)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
