"""The two tables as a page, a Markdown file or a paper shows them, other tables and links to files.

A box holds the paper's number, ours and, where there are any, runs at quick scale and CORL's number;
`rdlib.results.tables` has the rules by which they are what they are.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rdlib.results import stats, tables
from rdlib.results.tables import Cell


def probability(p: float) -> str:
    """`p = 0.038`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


@dataclass(frozen=True)
class Shown:
    """A table, or links, as a page shows it, and as Markdown where that has no HTML (a PDF)."""

    html: str
    markdown: str

    def _repr_html_(self) -> str:
        return self.html

    def _repr_markdown_(self) -> str:
        return self.markdown


def lines(cell: Cell, cells: Sequence[Cell], bold: Callable[[str], str]) -> list[str]:
    """What stands in one box: the paper's number, ours, and quick runs and CORL's where there are any."""
    p, o, q = cell.printed, cell.ours, cell.quick
    theirs = f"{p.mean:.1f}" if p.std is None else f"{p.mean:.1f} ± {p.std:.1f}"
    if p.dataset in tables.TOTALS:
        ours = tables.total(cells, p.algo, p.dataset)
        mine = "not run" if ours is None else f"{ours:.1f}"
    elif o is None:
        mine = "not run"
    else:
        mark = "†" if cell.bold and cell.p is not None and cell.p < tables.SIGNIFICANT else ""
        lost = f" ({o.diverged} of {len(o.seeds)} diverged)" if o.diverged else ""
        score = bold(tables.spread(o.last)) if cell.bold else tables.spread(o.last)
        mine = f"{score}{mark}, best {stats.mean(o.best):.1f}{lost}"
    best = f"best {stats.mean(q.best):.1f}, n = {len(q.seeds)}" if q else ""
    small = [f"quick: {tables.spread(q.last)} ({best})"] if q else []
    peer = [f"CORL: {cell.corl[0]:.1f}"] if cell.corl else []
    return [bold(theirs) if p.bold else theirs, mine, *small, *peer]


def heading(algo: str, cells: Iterable[Cell]) -> list[str]:
    """A column's title, and what was run of it at each scale: `quick: 12,000 updates, bundled`."""
    ran = [o for c in cells if c.printed.algo == algo for o in (c.ours, c.quick) if o]
    found = [tables.title(algo)]
    for scale in dict.fromkeys(o.scale for o in ran):
        of = [o for o in ran if o.scale == scale]
        updates = " or ".join(f"{n:,}" for n in sorted({o.steps for o in of}))
        found.append(f"{scale}: {updates} updates, {' or '.join(sorted({o.source for o in of}))}")
    return found


def markdown(cells: Sequence[Cell]) -> str:
    """The table as the paper lays it out, each box the paper's number above ours."""
    head, body = _grid(cells, lambda c: "<br>".join(lines(c, cells, "**{}**".format)), "<br>".join)
    return _pipes(head, body, LEGEND)


def _pipes(head: Sequence[str], body: Iterable[Sequence[str]], legend: str = "") -> str:
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", legend, ""])


def shown(cells: Sequence[Cell]) -> Shown:
    """The same as a page shows it; a narrow screen scrolls it sideways."""

    def stacked(texts: list[str]) -> str:
        small = (f'<span style="font-size: 0.85em">{text}</span>' for text in texts[1:])
        return "<br>".join([texts[0], *small])

    head, body = _grid(cells, lambda c: stacked(lines(c, cells, "<b>{}</b>".format)), stacked)
    name = 'scope="row" style="white-space: normal; vertical-align: top"'
    pad = 'style="padding: 0.2em 0.7em; vertical-align: top"'  # so that a row's numbers stand in line
    headings = "".join(f'<th scope="col" {pad}>{text}</th>' for text in head)
    rows = "".join(
        f"<tr><th {name}>{first}</th>" + "".join(f"<td {pad}>{text}</td>" for text in boxes) + "</tr>"
        for first, *boxes in body
    )
    style = "overflow-x: auto; white-space: nowrap; font-variant-numeric: tabular-nums"
    table = f"<thead><tr>{headings}</tr></thead><tbody>{rows}</tbody>"
    html = (
        f'<div style="{style}" tabindex="0"><table class="dataframe">{table}</table></div>'
        f"<p>{LEGEND.replace('<', '&lt;')}</p>"
    )
    return Shown(html, markdown(cells).replace("<br>", " / "))


