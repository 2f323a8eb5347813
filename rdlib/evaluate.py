"""Seeded returns of the evaluated policies, all agents of a batch together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rdlib import simulate
from rdlib.data.transitions import Normaliser
from rdlib.engine import Player
from rdlib.simulate import BatchedEnv, SimulationError

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
    """`episodes` copies of `env_id` for each of the agents with these `seeds`, kept between
    evaluations."""

    def __init__(
        self, env_id: str, seeds: Sequence[int], episodes: int = EPISODES,
        max_episode_steps: int | None = None, threads: int | None = None,
    ):  # fmt: skip
        self.agents, self.episodes = len(seeds), episodes
        self.env: BatchedEnv = simulate.make(
            env_id, self.agents * episodes, max_episode_steps, threads
        )
        self._seeds = [s for seed in seeds for s in episode_seeds(seed, episodes)]

    def run(
        self, player: Player, normaliser: Normaliser, alive: np.ndarray | None = None
    ) -> Returns:
        """One episode in every copy, actions from `player`; agents where `alive` (A,) is False are not
        stepped and get NaN."""
        env, shape = self.env, (self.agents, self.episodes)
        alive = np.ones(self.agents, dtype=bool) if alive is None else alive
        active = np.repeat(alive, self.episodes)
        returns = np.where(active, 0.0, np.nan)
        lengths = np.zeros(env.n, dtype=np.int64)
        obs = env.reset(self._seeds)
        mean = normaliser.obs_mean
        rewards = np.zeros(env.n)
        while active.any():
            with torch.no_grad():
                raw = torch.from_numpy(obs).to(mean).unflatten(0, shape)  # (A,n,O)
                last = torch.from_numpy(rewards).to(mean).unflatten(0, shape)  # (A,n)
                actions = normaliser.to_env(player(normaliser.observe(raw), last))
            # A diverged agent's NaN must not reach the simulator.
            chosen = np.nan_to_num(actions.flatten(0, 1).float().cpu().numpy())
            obs, rewards, terminated, truncated = env.step(chosen, active)
            returns[active] += rewards[active]
            lengths += active
            active &= ~(terminated | truncated)
        if not np.isfinite(returns[np.repeat(alive, self.episodes)]).all():
            raise SimulationError(f"{env.env_id} gave a reward that is not a finite number: no return")
        return Returns(returns.reshape(shape), lengths.reshape(shape))

    def close(self) -> None:
        """Stop the simulation threads."""
        self.env.close()
