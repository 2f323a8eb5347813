"""Figures of the book in one style: colour-blind safe, legible at 390 px, drawn from data and records."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.data import catalog
from rdlib.data.dataset import Dataset
from rdlib.results import compare, stats
from rdlib.results.printed import Printed, title
from rdlib.results.tables import Box, Ours
from rdlib.training.record import Record, RecordError

PALETTE = sns.color_palette("colorblind")
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.dpi": 110,
}


def use_style() -> None:
    """Set the book's style for every later figure."""
    plt.rcParams.update(STYLE)


def evaluations(records: Iterable[Record]) -> pd.DataFrame:
    """One row per record and evaluation: algo, dataset, seed, step, score, diagnostics, training means.

    Where both have a name (`q_data`), the diagnostic stands, which is of this moment and a fixed batch."""
    rows = []
    for record in records:
        for evaluation, score in zip(record.evaluations, record.scores(), strict=True):
            rows.append(
                {
                    "algo": record.algo,
                    "dataset": record.dataset,
                    "seed": record.seed,
                    "step": evaluation["step"],
                    "score": score,
                    **evaluation["training"],
                    **evaluation["diagnostics"],
                }
            )
    return pd.DataFrame(rows)


def dataset_overview(dataset: Dataset, points: int = 5_000) -> Figure:
    """Returns and lengths of the episodes, and the states on their first two principal components,
    coloured by reward."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2))
    returns, lengths = dataset.episode_returns(), dataset.episode_lengths()
    left.hist(returns, bins=40, color=PALETTE[0])
    left.set(title="episode returns", xlabel="return", ylabel="episodes")
    middle.hist(lengths, bins=40, color=PALETTE[1])
    middle.set(title="episode lengths", xlabel="steps")
    rows = np.linspace(0, len(dataset) - 1, min(points, len(dataset))).astype(int)
    states = dataset.obs[rows].astype(np.float64)
    states = (states - states.mean(0)) / (states.std(0) + 1e-3)
    _, _, axes = np.linalg.svd(states, full_matrices=False)
    plane = states @ axes[:2].T
    dots = right.scatter(*plane.T, c=dataset.rew[rows], s=3, cmap="viridis", rasterized=True)
    right.set(title="states, first two principal components", xlabel="first", ylabel="second")
    figure.colorbar(dots, ax=right, label="reward")
    return figure


def curves(
    frame: pd.DataFrame, columns: dict[str, str], ylabel: str, title: str, axes: Axes | None = None
) -> Axes:
    """Columns of `evaluations` over gradient updates: mean over seeds, band of ± one deviation, one
    thin line per seed. `columns` maps each to its label."""
    if axes is None:
        _, axes = plt.subplots(figsize=(6, 3.6))
    for (column, label), colour in zip(columns.items(), PALETTE, strict=False):
        table = frame.pivot_table(index="step", columns="seed", values=column)
        mean, std = table.mean(axis=1), table.std(axis=1, ddof=0)
        axes.plot(mean.index, mean, label=label, color=colour, lw=2)
        if table.shape[1] > 1:
            axes.fill_between(mean.index, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
            axes.plot(table.index, table, color=colour, lw=0.5, alpha=0.6)
    axes.set(xlabel="gradient updates", ylabel=ylabel, title=title)
    axes.legend()
    return axes


def learning_curves(
    groups: dict[str, Sequence[Record]], levels: dict[str, float], interval: float = 95
) -> Figure:
    """Score over gradient updates of each group of records, with the interval of the mean by
    bootstrap: over seeds where there are several, else over the episodes of the one seed (which
    says nothing about seeds). `levels` are horizontal lines to compare with."""
    for records in groups.values():
        if len({r.dataset_digest for r in records}) > 1:
            names = sorted({r.dataset for r in records})
            raise RecordError(f"a curve of different datasets, all called {', '.join(names)}")
    figure, axes = plt.subplots(figsize=(7, 4))
    rng = np.random.default_rng(0)
    for (label, records), colour in zip(groups.items(), cycle(PALETTE), strict=False):
        steps = max((r.steps_evaluated() for r in records), key=len)
        if len(records) > 1:
            whole = [r.scores() for r in records if len(r.evaluations) == len(steps)]
            units = np.stack(whole, 1)
            if len(whole) < len(records):  # no mean can be drawn with a curve that breaks off
                label += f" ({len(whole)} of {len(records)} seeds, the others diverged)"
        else:
            units = np.array([records[0].episode_scores(i) for i in range(len(steps))])
        resampled = units[:, rng.integers(0, units.shape[1], (1000, units.shape[1]))].mean(-1)
        low, high = np.percentile(resampled, [50 - interval / 2, 50 + interval / 2], axis=1)
        axes.plot(steps, units.mean(1), label=label, color=colour, lw=2)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
    for (label, level), style in zip(levels.items(), cycle(("--", ":", "-.")), strict=False):
        axes.axhline(level, color="grey", ls=style, lw=1.2, label=label)
    unit = "return" if next(iter(groups.values()))[0].reference is None else "normalised score"
    axes.set(xlabel="gradient updates", ylabel=unit)
    axes.legend()
    return figure


def dataset_score(dataset: Dataset) -> float:
    """Mean score of the dataset's whole episodes (mean return where there is no reference)."""
    mean = dataset.episode_returns().mean()
    reference = catalog.reference_of(dataset)
    return float(catalog.score(mean, reference) if reference else mean)


