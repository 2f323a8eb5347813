"""Numbers from the published records, at build time.

{record}`quick/td3n_rd/hopper-medium` becomes "29.2 ± 1.6 (3 seeds)": the last-iterate score of that folder
of book/results, algorithm and dataset, mean ± deviation over seeds. A field may follow a colon: `:score`
(without the number of seeds), `:best`, `:seeds`, `:seconds`, or any of a record's, such as `:steps`,
`:device`, `:config.n_critics`, `:plugin.weight`; `:data` is the mean score of the bundled data itself,
`:end.q_data` the range over seeds of a diagnostic at the last evaluation.
{effect}`quick/td3n_rd - quick/td3n on hopper-medium, walker2d-medium` becomes "16.6, p < 0.001": the
difference of their mean last-iterate scores over those datasets (or one of GROUPS) and the p of
`rdlib.results.stats.p_value`; a `:mean` or `:p` at its end leaves the other out.
{records} makes a table of what ran, when, on what: of the folders named, or of all. {compute} sums them
up, a row for each folder.

A record that does not exist, two configurations under one name, or seeds that disagree on a field: an
error, which fails the book.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from rdlib import algos
from rdlib.data import catalog
from rdlib.results import claims, stats, tables, typeset
from rdlib.training.record import Record, RecordError, files_in, fingerprint, load_records

RESULTS = Path("book/results")
COLUMNS = (
    "algorithm", "dataset", "setting", "seeds", "updates", "last", "best", "device", "wall time", "ran",
    "commit",
)  # fmt: skip
SPENT = ("folder", "runs", "updates", "hours", "diverged", "went on elsewhere")


def cell(folder: Path, algo: str, dataset: str) -> list[Record]:
    """The seeds of one algorithm on one dataset, in order. RecordError where there are none; TableError
    where they differ in more than their seed."""
    records = loaded(folder, folder.stat().st_mtime_ns if folder.is_dir() else 0)
    found = [r for r in records if (r.algo, r.dataset) == (algo, dataset)]
    if not found:
        there = ", ".join(sorted({f"{r.algo}/{r.dataset}" for r in records}))
        raise RecordError(f"{folder.name} has no {algo}/{dataset}; it has {there}")
    [ours] = tables.collect(found).values()
    return list(ours.records)


@lru_cache
def loaded(folder: Path, changed: int) -> list[Record]:
    """The records of a folder, read again only when one came or went: pages ask for dozens of numbers."""
    return load_records(folder)


def score(records: Sequence[Record], best: bool = False) -> str:
    """Mean ± deviation over seeds, by the rule of the tables: a diverged run's last score counts as 0."""
    if best:
        return tables.spread([r.best_score() for r in records])
    lost = [r.status == "diverged" for r in records]
    scores = [0.0 if d else r.last_score() for d, r in zip(lost, records, strict=True)]
    return tables.spread(scores) + (f", {sum(lost)} of {len(lost)} diverged" if any(lost) else "")


def value(records: Sequence[Record], field: str) -> str:
    """One field of a cell, as text. RecordError where there is none such or seeds disagree."""
    n = len(records)
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    if field == "last":
        return f"{score(records)} ({seeds})"
    if field == "score":  # where the text says of how many seeds
        return score(records)
    if field == "best":
        return score(records, best=True)
    if field == "seeds":
        return seeds
    if field == "data":  # of its behaviour policies, over all that is bundled
        return f"{ {n.name: n.score for n in catalog.names()}[records[0].dataset]:.1f}"
    if field.startswith("end."):
        name = field.removeprefix("end.")
        if any(name not in r.evaluations[-1]["diagnostics"] for r in records):
            there = ", ".join(records[0].evaluations[-1]["diagnostics"])
            raise RecordError(f"{records[0].algo} has no diagnostic {name!r}: it has {there}")
        ends = [r.evaluations[-1]["diagnostics"][name] for r in records]
        if None in ends:
            raise RecordError(f"{name} of {records[0].algo} on {records[0].dataset} is not finite")
        low, high = min(ends), max(ends)
        digits = 0 if max(-low, high) >= 10 else 2
        return f"{low:,.{digits}f} to {high:,.{digits}f}"
    if field == "seconds":  # of whole batches: each says how many agents shared it
        return f"{np.mean([r.seconds / r.agents for r in records]):.0f}"
    found: Any = {json.dumps(look_up(r, field), sort_keys=True) for r in records}
    if len(found) > 1:
        raise RecordError(f"the seeds of {records[0].algo}/{records[0].dataset} differ in {field}")
    one = json.loads(found.pop())
    if field == "commit":
        return one[:7] if one else "not known"
    return f"{one:,}" if isinstance(one, int) and not isinstance(one, bool) else str(one)


