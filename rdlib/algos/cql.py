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
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdlib.engine.base import Algorithm, Batch, Metrics, Plugin, per_agent
from rdlib.engine.config import REWARDS, ConfigError, check_choice, check_least
from rdlib.engine.nets import Critic, GaussianActor, Initialiser, frozen_copy, polyak
from rdlib.engine.optim import adam, descend, frozen
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


class CQL(Algorithm):
    """A agents of CQL."""

    own = ("cql_alpha", "rewards")

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
        self.actor = GaussianActor(
            Initialiser(streams, "actor", dtype), *dims, c.actor_width, c.actor_depth
        )
        init = Initialiser(streams, "critic", dtype, "orthogonal")
        self.critic = Critic(init, *dims, c.n_critics, c.width, c.depth, c.layer_norm)
        self.start_small(act_dim)
        self.critic_target = frozen_copy(self.critic)
        self.log_alpha = nn.Parameter(torch.zeros(len(configs), 1, dtype=dtype, device=streams.device))
        self.cql_alpha = per_agent(configs, "cql_alpha", self.log_alpha)
        self.target_entropy = -float(act_dim)
        self.act_dim = act_dim
        self.optimizers |= {
            "actor": adam(self.actor.parameters(), c.actor_lr),
            "critic": adam(self.critic.parameters(), c.critic_lr),
            "alpha": adam([self.log_alpha], c.alpha_lr),
        }

    @torch.no_grad()
    def start_small(self, act_dim: int) -> None:
        """CORL's heads at the start: the critics' orthogonal with gain 0.01, the policy's Xavier-uniform
        with gain 0.01, μ near 0 and log σ near -1."""
        self.critic.net.head.weight.mul_(1e-2 / 2**0.5)  # orthogonal layers come with gain √2
        head = self.actor.net.head
        n_in, n_out = head.weight.shape[-2:]
        head.weight.mul_(1e-2 * (6 / (n_in + n_out)) ** 0.5 * n_in**0.5)
        head.bias.zero_()
        head.bias[..., act_dim:] = -1.0

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Standard normals for the policy at s and at s', (count,A,B,U) each; uniform actions and normals
        for the candidates, (count,A,n,B,U) each."""
        shape, dtype = (self.batch_size, self.act_dim), self.log_alpha.dtype
        many = (self.configs[0].n_actions, *shape)
        own = {k: streams.normal(k, step, count, shape, dtype) for k in ("policy", "next_policy")}
        for k in ("current", "next"):
            own[k] = streams.normal(k, step, count, many, dtype)
        own["random"] = 2 * streams.uniform("random", step, count, many, dtype) - 1
        return {**own, **super().noise(streams, step, count)}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """Temperature, actor, critics, target networks."""
        c, n_states = self.configs[0], batch.obs.shape[1]
        alpha = self.log_alpha.detach().exp()  # (A,1)
        moments = self.actor.moments(batch.obs)  # mean, log σ: (A,B,U) each
        action, log_prob = self.actor.squash(*moments, noise["policy"])  # (A,B,U), (A,B)
        with torch.no_grad():
            next_moments = self.actor.moments(batch.next_obs)
            next_action = self.actor.squash(*next_moments, noise["next_policy"])[0]
            candidates, log_density = self.candidates(moments, next_moments, noise)

        alpha_loss = -(self.log_alpha * (log_prob.detach() + self.target_entropy)).mean(-1)
        descend(self.optimizers["alpha"], alpha_loss)

        with frozen(self.critic):
            policy_q = self.critic(batch.obs, action)[0]  # (A,E,B)
            actor_loss = (alpha * log_prob - policy_q.amin(1)).mean(-1)
            descend(self.optimizers["actor"], actor_loss)

        with torch.no_grad():
            next_q = self.critic_target(batch.next_obs, next_action)[0]  # (A,E,B)
            target = batch.rew + c.gamma * batch.mask * next_q.amin(1)  # (A,B)
        # One pass for the data's action and the candidates of each state.
        actions = torch.cat([batch.act[:, None], candidates], 1)  # (A,1+3n,B,U)
        obs = batch.obs[:, None].expand(-1, actions.shape[1], -1, -1)
        q_all, features = self.critic(obs.flatten(1, 2), actions.flatten(1, 2))
        q_all = q_all.unflatten(-1, (-1, n_states))  # (A,E,1+3n,B)
        q, features = q_all[:, :, 0], features[:, :, :n_states]  # (A,E,B), (A,E,B,H)
        weighted = (q_all[:, :, 1:] - log_density[:, None]) / c.cql_temp
        gap = (c.cql_temp * weighted.logsumexp(2) - q).mean(-1)  # (A,E)
        td_loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        critic_loss = td_loss + self.cql_alpha * gap
        metrics = {"critic_loss": td_loss.mean(-1), "cql_gap": gap.mean(-1), "q_data": q.mean((1, 2))}
        if self.plugin:
            penalty, extra = self.plugin.penalty(
                self.critic, batch, features, self.propose(noise), next_action, noise, phase
            )
            critic_loss, metrics = critic_loss + penalty, metrics | extra
        descend(self.optimizers["critic"], critic_loss.sum(-1))
        polyak(self.critic_target, self.critic, c.tau)

        metrics |= {"actor_loss": actor_loss, "alpha": alpha[:, 0], "entropy": -log_prob.mean(-1)}
        return metrics

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

    def propose(self, noise: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The policy as a plug-in sees it: one reparameterised sample for each of the first n states."""
        return lambda obs: self.actor(obs, noise["policy"][:, : obs.shape[1]])[0]

    def act(self, obs: Tensor) -> Tensor:
        """Mean action: (A,n,O) -> (A,n,U)."""
        return self.actor(obs)[0]
