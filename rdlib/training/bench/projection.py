"""What the paper's tables would take on a device, from the updates measured there.

Every cell of cells.csv at its own settings and number of updates, five seeds each; the cells of one column
and environment are one batch where their settings allow it. Between the numbers of agents measured the time
is interpolated, beyond them proportional. Other settings and sizes of states and actions than the measured
ones scale it by the FLOPs of an update. A projection, not a measurement.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rdlib import algos
from rdlib.algos import cells
from rdlib.data import catalog

SEEDS_A_CELL = 5
# Observations and actions.
DIMS = {"hopper": (11, 3), "halfcheetah": (17, 6), "walker2d": (17, 6), "pen": (45, 24)}
# FLOPs of one update of one agent of an algorithm with these observations, actions and fields.
Flops = Callable[[str, tuple[int, int], Mapping[str, Any]], float]


@dataclass(frozen=True)
class TableRun:
    """Cells of a table that are trained together."""

    algo: str
    environment: str
    steps: int
    agents: int
    config: dict[str, Any]  # fields that differ from the defaults; of ensembles, the largest


def table_runs(table: int) -> list[TableRun]:
    """Every run behind one of the paper's tables."""
    groups: dict[tuple[str, str, int, str], list[cells.Settings]] = {}
    for cell in cells.cells():
        if cell.table == table:
            entry = algos.find(cell.algo).entry
            fixed = {k: v for k, v in cell.config.items() if k not in entry.agent.own}
            steps = cell.steps or entry.scales["paper"].steps
            environment = catalog.PAPER_DATASETS[cell.dataset].environment
            key = (cell.algo, environment, steps, json.dumps(fixed, sort_keys=True))
            groups.setdefault(key, []).append(cell)
    return [
        TableRun(
            algo,
            environment,
            steps,
            SEEDS_A_CELL * len(found),
            max((c.config for c in found), key=lambda config: config.get("n_critics", 0)),
        )
        for (algo, environment, steps, _), found in groups.items()
    ]


def table(number: int, rows: Sequence[Mapping[str, Any]], flops: Flops) -> dict[str, Any]:
    """Hours of each column of table `number`, from the bench's `rows`; those of the whole table are None
    where a column was not measured."""
    columns: dict[str, dict[str, float]] = {}
    missing, runs = set(), []
    for run in table_runs(number):
        found = [r for r in rows if r["algo"] == run.algo and "ms/update" in r]
        if not found:
            missing.add(run.algo)
            continue
        scale = flops(run.algo, DIMS[run.environment], run.config)
        scale /= flops(run.algo, DIMS["hopper"], {})
        ms = scale * interpolated(found, "ms/update", run.agents)
        every = algos.find(run.algo).entry.scales["paper"].eval_every
        evaluation = interpolated(found, "evaluation s", run.agents) * run.steps / every / 3600
        hours = {"updates": ms * run.steps / 3.6e6, "evaluation": evaluation}
        runs.append({**asdict(run), "ms/update": ms, "hours": hours})
        sums = columns.setdefault(run.algo, {"updates": 0.0, "evaluation": 0.0})
        for name, value in hours.items():
            sums[name] += value
    total = {k: sum(c[k] for c in columns.values()) for k in ("updates", "evaluation")}
    return {
        "table": number,
        "columns": columns,
        "missing": sorted(missing),
        "runs": runs,
        "hours": None if missing else total,
    }


def interpolated(rows: Sequence[Mapping[str, Any]], what: str, agents: int) -> float:
    """`what` of a batch of so many agents."""
    points = sorted((row["agents"], row[what]) for row in rows)
    most, last = points[-1]
    if agents > most:
        return last * agents / most
    return float(np.interp(agents, [a for a, _ in points], [value for _, value in points]))


def describe(found: Mapping[str, Any]) -> str:
    """One paragraph for people."""
    head = f"table {found['table']} at the paper's scale, {SEEDS_A_CELL} seeds, projected"
    parts = ", ".join(f"{name} {h['updates']:.2f}" for name, h in found["columns"].items())
    if found["missing"]:
        lacking = ", ".join(found["missing"])
        return f"{head}: incomplete, not measured: {lacking}; hours of updates: {parts or 'none'}"
    hours = found["hours"]
    return (
        f"{head}: {hours['updates']:.2f} h of updates and {hours['evaluation']:.2f} h of evaluation; "
        f"updates by column: {parts}"
    )
