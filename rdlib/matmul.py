"""Which float32 matrix product runs, chosen once per run by measurement and written into its record."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

SHAPE = (10, 256, 256)  # an ensemble of ten hidden layers
TOLERANCE = 2e-6  # relative error that still counts as float32 accurate
# "bf16" rounds the factors of the networks' products to bfloat16 during updates; weights, moments, losses
# and targets stay float32. Nothing shows yet that results survive it, so it only runs when asked for.
PATHS = ("default", "onednn", "tf32", "bf16")
PRECISIONS = ("auto", "float32", "tf32", "bf16")  # what a run may ask for


# Which product oneDNN may serve; absent from older versions of torch.
_onednn: Any = getattr(torch.backends.mkldnn, "matmul", None)
_path = "default"


def use(path: str) -> str:
    """Set the process to `path`, one of PATHS, and return it."""
    if path not in PATHS:
        raise ValueError(f"matrix product {path!r}, expected one of {', '.join(PATHS)}")
    if _onednn is not None:
        # On a CPU without AMX this only moves the product from MKL to oneDNN, which is quicker on
        # some; `choose` refuses it where it really rounds to bfloat16.
        _onednn.fp32_precision = "bf16" if path == "onednn" else "none"
    torch.backends.cuda.matmul.allow_tf32 = path in ("tf32", "bf16")
    global _path
    _path = path
    return path


def rounding(device: torch.device) -> AbstractContextManager:
    """The context that updates run in: under "bf16" torch's autocast, without its cache of rounded weights,
    which would outlive an optimiser's step."""
    if _path != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@contextmanager
def plain() -> Iterator[None]:
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


def ask(precision: str, device: torch.device) -> str:
    """Use what a run asks for, one of PRECISIONS; "auto" chooses. Returns the path."""
    if precision == "auto":
        return choose(device)
    return use("default" if precision == "float32" else precision)


def has_tf32(device: torch.device) -> bool:
    """Whether this device has such products: NVIDIA's from compute capability 8.0 (2020) on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def choose(device: torch.device) -> str:
    """TF32 on a GPU that has it; on a CPU oneDNN if it is accurate here and at least 10 % quicker."""
    if device.type == "cuda":
        return use("tf32" if has_tf32(device) else "default")
    if _onednn is None:
        return use("default")
    seconds, error = {}, {}
    for path in ("default", "onednn"):
        use(path)
        seconds[path], error[path] = rate_and_error()
    sound = error["onednn"] < TOLERANCE
    return use("onednn" if sound and seconds["onednn"] < 0.9 * seconds["default"] else "default")


def rate_and_error(repeats: int = 10) -> tuple[float, float]:
    """Best seconds of one batched product of SHAPE, and its largest relative error to float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*SHAPE, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    error = ((a @ b - exact).abs().max() / exact.abs().max()).item()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        torch.bmm(a, b)
        best = min(best, time.perf_counter() - began)
    return best, error
