"""A stand-in for CUDA graphs on the CPU: single operations recorded, and repeated on the same memory."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from rdlib.engine.compiled import Recording


@torch.no_grad()
def repeat(recording: Recording) -> None:
    """Run the recorded operations again, their results written where they were."""
    for func, args, kwargs, out in recording.calls:
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
        recording = Recording()
        try:
            with recording:
                call()
        finally:
            recording.undo()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            repeat(recording)

        return replay
