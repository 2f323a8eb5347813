"""Whole columns of a table: RD against its base, and the paper's signs and ranks beside ours."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rdlib.results import stats
from rdlib.results.tables import TOTALS, Cell, Ours, collect, matrix


@dataclass(frozen=True)
class Pair:
    """A base and its RD column on the datasets where both ran, by the seeds that all of these runs have:
    scores (S,D) of last iterates and of best evaluations."""

    base: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    with_rd: stats.Array
    without: stats.Array
    best_with_rd: stats.Array
    best_without: stats.Array

    @property
    def effect(self) -> float:
        """The mean score with RD less the mean score without."""
        return stats.mean(self.with_rd) - stats.mean(self.without)

    @property
    def best_effect(self) -> float:
        """The same of best evaluations."""
        return stats.mean(self.best_with_rd) - stats.mean(self.best_without)

    @property
    def p(self) -> float:
        """Of `effect`, one test of all datasets together."""
        return stats.p_value(self.with_rd, self.without)

    def leaving_out(self, datasets: Collection[str]) -> "Pair | None":
        """The pair without these datasets; None where that leaves none."""
        keep = [i for i, d in enumerate(self.datasets) if d not in datasets]
        scores = (self.with_rd, self.without, self.best_with_rd, self.best_without)
        names = tuple(self.datasets[i] for i in keep)
        return Pair(self.base, names, self.seeds, *(x[:, keep] for x in scores)) if keep else None


def pairs(cells: Iterable[Cell], of: str = "ours") -> list[Pair]:
    """The pairs of Table 1 (of: "ours" or "quick") that ran on some dataset with two seeds or more in
    common, fewer being no replication."""
    ran = {(c.printed.algo, c.printed.dataset): o for c in cells if (o := getattr(c, of))}
    found = []
    for rd in dict.fromkeys(algo for algo, _ in ran if algo.endswith("_rd")):
        base = rd.removesuffix("_rd")
        names = tuple(d for a, d in ran if a == rd and (base, d) in ran)
        runs = [ran[a, d] for a in (rd, base) for d in names]
        seeds = set.intersection(*(set(o.seeds) for o in runs)) if runs else set()
        if len(seeds) > 1:
            common = collect(r for o in runs for r in o.records if r.seed in seeds)
            scores = (matrix(common, a, names, s) for s in ("last", "best") for a in (rd, base))
            found.append(Pair(base, names, tuple(sorted(seeds)), *scores))
    return found


def summary(cells: Sequence[Cell], of: str = "ours") -> pd.DataFrame:
    """What stands over all datasets of each pair of Table 1 (of: "ours" or "quick"): IQM without RD and
    with it and probability of improvement, each with its 95 % interval, the mean effect by last iterates
    and by best evaluations, and the p of the former. A pair that `pairs` has not has 0 seeds and NaN."""
    printed = dict.fromkeys(c.printed.algo for c in cells)
    rows: dict[str, dict[str, Any]] = {
        a.removesuffix("_rd"): {"datasets": 0, "seeds": 0} for a in printed if a.endswith("_rd")
    }
    for pair in pairs(cells, of):
        estimates: dict[str, tuple[Callable[..., float], list[stats.Array]]] = {
            "IQM": (stats.iqm, [pair.without]),
            "IQM + RD": (stats.iqm, [pair.with_rd]),
            "improvement": (stats.improvement, [pair.with_rd, pair.without]),
        }
        row: dict[str, Any] = {"datasets": len(pair.datasets), "seeds": len(pair.seeds)}
        for name, (statistic, scores) in estimates.items():
            row[name] = statistic(*scores)
            row[f"{name} low"], row[f"{name} high"] = stats.interval(statistic, *scores)
        rows[pair.base] = row | {"effect": pair.effect, "best effect": pair.best_effect, "p": pair.p}
    made = [{"base": base, **row} for base, row in rows.items()]
    return pd.DataFrame(made, columns=SUMMARY).astype(dict.fromkeys(SUMMARY[3:], float))


SUMMARY = [
    "base",
    "datasets",
    "seeds",
    "IQM",
    "IQM low",
    "IQM high",
    "IQM + RD",
    "IQM + RD low",
    "IQM + RD high",
    "improvement",
    "improvement low",
    "improvement high",
    "effect",
    "best effect",
    "p",
]


def effects(cells: Iterable[Cell], of: str = "ours") -> pd.DataFrame:
    """The effect of RD, score with it less score without, of each pair of Table 1: the paper's, ours (of:
    "ours" or "quick") or NaN where not run, the p of ours, and whether the signs agree (None where the
    paper's effect is 0, or ours not run)."""
    by_key = {(c.printed.algo, c.printed.dataset): c for c in cells}
    rows = []
    for (algo, dataset), cell in by_key.items():
        base = by_key.get((algo.removesuffix("_rd"), dataset))
        if not algo.endswith("_rd") or base is None or dataset in TOTALS:
            continue
        paper = round(cell.printed.mean - base.printed.mean, 6)
        mine, its = getattr(cell, of), getattr(base, of)
        ran = mine is not None and its is not None
        effect = mine.mean - its.mean if ran else np.nan
        agree = bool(np.sign(paper) == np.sign(effect)) if ran and paper else None
        p = stats.p_value(mine.last, its.last) if ran else np.nan
        rows.append((base.printed.algo, dataset, paper, effect, p, agree))
    return pd.DataFrame(rows, columns=["base", "dataset", "paper", "ours", "p", "same sign"])


def correlations(cells: Iterable[Cell], of: str = "ours") -> pd.DataFrame:
    """For each algorithm: on how many datasets it ran, and Spearman's rank correlation over them between
    our column (of: "ours" or "quick") and the paper's, and CORL's where CORL has those datasets (NaN below
    two datasets)."""
    columns: dict[str, list[tuple[Ours, Cell]]] = {}
    for c in cells:
        columns.setdefault(c.printed.algo, [])
        if mine := getattr(c, of):
            columns[c.printed.algo].append((mine, c))
    rows = []
    for algo, ran in columns.items():
        ours, printed = [o.mean for o, _ in ran], [c.printed.mean for _, c in ran]
        theirs = [(o.mean, c.corl[0]) for o, c in ran if c.corl]
        paper = stats.rank_correlation(ours, printed) if len(ran) > 1 else np.nan
        corl = stats.rank_correlation(*zip(*theirs)) if len(theirs) > 1 else np.nan
        rows.append((algo, len(ran), paper, corl))
    return pd.DataFrame(rows, columns=["algorithm", "datasets", "with the paper", "with CORL"])
