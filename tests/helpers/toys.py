"""Small problems whose answers are known, and agents that train on them within seconds."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from helpers.synthetic import fields
from rdlib import algos, ntk
from rdlib.data.batches import Transitions
from rdlib.data.dataset import Dataset
from rdlib.engine.base import Algorithm, Player
from rdlib.results.toy import ToyAgents

SEEDS = (0, 1, 2)


class Trained(NamedTuple):
    """Agents after training, a group of seeds after the other."""

    algorithm: Algorithm
    transitions: Transitions

    def play(self, copies: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """The evaluated policy in float64 NumPy: states (A or 1,n,O), rewards (A or 1,n) to actions."""
        agents = len(self.algorithm.configs)
        player: Player = self.algorithm.player(copies)

        @torch.no_grad()
        def play(obs: np.ndarray, reward: np.ndarray) -> np.ndarray:
            seen = torch.from_numpy(obs).float().expand(agents, -1, -1)
            paid = torch.from_numpy(reward).float().expand(agents, -1)
            return player(seen, paid).double().numpy()

        return play

    def diagnose(self) -> dict[str, np.ndarray]:
        """`ntk.diagnose` on a fixed batch of the data, means over seeds: (groups,) each."""
        size = int(self.transitions.sizes[0])
        rows = torch.arange(0, size, 2).expand(len(self.algorithm.configs), -1)
        batch = self.transitions.gather(rows)
        with torch.no_grad():
            act = self.algorithm.act(batch.obs)
        found = ntk.diagnose(self.algorithm.critic, batch.obs, batch.act, act)
        return {k: by_group(v.double().numpy()).mean(1) for k, v in found.items()}


def by_group(values: np.ndarray) -> np.ndarray:
    """(A,…) -> (groups,seeds,…)."""
    return values.reshape(-1, len(SEEDS), *values.shape[1:])


def train(
    name: str, data: Dataset, steps: int, config: dict[str, Any],
    groups: Sequence[dict[str, Any]] = ({},), plugins: Sequence[dict[str, Any]] = ({},),
) -> Trained:  # fmt: skip
    """`len(SEEDS)` agents for each of `groups` (or of `plugins`: one of the two), trained side by side.
    They differ in these hyperparameters, of the algorithm or its plug-in, and in nothing else: the same
    seeds, so the same start, minibatches and noise. What `config` holds and the algorithm lacks is left
    out."""
    pairs = [(g, p) for g in groups for p in plugins for _ in SEEDS]
    fitting = fields(algos.find(name).entry.config, {"rewards": "raw", **config})
    agents = ToyAgents(
        name, [data] * len(pairs), SEEDS * (len(pairs) // len(SEEDS)),
        [{**fitting, **g} for g, _ in pairs], [p for _, p in pairs], steps,
    )  # fmt: skip
    agents.train(steps)
    return Trained(agents.algorithm, agents.made.transitions)


class Bandit:
    """One step, two states s = ±1, two actions; what is paid for is x = (s·a_1, a_2).

    The data fill the box [-0.7, 0.3] × [-0.3, 0.3], a sixth of what could be done: the gap is all around
    them, and no hole amid them. In the box the reward rises with x_1, to 1 at its edge and still rising
    there; beyond x_1 = 0.4 it is -1.
    """

    low, high, cliff = np.array([-0.7, -0.3]), np.array([0.3, 0.3]), 0.4

    @classmethod
    def reward(cls, x: np.ndarray) -> np.ndarray:
        """(…,2) -> (…)."""
        short = 0.3 - x[..., 0]
        reward = 1 - 0.3 * short - 0.7 * short**2 - x[..., 1] ** 2
        return np.where(x[..., 0] > cls.cliff, -1.0, reward)

    @classmethod
    def data(cls, n: int = 1000) -> Dataset:
        rng = np.random.default_rng(0)
        obs, end = rng.choice([-1.0, 1.0], (n, 1)), np.ones(n, dtype=bool)
        x = rng.uniform(cls.low, cls.high, (n, 2))
        act = x * np.concatenate([obs, np.ones_like(obs)], 1)
        return Dataset.make(
            name="bandit", source="hdf5", obs=obs, act=act, rew=cls.reward(x), next_obs=obs,
            terminal=end, last=end,
        )  # fmt: skip

    @classmethod
    def evaluate(cls, agents: Trained, n: int = 100) -> tuple[np.ndarray, np.ndarray]:
        """Mean reward (groups,seeds), and the share of actions short of the cliff and at most 0.1 outside
        the data's box elsewhere (groups,seeds)."""
        obs = np.resize([[-1.0], [1.0]], (n, 1))
        x = agents.play(n)(obs[None], np.zeros((1, n)))  # (A,n,2)
        x[..., :1] *= obs
        inside = (x >= cls.low - 0.1) & (x <= np.array([cls.cliff, cls.high[1] + 0.1]))
        return by_group(cls.reward(x)).mean(-1), by_group(inside.all(-1)).mean(-1)


