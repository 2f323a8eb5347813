"""The settings of every table cell, as data: cells.csv, one row each.

Columns: table (1 or 2), algo, dataset, steps (empty: the scale's), config (JSON, fields that differ from
the algorithm's defaults; empty: none), source. Kept apart from code so that a reader can check them
against the papers row by row; `tests/test_cells.py` builds every one.
"""

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rdlib.data import catalog

FILE = Path(__file__).with_name("cells.csv")


@dataclass(frozen=True)
class Cell:
    """One cell of the paper's tables: what trains it."""

    table: int
    algo: str
    dataset: str
    steps: int  # 0: the scale's
    config: dict[str, Any]
    source: str


@cache
def cells() -> tuple[Cell, ...]:
    """Every row of cells.csv, in the tables' order."""
    with open(FILE, newline="") as file:
        return tuple(
            Cell(
                int(row["table"]), row["algo"], row["dataset"], int(row["steps"] or 0),
                json.loads(row["config"] or "{}"), row["source"],
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


def find(algo: str, dataset: str) -> Cell | None:
    """The cell of an algorithm, or of what its name extends (cql for cql_ln_rd), on a dataset by any of
    its names; None where the tables have none."""
    short = catalog.short_name(dataset)
    while algo:
        for cell in cells():
            if (cell.algo, cell.dataset) == (algo, short):
                return cell
        algo = algo.rpartition("_")[0]
    return None
