"""What an update costs at the least: its matrix products as quick as this device does them alone, and the
bytes of everything else as quick as it copies."""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rdlib.engine.cuda_graphs import CudaGraphs

aten = torch.ops.aten
# Position of the two factors among the arguments.
PRODUCTS = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1}
LOOKUPS = {aten.index, aten.index_select, aten.embedding, aten.gather}  # read what they return


class Product(NamedTuple):
    """(batch, n, k) times (batch, k, m), either factor perhaps stored transposed."""

    batch: int
    n: int
    k: int
    m: int
    left_transposed: bool
    right_transposed: bool
    dtype: torch.dtype

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.n * self.k * self.m


class Count(TorchDispatchMode):
    """While active, counts what runs: `products`, and the `bytes` that all other kernels read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()
        self.bytes = self.kernels = 0

    @property
    def flops(self) -> int:
        """Of the products."""
        return sum(product.flops * count for product, count in self.products.items())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run `func` and note it."""
        out = func(*args, **(kwargs or {}))
        kind = func.overloadpacket
        outputs = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if kind in PRODUCTS:
            left, right = args[PRODUCTS[kind] : PRODUCTS[kind] + 2]
            batch = left.shape[0] if left.dim() == 3 else 1
            n, k = left.shape[-2:]
            stored = (_transposed(left), _transposed(right))
            self.products[Product(batch, n, k, right.shape[-1], *stored, left.dtype)] += 1
            self.kernels += 1
            if PRODUCTS[kind]:  # what is added is written into the result first, and read again
                self.bytes += 2 * _size(out)
            return out
        inputs = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        held = {t.data_ptr() for t in inputs}
        written = func._schema.is_mutable
        if not written and outputs and all(t.data_ptr() in held for t in outputs):
            return out  # a view
        self.kernels += 1
        if kind in LOOKUPS:
            self.bytes += 2 * sum(map(_size, outputs))
        else:
            self.bytes += sum(map(_size, inputs)) + sum(map(_size, outputs if outputs else inputs))
        return out


def _transposed(t: Tensor) -> bool:
    return t.stride(-1) != 1 and t.shape[-1] > 1


def _size(t: Tensor) -> int:
    """Bytes behind a tensor; an expanded one has fewer than its shape says."""
    return min(t.numel() * t.element_size(), t.untyped_storage().nbytes())


def wait(device: torch.device) -> None:
    """Until everything launched has run."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_seconds(call: Callable[[], object], device: torch.device, seconds: float = 0.05) -> float:
    """Of one `call`, the best over `seconds`; on a GPU twenty at a time as a graph, so that the host's
    launching does not count."""
    times, number = 1, call
    if device.type == "cuda":
        times, capture = 20, CudaGraphs(device)

        def many() -> None:
            for _ in range(times):
                call()

        capture.warm_up(many)
        number = capture.record(many)
    number()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        wait(device)
        began = time.perf_counter()
        number()
        wait(device)
        best = min(best, (time.perf_counter() - began) / times)
    return best


def product_seconds(product: Product, device: torch.device) -> float:
    """Best time of this product alone."""

    def factor(rows: int, columns: int, transposed: bool) -> Tensor:
        shape = (columns, rows) if transposed else (rows, columns)
        t = torch.randn(product.batch, *shape, device=device).to(product.dtype)
        return t.mT if transposed else t

    left = factor(product.n, product.k, product.left_transposed)
    right = factor(product.k, product.m, product.right_transposed)
    return best_seconds(lambda: torch.bmm(left, right), device, 0.02)


def bytes_per_second(device: torch.device) -> float:
    """Read and written by a copy too large for any cache."""
    source = torch.zeros(2**28 if device.type == "cuda" else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / best_seconds(lambda: target.copy_(source), device)


class Ceiling:
    """This device's best, measured once for each product."""

    def __init__(self, device: torch.device):
        self.device, self.bandwidth = device, bytes_per_second(device)
        self._seconds: dict[Product, float] = {}

    def products(self, count: Count) -> float:
        """Seconds of everything in `count.products`."""
        total = 0.0
        for product, times in count.products.items():
            if product not in self._seconds:
                self._seconds[product] = product_seconds(product, self.device)
            total += times * self._seconds[product]
        return total

    def traffic(self, count: Count) -> float:
        """Seconds of `count.bytes`."""
        return count.bytes / self.bandwidth
