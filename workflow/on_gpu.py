"""What an hour of a rented GPU is best spent on, in that order:

    python workflow/on_gpu.py --minutes 55 --out gpu

1. `tests`: updates captured as CUDA graphs equal eager ones on this GPU; if not, nothing else is run.
2. `bench`: the speed of every algorithm here, and what the paper's tables would take.
3. Trainings: the jobs of Table 1 (`rdlib.results.grid`), Hopper first, each base before its RD, at the
   paper's scale on the bundled data or, with `--source d4rl`, on D4RL's.

A step that ended is marked in `--out`. The same command goes on behind it, and within a training at its
checkpoint, on another day or another machine that has the folder. What the trainings leave there are
records: `workflow/collect.py` publishes them.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # where rdlib is not installed

from rdlib.results import grid  # noqa: E402
from rdlib.training.request import TrainConfig, command  # noqa: E402

SAVING = 30.0  # seconds kept for a training to write its checkpoint
ENVIRONMENTS = ("hopper", "walker2d", "halfcheetah")


def trainings(source: str, out: Path, device: str) -> list[TrainConfig]:
    """The jobs of Table 1, the most telling first: by environment, then as the table has its columns."""
    jobs = grid.table_jobs(numbers=(1,))
    jobs.sort(key=lambda job: ENVIRONMENTS.index(job.environment))
    return [job.asked(source, "paper", out / "runs", device=device) for job in jobs]


def steps(asked: Sequence[TrainConfig], out: Path, device: str) -> Iterator[tuple[str, list[str]]]:
    """Every step's name and its Python command."""
    yield "tests", ["-m", "pytest", "-q", "-m", "gpu", "tests"]
    yield "bench", ["-m", "rdlib", "bench", "--device", device, "--out", str(out / "bench")]
    for each in asked:
        yield Path(each.out).name, shlex.split(command(each))[1:]


def datasets(asked: TrainConfig) -> list[list[str]]:
    """Python commands that make what a training loads: a roll-out takes a core some minutes."""
    return [["-m", "rdlib", "data", "make", name] for name in asked.dataset.split(",")]


def run(words: Sequence[str], log: Path, seconds: float) -> int | None:
    """Exit status of a Python command, its output in `log`; None where it was stopped for time."""
    with open(log, "a") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            return process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # a training saves and says where it stands
            try:
                process.wait(SAVING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return None


def go(steps: Iterator[tuple[str, list[str]]], out: Path, minutes: float) -> int:
    """One step after the other: 0 where all ended well, 1 where one failed, 3 where time ran out first."""
    ends, worst = time.monotonic() + 60 * minutes - SAVING, 0
    for name, words in steps:
        mark, log = out / f"{name}.ended", out / f"{name}.log"
        if mark.exists():
            print(f"{name}: ended before", flush=True)
            continue
        if (left := ends - time.monotonic()) <= 0:
            print(f"{name}: no time left; the same command goes on here", flush=True)
            return max(worst, 3)
        print(f"{name}: python {shlex.join(words)}", flush=True)
        status = run(words, log, left)
        if status == 0:
            mark.touch()
        elif status is not None:
            worst = 1
            print(f"{name}: failed with status {status}; see {log}", flush=True)
            if name == "tests":
                return worst  # what does not equal the eager updates is not worth its time
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True, help="folder of logs, marks and runs")
    p.add_argument("--minutes", type=float, required=True, help="for everything")
    p.add_argument("--source", choices=grid.SOURCES, default="bundled", help="whose data")
    p.add_argument("--device", default="cuda")
    a = p.parse_args(arguments)
    out = a.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    asked = trainings(a.source, out, a.device)
    # The first trainings' data are made beside what needs the GPU and not the cores.
    making = [subprocess.Popen([sys.executable, *words], cwd=ROOT) for words in datasets(asked[0])]
    try:
        return go(steps(asked, out, a.device), out, a.minutes)
    finally:
        for process in making:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
