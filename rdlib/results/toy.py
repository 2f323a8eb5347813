"""A problem small enough to see, and agents that learn it in seconds: for the book's first notebooks.

On a line from 0 to 1 the agent at x strides 0.1 a, a in [-1, 1], and is paid for where it arrives. Strides
longer than `GRIP` fall: back to 0. The data hold timid strides only, from everywhere and to both sides, so
beyond them every value is the critic's invention; what is true there is known, by value iteration.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rdlib import algos
from rdlib.data.dataset import Dataset
from rdlib.engine.base import Metrics
from rdlib.results.plots import PALETTE
from rdlib.training.agents import assemble

Array = NDArray[np.float64]
GAMMA, GRIP, TIMID = 0.95, 0.6, 0.2
# Of td3n: one critic and no pessimism, nothing random in the target, rates for some thousand updates.
CONFIG: dict[str, Any] = {
    "n_critics": 1,
    "beta": 0.0,
    "gamma": GAMMA,
    "tau": 0.05,
    "policy_noise": 0.0,
    "batch_size": 64,
    "actor_lr": 3e-3,
    "critic_lr": 3e-3,
    "width": 64,
    "depth": 3,
    "actor_width": 32,
    "actor_depth": 2,
    "normalize_states": False,
}


class Line:
    """The problem. The reward is the position arrived at plus `extra`; with -1 all rewards are costs."""

    def __init__(self, extra: float = 0.0):
        self.extra = extra
        self.ceiling = (1 + extra) / (1 - GAMMA)  # no policy can be worth more

    def step(self, x: Array, a: Array) -> tuple[Array, Array]:
        """Next position and reward, of any shape."""
        after = np.where(np.abs(a) < GRIP + 1e-9, np.clip(x + 0.1 * a, 0, 1), 0.0)
        return after, after + self.extra

    def data(self, n: int = 1000) -> Dataset:
        """`n` single strides of |a| <= TIMID, uniform, from uniform positions; nothing ever ends."""
        rng = np.random.default_rng(0)
        x, a = rng.uniform(0, 1, n), rng.uniform(-TIMID, TIMID, n)
        after, reward = self.step(x, a)
        return Dataset.make(
            name="line",
            source="hdf5",
            obs=x[:, None],
            act=a[:, None],
            rew=reward,
            next_obs=after[:, None],
            terminal=np.zeros(n, dtype=bool),
            last=np.ones(n, dtype=bool),
        )

    def best(self, x: Array, a: Array, longest: float = 1.0) -> Array:
        """Q*(x, a) of the policies whose later strides are at most `longest`, by value iteration on a
        grid of 0.005: positions and actions that broadcast against each other."""
        states = np.linspace(0, 1, 201)
        after, reward = self.step(states[:, None], np.linspace(-longest, longest, 201))
        value = 0 * states
        for _ in range(400):  # 0.95^400 = 1e-9
            value = (reward + GAMMA * np.interp(after, states, value)).max(1)
        after, reward = self.step(x, a)
        return np.asarray(reward + GAMMA * np.interp(after, states, value))

    def worth(self, policy: Callable[[Array], Array], starts: Array, steps: int = 300) -> Array:
        """What a policy, positions (A,n) to actions (A,n), is really paid from starts (n,): (A,n)."""
        total = np.zeros_like(policy(starts[None]))
        x = starts + total
        for t in range(steps):
            x, reward = self.step(x, policy(x))
            total += GAMMA**t * reward
        return total


class Look(NamedTuple):
    """What A agents make of all actions at one position."""

    step: int
    actions: Array  # (n,)
    q: Array  # (A,n) of the mean over members
    policy: Array  # (A,) π, and what it expects of itself
    q_policy: Array  # (A,)
    ood: Array  # (A,) π_ood; NaN, and not drawn, where none is learned
    q_ood: Array  # (A,)


class ToyAgents:
    """Agents side by side: number i has datasets[i], seeds[i], configs[i], plugins[i]. Equal seeds give
    equal starts, minibatches and noise. `made`: as `assemble` does."""

    def __init__(
        self,
        name: str,
        datasets: Sequence[Dataset],
        seeds: Sequence[int],
        configs: Sequence[dict[str, Any]],
        plugins: Sequence[dict[str, Any]],
        steps: int = 0,
    ):
        recipe, one = algos.find(name), np.ones(datasets[0].act_dim, dtype=np.float32)
        chosen = [recipe.config(c) for c in configs], [recipe.plugin_config(p) for p in plugins]
        self.made = assemble(recipe, *chosen, datasets, seeds, (-one, one), steps=steps)
        self.algorithm: Any = self.made.algorithm
        self.step = 0

    def train(self, updates: int) -> Metrics:
        """So many more gradient updates; means of their metrics, (A,) each."""
        self.step += updates
        return self.made.engine.run(self.step - updates, updates)

    @torch.no_grad()
    def policy(self, x: Array) -> Array:
        """π: positions (A or 1,n) to actions (A,n)."""
        seen = torch.as_tensor(x, dtype=torch.float32).expand(len(self.algorithm.configs), -1)
        return self.algorithm.act(seen[..., None])[..., 0].double().numpy()

    @torch.no_grad()
    def hold(self, actions: Sequence[float]) -> None:
        """Agent i's policy becomes the constant actions[i]: with actor_lr = 0 it stays so."""
        for actor in (self.algorithm.actor, self.algorithm.actor_target):
            actor.net.head.weight.zero_()
            actor.net.head.bias[:, 0, 0] = torch.tensor(actions).clamp(-0.9999, 0.9999).atanh()

    @torch.no_grad()
    def look(self, x: float, actions: Array) -> Look:
        """Q(x, ·) at the actions (n,), and where the policies are."""
        n = len(self.algorithm.configs)
        obs = torch.full((n, len(actions) + 2, 1), x)
        ood = getattr(self.algorithm.plugin, "actor", None) or (lambda obs: obs * np.nan)
        own = [self.algorithm.act(obs[:, :1]), ood(obs[:, :1])]
        grid = torch.as_tensor(actions, dtype=torch.float32)[:, None].expand(n, -1, -1)  # (A,n,1)
        q = self.algorithm.critic(obs, torch.cat([*own, grid], 1))[0].mean(1).double().numpy()
        policy, ood = (a[:, 0, 0].double().numpy() for a in own)
        return Look(self.step, actions, q[:, 2:], policy, q[:, 0], ood, q[:, 1])


def draw(axes: Axes, look: Look, agents: Sequence[int], truth: Array, colour: int = 3) -> None:
    """One moment: the data's actions (shaded), the best that is true (dashed), the critics of the agents
    named (the first one dark), their policies (dots) and OOD policies (triangles)."""
    axes.axvspan(-TIMID, TIMID, color="grey", alpha=0.25, lw=0, label="the data's actions")
    axes.plot(look.actions, truth, "--", color=PALETTE[2], lw=1.5, label="true: Q*(s, a)")
    for i in reversed(agents):
        dark = i == agents[0]
        names = ("the critic's Q(s, a)", "policy π(s)", "OOD policy") if dark else (None,) * 3
        style: dict[str, Any] = {"color": PALETTE[colour], "alpha": 1.0 if dark else 0.35}
        axes.plot(look.actions, look.q[i], lw=2, label=names[0], **style)
        axes.plot(look.policy[i], look.q_policy[i], "o", label=names[1], **style)
        if np.isfinite(look.ood[i]):
            axes.plot(look.ood[i], look.q_ood[i], "^", label=names[2], **style)
    axes.set(xlim=(-1.04, 1.04), xlabel="action a", title=f"after {look.step:,} updates")
