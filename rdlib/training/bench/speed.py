"""How fast the updates run here, against this machine's own limits.

Full updates (sampling, losses, backward, optimisers, target networks) on random data of Hopper's shapes.
Next to the time measured stands the one predicted (rdlib.training.bench.roofline): the products that ran,
each as quick as it is alone, and the bytes of all other kernels as quick as a copy. The ceiling is the rate
of those products alone.
"""

import copy
import gc
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdlib import algos
from rdlib.engine import compiler, hardware
from rdlib.engine.config import ConfigError
from rdlib.engine.cuda_graphs import Capture, capture_for
from rdlib.training import evaluation
from rdlib.training.agents import Agents, assemble
from rdlib.training.bench import projection
from rdlib.training.bench.memory import ACT_DIM, OBS_DIM, forget_peak, peak, peak_of_transitions, synthetic
from rdlib.training.bench.peers import PEER_SIZE, PEERS
from rdlib.training.bench.roofline import Ceiling, Count, best_seconds, wait
from rdlib.training.checkpoint import write_atomically
from rdlib.training.evaluation import Evaluator
from rdlib.training.provenance import provenance

SIZES = (256, 512, 1024)
CPU = torch.device("cpu")
AGENTS = {"cpu": (1, 4, 16), "cuda": (1, 5, 15, 45)}  # 5 seeds, of 1, of 3 and of 9 datasets


def product_rates(device: torch.device) -> dict[str, float]:
    """GFLOP/s of this device's square (`mm`) and batched (`bmm`, ten 256x256) float32 products, the best of
    several, by the path `rdlib.engine.hardware.choose_matmul` took."""
    rates = {}
    for n in SIZES:
        a = torch.randn(n, n, device=device)
        rates[f"mm {n}"] = 2 * n**3 / best_seconds(partial(torch.mm, a, a), device) / 1e9
    a = torch.randn(*hardware.MATMUL_SHAPE, device=device)
    flops = 2 * hardware.MATMUL_SHAPE[0] * hardware.MATMUL_SHAPE[1] ** 3
    rates["bmm 10x256"] = flops / best_seconds(partial(torch.bmm, a, a), device) / 1e9
    return rates


def make(
    name: str,
    agents: int,
    device: torch.device,
    overrides: Mapping[str, Any],
    dims: tuple[int, int] = (OBS_DIM, ACT_DIM),
    capture: Capture | None = None,
) -> Agents:
    """`agents` on random data, ready to be updated, that differ in their seeds only."""
    recipe, one = algos.find(name), np.ones(dims[1], np.float32)
    configs, plugins = [recipe.config(dict(overrides))] * agents, [recipe.plugin_config({})] * agents
    data = [synthetic(20_000, dims)] * agents
    made = assemble(recipe, configs, plugins, data, range(agents), (-one, one), device)
    made.engine.capture = capture
    return made


def count_period(made: Agents) -> tuple[Count, int]:
    """What the updates of one period run, eagerly, and how many they are."""
    period, capture = made.algorithm.period, made.engine.capture
    made.engine.capture = None
    made.engine.run(0, period)  # the first makes the optimisers' moments
    with Count() as counted:
        made.engine.run(0, period)
    made.engine.capture = capture
    return counted, period


