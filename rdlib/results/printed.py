"""The numbers that others printed: the paper's two tables and CORL's README."""

from dataclasses import dataclass
from pathlib import Path

from rdlib.data import catalog
from rdlib.engine import strict_csv

TITLES = {
    "td3n": "TD3-N-UNC",
    "sacn": "SAC-N-UNC",
    "td3bc": "TD3+BC",
    "cql": "CQL",
    "bc": "BC",
    "dt": "DT",
    "iql": "IQL",
    "edac": "EDAC",
    "diffusion_ql": "Diffusion-QL",
}
SUFFIXES = {"_rd": " + RD", "_dr3": " + DR3", "_ln": " + LN"}
_COLUMNS = (*TITLES, *(f"{algo}_rd" for algo in TITLES))
METHODS = {algo + ln + plugin for algo in TITLES for ln in ("", "_ln") for plugin in ("", "_rd", "_dr3")}
TOTALS = {  # rows of Table 2 that add up others, by what their names begin with
    "mujoco-total": ("halfcheetah", "hopper", "walker2d"),
    "adroit-total": ("pen",),
    "total": ("halfcheetah", "hopper", "walker2d", "pen"),
}


@dataclass(frozen=True)
class Printed:
    """One number of the paper, as its slides print it."""

    table: int
    algo: str
    dataset: str  # or a key of TOTALS
    mean: float
    std: float | None  # Table 2 prints none
    bold: bool


def title(algo: str) -> str:
    """The table's heading of an algorithm's name: td3n_rd -> TD3-N-UNC + RD."""
    for suffix, words in SUFFIXES.items():
        if algo.endswith(suffix):
            return title(algo.removesuffix(suffix)) + words
    return TITLES[algo]


def read_paper(path: Path) -> list[Printed]:
    """The paper's tables. Raises ConfigError naming file and line."""

    def make(row: dict[str, str]) -> Printed:
        return Printed(
            int(strict_csv.choice(row, "table", ("1", "2"))),
            strict_csv.choice(row, "algo", _COLUMNS),
            strict_csv.choice(row, "dataset", (*catalog.PAPER_DATASETS, *TOTALS)),
            strict_csv.number(row, "mean"),
            strict_csv.number(row, "std") if row["std"] else None,
            strict_csv.choice(row, "bold", "01") == "1",
        )

    columns = ("table", "algo", "dataset", "mean", "std", "bold")
    return strict_csv.read(path, columns, make, lambda p: (p.table, p.algo, p.dataset))


def read_corl(path: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """CORL's (last, best) by algorithm and dataset; `sacn_min` is its SAC-N, the minimum over up to 500
    critics, which no column of the paper is. Raises ConfigError naming file and line."""

    def make(row: dict[str, str]) -> tuple[tuple[str, str], tuple[float, float]]:
        algo = strict_csv.choice(row, "algo", (*TITLES, "sacn_min"))
        dataset = strict_csv.choice(row, "dataset", tuple(catalog.PAPER_DATASETS))
        return (algo, dataset), (strict_csv.number(row, "last"), strict_csv.number(row, "best"))

    return dict(strict_csv.read(path, ("algo", "dataset", "last", "best"), make, lambda item: item[0]))
