"""The two tables on a page: a tab for each view, coloured by the effect of RD, filtered without a script.

Everything is in the HTML itself, so a page looks the same in the book, in Jupyter and on Colab.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from rdlib.results import typeset
from rdlib.results.printed import TOTALS, title
from rdlib.results.tables import Box
from rdlib.results.typeset import OURS, VIEWS, Shown, colour

ENVIRONMENTS = ("halfcheetah", "hopper", "walker2d", "pen")  # as datasets' names begin
TOGETHER = 3  # columns that a phone shows beside each other, in a table without pairs

Cell = tuple[str, str, str]  # text, CSS, and what it says when pointed at


def shown(boxes: Sequence[Box]) -> Shown:
    """The table as tabs: one for each view that has a number, ours first, and one of RD's effects where the
    table has its bases."""
    there = typeset.filled(boxes, ("ours", "study", "paper", "quick", "corl"))
    first = next((of for of in OURS if of in there), "paper")
    there.sort(key=lambda of: of != first)
    columns, rows = (
        list(dict.fromkeys(x)) for x in zip(*((b.printed.algo, b.printed.dataset) for b in boxes))
    )
    bases = [a for a in columns if f"{a}_rd" in columns]
    groups = [bases.index(a.removesuffix("_rd")) if bases else i // TOGETHER for i, a in enumerate(columns)]
    pages = {VIEWS[of]: _html([title(a) for a in columns], groups, _view(boxes, of)) for of in there}
    legend = escape(typeset.LEGEND)
    if bases:
        pages["effect of RD"] = _effects(boxes, bases, [of for of in there if of != "corl"])
        legend += f" Coloured: the effect of RD, the score with RD less without.{_swatches()}"
    parts = [
        ", ".join(title(a) for a, g in zip(columns, groups) if g == i and (a in bases or not bases))
        for i in range(max(groups) + 1)
    ]
    kinds = [e for e in ENVIRONMENTS if any(d.startswith(e) for d in rows)]
    text = "\n\n".join(f"**{VIEWS[of]}**\n\n{typeset.markdown(boxes, of)}" for of in there)
    html = f'<div class="results wide">{_filter(parts, kinds)}{tabs(pages)}<p>{legend}</p></div>'
    return Shown(html, f"{text}\n\n{typeset.LEGEND}\n")


def _view(boxes: Sequence[Box], of: str) -> Iterator[tuple[str, list[Cell]]]:
    """The rows of a view: one number a box; pointed at, a box of ours says the score of every seed."""
    text, found, bold = typeset.view(boxes, of), typeset.means(boxes, of), typeset.bold(boxes, of)
    effect = typeset.effects(found).reindex(columns=found.columns)
    seeds = {
        (o.dataset, o.algo): "; ".join(f"seed {s}: {x:.1f}" for s, x in zip(o.seeds, o.last))
        for b in boxes if of in OURS and (o := getattr(b, of))
    }  # fmt: skip
    for dataset, words, line in zip(text.index, text.to_numpy(str), effect.to_numpy(float)):
        cells = []
        for algo, word, x in zip(text, words, line):
            sign = "▲ " if x > 0 else "▼ " if x < 0 else ""
            weight = "font-weight: bold;" if (dataset, algo) in bold else ""
            cells.append((sign + word, colour(x) + weight, seeds.get((dataset, algo), "")))
        yield str(dataset), cells


def _effects(boxes: Sequence[Box], bases: Sequence[str], views: Sequence[str]) -> str:
    """RD's effect on each base, ours of each scale beside the paper's; what has no number is left out."""
    found = {of: typeset.effects(typeset.means(boxes, of)) for of in views}
    columns = [(a, of) for a in bases for of in views if found[of][f"{a}_rd"].notna().any()]
    lines = np.array([found[of][f"{a}_rd"].to_numpy(float) for a, of in columns]).T
    return _html(
        [f"{title(a)}, {VIEWS[of]}" for a, of in columns],
        [bases.index(a) for a, _ in columns],
        (
            (str(row), [("" if np.isnan(x) else f"{x:+.1f}", colour(x), "") for x in line])
            for row, line in zip(found["paper"].index, lines)
        ),
    )


def _html(columns: Sequence[str], groups: Sequence[int], rows: Iterator[tuple[str, list[Cell]]]) -> str:
    """A table whose rows and columns `_filter` can hide, by environment and by group."""
    heads = "".join(f'<th class="g g{g}">{escape(name)}</th>' for g, name in zip(groups, columns))
    lines = [f'<tr class="{" ".join(ENVIRONMENTS)}"><th></th>{heads}</tr></thead><tbody>']
    for row, cells in rows:
        kind = next((e for e in ENVIRONMENTS if row.startswith(e) and row not in TOTALS), "sum")
        data = "".join(
            f'<td class="g g{g}" style="{css}" title="{said}">{text}</td>'
            for g, (text, css, said) in zip(groups, cells)
        )
        lines.append(f'<tr class="{kind}"><th>{row}</th>{data}</tr>')
    table = "\n".join(lines).replace(' style=""', "").replace(' title=""', "")
    return f'<table class="dataframe"><thead>{table}</tbody></table>'


def _filter(groups: Sequence[str], environments: Sequence[str]) -> str:
    """Choices of columns and of rows, and the CSS that hides the others. A phone has no place for all
    columns and begins with the first group."""
    hidden, choices = "{ display: none }", ""
    css = [
        ".results table { font-variant-numeric: tabular-nums } .results.wide td { white-space: nowrap }",
        ".results .choices label { display: inline-block; margin: 0 0.6em }",
        f"@media (max-width: 720px) {{ .results:has(.columns-0:checked) .g:not(.g0) {hidden}",
        f".results label:has(.columns-0) {hidden} .results.wide table {{ font-size: 0.7rem }}",
        ".results.wide tbody th { white-space: nowrap } .results.wide :is(th, td) { padding: 0.25em } }",
        *(
            f".results:has(.columns-{i}:checked) .g:not(.g{i - 1}) {hidden}"
            for i, _ in enumerate(groups, 1)
        ),
        *(f".results:has(.rows-{i}:checked) tr:not(.{e}) {hidden}" for i, e in enumerate(environments, 1)),
    ]
    for of, labels in (("columns", groups), ("rows", environments)):
        choices += f'<div class="choices">{of}:'
        for i, label in enumerate(("all", *labels)):
            on = "" if i else " checked"
            choices += (
                f'<label><input type="radio" name="{of}" class="{of}-{i}"{on}> {escape(label)}</label>'
            )
        choices += "</div>"
    return f"<style>{' '.join(css)}</style>{choices}"


def _swatches() -> str:
    """The legend of the colours."""
    strong = typeset.STRONG
    return "".join(
        f' <span style="{colour(x)} padding: 0 0.5em">{"▲" if x > 0 else "▼"} {x:+.0f}</span>'
        for x in (-strong, -strong / 3, strong / 3, strong)
    )


def tabs(pages: Mapping[str, str]) -> str:
    """HTML under tabs, as sphinx-design has them; elsewhere the pages stand below each other."""
    parts = []
    for i, (label, page) in enumerate(pages.items()):
        checked = " checked" if i == 0 else ""
        parts.append(
            f'<input id="results-tab-{i}" name="results-tabs" type="radio"{checked}>'
            f'<label class="sd-tab-label" for="results-tab-{i}">{escape(label)}</label>'
            f'<div class="sd-tab-content docutils" style="overflow-x: auto; padding: 0.4em">{page}</div>'
        )
    return f'<div class="sd-tab-set docutils">{"".join(parts)}</div>'
