"""The two tables as a page, a Markdown file or a paper shows them, other tables, and links to files.

A view of a table has one number a box: the paper's, ours at the paper's scale or at quick scale, or CORL's.
`rdlib.results.tables` has the rules by which they are what they are.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from rdlib.results.printed import TOTALS, title
from rdlib.results.tables import SIGNIFICANT, Box, spread

VIEWS = {"ours": "ours", "quick": "quick scale", "paper": "the paper", "corl": "CORL"}
STRONG = 30.0  # points of an effect of RD that has the full colour
RAISES, LOWERS = "33, 102, 172", "230, 97, 1"  # blue and orange, told apart by the colour-blind too
LEGEND = (
    "Mean ± deviation over seeds of last-iterate normalised scores. Bold: by the paper's rule, ours only "
    "against ours. †: p < 0.05 by a permutation test."
)


@dataclass(frozen=True)
class Shown:
    """A table, or links, as a page shows it, and as Markdown where that has no HTML (a PDF)."""

    html: str
    markdown: str

    def _repr_html_(self) -> str:
        return self.html

    def _repr_markdown_(self) -> str:
        return self.markdown


def probability(p: float) -> str:
    """`p = 0.038`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def means(boxes: Sequence[Box], of: str) -> pd.DataFrame:
    """One number a box of a view, datasets down and algorithms across in the paper's order; NaN where there
    is none. The totals of ours add up means; a table without totals gets a row of means. Both need all of a
    column's datasets."""
    scores = pd.DataFrame(
        {"dataset": b.printed.dataset, "algo": b.printed.algo, "score": _mean(b, of)} for b in boxes
    )
    found = scores.pivot(index="dataset", columns="algo", values="score")
    found = found.loc[scores.dataset.unique(), scores.algo.unique()].rename_axis(columns=None)
    inner = found.index.difference(list(TOTALS))
    for row, parts in TOTALS.items():
        if row in found.index and of != "paper":
            found.loc[row] = found.loc[[d for d in inner if d.startswith(parts)]].sum(skipna=False)
    if len(inner) == len(found):
        found.loc["mean"] = found.mean(skipna=False)
    return found


def _mean(box: Box, of: str) -> float:
    if of == "paper":
        return box.printed.mean
    if of == "corl":
        return box.corl[0] if box.corl else np.nan
    runs = getattr(box, of)
    return runs.mean if runs else np.nan


def effects(found: pd.DataFrame) -> pd.DataFrame:
    """The effect of RD in a table of `means`: RD's columns less their bases'."""
    bases = {a: base for a in map(str, found) if (base := a.removesuffix("_rd")) != a and base in found}
    return pd.DataFrame({a: found[a] - found[base] for a, base in bases.items()}, index=found.index)


def view(boxes: Sequence[Box], of: str) -> pd.DataFrame:
    """A view as text: `75.0 ± 11.2†`, empty where there is no number."""
    found = means(boxes, of)
    text = found.map(lambda x: "" if np.isnan(x) else f"{x:.1f}")
    for b in boxes:
        runs = getattr(b, of) if of in ("ours", "quick") else None
        if of == "paper" and b.printed.std is not None:
            text.loc[b.printed.dataset, b.printed.algo] = f"{b.printed.mean:.1f} ± {b.printed.std:.1f}"
        elif runs:
            mark = "†" if of == "ours" and b.bold and b.p is not None and b.p < SIGNIFICANT else ""
            lost = f" ({runs.diverged} of {len(runs.seeds)} diverged)" if runs.diverged else ""
            text.loc[b.printed.dataset, b.printed.algo] = f"{spread(runs.last)}{mark}{lost}"
    return text


def _bold(boxes: Sequence[Box], of: str) -> set[tuple[str, str]]:
    """The boxes of a view that stand in bold."""
    return {
        (b.printed.dataset, b.printed.algo) for b in boxes
        if (of == "ours" and b.bold) or (of == "paper" and b.printed.bold)
    }  # fmt: skip


def styled(boxes: Sequence[Box], of: str, coloured: bool = True) -> Styler:
    """A view with its bold and, where `coloured`, RD's columns by their effect, with ▲ and ▼ beside the
    colour for who sees none."""
    text = view(boxes, of)
    effect = effects(means(boxes, of)).reindex(columns=text.columns)
    css = pd.DataFrame("", index=text.index, columns=text.columns)
    for dataset, algo in _bold(boxes, of):
        css.loc[dataset, algo] = "font-weight: bold;"
    if coloured:
        css += effect.map(colour)
        text = effect.map(lambda x: "▲ " if x > 0 else "▼ " if x < 0 else "") + text
    names = {a: title(a) for a in map(str, text)}
    text, css = text.rename(columns=names), css.rename(columns=names)
    style = text.rename_axis(None).style.apply(lambda _: css, axis=None)
    return _plain(style, of) if coloured else style


def _plain(style: Styler, name: str) -> Styler:
    """Headings that wrap over numbers that do not, and the same HTML at each build."""
    css = [
        ("th.col_heading", "white-space: normal; vertical-align: bottom"),
        ("th.row_heading", "text-align: left"),
    ]
    return style.set_table_styles([{"selector": where, "props": how} for where, how in css]).set_uuid(
        f"table-{name}"
    )


