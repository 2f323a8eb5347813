"""The paper's two tables with our numbers beside its own: joined from records, or said to be not run.

A number of ours is the mean ± deviation over seeds of last-iterate scores. A run that diverged has no last
iterate and counts as 0, D4RL's score of a random policy; its best is the best evaluation it lived to
see. Nothing is averaged over what differs: a cell whose records differ in scale, data, configuration or
manner of evaluation is refused by name, and so is a doubled or, where seeds are fixed, missing seed. Nor is
anything compared that differs in more than what it is compared for: RD's column and its base's differ in
the plug-in alone.

Bold follows the rule that the paper's bold follows: in Table 1 an RD column that scores no less than its
base, in Table 2 an RD column that scores no less than every column without RD. A dagger is ours: the
same difference with p < 0.05 by `stats.p_value`. Both compare our runs with our runs, at the paper's
scale only; nothing of ours is ever bold against a number of the paper.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdlib.data import catalog
from rdlib.results import grid, stats
from rdlib.results.printed import METHODS, TITLES, TOTALS, Printed, read_corl, read_paper
from rdlib.training.record import Record, load_files

SIGNIFICANT = 0.05


class TableError(ValueError):
    """A cell that no number can be given for."""


@dataclass(frozen=True)
class Ours:
    """Our runs of one algorithm on one dataset: score per seed, in the order of `seeds`."""

    algo: str
    dataset: str  # the table's name for it
    data: str  # what it was trained on, by its own name
    source: str  # bundled, d4rl, minari
    digest: str
    scale: str
    steps: int
    seeds: tuple[int, ...]
    last: tuple[float, ...]
    best: tuple[float, ...]
    diverged: int
    records: tuple[Record, ...]

    @property
    def mean(self) -> float:
        """Mean last-iterate score over seeds."""
        return stats.mean(self.last)

    @property
    def note(self) -> str:
        """What a reader must know of the data."""
        if self.source != "bundled" or self.data == "door-human":
            return ""
        human = "; demonstrations by a trained policy, no human's" if "human" in self.dataset else ""
        return f"stand-in rolled out by rdlib, not D4RL's file{human}"


@dataclass(frozen=True)
class Box:
    """The paper's number and ours: at the paper's scale, at study scale and at quick scale, each None where
    not run. CORL's is (last, best)."""

    printed: Printed
    ours: Ours | None
    study: Ours | None
    quick: Ours | None
    corl: tuple[float, float] | None
    bold: bool  # see the top of this file
    p: float | None  # of the comparison behind `bold`


def read_scale(folder: Path, scale: str) -> list[Record]:
    """The records in `folder`, all of one scale; none where there is no such folder. Raises TableError for
    a record of another scale or that no table could show, RecordError for one that cannot be read."""
    if not folder.is_dir():
        return []
    found = load_files(folder)
    for path, r in found:
        if r.scale != scale:
            raise TableError(f"{path}: of scale {r.scale!r}, not {scale!r}")
        if r.algo not in METHODS:
            raise TableError(
                f"{path}: of an unknown algorithm, {r.algo!r}; known are {', '.join(TITLES)}, "
                "each alone or with _ln and then _rd or _dr3"
            )
        if catalog.short_name(r.dataset) not in catalog.PAPER_DATASETS:
            raise TableError(f"{path}: of an unknown dataset, {r.dataset!r}")
    return [r for _, r in found]


def collect(records: Iterable[Record], seeds: Collection[int] = ()) -> dict[tuple[str, str], Ours]:
    """Cells by algorithm and the table's dataset name. `seeds`: those that each cell must have, no more
    and no fewer; empty: any. Raises TableError naming the cell."""
    groups: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.algo, catalog.short_name(record.dataset)].append(record)
    return {key: _ours(*key, group, seeds) for key, group in groups.items()}


def _ours(algo: str, dataset: str, records: list[Record], seeds: Collection[int]) -> Ours:
    where = f"{algo} on {dataset}"
    records = sorted(records, key=lambda r: r.seed)
    _refuse_differences(where, records, _SAME)
    have = [r.seed for r in records]
    if doubled := sorted({s for s in have if have.count(s) > 1}):
        raise TableError(f"{where}: seed {doubled[0]} is there {have.count(doubled[0])} times")
    if seeds and (missing := sorted(set(seeds) - set(have))):
        raise TableError(f"{where}: seeds {missing} are missing")
    if seeds and (surplus := sorted(set(have) - set(seeds))):
        raise TableError(f"{where}: seeds {surplus} are not among those of the table")
    first = records[0]
    if first.reference is None:
        raise TableError(f"{where}: raw returns, and the tables hold D4RL's normalised scores")
    lost = [r.status == "diverged" for r in records]
    return Ours(
        algo,
        dataset,
        first.dataset,
        first.dataset_source,
        first.dataset_digest,
        first.scale,
        first.steps,
        tuple(have),
        last=tuple(0.0 if d else r.last_score() for d, r in zip(lost, records)),
        best=tuple(r.best_score() for r in records),
        diverged=sum(lost),
        records=tuple(records),
    )


