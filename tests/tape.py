"""A stand-in for CUDA graphs on the CPU: single operations recorded, and repeated on the same memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# Where a GPU would wait for the host, or the host for it; `lift_fresh` is a tensor made of Python numbers.
HOST = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default,
    aten.masked_select.default, aten.lift_fresh.default, aten.is_nonzero.default,
}  # fmt: skip


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in HOST or (
            func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        ):
            raise RuntimeError(f"{func} is not permitted while recording")
        given = {**dict(zip((a.name for a in func._schema.arguments), args)), **kwargs}
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                for t in tree_leaves(given.get(argument.name)):
                    if isinstance(t, Tensor):
                        self.before.append((t.detach(), t.detach().clone()))
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        return out

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, value in reversed(self.before):
            tensor.copy_(value)
        self.before = []

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs))):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)


class Tape:
    """Records what runs, undoes it, and repeats it: Python is not asked again."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def warm_up(self, call: Callable[[], None]) -> None:
        call()

    def record(self, call: Callable[[], None]) -> Callable[[], None]:
        recorder = _Recorder()
        try:
            with recorder:
                call()
        finally:
            recorder.undo()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            recorder.replay()

        return replay
