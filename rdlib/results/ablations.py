"""The protocol's questions (workflow/protocol.md): what each setting scored, and against what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from rdlib.results import plots, stats, tables
from rdlib.results.grid import Question
from rdlib.results.printed import title
from rdlib.results.tables import Ours
from rdlib.results.typeset import probability
from rdlib.training.record import Record


@dataclass(frozen=True)
class Setting:
    """The runs of one algorithm in one configuration, by dataset."""

    algo: str
    variant: str  # in words; empty: as it is
    runs: Mapping[str, Ours]

    @property
    def name(self) -> str:
        """`TD3-N-UNC + RD, weight 0.1`."""
        return ", ".join(filter(None, (title(self.algo), self.variant)))

    def whole(self, datasets: Iterable[str]) -> bool:
        """Whether it ran on all of these."""
        return all(d in self.runs for d in datasets)

    def scores(self, datasets: Sequence[str]) -> stats.Array:
        """Last-iterate scores (S,D). Raises TableError unless all ran, with the same seeds."""
        return tables.matrix({(self.algo, d): ours for d, ours in self.runs.items()}, self.algo, datasets)

    def ends(self, datasets: Iterable[str], name: str = "q_policy") -> stats.Array:
        """A diagnostic at the end of each run (runs,); NaN where it was not finite."""
        records = (r for d in datasets for r in self.runs[d].records)
        return np.array([r.evaluations[-1]["diagnostics"][name] for r in records], dtype=float)

    def value(self, field: str) -> Any:
        """What all its runs have in a field of the configuration or, after `plugin.`, of RD or DR3."""
        record = next(iter(self.runs.values())).records[0]
        own, name = (
            (record.plugin or {}, field[7:]) if field.startswith("plugin.") else (record.config, field)
        )
        return own[name]


def words(variant: Mapping[str, Any]) -> str:
    """`weight 0.1`."""
    return ", ".join(f"{k.removeprefix('plugin.')} {v:g}" for k, v in variant.items())


def answers(question: Question, records: Iterable[Record], datasets: Iterable[str] = ()) -> list[Setting]:
    """Those of a question's variants that ran on all of its datasets (or of `datasets`), in its order."""
    among, found = list(records), []
    for variant in question.variants:
        runs = {o.dataset: o for o in tables.collect(question.answers(variant, among)).values()}
        described = question.question if question.stage == "ablate" or not variant else ""
        text = ", ".join(filter(None, (described, words(variant))))
        setting = Setting(question.algo, text, runs)
        if setting.whole(datasets or question.datasets):
            found.append(setting)
    return found


def by_config(records: Iterable[Record], fields: Sequence[str], datasets: Sequence[str]) -> list[Setting]:
    """What ran on all of `datasets`, a setting for each algorithm and values of these fields."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        if r.dataset in datasets:
            groups.setdefault((r.algo, *(r.config[f] for f in fields)), []).append(r)
    found = [
        Setting(
            algo, words(dict(zip(fields, values))), {o.dataset: o for o in tables.collect(group).values()}
        )
        for (algo, *values), group in sorted(groups.items())
    ]
    return [setting for setting in found if setting.whole(datasets)]


def as_it_is(cells: Mapping[tuple[str, str], Ours], algo: str, datasets: Iterable[str]) -> list[Setting]:
    """An algorithm of the tables on these datasets; empty unless it ran on all of them."""
    names = list(datasets)
    setting = Setting(algo, "", {d: cells[algo, d] for d in names if (algo, d) in cells})
    return [setting] if setting.whole(names) else []


def picked(settings: Sequence[Setting], datasets: Sequence[str]) -> Setting:
    """By the protocol's rule: the first whose mean score is within one point of the best."""
    means = [s.scores(datasets).mean() for s in settings]
    return next(s for s, mean in zip(settings, means) if mean >= max(means) - 1)


def best(settings: Sequence[Setting], datasets: Sequence[str]) -> Setting:
    """The one of the highest mean score."""
    return max(settings, key=lambda s: s.scores(datasets).mean())


def table(
    settings: Iterable[Setting], datasets: Sequence[str], against: Setting | None = None
) -> pd.DataFrame:
    """A row for each setting: its scores, and the values of the policy's actions at the end. `against`: how
    far its mean is from that one's, the p of that, and the probability that a run of `against` is above."""
    rows = []
    for s in settings:
        x = s.scores(datasets)
        row = {"algorithm": title(s.algo), "setting": s.variant, "seeds": len(x), "mean": x.mean()}
        row |= {d: tables.spread(column) for d, column in zip(datasets, x.T)}
        row["median Q(s, π(s)) at the end"] = f"{np.nanmedian(s.ends(datasets)):,.0f}"
        if against is not None and s is not against:
            other = against.scores(datasets)
            low, high = stats.interval(stats.improvement, other, x)
            row[f"less {against.name}"] = f"{x.mean() - other.mean():+.1f}"
            row["test"] = probability(stats.p_value(x, other))
            row[f"P({against.name} above)"] = f"{stats.improvement(other, x):.2f} ({low:.2f} to {high:.2f})"
        rows.append(row)
    return pd.DataFrame(rows)


