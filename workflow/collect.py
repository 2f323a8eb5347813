"""Pack the records of finished runs where they are published: all, or none if one is missing or would
replace another."""

import argparse
import dataclasses
import sys
from pathlib import Path

from rdlib.results import tables
from rdlib.training.checkpoint import CheckpointError
from rdlib.training.record import (
    Record,
    RecordError,
    files_in,
    load_files,
    load_record,
    pack_records,
    without_doubles,
)


def collect(lists: list[Path], to: Path, runs: int, seeds: list[int]) -> list[Path]:
    """The records named in `lists` (one path a line) into `to`, which must be of so many `runs`. With
    `seeds`, each cell must have exactly those. A record that is there already stays. Returns the files that
    changed. Raises RecordError, TableError, and then nothing was written."""
    try:
        paths = [Path(line) for found in lists for line in found.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise RecordError(f"not a readable list of records: {error}") from error
    records = without_doubles((str(path), load_record(path)) for path in paths)
    if seeds:
        tables.collect(records, seeds)
    if len(records) != runs:
        raise RecordError(f"{len(records)} records are listed, and {runs} runs were asked for")
    there = {r.key: (where, r) for where, r in load_files(to)} if files_in(to) else {}
    for record in records:
        _refuse_another(record, *there.get(record.key, ("", record)))
    return pack_records((r for r in records if r.key not in there), to)


def _refuse_another(record: Record, where: str, found: Record) -> None:
    """RecordError unless `found`, which stands at `where`, is this very record."""
    names = [f.name for f in dataclasses.fields(Record)]
    differ = [name for name in names if getattr(found, name) != getattr(record, name)]
    if differ:
        raise RecordError(
            f"{where}: records the same run already, with another {', '.join(differ)}; nothing was "
            "written. Move it away to have the new one in its place"
        )


def _seeds(text: str) -> list[int]:
    return [int(s) for s in text.split(",") if s]


def main() -> int:
    """The command that the Snakefile calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lists", type=Path, nargs="+", help="files that list records, one path a line")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--runs", type=int, required=True, help="how many there must be in all")
    parser.add_argument(
        "--seeds", type=_seeds, default=[], help="of each cell, with commas between; empty: any"
    )
    a = parser.parse_args()
    try:
        written = collect(a.lists, a.to, a.runs, a.seeds)
    except (CheckpointError, RecordError, tables.TableError) as error:
        print(f"collect: {error}", file=sys.stderr)
        return 2
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
