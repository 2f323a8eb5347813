"""One side of rdlib.training.bench.against: a script that reads a request a line and answers with a line.

`rdlib` is here the checkout that is measured, perhaps an older one, so this asks little of it.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from typing import Any


class Turns:
    """The bench of one checkout."""

    def start(self, device: str, matmul: str, compile: bool) -> str:
        """Its commit."""
        from rdlib.engine import cuda_graphs, hardware
        from rdlib.training.provenance import provenance

        self.device, self.capture = hardware.torch.device(device), cuda_graphs.capture_for
        if compile:
            from rdlib.engine.compiled import Programs

            self.capture = lambda device: Programs()
        hardware.keep_freed_memory()
        hardware.use_matmul(matmul)
        return provenance()["commit"]

    def make(self, name: str, agents: int, overrides: dict[str, Any]) -> int:
        """Agents of this algorithm, warm; returns how many updates one call makes: at least a period, and
        up to a hundred in a twentieth of a second."""
        from rdlib.training.bench import speed

        vars(self).pop("made", None)  # before the next takes memory
        self.made = speed.make(name, agents, self.device, overrides, capture=self.capture(self.device))
        self.count = period = self.made.algorithm.period
        self.run(0.0)
        self.count = period * max(1, min(100, int(self.run(0.0) / 20)) // period)
        self.run(0.0)
        return self.count

    def run(self, seconds: float) -> float:
        """Updates a second over a window of so many seconds, or one call where that is longer."""
        from rdlib.training.bench.roofline import wait

        wait(self.device)
        began, done = time.perf_counter(), 0
        while not done or time.perf_counter() - began < seconds:
            self.made.engine.run(0, self.count)
            wait(self.device)
            done += self.count
        return done / (time.perf_counter() - began)


def answers(requests: Iterable[str]) -> Iterator[str]:
    """A line for each, `{"found": …}` or, of whatever went wrong, `{"error": …}`."""
    side = Turns()
    for request in requests:
        try:
            [(name, given)] = json.loads(request).items()
            yield json.dumps({"found": getattr(side, name)(**given)})
        except Exception as error:
            yield json.dumps({"error": f"{type(error).__name__}: {error}".partition("\n")[0]})


if __name__ == "__main__":
    out = sys.stdout
    with redirect_stdout(sys.stderr):  # what the checkout itself prints is no answer
        for line in answers(sys.stdin):
            print(line, file=out, flush=True)