def seed_points(cells: Sequence[Ours], printed: Sequence[Printed] = ()) -> Figure:
    """One row per cell: every seed's last-iterate score (filled), its best evaluation (hollow), their mean
    (line); the paper's mean ± deviation as a grey bar where `printed` has the cell."""
    theirs = {(p.algo, p.dataset): p for p in printed}
    figure, axes = plt.subplots(figsize=(6, 1.2 + 0.32 * len(cells)))
    for row, cell in enumerate(cells):
        p = theirs.get((cell.algo, cell.dataset))
        if p is not None:
            wide = p.std or 0.6
            axes.barh(row, 2 * wide, left=p.mean - wide, height=0.7, color="grey", alpha=0.3)
        colour = PALETTE[1 if cell.algo.endswith("_rd") else 0]
        axes.plot([cell.mean] * 2, [row - 0.35, row + 0.35], color=colour, lw=2)
        height = row + np.linspace(-0.15, 0.15, len(cell.seeds)) * (len(cell.seeds) > 1)
        axes.plot(cell.best, height, "o", mfc="none", color=colour, ms=5, alpha=0.7)
        axes.plot(cell.last, height, "o", color=colour, ms=5)
    several = len({c.dataset for c in cells}) > 1
    names = [title(c.algo) + (f", {c.dataset}" if several else "") for c in cells]
    axes.set_yticks(range(len(cells)), names)
    axes.invert_yaxis()
    axes.set(xlabel="normalised score: last iterate (filled), best (hollow)")
    return figure


def intervals(
    rows: Mapping[str, tuple[float, tuple[float, float]]], xlabel: str, at: float, axes: Axes | None = None
) -> Figure:
    """Estimates with their intervals, one row each, and a vertical line at `at`. In a figure of their own
    its title counts those that are beyond the line with their whole interval."""
    if axes is None:
        figure, axes = plt.subplots(figsize=(9, 1.2 + 0.3 * len(rows)))
        above, below = (
            sum(x > 0 for x in side)
            for side in zip(*((low - at, at - high) for _, (low, high) in rows.values()))
        )
        figure.suptitle(
            f"Of {len(rows)}, {above} are above {at:g} with their whole interval, {below} below"
        )
    for row, (value, (low, high)) in enumerate(rows.values()):
        axes.plot([low, high], [row, row], color=PALETTE[0], lw=6, alpha=0.4, solid_capstyle="butt")
        axes.plot(value, row, "o", color=PALETTE[0])
    axes.axvline(at, color="grey", ls="--", lw=1.2)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set(xlabel=xlabel)
    return _figure_of(axes)


