"""How K updates run per call.

An `Algorithm` holds the networks and optimisers of A agents and offers one `update`. `Engine` feeds it:
minibatch indices and noise for K updates are drawn at once from the agents' streams. Then the K updates run
without the host looking at a single number, on a GPU as replayed graphs (rdlib.engine.cuda_graphs).
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from rdlib.engine import hardware
from rdlib.engine.base import Algorithm, Batch, Metrics
from rdlib.engine.cuda_graphs import Capture, Inputs, Loop
from rdlib.engine.rng import Streams

ROWS, NUMBERS = 256, 2**25  # most updates, and most random numbers, that are drawn at once


class Engine:
    """Runs updates of `algorithm` on minibatches that `gather` makes of indices.

    `sizes` (A,) are the numbers of transitions each agent draws from; `gather` maps indices (A,B) to
    a `Batch`. With `capture` updates are replayed, with equal results (rdlib.engine.cuda_graphs), or equal
    to rounding (rdlib.engine.compiled). Where graphs fail, a warning says so and they run one operation
    after the other, as without.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        streams: Streams,
        sizes: Tensor,
        gather: Callable[[Tensor], Batch],
        capture: Capture | None = None,
    ):
        self.algorithm, self.streams, self.sizes, self.gather = algorithm, streams, sizes, gather
        self.capture = capture
        self._loop: Loop | None = None
        self.rows = 0  # updates whose numbers are drawn at once; found at the first

    def run(self, step: int, count: int) -> Metrics:
        """Updates number `step` … `step+count-1`; returns each metric's mean over those updates that
        reported it, (A,). Nothing is read back to the host."""
        totals: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        self._find_rows(step)
        for first in range(step, step + count, self.rows):
            number = min(self.rows, step + count - first)
            sums, reports = self._updates(first, number, self._draw(first, number))
            for name, value in sums.items():
                totals[name] = totals[name] + value if name in totals else value
                counts[name] = counts.get(name, 0) + reports[name]
        return {name: total / counts[name] for name, total in totals.items()}

    def record(self, step: int, capture: Capture) -> None:
        """Let `capture` record updates as they will be from `step` on; nothing changes. Raises RuntimeError
        where they cannot be recorded."""
        self._find_rows(step)
        self._loop_for(capture).prepare(self._draw(step, 1))

    def _find_rows(self, step: int) -> None:
        if not self.rows:
            numbers = sum(values.numel() for values in self._draw(step, 1).values())
            self.rows = max(1, min(ROWS, NUMBERS // numbers))

    def _loop_for(self, capture: Capture) -> Loop:
        return Loop(self._update, self.algorithm.tensors, self.algorithm.period, self.rows, capture)

    def _draw(self, step: int, count: int) -> Inputs:
        """Everything random of so many updates: minibatch indices and the algorithm's noise."""
        size = self.algorithm.batch_size
        rows = self.streams.integers("batch", step, count, size, self.sizes)
        return {"batch": rows, **self.algorithm.noise(self.streams, step, count)}

    def _update(self, inputs: Inputs, phase: int) -> Metrics:
        noise = {name: value for name, value in inputs.items() if name != "batch"}
        with hardware.matmul_rounding(inputs["batch"].device):
            return self.algorithm.update(self.gather(inputs["batch"]), noise, phase)

    def _updates(self, step: int, count: int, draws: Inputs) -> tuple[Metrics, dict[str, int]]:
        """Sums over updates, and how many of them reported each."""
        if self.capture is not None:
            self._loop = self._loop or self._loop_for(self.capture)
            try:
                self._loop.prepare(draws)
                return self._loop.run(step, count)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if self._loop.replays:  # captured: it is the device that fails
                    raise
                self.capture = self._loop = None
                warnings.warn(
                    f"{type(self.algorithm).__name__}: updates cannot be captured here ({error}); they "
                    "run one operation after the other, more slowly, with equal results",
                    stacklevel=3,
                )
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for k in range(count):
            now = {name: values[k] for name, values in draws.items()}
            for name, value in self._update(now, (step + k) % self.algorithm.period).items():
                value = value.detach()
                sums[name] = sums[name] + value if name in sums else value
                counts[name] = counts.get(name, 0) + 1
        return sums, counts