def look_up(record: Record, field: str) -> Any:
    """The attribute, or with dots what it holds. RecordError where there is none such."""
    first, *rest = field.split(".")
    if first not in Record.__dataclass_fields__:
        there = ", ".join(Record.__dataclass_fields__)
        raise RecordError(f"a record has no field {first!r}: expected one of {there}")
    at: Any = getattr(record, first)
    for name in rest:
        if not isinstance(at, dict) or name not in at:
            there = ", ".join(sorted(at)) if isinstance(at, dict) else "nothing"
            raise RecordError(f"{first} of {record.algo} has no {name!r}: it has {there}")
        at = at[name]
    return at


def words(root: Path, text: str) -> str:
    """What stands in the page for `folder/algo/dataset[:field]`. RecordError or TableError says what is
    wrong with it."""
    path, _, field = text.partition(":")
    parts = path.split("/", 2)
    if len(parts) != 3:
        raise RecordError(f"{text!r}: expected folder/algorithm/dataset, and :field if not the last score")
    return value(cell(root / parts[0], parts[1], parts[2]), field or "last")


GROUPS = {
    "Table 1": claims.datasets(1),
    "Table 1 outside Hopper": tuple(d for d in claims.datasets(1) if not d.startswith("hopper")),
}
EFFECT = re.compile(r"(\S+)/(\S+) - (\S+)/(\S+) on ([^:]+?)(?::(mean|p))?")


def effect(root: Path, text: str) -> str:
    """What stands in the page for `folder/algo - folder/algo on dataset, …[:field]`. RecordError or
    TableError says what is wrong with it."""
    if not (found := EFFECT.fullmatch(text)):
        raise RecordError(f"{text!r}: expected folder/algo - folder/algo on datasets[:mean or :p]")
    *sides, names, field = found.groups()
    datasets = GROUPS.get(names) or names.split(", ")

    def scores(folder: str, algo: str) -> stats.Array:
        runs = [r for d in datasets for r in cell(root / folder, algo, d)]
        return tables.matrix(tables.collect(runs), algo, datasets)

    ours, theirs = scores(*sides[:2]), scores(*sides[2:])
    p = typeset.probability(stats.p_value(ours, theirs))
    both = {"mean": f"{ours.mean() - theirs.mean():.1f}", "p": p}
    return both[field] if field else ", ".join(both.values())


