"""Everything that is to be known of a GPU, on a machine that is ours for a short time.

    python workflow/on_gpu.py --out results --minutes 28

In order: captured updates equal eager ones (the tests marked gpu) for what is timed and trained here, the
speeds that have a target, a profile of one captured update, the same tests of all other algorithms,
the whole bench with its projection of the paper's tables, then trainings, the most valuable first, whose
bundled datasets are rolled out meanwhile. Each step has a limit of its own and writes its result into --out
as it ends; the same command again goes on behind the last step that ended, and within a training at its
checkpoint. `--only` names the steps of one call. `--device cpu --tiny` tries the script itself, in seconds.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET_ALGOS, TARGET_AGENTS = ("td3n", "td3n_rd", "td3bc"), (1, 5, 15)
TINY = "batch_size=16,n_critics=2,width=8,depth=1,actor_width=8,actor_depth=1"
HOPPER = "hopper-medium,hopper-medium-replay,hopper-medium-expert"
# What `python -m rdlib train` is asked, the most valuable first: of a tenth of the updates the last
# question of protocol.md and the second backbone, then Table 1's columns on what is bundled.
TENTH = "--steps 100000 --eval_every 20000"
WEIGHTS = " ".join(f"--variant plugin.weight={w}" for w in (0.001, 0.003, 0.01, 0.03))
TABLE = f"--dataset {HOPPER} --seeds 0,1,2,3,4 --scale paper"
TRAININGS = [
    f"--algo td3n_rd --dataset {HOPPER} --seeds 100 --scale paper {TENTH} {WEIGHTS}",
    *(f"--algo {algo} {TABLE} {TENTH}" for algo in ("sacn_rd", "sacn")),
    *(
        f"--algo {algo} {TABLE}"
        for algo in ("td3n_rd", "td3n", "sacn_rd", "sacn", "td3bc_rd", "td3bc", "cql_rd", "cql")
    ),
]
GPU_TESTS = [f"tests/test_{n}.py" for n in ("graphs", "algorithms", "watch")]
MAKE = ["-m", "rdlib", "data", "make"]
TOGETHER = 8  # processes of these tests, most of whose time is Python's
NEEDED = {  # steps without which nothing after them is worth its time
    "equality": "what is not equal to the eager updates is not worth measuring",
    "data": "there is nothing to train on",
}
GRACE = 20.0  # seconds that an interrupted training has to save its checkpoint


@dataclass
class Runner:
    """One call of the script."""

    out: Path
    device: str
    tiny: bool
    ends: float  # on the clock of time.monotonic
    trainings: Sequence[str]

    def say(self, line: str) -> None:
        """Print, and add to summary.txt, in which an earlier call's lines stay."""
        print(line, flush=True)
        with open(self.out / "summary.txt", "a") as summary:
            print(line, file=summary)

    def left(self, minutes: float) -> float:
        """Seconds of a step that may take so many minutes."""
        return max(0.0, min(60 * minutes, self.ends - time.monotonic()))

    def run(self, name: str, words: Sequence[str], seconds: float) -> int | None:
        """Exit status of a Python command, its output in NAME.log; None where it was stopped for time."""
        with open(self.out / f"{name}.log", "a") as log:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)  # a training saves and says where it stands
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                return None


def equality(runner: Runner) -> dict[str, Any]:
    """The tests that need a GPU, of the algorithms that have a target."""
    return tests(runner, "equality", "td3n or td3bc", "recorded_updates and td3n_rd")


def others(runner: Runner) -> dict[str, Any]:
    """The tests that need a GPU, of all else."""
    return tests(runner, "others", "not td3n and not td3bc", "recorded_updates and bc")


def tests(runner: Runner, name: str, which: str, on_cpu: str) -> dict[str, Any]:
    """Those of `which` on a GPU, each of which a CPU skips; there the same comparison by a tape."""
    words = ["-m", "pytest", "-q", "-n", str(min(TOGETHER, os.cpu_count() or 1))]
    if runner.device == "cpu":
        words += ["tests/test_graphs.py", "-k", on_cpu]
    else:
        words += [*GPU_TESTS, "-m", "gpu", "-k", which]
    status = runner.run(name, words, runner.left(4))
    return {"ok": status == 0, "status": status}