def scrolled(table: pd.DataFrame, digits: int = 1) -> Shown:
    """A long table, on a page in a box that scrolls both ways; what is missing is left empty."""

    def text(value: Any) -> str:
        if pd.isna(value):
            return ""
        if isinstance(value, float):
            return f"{value:.{digits}f}"
        return str(value).replace("|", r"\|")

    # `to_html` has its `na_rep` for NaN only, not for None nor for what is missing among integers.
    known = table.astype(object).where(table.notna(), np.nan)
    with pd.option_context("display.max_colwidth", None):  # a command is shown whole
        html = known.to_html(index=False, na_rep="", float_format=f"{{:.{digits}f}}".format, border=0)
    style = "overflow: auto; max-height: 30em; white-space: nowrap"
    body = ([text(value) for value in row] for row in table.itertuples(index=False))
    return Shown(
        f'<div style="{style}" tabindex="0">{html}</div>', _pipes([*map(str, table.columns)], body)
    )


def downloads(name: str, files: Mapping[str, str]) -> Shown:
    """Links that hold their files themselves: suffix to content, as `{"csv": …, "md": …, "tex": …}`."""
    links = []
    for suffix, text in files.items():
        content = base64.b64encode(text.encode()).decode()
        source = f"data:text/plain;base64,{content}"
        links.append(f'<a download="{name}.{suffix}" href="{source}">{name}.{suffix}</a>')
    names = ", ".join(f"`{name}.{suffix}`" for suffix in files)
    return Shown(f"<p>Download: {', '.join(links)}</p>", f"As files, on the page of the website: {names}.")


def latex(cells: Sequence[Cell]) -> str:
    """The same for a paper that loads booktabs."""

    def stacked(texts: list[str]) -> str:
        text = r"\shortstack[r]{" + r" \\ ".join(texts) + "}"
        return text.replace("±", r"$\pm$").replace("†", r"$^\dagger$")

    head, body = _grid(cells, lambda c: stacked(lines(c, cells, r"\textbf{{{}}}".format)), stacked)
    legend = LEGEND.replace("†", r"$^\dagger$").replace("±", r"$\pm$").replace("<", "$<$")
    rows = [" & ".join(row) + r" \\" for row in (head, *body)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}"
    end = [r"\bottomrule", r"\end{tabular}", "", f"% {legend}", ""]
    return "\n".join([begin, r"\toprule", rows[0], r"\midrule", *rows[1:], *end])


LEGEND = (
    "In each box: the paper's number, then ours (mean ± deviation over seeds of last-iterate normalised "
    "scores, at the paper's scale), then, where there are any, runs at quick scale, which are comparable "
    "with neither; best: the mean over seeds of each one's best evaluation, which is optimistic. CORL: its "
    "README's last-iterate number, of an independent code base on D4RL's files, where it has one. Each "
    "heading says how long ours ran and whose data: d4rl, or bundled, stand-ins rolled out by rdlib. Bold: "
    "by the paper's rule, ours only against ours. †: p < 0.05, permutation test."
)


def _grid(
    cells: Sequence[Cell], text: Callable[[Cell], str], stacked: Callable[[list[str]], str]
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, datasets down and algorithms across, in the paper's order."""
    algos = list(dict.fromkeys(c.printed.algo for c in cells))
    datasets = list(dict.fromkeys(c.printed.dataset for c in cells))
    by_key = {(c.printed.dataset, c.printed.algo): text(c) for c in cells}
    body = [[d.replace("-total", " total"), *(by_key[d, a] for a in algos)] for d in datasets]
    return ["dataset", *(stacked(heading(a, cells)) for a in algos)], body