def differences(settings: Sequence[Setting], datasets: Sequence[str], against: Setting) -> Figure:
    """The mean score of each setting less that of `against`, with 95 % intervals over seeds."""
    other = against.scores(datasets)
    rows: dict[str, Any] = {}
    for s in settings:
        scores = s.scores(datasets), other
        rows[s.variant or s.name] = stats.difference(*scores), stats.interval(stats.difference, *scores)
    return plots.intervals(rows, f"mean score less that of {against.name}", 0)


def sweep(
    panels: Mapping[str, tuple[str, Sequence[Setting], Sequence[Setting]]], datasets: Sequence[str]
) -> Figure:
    """Mean score against one field, a panel for each (field, settings, base): dots for the datasets, and a
    dashed line for the base where that ran."""
    size = (2.6 * len(panels) + 0.6, 3.2)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for ax, (name, (field, settings, base)) in zip(axes[0], panels.items()):
        x = [s.value(field) for s in settings]
        means = [s.scores(datasets).mean() for s in settings]
        best = f"best mean {max(means):.1f}, at {x[int(np.argmax(means))]:g}"
        for dataset, colour in zip(datasets, plots.PALETTE):
            ax.plot(x, [s.runs[dataset].mean for s in settings], ".", color=colour, label=dataset)
        ax.plot(x, means, color="C7", lw=1.5, label="mean")
        for setting in base:
            ax.axhline(setting.scores(datasets).mean(), color="C7", ls="--", lw=1, label="mean of the base")
        ax.set(title=f"{name}\n{best}", xlabel=field.removeprefix("plugin."), xscale="log")
    axes[0, 0].set_ylabel("normalised score")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    return figure


def training(
    records: Iterable[Record], columns: Mapping[str, str], logarithmic: Iterable[str] = ()
) -> Figure:
    """Columns of `plots.evaluations` over training, a row of panels for each dataset: thin lines are seeds,
    the thick one their median."""
    frame = plots.evaluations(records)
    datasets, algos, first = sorted(set(frame.dataset)), sorted(set(frame.algo)), next(iter(columns))
    size = (3 * len(columns), 1.9 * len(datasets) + 1)
    figure, axes = plt.subplots(len(datasets), len(columns), figsize=size, squeeze=False)
    for row, dataset in zip(axes, datasets):
        for ax, (column, label) in zip(row, columns.items()):
            for algo, colour in zip(algos, plots.PALETTE):
                part = frame[(frame.dataset == dataset) & (frame.algo == algo)]
                seeds = part.pivot_table(index="step", columns="seed", values=column)
                ax.plot(seeds.index / 1000, seeds, lw=0.6, alpha=0.6, color=colour)
                ax.plot(seeds.index / 1000, seeds.median(axis=1), lw=2, color=colour, label=title(algo))
            ax.set(ylabel=label, yscale="symlog" if column in set(logarithmic) else "linear")
        ends = {a: frame[(frame.dataset == dataset) & (frame.algo == a)] for a in algos}
        ends = {
            a: part.sort_values("step").groupby("seed")[first].last()
            for a, part in ends.items()
            if len(part)
        }
        words = ", ".join(f"{title(a)} {x.median():,.4g}" for a, x in ends.items())
        row[0].set_title(f"{dataset}, {columns[first]} at the end: {words}", loc="left", fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("thousand updates")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(algos))
    return figure


def runs(records: Iterable[Record], *fields: str) -> pd.DataFrame:
    """A row for each run: its scores, these fields of its configuration, and the diagnostics at its end."""
    rows = [
        {
            "algorithm": title(r.algo), "dataset": r.dataset, "seed": r.seed, "updates": r.steps,
            **{f: r.config[f] for f in fields}, "last": r.last_score(), "best": r.best_score(),
            "last returns": tables.spread(r.evaluations[-1]["returns"]),
            "steps": np.mean(r.evaluations[-1]["lengths"]), **r.evaluations[-1]["diagnostics"],
            "seconds per agent": r.seconds / r.agents,
        }
        for r in records
    ]  # fmt: skip
    return pd.DataFrame(rows)


def not_run(questions: Iterable[Question], records: Iterable[Record]) -> list[str]:
    """The names of the questions that lack a run."""
    among, found = list(records), []
    for q in questions:
        ran = answers(q, among)
        if len(ran) < len(q.variants) or any(s.runs[d].seeds != q.seeds for s in ran for d in q.datasets):
            found.append(q.name)
    return found
