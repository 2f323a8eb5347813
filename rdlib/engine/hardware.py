"""The machine at hand: its device, cores and memory, and which float32 matrix product runs on it.

The product is chosen once per run by measurement and written into the run's record.
"""

import ctypes
import os
import platform
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from rdlib.engine.config import ConfigError

MATMUL_SHAPE = (10, 256, 256)  # an ensemble of ten hidden layers
MATMUL_TOLERANCE = 2e-6  # relative error that still counts as float32 accurate
# "bf16" rounds the factors of the networks' products to bfloat16 during updates; weights, moments, losses
# and targets stay float32. Nothing shows yet that results survive it, so it only runs when asked for.
MATMUL_PATHS = ("default", "onednn", "tf32", "bf16")


# Which product oneDNN may serve; absent from older versions of torch.
_onednn: Any = getattr(torch.backends.mkldnn, "matmul", None)
_path = "default"


def use_matmul(path: str) -> str:
    """Set the process to `path`, one of MATMUL_PATHS, and return it."""
    if path not in MATMUL_PATHS:
        raise ValueError(f"matrix product {path!r}, expected one of {', '.join(MATMUL_PATHS)}")
    if _onednn is not None:
        # On a CPU without AMX this only moves the product from MKL to oneDNN, which is quicker on
        # some; `choose_matmul` refuses it where it really rounds to bfloat16.
        _onednn.fp32_precision = "bf16" if path == "onednn" else "none"
    torch.backends.cuda.matmul.allow_tf32 = path in ("tf32", "bf16")
    global _path
    _path = path
    return path


def matmul_rounding(device: torch.device) -> AbstractContextManager:
    """The context that updates run in: under "bf16" torch's autocast, without its cache of rounded weights,
    which would outlive an optimiser's step."""
    if _path != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@contextmanager
def plain_matmul() -> Iterator[None]:
    """Torch's own product on one thread: what comes out must not hang on what ran before. Beside
    simulation threads it is also the quickest way for small networks."""
    threads, precision = torch.get_num_threads(), getattr(_onednn, "fp32_precision", None)
    torch.set_num_threads(1)
    if _onednn is not None:
        _onednn.fp32_precision = "none"
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if _onednn is not None:
            _onednn.fp32_precision = precision


def ask_matmul(precision: str, device: torch.device) -> str:
    """Use what a run asks for, one of PRECISIONS; "auto" chooses. Returns the path."""
    if precision == "auto":
        return choose_matmul(device)
    return use_matmul("default" if precision == "float32" else precision)


def has_tf32(device: torch.device) -> bool:
    """Whether this device has such products: NVIDIA's from compute capability 8.0 (2020) on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def choose_matmul(device: torch.device) -> str:
    """TF32 on a GPU that has it; on a CPU oneDNN if it is accurate here and at least 10 % quicker."""
    if device.type == "cuda":
        return use_matmul("tf32" if has_tf32(device) else "default")
    if _onednn is None:
        return use_matmul("default")
    seconds, error = {}, {}
    for path in ("default", "onednn"):
        use_matmul(path)
        seconds[path], error[path] = matmul_rate_and_error()
    sound = error["onednn"] < MATMUL_TOLERANCE
    return use_matmul("onednn" if sound and seconds["onednn"] < 0.9 * seconds["default"] else "default")


def matmul_rate_and_error(repeats: int = 10) -> tuple[float, float]:
    """Best seconds of one batched product of MATMUL_SHAPE, and its largest relative error to float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*MATMUL_SHAPE, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    error = ((a @ b - exact).abs().max() / exact.abs().max()).item()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        torch.bmm(a, b)
        best = min(best, time.perf_counter() - began)
    return best, error


def device_name(device: torch.device) -> str:
    """What a record calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def find_device(name: str) -> torch.device:
    """The torch device that `name` asks for; raises ConfigError where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device = {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise ConfigError(f"device = {name!r}, expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device = {name!r}, but this machine has {torch.cuda.device_count()} GPUs")
    return device


def processor() -> str:
    """The CPU's name, or its architecture where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores this process may use, which on a cluster are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# <malloc.h>: no block gets a mapping of its own, and the heap is never trimmed.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, for the rest of this process; False where there is no glibc.

    It hands every large block back to the system when it is freed, and the next update pays for fresh
    zeroed pages. With many agents on a CPU that is a third of the time (CQL, A = 8: 14 to 23
    agent-updates/s).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