def roll_out(runner: Runner) -> list[subprocess.Popen[bytes]]:
    """Processes that make the bundled datasets of the trainings, one each."""
    sys.path.insert(0, str(ROOT))  # where rdlib is not installed
    from rdlib.__main__ import parser
    from rdlib.data.catalog import is_rolled_out

    asked = [parser().parse_args(["train", *shlex.split(words)]) for words in runner.trainings]
    wanted = dict.fromkeys((name, a.size) for a in asked for name in a.dataset.split(","))
    made = []
    for name, size in wanted:
        if is_rolled_out(name):
            words = [*MAKE, name, *(["--size", str(size)] if size else [])]
            with open(runner.out / f"data-{name}.log", "a") as log:
                made.append(
                    subprocess.Popen(
                        [sys.executable, *words], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
                    )
                )
    return made


def wait_for(runner: Runner, rolling: Sequence[subprocess.Popen[bytes]]) -> dict[str, Any]:
    """Until the datasets are there."""
    try:
        statuses = [process.wait(runner.left(10)) for process in rolling]
    except subprocess.TimeoutExpired:
        return {"ok": False, "status": None}
    return {"ok": not any(statuses), "status": max(map(abs, statuses), default=0)}


def speeds(runner: Runner) -> dict[str, Any]:
    """The rows that have a target, before anything else warms the GPU; roll-outs run beside."""
    return bench(runner, "speeds", TARGET_ALGOS, TARGET_AGENTS, 4)


def everything(runner: Runner) -> dict[str, Any]:
    """The whole bench, which the book's page on hardware reads."""
    few = runner.tiny
    return bench(runner, "bench", TARGET_ALGOS[2:] if few else (), (1,) if few else (), 8)


def bench(
    runner: Runner, name: str, algos: Sequence[str], agents: Sequence[int], minutes: float
) -> dict[str, Any]:
    """Rows in NAME/bench.json, as many as there was time for, held against the targets."""
    words = ["-m", "rdlib", "bench", "--device", runner.device, "--out", str(runner.out / name)]
    words += ["--algos", ",".join(algos)] if algos else []
    words += ["--agents", ",".join(map(str, agents))] if agents else []
    words += ["--config", TINY, "--seconds", "0.01"] if runner.tiny else ["--seconds", "2"]
    status = runner.run(name, words, runner.left(minutes))
    path = runner.out / name / "bench.json"
    found = json.loads(path.read_text()) if path.exists() else {"rows": []}
    checks = targets(found)
    for check in checks:
        runner.say(f"  {check['name']}: {check['found']} (target {check['target']}) {check['verdict']}")
    return {"ok": status == 0, "status": status, "targets": checks}