class Walk:
    """On a line from 0 to the goal at 1, in strides of 0.1 a, a in [-1, 1]; 0 cannot be passed.

    A stride costs `cost` and the goal pays `prize`. At γ = 0.9 a prize of 9 and strides of cost 1 are the
    same problem, but for 10 = 1 / (1 - γ) added to all values: in [0, 9] in one, in [-10, -1] in the other.
    """

    horizon = 30

    def __init__(self, cost: float = 0.0, prize: float = 9.0):
        self.cost, self.prize = cost, prize

    def step(self, x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, ...]:
        """Next position, reward, whether the goal is reached (rounding aside)."""
        x = np.maximum(x + 0.1 * a, 0.0)
        done = x > 1 - 1e-6
        return x, self.prize * done - self.cost, done

    def rollouts(self, episodes: Iterable[tuple[float, Callable[[float, float], int]]]) -> Dataset:
        """Episodes of a start, and the next stride's sign from the highest position so far and this one, 0
        to stop; strides have lengths between 0.4 and 1."""
        rng, rows = np.random.default_rng(0), []
        for start, sign in episodes:
            x = highest = np.float64(start)
            for _ in range(self.horizon):
                if not (way := sign(highest, x)):
                    break
                a = way * rng.uniform(0.4, 1.0)
                after, reward, done = self.step(x, a)
                rows.append([x, a, reward, after, done, False])
                x, highest = after, max(highest, after)
                if done:
                    break
            rows[-1][-1] = True
        obs, act, rew, next_obs, terminal, last = (np.array(c) for c in zip(*rows))
        return Dataset.make(
            name="walk", source="hdf5", obs=obs[:, None], act=act[:, None], rew=rew,
            next_obs=next_obs[:, None], terminal=terminal, last=last,
        )  # fmt: skip

    def stitched(self) -> Dataset:
        """Half the episodes go from 0 to the middle and home again, half from the middle to the goal."""

        def home(highest: float, x: float) -> int:
            return 1 if highest < 0.55 else -int(x > 0)

        return self.rollouts([(0.0, home), (0.5, lambda highest, x: 1)] * 30)

    def mixed(self) -> Dataset:
        """From everywhere half the episodes go to the goal and half to 0."""
        starts = np.linspace(0.05, 0.95, 40)
        return self.rollouts(
            [(s, sign) for s in starts for sign in (lambda h, x: 1, lambda h, x: -int(x > 0))]
        )

    def strides(self, agents: Trained, start: float = 0.0, n: int = 4) -> np.ndarray:
        """Strides to the goal, `horizon` where it is not reached, mean over `n` starts from `start` on:
        (groups,seeds)."""
        x = start + np.linspace(0, 0.06, n)[None]
        play, count = agents.play(n), np.zeros_like(x)
        reward, done = np.zeros_like(x), np.zeros_like(x, dtype=bool)
        for _ in range(self.horizon):
            count = count + ~done
            x, reward, arrived = self.step(x, play(x[..., None], reward)[..., 0])
            done = done | arrived
        return by_group(count.mean(-1))
