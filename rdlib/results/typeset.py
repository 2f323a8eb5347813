"""The two tables as a Markdown file or a paper shows them, other tables, and links to files.

A view of a table has one number a box: the paper's, ours at one scale, or CORL's.
`rdlib.results.tables` has the rules by which they are what they are, `rdlib.results.webtable` shows them
on a page.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rdlib.results.printed import TOTALS, title
from rdlib.results.tables import SIGNIFICANT, Box, spread

OURS = {"ours": "ours, the paper's scale", "study": "ours, study scale", "quick": "ours, quick scale"}
VIEWS = OURS | {"paper": "the paper", "corl": "CORL"}
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
        runs = getattr(b, of) if of in OURS else None
        if of == "paper" and b.printed.std is not None:
            text.loc[b.printed.dataset, b.printed.algo] = f"{b.printed.mean:.1f} ± {b.printed.std:.1f}"
        elif runs:
            mark = "†" if of == "ours" and b.bold and b.p is not None and b.p < SIGNIFICANT else ""
            lost = f" ({runs.diverged} of {len(runs.seeds)} diverged)" if runs.diverged else ""
            text.loc[b.printed.dataset, b.printed.algo] = f"{spread(runs.last)}{mark}{lost}"
    return text


def bold(boxes: Sequence[Box], of: str) -> set[tuple[str, str]]:
    """The boxes of a view that stand in bold."""
    return {
        (b.printed.dataset, b.printed.algo) for b in boxes
        if (of == "ours" and b.bold) or (of == "paper" and b.printed.bold)
    }  # fmt: skip


def colour(effect: Any) -> str:
    """The CSS of a box by the effect of RD: nothing, blue where it raises a score, orange where it lowers
    one."""
    if np.isnan(effect) or not effect:
        return ""
    rgb, share = RAISES if effect > 0 else LOWERS, min(abs(effect) / STRONG, 1)
    return f"background-color: rgba({rgb}, {0.1 + 0.45 * share:.2f});"


def filled(boxes: Sequence[Box], views: Iterable[str] = VIEWS) -> list[str]:
    """Those of `views` that have a number."""
    return [of for of in views if means(boxes, of).notna().to_numpy().any()]


def not_run(table: int) -> str:
    """How to run a table, for under one that has empty boxes."""
    return (
        "An empty box has not been run. `snakemake --profile workflow/profiles/local --config "
        f"numbers={table} -- tables` runs the table at the paper's scale, at [this cost](hardware.ipynb)."
    )


def markdown(boxes: Sequence[Box], of: str) -> str:
    """A view for a Markdown file."""
    text = view(boxes, of)
    for dataset, algo in bold(boxes, of):
        text.loc[dataset, algo] = f"**{text.loc[dataset, algo]}**"
    return _markdown(text.rename(columns=title).reset_index())


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True)


def latex(boxes: Sequence[Box]) -> str:
    """Every view for a paper that loads booktabs."""

    def table(of: str) -> str:
        text, strong = view(boxes, of).rename(columns=title).rename_axis(None), bold(boxes, of)
        for dataset, algo in strong:
            text.loc[dataset, title(algo)] = rf"\bfseries {text.loc[dataset, title(algo)]}"
        return text.to_latex()

    views = (f"% {VIEWS[of]}\n{table(of)}" for of in filled(boxes))
    return "\n".join(views).replace("±", r"$\pm$").replace("†", r"$^\dagger$")


def scrolled(table: pd.DataFrame, digits: int = 1) -> Shown:
    """A long table, on a page in a box that scrolls both ways; what is missing is left empty. Words wrap, a
    mean and its deviation stay on a line."""

    def text(value: Any) -> str:
        if pd.isna(value):
            return ""
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    words = table.astype(object).map(text)
    with pd.option_context("display.max_colwidth", None):  # a command is shown whole
        html = words.replace(" ([±<=]) ", "\u00a0\\1\u00a0", regex=True).to_html(index=False, border=0)
    box = f'<div class="results" style="overflow: auto; max-height: 30em" tabindex="0">{html}</div>'
    return Shown(box, _markdown(words.replace(r"\|", r"\|", regex=True)))


def filed(name: str, table: pd.DataFrame) -> Shown:
    """A table with links to it as files; or that nothing of it was run."""
    if table.empty:
        return Shown(f"<p>{name}: not run</p>", f"{name}: not run")
    found = scrolled(table)
    files = {"csv": table.to_csv(index=False), "md": found.markdown, "tex": table.to_latex(index=False)}
    links = downloads(name, files)
    return Shown(found.html + links.html, f"{found.markdown}\n\n{links.markdown}")


def downloads(name: str, files: Mapping[str, str]) -> Shown:
    """Links that hold their files themselves: suffix to content, as `{"csv": …, "md": …, "tex": …}`."""
    links = []
    for suffix, text in files.items():
        content = base64.b64encode(text.encode()).decode()
        source = f"data:text/plain;base64,{content}"
        links.append(f'<a download="{name}.{suffix}" href="{source}">{name}.{suffix}</a>')
    names = ", ".join(f"`{name}.{suffix}`" for suffix in files)
    return Shown(f"<p>Download: {', '.join(links)}</p>", f"As files, on the page of the website: {names}.")