def _figure_of(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes of no figure have been removed
    return figure


def profiles(columns: Mapping[str, stats.Array], axes: Axes | None = None) -> Figure:
    """Performance profiles of scores (S,D) by name, with 95 % bands of the stratified bootstrap."""
    if axes is None:
        _, axes = plt.subplots(figsize=(6, 3.6))
    top = max(float(x.max()) for x in columns.values())
    thresholds = np.linspace(0, max(top, 1.0), 101)
    for (name, x), colour in zip(columns.items(), cycle(PALETTE)):
        low, high = stats.interval(lambda s: stats.profile(s, thresholds), x, repeats=2_000)
        axes.plot(thresholds, stats.profile(x, thresholds), label=name, color=colour, lw=2)
        axes.fill_between(thresholds, low, high, color=colour, alpha=0.2, lw=0)
    axes.set(xlabel="normalised score τ", ylabel="share of runs above τ", ylim=(-0.02, 1.02))
    axes.legend(fontsize=8)
    return _figure_of(axes)


def overall(boxes: Sequence[Box], of: str) -> list[Figure]:
    """Over all datasets of each pair of Table 1 that ran (of: "ours", "study" or "quick"): IQM without RD
    and with it beside the probability of improvement, and performance profiles. None where no pair ran."""
    found, pairs = compare.summary(boxes, of), compare.pairs(boxes, of)
    found = found[found.seeds > 0].set_index("base")
    if found.empty:
        return []
    iqm, better = {}, {}
    for base, (_, row) in zip(found.index.map(str), found.iterrows()):
        for name, column in ((title(base), "IQM"), (f"{title(base)} + RD", "IQM + RD")):
            iqm[name] = row[column], (row[f"{column} low"], row[f"{column} high"])
        better[title(base)] = row["improvement"], (row["improvement low"], row["improvement high"])
    first, (left, right) = plt.subplots(1, 2, figsize=(11, 1.2 + 0.4 * len(iqm)))
    intervals(iqm, "IQM of normalised scores", 0, left)
    intervals(better, "probability that a run with RD is above one without", 0.5, right)
    clear = [base for base, (_, (low, _)) in better.items() if low > 0.5]
    first.suptitle(f"With RD a run is more likely above one without for {', '.join(clear) or 'no base'}")
    second, panels = plt.subplots(1, len(pairs), figsize=(2.9 * len(pairs) + 0.5, 3.2), squeeze=False)
    for pair, axes in zip(pairs, panels[0]):
        profiles({title(pair.base): pair.without, "with RD": pair.with_rd}, axes)
    return [first, second]


def forest(found: pd.DataFrame, whole: pd.DataFrame) -> Figure:
    """The effect of RD (`compare.effects`), one panel for each base and one row for each dataset: ours with
    its interval, the paper's as a hollow diamond. Below each panel, over its datasets (`compare.summary`):
    IQM without and with RD, and the probability that a run with RD is above one without."""
    over = whole[whole.seeds > 0].set_index("base")
    bases, datasets = (list(dict.fromkeys(found[name])) for name in ("base", "dataset"))
    size = (2.2 * len(bases) + 2.2, 0.32 * len(datasets) + 1.6)
    figure, panels = plt.subplots(1, len(bases), figsize=size, sharey=True, squeeze=False)
    rows = {dataset: i for i, dataset in enumerate(datasets)}
    for axes, base in zip(panels[0], bases):
        mine = found[found.base == base]
        height = mine.dataset.map(rows)
        axes.axvline(0, color="grey", lw=1)
        axes.hlines(height, mine.low, mine.high, color=PALETTE[0], lw=4, alpha=0.45)
        axes.plot(mine.ours, height, "o", color=PALETTE[0], ms=5, label="ours, 95 % interval")
        axes.plot(mine.paper, height, "D", mfc="none", color=PALETTE[1], ms=5, label="the paper's")
        below = ["effect of RD on the score"]
        if base in over.index:
            iqm, with_rd, better = over.loc[base, ["IQM", "IQM + RD", "improvement"]]
            below += [f"IQM {iqm:.1f}, with RD {with_rd:.1f}", f"P(RD above) {better:.2f}"]
        axes.set(title=title(base), xlabel="\n".join(below))
    panels[0, 0].set_yticks(range(len(datasets)), datasets)
    panels[0, 0].invert_yaxis()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
