"""Gather what `python -m rdlib data check` found on version 2's datasets into policies/v2/measured.json.

    python workflow/collect_checks.py runs/check/rd-hopper-medium-v2 …

A dataset that was checked again replaces what was there; the others stay.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rdlib.data.bundled import policies_folder


def collect(folders: Iterable[Path], target: Path) -> dict[str, Any]:
    """The content of `target`, with the checks of `folders` put in and written."""
    known = json.loads(target.read_text()) if target.exists() else {}
    for folder in folders:
        found = json.loads((folder / "check.json").read_text())
        seeds = ",".join(map(str, found["seeds"]))
        options = f"--steps {found['steps']} --seeds {seeds}"
        algos = [algo for algo in ("bc", "td3bc") if algo in found]
        if len(algos) < 2:
            options += f" --algos {','.join(algos) or 'none'}"
        command = f"python -m rdlib data check {found['dataset']} {options}"
        known[found["like"]] = {"command": command, **found}
    target.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    return known


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="the --out of checks")
    parser.add_argument("--target", type=Path, default=policies_folder(2) / "measured.json")
    a = parser.parse_args(arguments)
    print(f"{len(collect(a.folders, a.target))} datasets in {a.target}")


if __name__ == "__main__":
    main()
