"""The settings of every table cell, as data: cells.csv, one row each.

Columns: table (1 or 2), algo, dataset, steps (empty: the scale's), config (JSON, fields that differ from
the algorithm's defaults; empty: none), source. Kept apart from code so that a reader can check them
against the papers row by row; `tests/algos/test_cells.py` builds every one.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rdlib import algos
from rdlib.engine import strict_csv
from rdlib.engine.config import ConfigError

FILE = Path(__file__).with_name("cells.csv")
COLUMNS = ("table", "algo", "dataset", "steps", "config", "source")


@dataclass(frozen=True)
class Settings:
    """What trains one cell of the paper's tables."""

    table: int
    algo: str
    dataset: str
    steps: int  # 0: the scale's
    config: dict[str, Any]
    source: str


@cache
def cells() -> tuple[Settings, ...]:
    """Every row of cells.csv, in the tables' order. Raises ConfigError naming the line."""
    return read(FILE)


def read(path: Path) -> tuple[Settings, ...]:
    """A file like cells.csv. A cell that stands in both tables is trained once, so its rows must agree.
    Raises ConfigError naming the file and the line."""
    from rdlib.data import catalog  # when used: importing it takes a second

    trained: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}

    def make(row: dict[str, str]) -> Settings:
        table = int(strict_csv.choice(row, "table", ("1", "2")))
        config = strict_csv.mapping(row, "config")
        algos.find(row["algo"]).config(config)
        if row["dataset"] not in catalog.PAPER_DATASETS:
            raise ConfigError(f"dataset = {row['dataset']!r}, which the catalogue does not have")
        steps = row["steps"] or "0"
        if not steps.isdecimal():
            raise ConfigError(f"steps = {steps!r}, expected a number of updates, or nothing")
        cell = Settings(table, row["algo"], row["dataset"], int(steps), config, row["source"])
        if trained.setdefault((cell.algo, cell.dataset), (cell.steps, config)) != (cell.steps, config):
            raise ConfigError(f"{cell.algo} on {cell.dataset}: other steps or config than before")
        return cell

    return tuple(strict_csv.read(path, COLUMNS, make, lambda c: (c.table, c.algo, c.dataset)))


def find(algo: str, dataset: str) -> Settings | None:
    """The cell of an algorithm, or of what its name extends (cql for cql_ln_rd), on a dataset by any of
    its names; None where the tables have none."""
    from rdlib.data import catalog

    short = catalog.short_name(dataset)
    while algo:
        for cell in cells():
            if (cell.algo, cell.dataset) == (algo, short):
                return cell
        algo = algo.rpartition("_")[0]
    return None
