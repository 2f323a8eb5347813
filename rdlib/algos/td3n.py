"""TD3-N-UNC: TD3 with an ensemble of N critics and a lower-confidence-bound target.

Papers: Fujimoto et al. 2018 (arXiv 1802.09477), algorithm 1; the ensemble's lower confidence bound
as in PBRL (Bai et al. 2022, arXiv 2202.11566). The RD paper names this backbone and does not define
it; what follows is our reading. Official code of TD3: github.com/sfujim/TD3, TD3.py at 6a9f761.

    y = r + γ (mean_i Q̄_i - β std_i Q̄_i)(s', ã),   ã = clip(π̄(s') + clip(ε, ±c), ±1),  ε ~ N(0, σ²)

Deviations
1. N critics and the lower confidence bound instead of the minimum of two, for the target and for the
   actor, which maximises the same bound (`target="min"` gives the minimum over members).
2. The deviation over members is the population's (divided by N).
3. The actor and the targets move at updates 0, d, 2d, …, officially at d-1, 2d-1, …
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.engine.base import Algorithm, Batch, Metrics, Plugin, per_agent
from rdlib.engine.config import check_choice, check_least
from rdlib.engine.nets import Actor, Critic, Initialiser, frozen_copy, pessimistic, polyak
from rdlib.engine.optim import adam, descend, frozen
from rdlib.engine.rng import Streams


@dataclass(frozen=True)
class Config:
    """Hyperparameters of TD3-N-UNC."""

    n_critics: int = 10  # N
    target: str = "lcb"  # "lcb": mean - β std, "min": minimum over members
    beta: float = 1.0  # β of the lower confidence bound
    gamma: float = 0.99  # γ
    tau: float = 0.005  # τ
    policy_noise: float = 0.2  # σ of target policy smoothing
    noise_clip: float = 0.5  # c
    policy_delay: int = 2  # d: critic updates per actor update
    actor_lr: float = 3e-4
    critic_lr: float = 3e-4
    batch_size: int = 256
    width: int = 256  # critic
    depth: int = 3
    actor_width: int = 256
    actor_depth: int = 3
    layer_norm: bool = False  # in the critics
    normalize_states: bool = True

    def __post_init__(self):
        check_least(self, 1, "n_critics", "policy_delay")
        check_choice(self, "target", ("lcb", "min"))
        check_least(self, 0, "beta", "policy_noise", "noise_clip")


class TD3N(Algorithm):
    """A agents of TD3-N-UNC."""

    own = ("beta", "n_critics")

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
            Initialiser(streams, "critic", dtype),
            *dims,
            [c.n_critics for c in configs],
            c.width,
            c.depth,
            c.layer_norm,
        )
        self.actor_target = frozen_copy(self.actor)
        self.critic_target = frozen_copy(self.critic)
        self.beta = per_agent(configs, "beta", self.actor.net.head.bias)
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
        c, active, average = self.configs[0], self.critic.active, self.critic.average
        with torch.no_grad():
            smoothing = (noise["smoothing"] * c.policy_noise).clamp(-c.noise_clip, c.noise_clip)
            next_action = (self.actor_target(batch.next_obs) + smoothing).clamp(-1, 1)  # (A,B,U)
            next_q = self.critic_target(batch.next_obs, next_action)[0]  # (A,E,B)
            next_value = pessimistic(next_q, c.target, self.beta, active)  # (A,B)
            target = batch.rew + c.gamma * batch.mask * next_value  # (A,B)
        q, features = self.critic(batch.obs, batch.act)  # (A,E,B), (A,E,B,H)
        critic_loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": average(critic_loss), "q_data": average(q)}
        if self.plugin:
            penalty, extra = self.plugin.penalty(
                self.critic, batch, features, self.actor, next_action, noise, phase
            )
            critic_loss, metrics = critic_loss + penalty, metrics | extra
        descend(self.optimizers["critic"], self.critic.total(critic_loss))

        if phase % c.policy_delay == 0:
            with frozen(self.critic):
                policy_q = self.critic(batch.obs, self.actor(batch.obs))[0]  # (A,E,B)
                actor_loss = -pessimistic(policy_q, c.target, self.beta, active).mean(-1)
                descend(self.optimizers["actor"], actor_loss)
            polyak(self.critic_target, self.critic, c.tau)
            polyak(self.actor_target, self.actor, c.tau)
            metrics["actor_loss"] = actor_loss
        return metrics

    def act(self, obs: Tensor) -> Tensor:
        """π(s): (A,n,O) -> (A,n,U)."""
        return self.actor(obs)
