"""TD3+BC: TD3 whose actor is also a regression on the data's actions.

Paper: Fujimoto and Gu 2021 (arXiv 2106.06860), equations 3-5; TD3 itself is Fujimoto et al. 2018
(arXiv 1802.09477), algorithm 1. Official code: github.com/sfujim/TD3_BC at 76cdd14.

    y = r + γ min_i Q̄_i(s', ã),   ã = clip(π̄(s') + clip(ε, ±c), ±1),  ε ~ N(0, σ²)
    max_π  E [λ Q_1(s, π(s)) - |π(s) - a|² / dim A],   λ = α / mean|Q_1(s, π(s))|, a constant

Deviations
1. The actor and the targets move at updates 0, d, 2d, …, officially at d-1, 2d-1, … (as in TD3-N).
2. States are normalised by moments in float64 (officially float32); ε = 1e-3 as there.
3. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.algos.deterministic import Deterministic
from rdlib.engine.base import Batch, Metrics
from rdlib.engine.config import check_least
from rdlib.engine.nets import polyak
from rdlib.engine.optim import descend, frozen


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


class TD3BC(Deterministic):
    """A agents of TD3+BC."""

    own = ("alpha",)
    alpha: Tensor  # (A,1)

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """Critics; every `policy_delay`-th time the actor and the target networks."""
        c = self.configs[0]
        critic_loss, metrics = self.critic_loss(batch, noise, phase)
        descend(self.optimizers["critic"], self.critic.total(critic_loss))
        if phase % c.policy_delay == 0:
            with frozen(self.critic):
                metrics["actor_loss"] = self.actor_loss(batch)
                descend(self.optimizers["actor"], metrics["actor_loss"])
            polyak(self.critic_target, self.critic, c.tau)
            polyak(self.actor_target, self.actor, c.tau)
        return metrics

    @torch.no_grad()
    def target(self, batch: Batch, noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """y (A,B) and the action ã that it takes (A,B,U)."""
        c = self.configs[0]
        smoothing = (noise["smoothing"] * c.policy_noise).clamp(-c.noise_clip, c.noise_clip)
        next_action = (self.actor_target(batch.next_obs) + smoothing).clamp(-1, 1)  # (A,B,U)
        next_q = self.critic_target(batch.next_obs, next_action)[0]  # (A,E,B)
        next_value = next_q.amin(1)  # (A,B)
        return batch.rew + c.gamma * batch.mask * next_value, next_action

    def critic_loss(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> tuple[Tensor, Metrics]:
        """(y - Q_i(s,a))² of each critic, with a plug-in's penalty: (A,E)."""
        target, next_action = self.target(batch, noise)
        q, features = self.critic(batch.obs, batch.act)  # (A,E,B), (A,E,B,H)
        loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": self.critic.average(loss), "q_data": self.critic.average(q)}
        return self.penalised(loss, metrics, batch, features, self.actor, next_action, noise, phase)

    def actor_loss(self, batch: Batch) -> Tensor:
        """|π(s) - a|² / dim A - λ Q_1(s, π(s)): (A,)."""
        action = self.actor(batch.obs)  # (A,B,U)
        policy_q = self.critic.first(batch.obs, action)  # (A,B)
        scale = self.alpha / policy_q.detach().abs().mean(-1, keepdim=True)  # λ (A,1)
        distance = (action - batch.act).square().mean(-1)  # (A,B)
        return (distance - scale * policy_q).mean(-1)