def _refuse_differences(where: str, records: Sequence[Record], among: Iterable[str]) -> None:
    """Raise TableError where records differ in one of `_SAME`; what one does not hold (None) is no
    difference."""
    for what in among:
        values = [_SAME[what](r) for r in records]
        if isinstance(values[0], dict):  # name the fields that differ, and not the others
            names = sorted({n for v in values for n in v if any(v.get(n) != o.get(n) for o in values)})
            values = [", ".join(f"{n} = {v.get(n)}" for n in names) for v in values]
        who: dict[str, set[str]] = {}
        for r, value in zip(records, values, strict=True):
            if value is not None:
                who.setdefault(str(value), set()).add(r.algo)
        if len(who) > 1:
            one = len({r.algo for r in records}) == 1
            found = [v if one else f"{v} ({', '.join(sorted(a))})" for v, a in sorted(who.items())]
            raise TableError(f"{where}: records of different {what}: {'; '.join(found)}")


# What the records of one cell may not differ in. MuJoCo: 3.5 changed the dynamics of Hopper's contacts.
_SAME: dict[str, Callable[[Record], Any]] = {
    "scales": lambda r: r.scale,
    "datasets": lambda r: f"{r.dataset} ({r.dataset_source}, {r.dataset_digest[:12]})",
    "lengths (updates)": lambda r: r.steps,
    "configurations": lambda r: r.config,
    "plug-ins": lambda r: r.plugin or {},
    "dtypes": lambda r: r.dtype,
    "precisions": lambda r: r.matmul if r.matmul in ("tf32", "bf16") else "float32",
    "evaluations": lambda r: f"{r.env_id}, last {r.last_k}, reference {r.reference}",
    "environments": lambda r: [r.env_kwargs or {}, r.env_wrappers or [], r.env_rewards],
    "time limits": lambda r: r.max_episode_steps,
    "numbers of episodes": lambda r: sorted({len(e["returns"]) for e in r.evaluations}),
    "times of evaluation": lambda r: r.steps_evaluated().tolist() if r.status == "finished" else None,
    "MuJoCo versions": lambda r: r.versions.get("mujoco"),
}
_PAIR = _SAME.keys() - {"plug-ins"}  # nor RD and its base
_ROW = _PAIR - {"lengths (updates)", "configurations", "times of evaluation"}  # nor a table's row