class NumberRole(SphinxRole):
    """See the top of this file; `of` makes the words."""

    def __init__(self, of: Callable[[Path, str], str]) -> None:
        super().__init__()
        self.of = of

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The words, or an error at the role's line."""
        self.env.note_reread()  # records may have come
        try:
            text = self.of(Path(self.env.srcdir) / RESULTS, self.text)
        except (RecordError, tables.TableError) as error:
            message = self.inliner.reporter.error(f"{self.name}: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        return [nodes.inline("", text, classes=["record"])], []


class Records(SphinxDirective):
    """See the top of this file."""

    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        """A table for each folder, under its name."""
        self.env.note_reread()  # records may have come
        root = Path(self.env.srcdir) / RESULTS
        try:
            return self.tables({name: load_records(root / name) for name in self.names(root)})
        except (RecordError, tables.TableError) as error:
            raise self.error(f"records: {error}") from None

    def names(self, root: Path) -> list[str]:
        """The folders to show."""
        return self.arguments or published(root)

    def tables(self, folders: Mapping[str, Sequence[Record]]) -> list[nodes.Node]:
        """What the page shows of the records in each folder."""
        return [
            table(f"book/results/{name}", f": {len(records)} runs", COLUMNS, rows(records))
            for name, records in folders.items()
        ]


class Compute(Records):
    """See the top of this file."""

    def tables(self, folders: Mapping[str, Sequence[Record]]) -> list[nodes.Node]:
        """One, with a row for each folder and their sum."""
        lines = [[name, *spent(records)] for name, records in folders.items()]
        everything = [r for records in folders.values() for r in records]
        return [table("book/results", "", SPENT, [*lines, ["all", *spent(everything)]])]


def published(root: Path) -> list[str]:
    """The folders that hold records."""
    return sorted(f.relative_to(root).as_posix() for f in root.rglob("*") if files_in(f))


def spent(records: Sequence[Record]) -> list[str]:
    """What these runs took, SPENT wide but for the folder: a run's time is its share of its batch's."""
    hours = sum(r.seconds / r.agents for r in records) / 3600
    return [
        f"{len(records):,}", f"{sum(r.stopped_at for r in records):,}", f"{hours:.1f}",
        str(sum(r.status == "diverged" for r in records)),
        str(sum(bool(r.earlier) for r in records)),
    ]  # fmt: skip


def rows(records: Sequence[Record]) -> list[list[str]]:
    """What ran: one row per algorithm, dataset and configuration, COLUMNS wide."""
    groups: defaultdict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (r.dataset, r.algo, r.seed)):
        setting = fingerprint([record.config, record.plugin, record.steps, record.dataset_digest])
        groups[record.algo, record.dataset, setting].append(record)
    found = []
    for (algo, dataset, _), group in groups.items():
        wall = np.mean([r.seconds for r in group])
        found.append([
            algo, dataset, setting_of(group[0]), ", ".join(str(r.seed) for r in group),
            joined(f"{r.stopped_at:,}" for r in group), score(group),
            score(group, best=True), joined(r.device for r in group),
            f"{wall / 60:.0f} min" if wall >= 60 else f"{wall:.0f} s",
            joined(r.started[:10] for r in group), joined(c for r in group for c in commits(r)),
        ])  # fmt: skip
    return sorted(found, key=lambda row: (row[1], row[0], row[2]))


def setting_of(record: Record) -> str:
    """What this run has otherwise than its scale's settings: `beta 2.0, weight 0.03`."""
    recipe = algos.find(record.algo)
    size = recipe.entry.scales[record.scale]
    usual = vars(recipe.config(size.overrides)) | vars(recipe.plugin_config({}) or SimpleNamespace())
    own = {**record.config, **(record.plugin or {})}
    return ", ".join(f"{k} {v}" for k, v in own.items() if usual.get(k, v) != v)


def commits(record: Record) -> list[str]:
    """Of the processes that trained it, in order."""
    found = [*(p["commit"] for p in record.earlier or []), record.commit]
    return [(c or "not known")[:7] for c in found]


def joined(texts: Iterable[str]) -> str:
    """The different ones, in order."""
    return ", ".join(dict.fromkeys(texts))


def table(
    name: str, more: str, columns: Sequence[str], body: Sequence[Sequence[str | nodes.Node]]
) -> nodes.Node:
    """A docutils table; its caption, if any, is the path `name` and `more` words."""
    group = nodes.tgroup(cols=len(columns))
    group += [nodes.colspec(colwidth=1) for _ in columns]
    for wrap, lines in ((nodes.thead(), [columns]), (nodes.tbody(), body)):
        for line in lines:
            row = nodes.row()
            row += [nodes.entry("", nodes.paragraph(text=t) if isinstance(t, str) else t) for t in line]
            wrap += row
        group += wrap
    caption = (
        [nodes.title("", "", *([nodes.literal(text=name)] if name else []), nodes.Text(more))]
        if more
        else []
    )
    return nodes.table("", *caption, group, classes=["records"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the role and the directive."""
    app.add_role("record", NumberRole(words))
    app.add_role("effect", NumberRole(effect))
    app.add_directive("records", Records)
    app.add_directive("compute", Compute)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
