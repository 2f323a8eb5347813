"""What is measured of a batch of agents at an evaluation: seeded returns, the critics' kernel and features.

A thousand steps of simulation for every agent are seconds, in which a GPU would only wait. So where
training is on one, the weights are copied into the same agents on the CPU, their understudies, which are
evaluated in a thread of their own while the updates go on.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdlib import ntk
from rdlib.data import environments
from rdlib.data.batches import Normaliser
from rdlib.data.env_spec import EnvSpec, SimulationError
from rdlib.data.environments import BatchedEnv
from rdlib.engine.base import Algorithm, Player
from rdlib.training.record import finite

EPISODES = 10  # per agent, D4RL's and CORL's custom


@dataclass(frozen=True)
class Returns:
    """Undiscounted returns (A, episodes) float64 and episode lengths (A, episodes)."""

    returns: np.ndarray
    lengths: np.ndarray


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """Environment seeds of the evaluation episodes of agents of this seed: the same at every evaluation,
    and apart from those of other seeds."""
    return [(1_000_003 * (seed + 1) + e) % 2**31 for e in range(episodes)]


class Evaluator:
    """`episodes` copies of `env`, an id or a specification, for each of the agents with these `seeds`,
    kept between evaluations."""

    def __init__(
        self,
        env: str | EnvSpec,
        seeds: Sequence[int],
        episodes: int = EPISODES,
        max_episode_steps: int | None = None,
        threads: int | None = None,
    ):
        self.agents, self.episodes = len(seeds), episodes
        self.env: BatchedEnv = environments.make(env, self.agents * episodes, max_episode_steps, threads)
        self._seeds = [s for seed in seeds for s in episode_seeds(seed, episodes)]

    def run(self, player: Player, normaliser: Normaliser, alive: np.ndarray | None = None) -> Returns:
        """One episode in every copy, actions from `player`; agents where `alive` (A,) is False are not
        stepped and get NaN. The player is asked for all episodes at once, also for those that are over: a
        product's last bit depends on its number of rows, which must not depend on threads or on falls."""
        env, shape = self.env, (self.agents, self.episodes)
        alive = np.ones(self.agents, dtype=bool) if alive is None else alive
        active = np.repeat(alive, self.episodes)
        returns = np.where(active, 0.0, np.nan)
        lengths = np.zeros(env.n, dtype=np.int64)
        obs = env.reset(self._seeds)
        dtype, device = normaliser.obs_mean.dtype, normaliser.obs_mean.device
        rewards = np.zeros(env.n)
        with torch.no_grad():
            while active.any():
                raw = torch.from_numpy(obs.reshape(*shape, -1)).to(device, dtype)  # (A,n,O)
                last = torch.from_numpy(rewards.reshape(shape)).to(device, dtype)  # (A,n)
                actions = normaliser.to_env(player(normaliser.observe(raw), last))
                # A diverged agent's NaN must not reach the simulator.
                chosen = actions.float().nan_to_num().cpu().numpy().reshape(env.n, -1)
                obs, rewards, terminated, truncated = env.step(chosen, active)
                np.add(returns, rewards, out=returns, where=active)
                lengths += active
                active &= ~(terminated | truncated)
        if not np.isfinite(returns[np.repeat(alive, self.episodes)]).all():
            raise SimulationError(f"{env.env_id} gave a reward that is not a finite number: no return")
        return Returns(returns.reshape(shape), lengths.reshape(shape))

    def close(self) -> None:
        """Stop the simulation threads."""
        self.env.close()


Rows = dict[int, dict[str, Any]]  # by agent: a record's evaluation, as far as it is measured here


def beside(device: torch.device, agents: Algorithm) -> bool:
    """Whether evaluation is to run beside training: not where both would share the same cores, nor for
    agents that are too much for a CPU to play."""
    return device.type != "cpu" and not agents.plays_on_device


@dataclass(frozen=True)
class Pending:
    """One evaluation: when it was, and what waits for its rows."""

    step: int
    rows: Callable[[], Rows]


class Watch:
    """Evaluates agents on `evaluator`'s episodes and on states and actions of their data, obs (A,n,O) and
    act (A,n,U). `understudies`: the same agents on the CPU, or None to evaluate them where they are."""

    def __init__(
        self,
        evaluator: Evaluator,
        normaliser: Normaliser,
        obs: Tensor,
        act: Tensor,
        understudies: Algorithm | None = None,
    ):
        self.evaluator, self.normaliser, self.obs, self.act = evaluator, normaliser, obs, act
        self.understudies = understudies
        self._thread: ThreadPoolExecutor | None = None
        if understudies is not None:
            self.normaliser, self.obs, self.act = (copy.deepcopy(normaliser).cpu(), obs.cpu(), act.cpu())
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")

    def begin(self, agents: Algorithm, step: int, alive: np.ndarray) -> Pending:
        """Evaluate the agents as they are now; of those not `alive` (A,) there will be no row. The rows of
        the evaluation before have to be taken first."""
        if self._thread is None or self.understudies is None:
            rows = self._rows(agents, step, alive)
            return Pending(step, lambda: rows)
        self.understudies.load_state_dict(agents.state_dict())
        future: Future[Rows] = self._thread.submit(self._rows, self.understudies, step, alive.copy())
        return Pending(step, future.result)

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
            return ntk.diagnose(critic, self.obs, self.act, policy_act, ood(self.obs) if ood else None)