def published() -> Path:
    """The published records and the paper's numbers, in the clone of the repository that this runs in.
    Raises FileNotFoundError."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (found := folder / "book" / "results").joinpath("paper.csv").is_file():
            return found
    raise FileNotFoundError("book/results/paper.csv: run this in a clone of the repository")


def read(table: int, results: Path) -> list[Box]:
    """A table of the records in folders of `results` (paper, study, quick) beside the `published` numbers.
    Raises as `join`, `collect` and `read_scale` do."""
    paper, corl = read_paper(published() / "paper.csv"), read_corl(published() / "corl.csv")
    ours = collect(read_scale(results / "paper", "paper"), grid.SEEDS)
    study, quick = (collect(read_scale(results / scale, scale)) for scale in ("study", "quick"))
    return join(table, paper, ours, quick, corl, study)


def join(
    table: int,
    paper: Iterable[Printed],
    ours: Mapping[tuple[str, str], Ours],
    quick: Mapping[tuple[str, str], Ours] | None = None,
    corl: Mapping[tuple[str, str], tuple[float, float]] | None = None,
    study: Mapping[tuple[str, str], Ours] | None = None,
) -> list[Box]:
    """Every box of a table, in its order, totals included (with neither ours nor CORL's). Raises
    TableError where `ours` is not of the paper's scale, where its cells of one row differ in what scores
    hang on, and, at any scale, where RD and its base differ in anything but RD."""
    printed = [p for p in paper if p.table == table]
    for (algo, dataset), cell in ours.items():
        if cell.scale != "paper":
            raise TableError(f"{algo} on {dataset}: {cell.scale} runs do not stand in the paper's table")
    boxes = []
    for p in printed:
        key = p.algo, p.dataset
        rivals = [ours.get((q.algo, q.dataset)) for q in printed if _rival(table, p, q)]
        bold, probability = _compare(ours.get(key), rivals)
        ran = ours.get(key), (study or {}).get(key), (quick or {}).get(key)
        boxes.append(Box(p, *ran, (corl or {}).get(key), bold, probability))
    for dataset in dict.fromkeys(p.dataset for p in printed):
        row = [r for b in boxes if b.printed.dataset == dataset and b.ours for r in b.ours.records]
        _refuse_differences(f"Table {table}, {dataset}", row, sorted(_ROW) if row else ())
    for runs in (ours, study or {}, quick or {}):
        for (algo, dataset), mine in runs.items():
            base = runs.get((algo.removesuffix("_rd"), dataset))
            if base is not None and base is not mine:
                both = [*base.records, *mine.records]
                _refuse_differences(f"{algo} on {dataset}, {mine.scale}", both, sorted(_PAIR))
    return boxes


def _rival(table: int, cell: Printed, other: Printed) -> bool:
    """Whether the paper's bold compares `cell`, an RD column's, with `other`."""
    if not cell.algo.endswith("_rd") or cell.dataset != other.dataset or cell.dataset in TOTALS:
        return False
    return other.algo == cell.algo.removesuffix("_rd") if table == 1 else not other.algo.endswith("_rd")


def _compare(ours: Ours | None, rivals: Sequence[Ours | None]) -> tuple[bool, float | None]:
    """Whether ours is no less than each rival's mean, and the p of its difference to the best of them."""
    ran = [r for r in rivals if r is not None]
    if ours is None or not ran or len(ran) < len(rivals):
        return False, None
    best = max(ran, key=lambda r: r.mean)
    return ours.mean >= best.mean, stats.p_value(ours.last, best.last)


def matrix(
    ours: Mapping[tuple[str, str], Ours], algo: str, datasets: Sequence[str], of: str = "last"
) -> stats.Array:
    """Scores (S,D) for rdlib.results.stats, of: "last" or "best". Raises TableError unless all ran with
    the same seeds."""
    for dataset in datasets:
        if (algo, dataset) not in ours:
            raise TableError(f"{algo} on {dataset}: not run")
    found = [ours[algo, d] for d in datasets]
    if len({o.seeds for o in found}) > 1:
        who = "; ".join(f"{o.dataset} {o.seeds}" for o in found)
        raise TableError(f"{algo}: datasets have different seeds: {who}")
    return np.array([getattr(o, of) for o in found]).T


FIELDS = (
    "table algorithm dataset paper paper_std paper_bold corl_last corl_best scale status last last_std "
    "best best_std seeds diverged updates data source digest bold p note command"
).split()


def frame(boxes: Iterable[Box], commands: Mapping[tuple[str, str], str] | None = None) -> pd.DataFrame:
    """One row per box and scale, FIELDS wide, as the CSV holds it; a box that was not run has a row that
    says so, with the command that runs it where `commands` knows it."""
    rows: list[dict[str, Any]] = []
    for box in boxes:
        p, (last, best) = box.printed, box.corl or (None, None)
        if p.dataset in TOTALS:
            continue
        head = dict(zip(FIELDS, (p.table, p.algo, p.dataset, p.mean, p.std, p.bold, last, best)))
        if box.ours is None:
            command = (commands or {}).get((p.algo, p.dataset))
            rows.append(head | {"scale": "paper", "status": "not run", "command": command})
        for o in filter(None, (box.ours, box.study, box.quick)):
            mine = o is box.ours
            values = (
                o.scale,
                "run",
                o.mean,
                stats.std(o.last),
                stats.mean(o.best),
                stats.std(o.best),
                len(o.seeds),
                o.diverged,
                o.steps,
                o.data,
                o.source,
                o.digest[:12],
                box.bold if mine else None,
                box.p if mine else None,
                o.note,
            )
            rows.append(head | dict(zip(FIELDS[8:], values)))
    whole = dict.fromkeys(("seeds", "diverged", "updates"), "Int64")
    return pd.DataFrame(rows, columns=FIELDS).astype(whole)


def spread(scores: Sequence[float]) -> str:
    """`103.0 ± 0.8`; a single seed has no ±."""
    text = f"{stats.mean(scores):.1f}"
    return text if len(scores) == 1 else f"{text} ± {stats.std(scores):.1f}"
