"""Copy the records of finished runs to where they are published: all, or none if one is missing or would
replace another."""

import argparse
import dataclasses
import sys
from pathlib import Path

from rdlib.results import tables
from rdlib.training.checkpoint import CheckpointError
from rdlib.training.record import Record, RecordError, load_record, save_record, without_doubles


def collect(lists: list[Path], to: Path, runs: int, seeds: list[int]) -> list[Path]:
    """The records named in `lists` (one path a line) into `to`, which must be of so many `runs`. With
    `seeds`, each cell must have exactly those. A record that is there already stays. Raises RecordError,
    TableError, and then nothing was written."""
    try:
        paths = [Path(line) for found in lists for line in found.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise RecordError(f"not a readable list of records: {error}") from error
    records = without_doubles((path, load_record(path)) for path in paths)
    if seeds:
        tables.collect(records, seeds)
    if len(records) != runs:
        raise RecordError(f"{len(records)} records are listed, and {runs} runs were asked for")
    there = [_is_there(record, to / record.file_name) for record in records]
    return [
        to / record.file_name if found else save_record(record, to)
        for record, found in zip(records, there, strict=True)
    ]


def _is_there(record: Record, path: Path) -> bool:
    """Whether `path` holds this record. Raises RecordError where it holds another one."""
    if not path.exists():
        return False
    found = load_record(path)
    names = [f.name for f in dataclasses.fields(Record)]
    differ = [name for name in names if getattr(found, name) != getattr(record, name)]
    if differ:
        raise RecordError(
            f"{path}: records the same run already, with another {', '.join(differ)}; nothing was "
            "written. Move it away to have the new one in its place"
        )
    return True


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
