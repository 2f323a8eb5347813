"""Measure what the grid's jobs will cost: python workflow/speed.py [device] adds rows to speed.csv.

Full updates at the paper's network sizes on random data of Hopper's shapes (rdlib.training.bench.speed), no
evaluation.
On a CPU one thread runs, and the rate is per second of that core's time, so that a busy machine gives
the same answer; on a GPU it is per second of the device's, with AGENTS together.
"""

import csv
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import torch

from rdlib import algos
from rdlib.engine import hardware
from rdlib.engine.hardware import find_device
from rdlib.results import grid
from rdlib.training.bench import speed

FILE = Path(__file__).with_name("speed.csv")
AGENTS = {"cpu": 1, "cuda": 16}
SECONDS = 3.0


def main(device_name: str) -> None:
    """One row an algorithm, plain and, where it has a critic, with RD."""
    device = find_device(device_name)
    torch.set_num_threads(1)
    hardware.choose_matmul(device)
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else "cpu"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    new = not FILE.exists()
    with open(FILE, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(grid.SPEED_COLUMNS)
        for algo in [a + s for a, e in algos.ALGORITHMS.items() for s in ("", "_rd") if e.critic or not s]:
            wall, cpu = time.perf_counter(), time.process_time()
            row = speed.measure(algo, AGENTS[device.type], device, SECONDS, {})
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rate = row["agent-updates/s"] * (1 if gpu else wall / cpu)
            unit = "device second" if gpu else "core second"
            line = (name, algo, AGENTS[device.type], f"{rate:.3g}", unit, date.today(), commit)
            writer.writerow(line)
            file.flush()
            print(*line)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
