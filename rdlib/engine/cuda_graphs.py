"""Updates without the host: each phase of an update captured once, as a CUDA graph, and replayed.

A graph repeats the same operations on the same memory. So whatever differs between two updates lies in
memory that stays where it is: the draws of many updates in one tensor per name, a counter on the device
that says whose turn it is, and the sums of the metrics. Replaying costs the host one launch per update.

Nothing of CUDA is needed but for `CudaGraphs`; the tests drive the same `Loop` on a CPU with a tape that
repeats single operations.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor

Inputs = dict[str, Tensor]
WARM_UPS = 2  # rounds of the period before capture: algorithms are chosen and moments made in the first


class Capture(Protocol):
    """How something is run before its capture, and captured."""

    def warm_up(self, call: Callable[[], None]) -> None:
        """Run `call` where it will be captured."""

    def record(self, call: Callable[[], None]) -> Callable[[], None]:
        """What repeats `call`; recording leaves all memory as it was."""


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures of a process: each stream keeps memory for the products that run on it."""
    return torch.cuda.Stream(device)


class CudaGraphs:
    """Capture on a stream apart; all graphs share one pool of memory, since none reads what another left
    there."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, _stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def warm_up(self, call: Callable[[], None]) -> None:
        """Run `call` on the stream of the captures, between what comes before and after."""
        with torch.cuda.device(self.device):
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                call()
            torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, call: Callable[[], None]) -> Callable[[], None]:
        """Capture `call`, which runs nothing, and return its replay."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self.device), torch.cuda.graph(graph, self.pool, self.stream):
                call()
        except RuntimeError as error:
            # Ending a capture that broke off is an error too, which would hide the first.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
        return graph.replay


def capture_for(device: torch.device) -> Capture | None:
    """CUDA graphs on a GPU; None, that is one operation after the other, elsewhere."""
    return CudaGraphs(device) if device.type == "cuda" else None


class Loop:
    """The captured counterpart of calling `update(inputs, phase)` on one row of inputs after the other.

    `update` returns metrics (A,). `state` names every tensor that it changes and that outlives it; they
    are where they are at the time of capture, and if one has moved (a checkpoint was loaded) all phases are
    captured anew. `rows` is the most updates of one `run`.
    """

    def __init__(
        self,
        update: Callable[[Inputs, int], Mapping[str, Tensor]],
        state: Callable[[], dict[str, Tensor]],
        period: int,
        rows: int,
        capture: Capture,
    ):
        self.update, self.state, self.period, self.rows = update, state, period, rows
        self.capture = capture
        self.inputs: Inputs = {}  # (rows, …) each
        self.sums: dict[str, Tensor] = {}  # of each metric, (A,)
        self.reports: list[frozenset[str]] = []  # which metrics each phase has
        self.replays: list[Callable[[], None]] = []  # one for each phase
        self.row = torch.empty(0)
        self.captured_at: tuple[int, ...] = ()

    def prepare(self, draws: Inputs) -> None:
        """Take in the draws of the next updates, and capture all phases where that is still to be done.
        Raises RuntimeError where this device, driver or update cannot be captured; `state` is then what it
        was."""
        if not self.inputs:
            for name, values in draws.items():
                self.inputs[name] = values.new_zeros(self.rows, *values.shape[1:])
            device = next(iter(draws.values())).device
            self.row = torch.zeros(1, dtype=torch.int64, device=device)
        for name, values in draws.items():
            self.inputs[name][: len(values)].copy_(values)
        if self._addresses() != self.captured_at:
            self._capture()

    def run(self, step: int, count: int) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Updates `step` … `step+count-1` on rows 0 … `count-1`: the sum of each metric (A,), and how many
        of the updates reported it."""
        for total in (self.row, *self.sums.values()):
            total.zero_()
        counts = dict.fromkeys(self.sums, 0)
        for k in range(count):
            phase = (step + k) % self.period
            self.replays[phase]()
            for name in self.reports[phase]:
                counts[name] += 1
        return {n: self.sums[n].clone() for n, c in counts.items() if c}, counts

    def _advance(self, phase: int) -> None:
        now = {name: rows.index_select(0, self.row)[0] for name, rows in self.inputs.items()}
        for name, value in self.update(now, phase).items():
            self.sums[name].add_(value.detach())
        self.row.add_(1)

    def _capture(self) -> None:
        self.replays, self.captured_at = [], ()
        before = {name: value.detach().clone() for name, value in self.state().items()}
        try:
            self.capture.warm_up(self._try_all_phases)
        finally:
            self._restore(before)
        self.replays = [self.capture.record(partial(self._advance, phase)) for phase in range(self.period)]
        self.captured_at = self._addresses()

    def _try_all_phases(self) -> None:
        first = {name: rows[0] for name, rows in self.inputs.items()}
        found = [self.update(first, k % self.period) for k in range(WARM_UPS * self.period)]
        self.reports = [frozenset(metrics) for metrics in found[: self.period]]
        every = {name: value for metrics in found for name, value in metrics.items()}
        self.sums = {name: torch.zeros_like(value.detach()) for name, value in every.items()}

    @torch.no_grad()
    def _restore(self, before: dict[str, Tensor]) -> None:
        """Undo the warm-up in place: moments that did not exist before it start at 0, as an optimiser's
        do."""
        for name, value in self.state().items():
            if name in before:
                value.copy_(before[name])
            else:
                value.zero_()

    def _addresses(self) -> tuple[int, ...]:
        return tuple(value.data_ptr() for value in self.state().values())
