"""CQL: conservative Q-learning, SAC whose critics are pushed down where the data are not.

Paper: Kumar et al. 2020 (arXiv 2006.04779), CQL(H): eq. 4, the log-sum-exp estimated with importance
weights as in appendix F. For each critic Q_i,

    min_Q  E_D [(Q_i(s,a) - y)²] + α_CQL E_s [log Σ_a exp Q_i(s,a) - E_{a in D} Q_i(s,a)],
    log Σ_a exp Q ≈ log Σ_k exp(Q(s,a_k) - log p(a_k)),   y = r + γ min_i Q̄_i(s',a'),  a' ~ π(s'),

with n actions a_k of each kind: uniform (p = 2^-dim A), from π(s) and from π(s'). No gradient flows
into the actions or their densities.
Code followed: github.com/corl-team/CORL, algorithms/offline/cql.py at 5790218, itself after
github.com/young-geng/CQL at 934b0e8; the authors' own is github.com/aviralkumar2907/CQL.

As in CORL and unlike SAC-N here, all losses of an update are taken at the weights and the temperature
before it. The squared error has no factor ½ (so CORL's α_CQL of 10 is the paper's 5).

Deviations
1. The Lagrange form, the clipped gap, the maximum backup, the entropy in the backup and the initial
   cloning are left out; CORL switches them off on MuJoCo.
2. CORL's learned scale of log σ is left out; its learned offset, -1 at first, is that output's bias.
3. log σ is clamped to [-5, 2] as for SAC-N, not to [-20, 2].
4. π is evaluated once at s and s' for all n samples of each; CORL repeats the states, to the same end.
5. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.algos.squashed import SquashedGaussian
from rdlib.engine.base import Batch, Metrics
from rdlib.engine.config import REWARDS, ConfigError, check_choice, check_least
from rdlib.engine.nets import Critic, frozen_copy, polyak
from rdlib.engine.optim import descend, frozen
from rdlib.engine.rng import Streams


@dataclass(frozen=True)
class Config:
    """Hyperparameters of CQL (values: CORL's for the MuJoCo datasets)."""

    n_critics: int = 2
    cql_alpha: float = 10.0  # α_CQL, weight of the conservative term (pen: 1)
    n_actions: int = 10  # n: actions of each of the three kinds
    cql_temp: float = 1.0  # temperature of the log-sum-exp
    gamma: float = 0.99  # γ
    tau: float = 0.005  # τ
    actor_lr: float = 3e-5  # pen: 1e-4
    critic_lr: float = 3e-4
    alpha_lr: float = 3e-5  # of log α; CORL gives it the actor's
    batch_size: int = 256
    width: int = 256  # critic
    depth: int = 3
    actor_width: int = 256
    actor_depth: int = 3
    layer_norm: bool = False  # in the critics
    normalize_states: bool = True
    rewards: str = "raw"  # units of rewards; "return_range" on hopper-medium

    def __post_init__(self):
        check_least(self, 1, "n_critics", "n_actions")
        check_least(self, 0, "cql_alpha")
        if not self.cql_temp > 0:
            raise ConfigError(f"cql_temp = {self.cql_temp}: expected > 0")
        check_choice(self, "rewards", REWARDS)


class CQL(SquashedGaussian):
    """A agents of CQL."""

    own = ("cql_alpha", "rewards")
    critic_scheme = "orthogonal"
    cql_alpha: Tensor  # (A,1)

    @torch.no_grad()
    def start(self, critic: Callable[[str], Critic]) -> None:
        """CORL's heads at the start: the critics' orthogonal with gain 0.01, the policy's Xavier-uniform
        with gain 0.01, μ near 0 and log σ near -1. Targets as the critics."""
        self.critic.net.head.weight.mul_(1e-2 / 2**0.5)  # orthogonal layers come with gain √2
        head = self.actor.net.head
        n_in, n_out = head.weight.shape[-2:]
        head.weight.mul_(1e-2 * (6 / (n_in + n_out)) ** 0.5 * n_in**0.5)
        head.bias.zero_()
        head.bias[..., n_out // 2 :] = -1.0
        self.critic_target = frozen_copy(self.critic)

    def several(self) -> dict[str, int]:
        """Actions of π at s and at s' for the log-sum-exp."""
        return dict.fromkeys(("current", "next"), self.configs[0].n_actions)

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """And uniform actions for the log-sum-exp: (count,A,n,B,U)."""
        shape = (self.configs[0].n_actions, self.batch_size, self.act_dim)
        uniform = 2 * streams.uniform("random", step, count, shape, self.log_alpha.dtype) - 1
        return {"random": uniform, **super().noise(streams, step, count)}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """Temperature, actor, critics, target critics; all losses at the weights before any step."""
        moments = self.actor.moments(batch.obs)  # μ, log σ: (A,B,U) each
        action, log_prob = self.actor.squash(*moments, noise["policy"])  # (A,B,U), (A,B)
        with torch.no_grad():
            next_moments = self.actor.moments(batch.next_obs)
            next_action = self.actor.squash(*next_moments, noise["next_policy"])[0]  # (A,B,U)
            candidates = self.candidates(moments, next_moments, noise)
        alpha = self.log_alpha.detach().exp()  # (A,1)
        descend(self.optimizers["alpha"], self.temperature_loss(log_prob))
        with frozen(self.critic):
            actor_loss = self.actor_loss(batch, action, log_prob, alpha)
            descend(self.optimizers["actor"], actor_loss)
        critic_loss, metrics = self.critic_loss(batch, noise, phase, next_action, *candidates)
        descend(self.optimizers["critic"], self.critic.total(critic_loss))
        polyak(self.critic_target, self.critic, self.configs[0].tau)
        return metrics | {"actor_loss": actor_loss, "alpha": alpha[:, 0], "entropy": -log_prob.mean(-1)}

    def candidates(
        self, moments: tuple[Tensor, Tensor], next_moments: tuple[Tensor, Tensor], noise: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Uniform actions, π's at s' and π's at s, with log densities: (A,3n,B,U), (A,3n,B)."""
        following, log_following = self.actor.squash(*next_moments, noise["next"])
        current, log_current = self.actor.squash(*moments, noise["current"])
        log_uniform = torch.full_like(log_current, -self.act_dim * math.log(2))
        return (
            torch.cat([noise["random"], following, current], 1),
            torch.cat([log_uniform, log_following, log_current], 1),
        )

    def actor_loss(self, batch: Batch, action: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
        """α log π(u|s) - min_i Q_i(s, u): (A,)."""
        policy_q = self.critic(batch.obs, action)[0]  # (A,E,B)
        return (alpha * log_prob - policy_q.amin(1)).mean(-1)

    @torch.no_grad()
    def target(self, batch: Batch, next_action: Tensor) -> Tensor:
        """y: (A,B)."""
        next_q = self.critic_target(batch.next_obs, next_action)[0]  # (A,E,B)
        return batch.rew + self.configs[0].gamma * batch.mask * next_q.amin(1)

    def critic_loss(
        self,
        batch: Batch,
        noise: dict[str, Tensor],
        phase: int,
        next_action: Tensor,
        candidates: Tensor,
        log_density: Tensor,
    ) -> tuple[Tensor, Metrics]:
        """(y - Q_i(s,a))² and the conservative term of each critic, with a plug-in's penalty: (A,E)."""
        c, n_states = self.configs[0], batch.obs.shape[1]
        target = self.target(batch, next_action)
        # One pass for the data's action and the candidates of each state.
        actions = torch.cat([batch.act[:, None], candidates], 1)  # (A,1+3n,B,U)
        obs = batch.obs[:, None].expand(-1, actions.shape[1], -1, -1)
        q_all, features = self.critic(obs.flatten(1, 2), actions.flatten(1, 2))
        q_all = q_all.unflatten(-1, (-1, n_states))  # (A,E,1+3n,B)
        q, features = q_all[:, :, 0], features[:, :, :n_states]  # (A,E,B), (A,E,B,H)
        weighted = (q_all[:, :, 1:] - log_density[:, None]) / c.cql_temp
        gap = (c.cql_temp * weighted.logsumexp(2) - q).mean(-1)  # (A,E)
        loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": loss.mean(-1), "cql_gap": gap.mean(-1), "q_data": q.mean((1, 2))}
        loss, policy = loss + self.cql_alpha * gap, self.propose(noise)
        return self.penalised(loss, metrics, batch, features, policy, next_action, noise, phase)
