"""The paper's five claims, asked of the records of one scale: a verdict by one rule, and its number.

Cells are those of `rdlib.results.tables.collect`. What ran on fewer datasets than the claim is about is
judged on these, and the number says on how many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rdlib.algos import cells as settings
from rdlib.data import catalog
from rdlib.data.env_spec import EnvSpec, limit_of
from rdlib.results import compare, stats, tables
from rdlib.results.printed import title
from rdlib.results.tables import SIGNIFICANT, Ours
from rdlib.results.typeset import probability
from rdlib.training.record import Record

Cells = Mapping[tuple[str, str], Ours]
ENSEMBLES = ("td3n", "sacn")
OFTEN = 0.1  # of the runs: values that run away in fewer are no cycle
FIRST = "td3n_rd, first stage"  # the name of RD without its second stage among cells


@dataclass(frozen=True)
class Finding:
    """What the records say of a claim. `verdict`: confirmed, refuted (the opposite was found), not seen
    (neither beyond chance), or not run."""

    verdict: str
    number: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.verdict, self.number)))


NOT_RUN = Finding("not run")


def datasets(table: int) -> tuple[str, ...]:
    """Those of one of the paper's tables, by environment as Table 1 has them."""
    names = dict.fromkeys(c.dataset for c in settings.cells() if c.table == table)
    return tuple(sorted(names, key=lambda name: catalog.PAPER_DATASETS[name].environment))


def expert_value(record: Record) -> float:
    """What an expert's state is worth: D4RL's reference return, spread evenly over an episode and
    discounted for ever. Infinite where there is no reference."""
    if record.reference is None:
        return np.inf
    limit = record.max_episode_steps or limit_of(EnvSpec(record.env_id))
    return record.reference[1] / limit / (1 - record.config["gamma"])


def ran_away(record: Record) -> bool:
    """Whether the values of the policy's actions ended above `expert_value`, or not finite."""
    end = record.evaluations[-1]["diagnostics"]["q_policy"]
    return end is None or end > expert_value(record)


def _judged(effect: float, p: float) -> str:
    """The rule of every verdict: beyond chance for the claim, beyond chance against it, or neither."""
    if p >= SIGNIFICANT:
        return "not seen"
    return "confirmed" if effect > 0 else "refuted"


def cycle(cells: Cells) -> Finding:
    """Values run away: how many runs of the two ensembles on Table 1's datasets end above an expert's."""
    runs = [r for (a, d), o in cells.items() if a in ENSEMBLES and d in datasets(1) for r in o.records]
    if not runs:
        return NOT_RUN
    away = sum(map(ran_away, runs))
    return Finding("confirmed" if away > OFTEN * len(runs) else "not seen", f"{away} of {len(runs)} runs")


def held(cells: Cells) -> Finding:
    """RD stops that: the same count without RD and with it, over the cells that have both."""
    pairs = [(a, d) for a in ENSEMBLES for d in datasets(1) if (a, d) in cells and (f"{a}_rd", d) in cells]
    chosen = [(cells[a, d], cells[f"{a}_rd", d]) for a, d in pairs]
    seeds = set.intersection(*(set(o.seeds) for both in chosen for o in both)) if chosen else set()
    if len(seeds) < 2:
        return NOT_RUN
    without, with_rd = (
        np.array([[ran_away(r) for r in both[i].records if r.seed in seeds] for both in chosen], float).T
        for i in (0, 1)
    )
    verdict = _judged(without.mean() - with_rd.mean(), stats.p_value(with_rd, without))
    return Finding(verdict, f"{without.sum():.0f} of {without.size} runs, with RD {with_rd.sum():.0f}")


def raised(cells: Cells, ours: str, base: str, names: Sequence[str]) -> Finding:
    """The mean score of `ours` less that of `base` over those of the datasets where both ran."""
    found, ran, _ = compare.everywhere(cells, (ours, base), names)
    if not found:
        return NOT_RUN
    effect = stats.difference(found[ours], found[base])
    return _compared(found[ours], found[base], f"{effect:+.1f}", len(ran), len(names))


def first_of_all(cells: Cells) -> Finding:
    """RD's better column of Table 2 against the best of the others, where every column ran."""
    algos = tuple(dict.fromkeys(c.algo for c in settings.cells() if c.table == 2))
    found, names, _ = compare.everywhere(cells, algos, datasets(2))
    if not found:
        return NOT_RUN
    ours, other = (
        max((a for a in algos if a.endswith("_rd") == rd), key=lambda a: found[a].mean())
        for rd in (True, False)
    )
    words = ", ".join(f"{title(a)} {found[a].mean():.1f}" for a in (ours, other))
    return _compared(found[ours], found[other], words, len(names), len(datasets(2)))


def _compared(x: stats.Array, y: stats.Array, words: str, ran: int, of: int) -> Finding:
    """The verdict on `x` being above `y`, after the words on both; on how many datasets, if not all."""
    p = stats.p_value(x, y)
    part = f" ({ran} of {of} datasets)" if ran < of else ""
    return Finding(_judged(stats.difference(x, y), p), f"{words}, {probability(p)}{part}")


@dataclass(frozen=True)
class Claim:
    """One thing that the paper says, the page of the book with more, and how records are asked."""

    words: str
    page: str
    ask: Callable[[Cells], Finding]


CLAIMS = (
    Claim("Values run away by generalisation", "notebooks/ablations", cycle),
    Claim("RD stops that", "notebooks/ablations", held),
    Claim(
        "Two stages do what one cannot", "notebooks/ablations",
        partial(raised, ours="td3n_rd", base=FIRST, names=("hopper-medium",)),
    ),
    *(
        Claim(
            f"Table 1: RD raises {title(base)}", "notebooks/table1",
            partial(raised, ours=f"{base}_rd", base=base, names=datasets(1)),
        )
        for base in ("td3n", "sacn", "td3bc", "cql")
    ),
    Claim("Table 2: RD is best of all methods", "notebooks/table2", first_of_all),
)  # fmt: skip


def read(results: Path, folder: str, scale: str) -> Cells:
    """The cells of one folder of records, with those of RD's first stage alone from `ablations-FOLDER`, as
    FIRST; empty where there is no such folder. Raises TableError, RecordError."""
    cells = tables.collect(tables.read_scale(results / folder, scale))
    alone = [
        r for r in tables.read_scale(results / f"ablations-{folder}", scale)
        if (whole := cells.get((r.algo, r.dataset))) and r.algo == "td3n_rd" and r.seed in whole.seeds
        and r.plugin == {**(whole.records[0].plugin or {}), "stages": "first"}
    ]  # fmt: skip
    return cells | {(FIRST, dataset): ours for (_, dataset), ours in tables.collect(alone).items()}
