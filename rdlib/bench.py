"""How fast the updates run here, against this machine's own matrix-product rate.

Full updates (sampling, losses, backward, optimisers, target networks) on random data of Hopper's shapes;
no evaluation. FLOPs are counted by torch from the products that ran, so the share of the limit is
that of the arithmetic, elementwise work and memory traffic being the rest.
"""

import resource
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rdlib import algos, matmul, memory
from rdlib.data.dataset import Dataset
from rdlib.data.sequences import resident
from rdlib.data.transitions import Normaliser, Transitions
from rdlib.engine import ConfigError, Engine
from rdlib.rng import Streams

OBS_DIM, ACT_DIM = 11, 3  # Hopper
SIZES = (256, 512, 1024)
# Updates/s of the quickest peer of each algorithm, as we measured them: two cores of an AMD EPYC with
# AVX-512 and no AMX, Hopper's shapes, batch 256 (DT: 64 windows), each peer's own defaults and full
# update loop, no evaluation, compilation not counted.
PEERS = {
    "bc": (1611.0, "unifloral"), "td3bc": (350.0, "JAX-CORL"), "iql": (437.0, "unifloral"),
    "cql": (25.0, "JAX-CORL"), "sacn": (48.6, "unifloral, N=10"), "edac": (11.8, "CORL, N=10"),
    "dt": (6.8, "CORL"), "diffusion_ql": (27.4, "official"),
}  # fmt: skip


def synthetic(size: int, seed: int = 0) -> Dataset:
    """Random transitions of Hopper's shapes, episodes of 500 steps."""
    rng = np.random.default_rng(seed)
    last = np.arange(1, size + 1) % 500 == 0
    last[-1] = True
    normal = rng.standard_normal
    return Dataset.make(
        name=f"random-{size}", source="hdf5", obs=normal((size, OBS_DIM), np.float32),
        act=np.tanh(normal((size, ACT_DIM), np.float32)), rew=normal(size, np.float32),
        next_obs=normal((size, OBS_DIM), np.float32), terminal=last & (rng.random(size) < 0.5),
        last=last, env_id="Hopper-v5",
    )  # fmt: skip


def product_rates(device: torch.device) -> dict[str, float]:
    """GFLOP/s of this device's square (`mm`) and batched (`bmm`, ten 256x256) float32 products, best of
    several repeats, by the path `rdlib.matmul.choose` took."""
    rates = {}
    for n in SIZES:
        a = torch.randn(n, n, device=device)
        rates[f"mm {n}"] = 2 * n**3 / _best_seconds(lambda a=a: a @ a, device) / 1e9
    a = torch.randn(*matmul.SHAPE, device=device)
    flops = 2 * matmul.SHAPE[0] * matmul.SHAPE[1] ** 3
    rates["bmm 10x256"] = flops / _best_seconds(lambda: torch.bmm(a, a), device) / 1e9
    return rates


def _best_seconds(call: Any, device: torch.device, repeats: int = 30) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    name: str, agents: int, device: torch.device, seconds: float, overrides: dict[str, Any]
) -> dict[str, float]:
    """Median over calls of a few updates each: updates/s, agent-updates/s, GFLOP per update, GFLOP/s."""
    recipe = algos.find(name)
    dataset = synthetic(20_000)
    streams = Streams(range(agents), device)
    limits = (-np.ones(ACT_DIM, np.float32), np.ones(ACT_DIM, np.float32))
    config = recipe.config(overrides)
    normaliser = Normaliser([dataset] * agents, limits, True, [(1.0, 0.0)] * agents).to(device)
    plugin = recipe.plugin_config({})
    algorithm = algos.build(
        recipe, [config] * agents, [plugin] * agents, streams, OBS_DIM, ACT_DIM
    )
    data, minibatch = resident([dataset] * agents, normaliser, algorithm.context)
    engine = Engine(algorithm, streams, data.sizes, minibatch)
    period = algorithm.period
    engine.run(0, 2 * period)  # warm-up: optimiser state, thread pools
    with FlopCounterMode(display=False) as counter:
        engine.run(0, period)
    flops = counter.get_total_flops() / period
    count = period * max(1, 10 // period)
    rates: list[float] = []
    until = time.perf_counter() + seconds
    while len(rates) < 3 or time.perf_counter() < until:
        _wait(device)
        began = time.perf_counter()
        engine.run(0, count)
        _wait(device)
        rates.append(count / (time.perf_counter() - began))
    rate = statistics.median(rates)
    return {
        "updates/s": rate, "agent-updates/s": rate * agents, "ms/update": 1e3 / rate,
        "GFLOP/update": flops / 1e9, "GFLOP/s": flops * rate / 1e9,
    }  # fmt: skip


def peak_of_transitions(size: int = 1_000_000) -> float:
    """MiB that loading `size` Hopper transitions into a store adds to this process's peak."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
    before = _peak()
    dataset = synthetic(size)
    limits = (-np.ones(ACT_DIM, np.float32), np.ones(ACT_DIM, np.float32))
    Transitions([dataset], Normaliser([dataset], limits, True, [(1.0, 0.0)]))
    return _peak() - before


def _peak() -> float:
    """Peak of this process's resident memory, MiB. Not `ru_maxrss` on Linux: a new process inherits its
    parent's."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):  # macOS, which counts bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(
    names: Sequence[str], agents: Sequence[int], device: torch.device, seconds: float = 3.0,
    overrides: dict[str, Any] | None = None,
) -> None:
    """Print the table of `names` x `agents` and the machine's own rates beside it."""
    for name in names:
        algos.find(name).config(overrides or {})  # before any minute is spent
    if min(agents) < 1:
        raise ConfigError(f"agents = {tuple(agents)}, expected at least 1 each")
    memory.keep_freed()
    path = matmul.choose(device)
    print(f"device {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"float32 product: {path}, relative error {matmul.rate_and_error()[1]:.1e}")
    print(f"peak memory of 1e6 Hopper transitions: {peak_of_transitions():.0f} MiB")
    rates = product_rates(device)
    print("GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    limit = max(rates.values())
    columns = ("updates/s", "agent-updates/s", "ms/update", "GFLOP/update", "GFLOP/s")
    head = " ".join(f"{c:>15s}" for c in columns)
    print(f"\n{'algorithm':16s} {'A':>3s} {head}  share of limit  quickest peer's updates/s on 2 CPU cores")
    for name in names:
        for count in agents:
            row = measure(name, count, device, seconds, overrides or {})
            cells = " ".join(f"{row[c]:15.2f}" for c in columns)
            peer = "{:10.1f} ({})".format(*PEERS[name]) if name in PEERS else f"{'-':>10s}"
            share = row["GFLOP/s"] / limit
            print(f"{name:16s} {count:3d} {cells} {share:15.0%} {peer}", flush=True)
