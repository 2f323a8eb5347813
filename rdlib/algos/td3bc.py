"""TD3+BC: TD3 whose actor is also a regression on the data's actions.

Paper: Fujimoto and Gu 2021 (arXiv 2106.06860), equations 3-5; TD3 itself is Fujimoto et al. 2018
(arXiv 1802.09477), algorithm 1. Official code: github.com/sfujim/TD3_BC at 76cdd14.

    y = r + γ min_i Q̄_i(s', ã),   ã = clip(π̄(s') + clip(ε, ±c), ±1),  ε ~ N(0, σ²)
    max_π  E [λ Q_1(s, π(s)) - |π(s) - a|² / dim A],   λ = α / mean|Q_1(s, π(s))|, a constant

Deviations
1. The actor and the targets move at updates 0, d, 2d, …, officially at d-1, 2d-1, … (as in TD3-N).
2. States are normalised by moments in float64 (officially float32); ε = 1e-3 as there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.engine.base import Algorithm, Batch, Metrics, Plugin, per_agent
from rdlib.engine.config import check_least
from rdlib.engine.nets import Actor, Critic, Initialiser, frozen_copy, polyak
from rdlib.engine.optim import adam, descend, frozen
from rdlib.engine.rng import Streams


@dataclass(frozen=True)
class Config:
    """Hyperparameters of TD3+BC."""

    n_critics: int = 2
    alpha: float = 2.5  # α: weight of the value against the regression
    gamma: float = 0.99  # γ
    tau: float = 0.005  # τ
    policy_noise: float = 0.2  # σ of target policy smoothing
    noise_clip: float = 0.5  # c
    policy_delay: int = 2  # d: critic updates per actor update
    actor_lr: float = 3e-4
    critic_lr: float = 3e-4
    batch_size: int = 256
    width: int = 256  # critic
    depth: int = 2
    actor_width: int = 256
    actor_depth: int = 2
    layer_norm: bool = False  # in the critics
    normalize_states: bool = True

    def __post_init__(self):
        check_least(self, 1, "n_critics", "policy_delay")
        check_least(self, 0, "alpha", "policy_noise", "noise_clip")


class TD3BC(Algorithm):
    """A agents of TD3+BC."""

    own = ("alpha",)

    def __init__(
        self,
        configs: Sequence[Config],
        streams: Streams,
        obs_dim: int,
        act_dim: int,
        plugin: Plugin | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(configs, streams, plugin)
        c, dims = configs[0], (obs_dim, act_dim)
        self.actor = Actor(Initialiser(streams, "actor", dtype), *dims, c.actor_width, c.actor_depth)
        self.critic = Critic(
            Initialiser(streams, "critic", dtype), *dims, c.n_critics, c.width, c.depth, c.layer_norm
        )
        self.actor_target = frozen_copy(self.actor)
        self.critic_target = frozen_copy(self.critic)
        self.alpha = per_agent(configs, "alpha", self.actor.net.head.bias)
        self.act_dim, self.dtype = act_dim, dtype
        self.optimizers |= {
            "actor": adam(self.actor.parameters(), c.actor_lr),
            "critic": adam(self.critic.parameters(), c.critic_lr),
        }
        self.period = math.lcm(self.period, c.policy_delay)

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Standard normals of target policy smoothing: (count,A,B,U)."""
        smoothing = streams.normal("smoothing", step, count, (self.batch_size, self.act_dim), self.dtype)
        return {"smoothing": smoothing, **super().noise(streams, step, count)}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """Critics; every `policy_delay`-th time the actor and the target networks."""
        c = self.configs[0]
        with torch.no_grad():
            smoothing = (noise["smoothing"] * c.policy_noise).clamp(-c.noise_clip, c.noise_clip)
            next_action = (self.actor_target(batch.next_obs) + smoothing).clamp(-1, 1)  # (A,B,U)
            next_q = self.critic_target(batch.next_obs, next_action)[0]  # (A,E,B)
            next_value = next_q.amin(1)  # (A,B)
            target = batch.rew + c.gamma * batch.mask * next_value  # (A,B)
        q, features = self.critic(batch.obs, batch.act)  # (A,E,B), (A,E,B,H)
        critic_loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": critic_loss.mean(-1), "q_data": q.mean((1, 2))}
        if self.plugin:
            penalty, extra = self.plugin.penalty(
                self.critic, batch, features, self.actor, next_action, noise, phase
            )
            critic_loss, metrics = critic_loss + penalty, metrics | extra
        descend(self.optimizers["critic"], critic_loss.sum(-1))

        if phase % c.policy_delay == 0:
            with frozen(self.critic):
                action = self.actor(batch.obs)  # (A,B,U)
                policy_q = self.critic.first(batch.obs, action)  # (A,B)
                scale = self.alpha / policy_q.detach().abs().mean(-1, keepdim=True)  # λ (A,1)
                distance = (action - batch.act).square().mean(-1)  # (A,B)
                actor_loss = (distance - scale * policy_q).mean(-1)
                descend(self.optimizers["actor"], actor_loss)
            polyak(self.critic_target, self.critic, c.tau)
            polyak(self.actor_target, self.actor, c.tau)
            metrics["actor_loss"] = actor_loss
        return metrics

    def act(self, obs: Tensor) -> Tensor:
        """π(s): (A,n,O) -> (A,n,U)."""
        return self.actor(obs)
