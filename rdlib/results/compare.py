"""Whole columns of a table: RD against its base, and the paper's signs and ranks beside ours."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from rdlib.results import stats
from rdlib.results.printed import TOTALS, title
from rdlib.results.tables import SIGNIFICANT, Box, Ours, collect, matrix
from rdlib.results.typeset import probability


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


def pairs(boxes: Iterable[Box], of: str = "ours") -> list[Pair]:
    """The pairs of Table 1 (of: "ours" or "quick") that ran on some dataset with two seeds or more in
    common, fewer being no replication."""
    ran = {(b.printed.algo, b.printed.dataset): o for b in boxes if (o := getattr(b, of))}
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


def summary(boxes: Sequence[Box], of: str = "ours") -> pd.DataFrame:
    """What stands over all datasets of each pair of Table 1 (of: "ours" or "quick"): IQM without RD and
    with it and probability of improvement, each with its 95 % interval, the mean effect by last iterates
    and by best evaluations, and the p of the former. A pair that `pairs` has not has 0 seeds and NaN."""
    printed = dict.fromkeys(b.printed.algo for b in boxes)
    rows: dict[str, dict[str, Any]] = {
        a.removesuffix("_rd"): {"datasets": 0, "seeds": 0} for a in printed if a.endswith("_rd")
    }
    for pair in pairs(boxes, of):
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


SUMMARY = ["base", "datasets", "seeds"]
SUMMARY += [f"{of}{end}" for of in ("IQM", "IQM + RD", "improvement") for end in ("", " low", " high")]
SUMMARY += ["effect", "best effect", "p"]


def agreement(boxes: Sequence[Box], of: str) -> pd.DataFrame:
    """What RD does to each base of Table 1 at one scale, in words: scores raised, those beyond chance, the
    mean effect with its p, the same without the dataset and the environment on which the weight was found,
    and by best checkpoints, and how far the paper's signs and ranks are ours. Empty where no pair ran."""
    ranks = correlations(boxes, of).set_index("algorithm")["with the paper"]
    single = effects(boxes, of)
    rows = []
    for pair in pairs(boxes, of):
        mine = single[(single.base == pair.base) & single.ours.notna()]
        clear, signs = mine[mine.p < SIGNIFICANT], mine["same sign"].dropna()
        row = {
            "base": title(pair.base),
            "scores raised": f"{(mine.ours > 0).sum()} of {len(mine)}",
            "beyond chance": f"{(clear.ours > 0).sum()} up, {(clear.ours < 0).sum()} down",
            "mean effect": f"{pair.effect:+.1f}, {probability(pair.p)}",
        }
        for what in ("hopper-medium", "hopper"):
            rest = pair.leaving_out([d for d in pair.datasets if d == what or d.split("-")[0] == what])
            row[f"without {what}"] = f"{rest.effect:+.1f}, {probability(rest.p)}" if rest else ""
        row["by best checkpoints"] = f"{pair.best_effect:+.1f}"
        row["sign as the paper's"] = f"{int(signs.sum())} of {len(signs)}"
        row["rank correlation with the paper, base"] = f"{ranks[pair.base]:.2f}"
        row["and with RD"] = f"{ranks[f'{pair.base}_rd']:.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def everywhere(
    cells: Mapping[tuple[str, str], Ours], algos: Sequence[str], datasets: Iterable[str]
) -> tuple[dict[str, stats.Array], list[str], list[int]]:
    """Scores (S,D) of each of `algos` on those of `datasets` where all of them ran with two seeds or more,
    by the seeds that all have; these datasets and seeds. Empty where there are fewer than two seeds."""
    names = [d for d in datasets if all((a, d) in cells and len(cells[a, d].seeds) > 1 for a in algos)]
    chosen = [cells[a, d] for a in algos for d in names]
    seeds = sorted(set.intersection(*(set(o.seeds) for o in chosen))) if chosen else []
    if len(seeds) < 2:
        return {}, [], []
    by_seed = {key: dict(zip(cells[key].seeds, cells[key].last)) for key in product(algos, names)}
    found = {a: np.array([[by_seed[a, d][s] for d in names] for s in seeds]) for a in algos}
    return found, names, seeds


def effects(boxes: Iterable[Box], of: str = "ours") -> pd.DataFrame:
    """The effect of RD, score with it less score without, of each pair of Table 1: the paper's; ours (of:
    "ours" or "quick") with its 95 % interval and p, or NaN where not run (no interval of a single seed);
    and whether the signs agree (None where the paper's effect is 0, or ours not run)."""
    by_key = {(b.printed.algo, b.printed.dataset): b for b in boxes}
    rows = []
    for (algo, dataset), box in by_key.items():
        base = by_key.get((algo.removesuffix("_rd"), dataset))
        if not algo.endswith("_rd") or base is None or dataset in TOTALS:
            continue
        paper = round(box.printed.mean - base.printed.mean, 6)
        mine, its = getattr(box, of), getattr(base, of)
        found = [np.nan] * 4
        if ran := mine is not None and its is not None:
            scores, several = (mine.last, its.last), min(len(mine.seeds), len(its.seeds)) > 1
            ends = stats.interval(stats.difference, *scores) if several else (np.nan, np.nan)
            found = [stats.difference(*scores), *ends, stats.p_value(*scores)]
        agree = bool(np.sign(paper) == np.sign(found[0])) if ran and paper else None
        rows.append((base.printed.algo, dataset, paper, *found, agree))
    return pd.DataFrame(rows, columns=["base", "dataset", "paper", "ours", "low", "high", "p", "same sign"])


def correlations(boxes: Iterable[Box], of: str = "ours") -> pd.DataFrame:
    """For each algorithm: on how many datasets it ran, and Spearman's rank correlation over them between
    our column (of: "ours" or "quick") and the paper's, and CORL's where CORL has those datasets (NaN below
    two datasets)."""
    found = pd.DataFrame(
        {
            "algorithm": b.printed.algo,
            "ours": mine.mean if (mine := getattr(b, of)) else np.nan,
            "paper": b.printed.mean,
            "corl": b.corl[0] if b.corl else np.nan,
        }
        for b in boxes
        if b.printed.dataset not in TOTALS
    )
    rows = []
    for algo, column in found.groupby("algorithm", sort=False):
        ran = column.dropna(subset=["ours"])
        ranks = ran[["ours", "paper", "corl"]].corr("spearman", min_periods=2)["ours"]
        rows.append((algo, len(ran), ranks["paper"], ranks["corl"]))
    return pd.DataFrame(rows, columns=["algorithm", "datasets", "with the paper", "with CORL"])
