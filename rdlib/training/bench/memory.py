"""Random data of Hopper's shapes, and the memory that they take."""

import resource
from contextlib import suppress
from pathlib import Path

import numpy as np

from rdlib.data.batches import Normaliser, Transitions
from rdlib.data.dataset import Dataset

OBS_DIM, ACT_DIM = 11, 3  # Hopper


def synthetic(size: int, dims: tuple[int, int] = (OBS_DIM, ACT_DIM), seed: int = 0) -> Dataset:
    """Random transitions, by default of Hopper's shapes, in episodes of 500 steps."""
    rng = np.random.default_rng(seed)
    last = np.arange(1, size + 1) % 500 == 0
    last[-1] = True
    normal = rng.standard_normal
    return Dataset.make(
        name=f"random-{size}",
        source="hdf5",
        obs=normal((size, dims[0]), np.float32),
        act=np.tanh(normal((size, dims[1]), np.float32)),
        rew=normal(size, np.float32),
        next_obs=normal((size, dims[0]), np.float32),
        terminal=last & (rng.random(size) < 0.5),
        last=last,
        env_id="Hopper-v5",
    )


def peak_of_transitions(size: int = 1_000_000) -> float:
    """MiB that loading `size` Hopper transitions into a store adds to this process's peak."""
    forget_peak()
    before = peak()
    dataset = synthetic(size)
    limits = (-np.ones(ACT_DIM, np.float32), np.ones(ACT_DIM, np.float32))
    Transitions([dataset], Normaliser([dataset], limits, True, [(1.0, 0.0)]))
    return peak() - before


def forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # of Linux: the peak so far


def peak() -> float:
    """Peak of this process's resident memory, MiB. Not `ru_maxrss` on Linux: a new process inherits its
    parent's."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):  # macOS, which counts bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
