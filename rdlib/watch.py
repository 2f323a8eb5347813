"""What is measured of the agents at an evaluation: returns, and the critics' kernel and features.

A thousand steps of simulation for every agent are seconds, in which a GPU would only wait. So where
training is on one, the weights are copied into the same agents on the CPU, their understudies, which play
in a thread of their own while the updates go on.
"""

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdlib import kernel
from rdlib.data.transitions import Normaliser
from rdlib.engine import Algorithm
from rdlib.evaluate import Evaluator
from rdlib.results import finite

Rows = dict[int, dict[str, Any]]  # by agent: a record's evaluation, as far as it is measured here


def beside(device: torch.device, agents: Algorithm) -> bool:
    """Whether evaluation is to run beside training: not where both would share the same cores, nor for
    agents that are too much for a CPU to play."""
    return device.type != "cpu" and not agents.plays_on_device


@dataclass(frozen=True)
class Measured:
    """One evaluation: when it was, and what waits for its rows."""

    step: int
    rows: Callable[[], Rows]


class Watch:
    """Evaluates agents on `evaluator`'s episodes and on states and actions of their data, obs (A,n,O) and
    act (A,n,U). `understudies`: the same agents on the CPU, or None to evaluate them where they are."""

    def __init__(
        self, evaluator: Evaluator, normaliser: Normaliser, obs: Tensor, act: Tensor,
        understudies: Algorithm | None = None,
    ):  # fmt: skip
        self.evaluator, self.normaliser, self.obs, self.act = evaluator, normaliser, obs, act
        self.understudies = understudies
        self._thread: ThreadPoolExecutor | None = None
        if understudies is not None:
            self.normaliser, self.obs, self.act = (
                copy.deepcopy(normaliser).cpu(),
                obs.cpu(),
                act.cpu(),
            )
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")

    def begin(self, agents: Algorithm, step: int, alive: np.ndarray) -> Measured:
        """Evaluate the agents as they are now; of those not `alive` (A,) there will be no row. The rows of
        the evaluation before have to be taken first."""
        if self._thread is None or self.understudies is None:
            rows = self._rows(agents, step, alive)
            return Measured(step, lambda: rows)
        self.understudies.load_state_dict(agents.state_dict())
        future: Future[Rows] = self._thread.submit(
            self._rows, self.understudies, step, alive.copy()
        )
        return Measured(step, future.result)

    def close(self) -> None:
        """Wait for what has begun, and stop all threads."""
        if self._thread is not None:
            self._thread.shutdown()
        self.evaluator.close()

    def _rows(self, agents: Algorithm, step: int, alive: np.ndarray) -> Rows:
        player = agents.player(self.evaluator.episodes)
        result = self.evaluator.run(player, self.normaliser, alive)
        diagnostics = {name: value.tolist() for name, value in self._diagnose(agents).items()}
        return {
            i: {
                "step": step,
                "returns": result.returns[i].tolist(),
                "lengths": result.lengths[i].tolist(),
                "diagnostics": {name: finite(value[i]) for name, value in diagnostics.items()},
            }
            for i in np.flatnonzero(alive).tolist()
        }

    def _diagnose(self, agents: Algorithm) -> dict[str, Tensor]:
        """Kernel diagnostics of algorithms with a critic, (A,) each."""
        critic = getattr(agents, "critic", None)
        with torch.no_grad():
            policy_act = agents.act(self.obs)
            if critic is None:
                return {"policy_data_distance": (policy_act - self.act).square().mean((1, 2))}
            ood = getattr(agents.plugin, "actor", None)
            return kernel.diagnose(
                critic, self.obs, self.act, policy_act, ood(self.obs) if ood else None
            )