def measure(
    name: str,
    agents: int,
    device: torch.device,
    seconds: float,
    overrides: Mapping[str, Any],
    ceiling: Ceiling | None = None,
    capture: Capture | None = None,
) -> dict[str, float]:
    """Median over calls of ten updates, or a hundred where ten take less than a tenth of a second.

    With `ceiling` also what the same products reach alone, and the time that they and the bytes of all
    else would take; on top of each other, since kernels run one after the other.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    forget_peak()
    made = make(name, agents, device, overrides, capture=capture)
    counted, period = count_period(made)
    count = period * max(1, 10 // period)
    made.engine.run(0, count)  # warm-up: graphs, thread pools
    wait(device)
    began = time.perf_counter()
    made.engine.run(0, count)
    wait(device)
    if time.perf_counter() - began < 0.1:  # then what a call costs by itself would count
        count = period * max(1, 100 // period)
        made.engine.run(0, count)
    rates: list[float] = []
    until = time.perf_counter() + seconds
    while len(rates) < 3 or time.perf_counter() < until:
        wait(device)
        began = time.perf_counter()
        made.engine.run(0, count)
        wait(device)
        rates.append(count / (time.perf_counter() - began))
    rate, flops = statistics.median(rates), counted.flops / period
    row = {
        "updates/s": rate,
        "agent-updates/s": rate * agents,
        "ms/update": 1e3 / rate,
        "GFLOP/update": flops / 1e9,
        "GFLOP/s": flops * rate / 1e9,
        "MB/update": counted.bytes / period / 1e6,
        "kernels/update": counted.kernels / period,
        "MiB": torch.cuda.max_memory_reserved(device) / 2**20 if device.type == "cuda" else peak(),
    }
    if ceiling:
        products, traffic = (1e3 * f(counted) / period for f in (ceiling.products, ceiling.traffic))
        row |= {
            "ceiling GFLOP/s": flops / products / 1e6,
            "products ms": products,
            "traffic ms": traffic,
            "predicted ms": products + traffic,
        }
        every = algos.find(name).entry.scales["paper"].eval_every / rate
        row["playing s"], row["evaluation s"] = evaluation_seconds(made, every)
    return row


def evaluation_seconds(made: Agents, every: float) -> tuple[float, float]:
    """Seconds that an evaluation plays, and those of it that updates wait for, one falling every so
    many seconds: all of them, or where it runs beside training (see rdlib.training.evaluation) the weights'
    way to the CPU and what it takes beyond the next."""
    device = made.engine.sizes.device
    if not evaluation.beside(device, made.algorithm):
        played = playing_seconds(made)
        return played, played
    understudies = replace(
        made, algorithm=made.understudies(), normaliser=copy.deepcopy(made.normaliser).cpu()
    )
    wait(device)
    began = time.perf_counter()
    understudies.algorithm.load_state_dict(made.algorithm.state_dict())
    copied = time.perf_counter() - began
    played = playing_seconds(understudies)
    return played, copied + max(0.0, played - every)


def playing_seconds(made: Agents) -> float:
    """Of one evaluation as in the paper: ten episodes of a thousand steps for each agent. From the first
    steps, in which every Hopper still stands."""
    took = []
    for steps in (4, 14):
        evaluator = Evaluator("Hopper-v5", made.streams.seeds, max_episode_steps=steps)
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            evaluator.run(made.algorithm.player(evaluator.episodes), made.normaliser)
            best = min(best, time.perf_counter() - began)
        evaluator.close()
        took.append(best)
    return max(0.0, took[1] - took[0]) / 10 * 1000


def check_request(
    names: Sequence[str], agents: Sequence[int], seconds: float, overrides: Mapping[str, Any]
) -> None:
    """Raise ConfigError where a bench cannot be run, before any minute is spent."""
    for name in names:
        algos.find(name).config(dict(overrides))
    if min(agents) < 1:
        raise ConfigError(f"agents = {tuple(agents)}, expected at least 1 each")
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"seconds = {seconds}, expected a finite number of at least 0")


def report(
    names: Sequence[str],
    agents: Sequence[int] = (),
    device: torch.device = CPU,
    seconds: float = 3.0,
    overrides: Mapping[str, Any] | None = None,
    out: Path | None = None,
    compile: bool = False,
) -> dict[str, Any]:
    """Print the table of `names` x `agents` (none: AGENTS), the machine's own rates beside it, and what
    the paper's tables would take; returned, and with `out` written there as bench.json. `compile`: of
    updates as compiled programs, on a CPU."""
    agents = agents or AGENTS[device.type]
    capture = capture_for(device)
    if compile:
        compiler.check(device)
        from rdlib.engine.compiled import Programs

        capture = Programs()
    check_request(names, agents, seconds, overrides or {})
    hardware.keep_freed_memory()
    path, threads = hardware.choose_matmul(device), torch.get_num_threads()
    found: dict[str, Any] = {
        "device": hardware.device_name(device),
        "processor": hardware.processor(),
        "cores": hardware.available_cores(),
        "threads": threads,
        "matmul": path,
        "compiled": compile,
        "overrides": dict(overrides or {}),
        **provenance(),
    }
    print(f"{found['device']}, {found['processor']}, {found['cores']} cores, torch {torch.__version__}")
    print(f"float32 product: {path}, relative error {hardware.matmul_rate_and_error()[1]:.1e}")
    print(f"peak memory of 1e6 Hopper transitions: {peak_of_transitions():.0f} MiB")
    found["rates"] = product_rates(device)
    print("GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in found["rates"].items()))
    ceiling = Ceiling(device)
    found["GB/s"] = ceiling.bandwidth / 1e9
    print(f"copies: {found['GB/s']:.0f} GB/s read and written\n")
    print(_HEAD)
    found["rows"] = []
    for name in names:
        for count in agents:
            row = _row(name, count, device, seconds, overrides or {}, ceiling, capture)
            found["rows"].append(row)
            print(_line(row, device), flush=True)
            if out:
                write_atomically(out / "bench.json", json.dumps(found, indent=1).encode())
    found["projection"] = project(found["rows"], device, overrides)
    print()
    for table in found["projection"]:
        print(projection.describe(table))
    if out:
        write_atomically(out / "bench.json", json.dumps(found, indent=1).encode())
    return found


def project(
    rows: Sequence[Mapping[str, Any]],
    device: torch.device = CPU,
    overrides: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """What the paper's two tables would take where `rows` were measured (`projection.table`);
    `device` counts FLOPs and need not be the same."""
    known: dict[str, float] = {}

    def flops(name: str, dims: tuple[int, int], config: Mapping[str, Any]) -> float:
        key = json.dumps([name, dims, config], sort_keys=True)
        if key not in known:
            # Of a small minibatch: only ratios matter, and on a CPU the whole takes minutes.
            made = make(name, 1, device, {**(overrides or {}), **config, "batch_size": 16}, dims)
            counted, period = count_period(made)
            known[key] = counted.flops / period
        return known[key]

    return [projection.table(number, rows, flops) for number in (1, 2)]


def _row(
    name: str,
    agents: int,
    device: torch.device,
    seconds: float,
    overrides: Mapping[str, Any],
    ceiling: Ceiling,
    capture: Capture | None,
) -> dict[str, Any]:
    """One line of the table, with `capture` also the time without. Null numbers where memory was short."""
    row: dict[str, Any] = {"algo": name, "agents": agents}
    try:
        if capture:
            eager = measure(name, agents, device, min(seconds, 1.0), overrides)
            row["eager ms/update"] = eager["ms/update"]
        row |= measure(name, agents, device, seconds, overrides, ceiling, capture)
        if device.type == "cpu" and agents == 1 and name in PEERS and PEERS[name].config:
            config = {**overrides, **PEERS[name].config}
            row[PEER_SIZE] = measure(name, 1, device, seconds, config, capture=capture)["updates/s"]
        return row
    except torch.OutOfMemoryError as error:
        return row | {"out of memory": str(error).partition("\n")[0]}


_HEAD = (
    f"{'algorithm':16s} {'A':>3s} {'ms/update':>10s} {'predicted':>10s} {'agent-upd/s':>12s} "
    f"{'GFLOP/s':>9s} {'ceiling':>9s} share {'MiB':>7s} evaluation  beside it"
)


def _line(row: Mapping[str, Any], device: torch.device) -> str:
    start = f"{row['algo']:16s} {row['agents']:3d} "
    if "out of memory" in row:
        return start + f"does not fit: {row['out of memory']}"
    every = algos.find(row["algo"]).entry.scales["paper"].eval_every
    share = row["evaluation s"] / (row["evaluation s"] + every * row["ms/update"] / 1e3)
    beside = []
    if "eager ms/update" in row:
        beside.append(f"kernel by kernel {row['eager ms/update']:.2f} ms")
    if row["algo"] in PEERS and device.type == "cpu":
        peer = PEERS[row["algo"]]
        beside.append(f"peer on 2 cores {peer.rate:.1f}/s ({peer.code})")
    if PEER_SIZE in row:
        beside.append(f"ours of its size {row[PEER_SIZE]:.1f}/s")
    return (
        f"{start}{row['ms/update']:10.3f} {row['predicted ms']:10.3f} {row['agent-updates/s']:12.1f} "
        f"{row['GFLOP/s']:9.0f} {row['ceiling GFLOP/s']:9.0f} "
        f"{row['GFLOP/s'] / row['ceiling GFLOP/s']:5.0%} {row['MiB']:7.0f} {share:10.0%}  "
        + ", ".join(beside)
    )