def colour(effect: Any) -> str:
    """The CSS of a box by the effect of RD: nothing, blue where it raises a score, orange where it lowers
    one."""
    if np.isnan(effect) or not effect:
        return ""
    rgb, share = RAISES if effect > 0 else LOWERS, min(abs(effect) / STRONG, 1)
    return f"background-color: rgba({rgb}, {0.1 + 0.45 * share:.2f});"


def shown(boxes: Sequence[Box], views: Mapping[str, str] = VIEWS) -> Shown:
    """The table as tabs: one for each of `views` that has a number, and one of RD's effects where the table
    has its bases."""
    there = {of: views[of] for of in filled(boxes, views)}
    pages = {label: styled(boxes, of).to_html() for of, label in there.items()}
    found = {of: effects(means(boxes, of)) for of in there if of != "corl"}
    side_by_side = {
        f"{title(a.removesuffix('_rd'))}, {there[of]}": found[of][a]
        for a in map(str, means(boxes, "paper")) for of in found if a in found[of]
    }  # fmt: skip
    legend = escape(LEGEND)
    if side_by_side:
        effect = pd.DataFrame(side_by_side).rename_axis(None).dropna(axis=1, how="all")
        style = effect.style.map(colour).format("{:+.1f}", na_rep="")
        pages["effect of RD"] = _plain(style, "effect").to_html()
        legend += f" Coloured: the effect of RD, the score with RD less without.{_swatches()}"
    text = "\n\n".join(f"**{label}**\n\n{markdown(boxes, of)}" for of, label in there.items())
    return Shown(f"{tabs(pages)}<p>{legend}</p>", f"{text}\n\n{LEGEND}\n")


def filled(boxes: Sequence[Box], views: Iterable[str] = VIEWS) -> list[str]:
    """Those of `views` that have a number."""
    return [of for of in views if means(boxes, of).notna().to_numpy().any()]


def not_run(table: int) -> str:
    """How to run a table, for under one that has empty boxes."""
    return (
        "An empty box has not been run. `snakemake --profile workflow/profiles/local --config "
        f"numbers={table} -- tables` runs the table. [Its cost](hardware.ipynb) depends on the machine."
    )


def _swatches() -> str:
    """The legend of the colours."""
    return "".join(
        f' <span style="{colour(x)} padding: 0 0.5em">{"▲" if x > 0 else "▼"} {x:+.0f}</span>'
        for x in (-STRONG, -STRONG / 3, STRONG / 3, STRONG)
    )


def tabs(pages: Mapping[str, str]) -> str:
    """HTML under tabs, as sphinx-design has them; elsewhere the pages stand below each other."""
    parts = []
    for i, (label, page) in enumerate(pages.items()):
        checked = " checked" if i == 0 else ""
        parts.append(
            f'<input id="results-tab-{i}" name="results-tabs" type="radio"{checked}>'
            f'<label class="sd-tab-label" for="results-tab-{i}">{escape(label)}</label>'
            f'<div class="sd-tab-content docutils">{scrolling(page)}</div>'
        )
    return f'<div class="sd-tab-set docutils">{"".join(parts)}</div>'


def scrolling(table: str, height: str = "none") -> str:
    """A table of pandas in a box of its own that scrolls where it is wider than the page."""
    style = f"overflow: auto; max-height: {height}; white-space: nowrap; font-variant-numeric: tabular-nums"
    return f'<div class="results" style="{style}" tabindex="0">{table}</div>'


def markdown(boxes: Sequence[Box], of: str) -> str:
    """A view for a Markdown file."""
    text = view(boxes, of)
    for dataset, algo in _bold(boxes, of):
        text.loc[dataset, algo] = f"**{text.loc[dataset, algo]}**"
    return _markdown(text.rename(columns=title).reset_index())


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True)


def latex(boxes: Sequence[Box]) -> str:
    """Every view for a paper that loads booktabs."""
    views = (
        f"% {VIEWS[of]}\n{styled(boxes, of, coloured=False).to_latex(hrules=True, convert_css=True)}"
        for of in filled(boxes)
    )
    return "\n".join(views).replace("±", r"$\pm$").replace("†", r"$^\dagger$")


def scrolled(table: pd.DataFrame, digits: int = 1) -> Shown:
    """A long table, on a page in a box that scrolls both ways; what is missing is left empty."""

    def text(value: Any) -> str:
        if pd.isna(value):
            return ""
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    words = table.astype(object).map(text)
    with pd.option_context("display.max_colwidth", None):  # a command is shown whole
        html = words.to_html(index=False, border=0)
    return Shown(scrolling(html, "30em"), _markdown(words.replace(r"\|", r"\|", regex=True)))


def downloads(name: str, files: Mapping[str, str]) -> Shown:
    """Links that hold their files themselves: suffix to content, as `{"csv": …, "md": …, "tex": …}`."""
    links = []
    for suffix, text in files.items():
        content = base64.b64encode(text.encode()).decode()
        source = f"data:text/plain;base64,{content}"
        links.append(f'<a download="{name}.{suffix}" href="{source}">{name}.{suffix}</a>')
    names = ", ".join(f"`{name}.{suffix}`" for suffix in files)
    return Shown(f"<p>Download: {', '.join(links)}</p>", f"As files, on the page of the website: {names}.")