def targets(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a bench was to reach, and what it reached: verdict met, missed or not measured."""
    rows = {(r["algo"], r["agents"]): r for r in found["rows"] if "ms/update" in r}

    def get(algo: str, agents: int, what: str) -> float | None:
        return rows.get((algo, agents), {}).get(what)

    def ratio(a: float | None, b: float | None) -> float | None:
        return a / b if a is not None and b else None

    ms = "ms/update"
    td3n = get("td3n", 15, ms)
    tables = {t["table"]: t["hours"] for t in found.get("projection", [])}
    hours = tables.get(1)
    seconds = get("td3n", 15, "evaluation s")
    evaluation = ratio(seconds, None if td3n is None or seconds is None else seconds + 5 * td3n)
    wanted = [
        ("15 agents of td3n, ms per update", td3n, "<=", 1.0),
        ("15 agents of td3n_rd, ms per update", get("td3n_rd", 15, ms), "<=", 1.8),
        ("15 agents of td3bc, ms per update", get("td3bc", 15, ms), "<=", 0.25),
        ("5 agents of td3n over one", ratio(get("td3n", 5, ms), get("td3n", 1, ms)), "<=", 1.3),
        ("eager over captured, one agent of td3n",
         ratio(get("td3n", 1, "eager ms/update"), get("td3n", 1, ms)), ">=", 5.0),
        ("15 agents of td3n, share of the product ceiling",
         ratio(get("td3n", 15, "GFLOP/s"), get("td3n", 15, "ceiling GFLOP/s")), ">=", 0.35),
        ("15 agents of td3n, share of evaluation", evaluation, "<=", 0.05),
        ("table 1, hours of updates", hours and hours["updates"], "<=", 4.0),
    ]  # fmt: skip
    checks = []
    for name, value, sign, limit in wanted:
        if value is None:
            verdict = "not measured"
        else:
            verdict = "met" if (value <= limit if sign == "<=" else value >= limit) else "MISSED"
        shown = "-" if value is None else f"{value:.3g}"
        checks.append({"name": name, "found": shown, "target": f"{sign} {limit}", "verdict": verdict})
    return checks


def profile(runner: Runner) -> dict[str, Any]:
    """Kernels of one captured update of 15 agents of td3n, by time, and its trace."""
    words = [__file__, "--profile-only", "--out", str(runner.out), "--device", runner.device]
    words += ["--tiny"] if runner.tiny else []
    status = runner.run("profile", words, runner.left(2))
    return {"ok": status == 0, "status": status}


def profile_here(out: Path, device_name: str, tiny: bool) -> None:
    """What `profile` runs in a process of its own."""
    import torch

    from rdlib.engine import hardware
    from rdlib.engine.cuda_graphs import capture_for
    from rdlib.engine.hardware import find_device
    from rdlib.training.bench.speed import Bench
    from rdlib.training.request import assignments

    device = find_device(device_name)
    hardware.choose_matmul(device)
    made = Bench.make(
        "td3n", 2 if tiny else 15, device, assignments(TINY) if tiny else {},
        capture=capture_for(device),
    )  # fmt: skip
    period = made.algorithm.period
    made.engine.run(0, 10 * period)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as seen:
        made.engine.run(0, period)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    by = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table = seen.key_averages().table(sort_by=by, row_limit=60, max_name_column_width=90)
    (out / "profile.txt").write_text(f"{period} updates\n{table}\n")
    seen.export_chrome_trace(str(out / "trace.json"))


def train(runner: Runner, number: int, words: str) -> dict[str, Any]:
    """One training until it ends or the time does."""
    folder = runner.out / "runs" / f"{number:02d}"
    asked = [*shlex.split(words), "--device", runner.device, "--out", str(folder)]
    status = runner.run(
        f"train-{number:02d}", ["-m", "rdlib", "train", *asked], runner.left(24 * 60) - GRACE
    )
    return {"ok": status == 0, "status": status, "asked": words}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--out", type=Path, required=True, help="folder of all results")
    p.add_argument("--device", default="cuda")
    p.add_argument("--minutes", type=float, default=28.0, help="for everything")
    p.add_argument("--train", type=Path, help="file with the words of one `rdlib train` a line")
    p.add_argument("--only", default="", help="steps of this call, with commas between; none: all")
    p.add_argument("--tiny", action="store_true", help="networks and times for trying this script")
    p.add_argument("--profile-only", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every step ended well, 1 where one failed, 3 where time ran out first."""
    a = parse(arguments)
    out = a.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if a.profile_only:
        profile_here(out, a.device, a.tiny)
        return 0
    trainings = TRAININGS
    if a.train:
        trainings = [line for line in a.train.read_text().splitlines() if line.strip()]
    runner = Runner(out, a.device, a.tiny, time.monotonic() + 60 * a.minutes, trainings)
    steps: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("equality", lambda: equality(runner)),
        ("speeds", lambda: speeds(runner)),
        ("profile", lambda: profile(runner)),
        ("others", lambda: others(runner)),
        ("bench", lambda: everything(runner)),
        ("data", lambda: wait_for(runner, rolling)),
    ]
    for number, words in enumerate(trainings):
        steps.append((f"train-{number:02d}", lambda n=number, w=words: train(runner, n, w)))
    only = [word for word in a.only.split(",") if word]
    if unknown := set(only) - {name for name, _ in steps}:
        raise SystemExit(f"--only: no step {', '.join(sorted(unknown))}; steps: {', '.join(dict(steps))}")
    steps = [(name, step) for name, step in steps if not only or name in only]
    names = [name for name, _ in steps]
    rolling = roll_out(runner) if "data" in names and not (out / "data.json").exists() else []
    try:
        return go(runner, steps)
    finally:
        for process in rolling:
            process.terminate()


def go(runner: Runner, steps: Sequence[tuple[str, Callable[[], dict[str, Any]]]]) -> int:
    """One step after the other, but for those that ended before; as `main`."""
    worst = 0
    for name, step in steps:
        file = runner.out / f"{name}.json"
        if file.exists():
            runner.say(f"{name}: ended before")
            continue
        if runner.left(24 * 60) < (0 if runner.tiny else 90):
            runner.say(f"{name}: no time left; the same command goes on here")
            return max(worst, 3)
        began = time.monotonic()
        runner.say(f"{name} …")
        result = {**step(), "seconds": round(time.monotonic() - began, 1)}
        if result["ok"]:
            file.write_text(json.dumps(result, indent=1))
        verdict = "ended" if result["ok"] else f"NOT ended (status {result['status']})"
        logs = "data-*.log" if name == "data" else f"{name}.log"
        runner.say(f"{name}: {verdict} after {result['seconds']} s; see {logs}")
        if not result["ok"]:
            worst = max(worst, 3 if result["status"] is None else 1)
            if name in NEEDED:
                runner.say(f"{NEEDED[name]}: stopped")
                return worst
    return worst


if __name__ == "__main__":
    sys.exit(main())
