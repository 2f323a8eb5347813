"""Two checkouts' updates by turns, in one process each: `python -m rdlib bench --against FOLDER`.

A machine's speed wanders by more than a change brings. Windows that follow one another see the same
machine, so only their ratio is shown, with its spread over the turns.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from rdlib.engine import hardware
from rdlib.engine.config import ConfigError
from rdlib.training.bench import speed, turns
from rdlib.training.checkpoint import write_atomically

HERE = Path(__file__).parents[3]
TURNS = 7


class Side:
    """A process that imports the `rdlib` of the checkout `folder` (rdlib.training.bench.turns)."""

    def __init__(self, folder: Path, **request: Any):
        self.folder = folder.resolve()
        if not (self.folder / "rdlib" / "__init__.py").is_file():
            raise ConfigError(f"against = {folder}, expected a checkout: it has no rdlib/__init__.py")
        self.process = subprocess.Popen(
            [sys.executable, "-P", turns.__file__],  # -P: nothing is imported from that file's folder
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.commit = self.ask(start=request)

    def ask(self, **request: Any) -> Any:
        """The answer to one request. Raises ConfigError, with its words, where the checkout cannot."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline() or '{"error": "its process ended"}')
        except BrokenPipeError:
            answer = {"error": "its process ended"}
        if "error" in answer:
            raise ConfigError(f"the bench of {self.folder} cannot do this: {answer['error']}")
        return answer["found"]

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()


def report(
    folder: Path,
    names: Sequence[str],
    agents: Sequence[int],
    device: torch.device,
    seconds: float,
    overrides: Mapping[str, Any],
    out: Path | None = None,
    compile: bool = False,
) -> dict[str, Any]:
    """Print for each of `names` x `agents` (none: 1 and 8) how many times as quick this checkout is as the
    one in `folder`: the median of TURNS ratios, each of two windows of `seconds` / TURNS, and their
    range; returned, and with `out` written there as against.json."""
    agents = agents or (1, 8)
    speed.check_request(names, agents, seconds, overrides)
    asked = {"device": str(device), "matmul": hardware.choose_matmul(device), "compile": compile}
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        there, here = (stack.enter_context(Side(f, **asked)) for f in (folder, HERE))
        found = {
            "device": hardware.device_name(device),
            "processor": hardware.processor(),
            "threads": torch.get_num_threads(),
            "compiled": compile,
            "overrides": dict(overrides),
            "commit": here.commit,
            "against": there.commit,
            "rows": rows,
        }
        print(f"{found['device']}, {found['processor']}: {here.commit} against {there.commit}")
        print(f"{'algorithm':16s} {'A':>3s} {'times as quick':>14s}   range of {TURNS} turns")
        for name in names:
            for count in agents:
                for side in (there, here):
                    side.ask(make={"name": name, "agents": count, "overrides": dict(overrides)})
                turn = [
                    [side.ask(run={"seconds": seconds / TURNS}) for side in (there, here)]
                    for _ in range(TURNS)
                ]
                ratios = [ours / theirs for theirs, ours in turn]
                rows.append({"algo": name, "agents": count, "ratios": ratios})
                middle = statistics.median(ratios)
                print(
                    f"{name:16s} {count:3d} {middle:14.2f}   {min(ratios):.2f} to {max(ratios):.2f}",
                    flush=True,
                )
                if out:
                    write_atomically(out / "against.json", json.dumps(found, indent=1).encode())
    return found
