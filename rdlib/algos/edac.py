"""EDAC: SAC-N whose critics are kept from agreeing on the direction of better actions.

Paper: An et al. 2021 (arXiv 2110.01548), algorithm 1. To the squared errors of the N critics, summed over
members, it adds their diversity loss (eq. 4-5), g_i the gradient of Q_i(s,a) in the data's action:

    η / (N-1)  E_{(s,a) in D}  Σ_{i≠j} ⟨ĝ_i, ĝ_j⟩,   ĝ = g / |g|

Official code: github.com/snu-mllab/EDAC, lifelong_rl/trainers/q_learning/sac.py at c21d8aa (at bdff4d6
the sum is over a random min(N, dim A) of the critics; the paper and CORL take all). SAC-N is η = 0.

Deviations
1. The actor's loss and the target are taken at the temperature, and the target at the actor, that this
   update has just moved (CORL's order); in the official code all losses are taken before any step.
2. Layers start as `nn.Linear` does; officially hidden biases are 0.1, critics' heads within ±3e-3 and
   the actor's within ±1e-3.
The backup of the best of several actions (pen-cloned) is the official one: by the critics themselves, not
their targets, each critic's own best, without entropy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdlib.engine.base import Algorithm, Batch, Metrics, Plugin, per_agent
from rdlib.engine.config import REWARDS, check_choice, check_least
from rdlib.engine.nets import Critic, GaussianActor, Initialiser, frozen_copy, pessimistic, polyak
from rdlib.engine.optim import adam, descend, frozen
from rdlib.engine.rng import Streams


@dataclass(frozen=True)
class Config:
    """Hyperparameters of EDAC (values: the paper's for halfcheetah-medium)."""

    n_critics: int = 10  # N
    eta: float = 1.0  # η, weight of the diversity loss
    max_q_backup: int = 0  # back up the best of so many actions, by the minimum, whatever `target`; 0: one
    target: str = "min"  # "lcb": mean - β std, "min": minimum over members
    beta: float = 1.0  # β of the lower confidence bound
    gamma: float = 0.99  # γ
    tau: float = 0.005  # τ
    actor_lr: float = 3e-4
    critic_lr: float = 3e-4
    alpha_lr: float = 3e-4  # of log α
    batch_size: int = 256
    width: int = 256  # critic
    depth: int = 3
    actor_width: int = 256
    actor_depth: int = 3
    layer_norm: bool = False  # in the critics
    normalize_states: bool = False
    rewards: str = "raw"  # units of rewards; "standardised" on pen

    def __post_init__(self):
        check_least(self, 2, "n_critics")
        check_choice(self, "target", ("lcb", "min"))
        check_least(self, 0, "beta", "eta", "max_q_backup")
        check_choice(self, "rewards", REWARDS)


def diversity(gradients: Tensor, active: Tensor | None = None) -> Tensor:
    """Σ_{i≠j} ⟨ĝ_i, ĝ_j⟩ / (N-1) of action gradients (A,E,B,U), mean over states: (A,). `active`: see
    `Critic`."""
    unit = gradients / (gradients.norm(dim=-1, keepdim=True) + 1e-10)
    if active is not None:
        unit = unit * active[..., None, None]
    every = unit.sum(1).square().sum(-1)  # (A,B): all pairs (i,j), i = j too
    n = gradients.shape[1] if active is None else active.sum(1)
    return (every - unit.square().sum((1, 3))).mean(-1) / (n - 1)


class EDAC(Algorithm):
    """A agents of EDAC."""

    own = ("beta", "eta", "n_critics", "rewards")

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
        self.critic = Critic(
            Initialiser(streams, "critic", dtype),
            *dims,
            [c.n_critics for c in configs],
            c.width,
            c.depth,
            c.layer_norm,
        )
        self.critic_target = frozen_copy(self.critic)
        self.log_alpha = nn.Parameter(torch.zeros(len(configs), 1, dtype=dtype, device=streams.device))
        self.beta = per_agent(configs, "beta", self.log_alpha)
        self.eta = per_agent(configs, "eta", self.log_alpha)
        self.target_entropy = -float(act_dim)
        self.act_dim = act_dim
        self.optimizers |= {
            "actor": adam(self.actor.parameters(), c.actor_lr),
            "critic": adam(self.critic.parameters(), c.critic_lr),
            "alpha": adam([self.log_alpha], c.alpha_lr),
        }

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Standard normals for the policy at s and at s', (count,A,B,U) each, and for the best of several
        actions at s', (count,A,n,B,U)."""
        shape, dtype = (self.batch_size, self.act_dim), self.log_alpha.dtype
        own = {k: streams.normal(k, step, count, shape, dtype) for k in ("policy", "next_policy")}
        if n := self.configs[0].max_q_backup:
            own["backup"] = streams.normal("backup", step, count, (n, *shape), dtype)
        return {**own, **super().noise(streams, step, count)}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """Temperature, actor, critics, target networks."""
        c, active, average = self.configs[0], self.critic.active, self.critic.average
        action, log_prob = self.actor(batch.obs, noise["policy"])  # (A,B,U), (A,B)

        alpha_loss = -(self.log_alpha * (log_prob.detach() + self.target_entropy)).mean(-1)
        descend(self.optimizers["alpha"], alpha_loss)
        alpha = self.log_alpha.detach().exp()  # (A,1)

        with frozen(self.critic):
            policy_q = self.critic(batch.obs, action)[0]  # (A,E,B)
            value = pessimistic(policy_q, c.target, self.beta, active)  # (A,B)
            actor_loss = (alpha * log_prob - value).mean(-1)
            descend(self.optimizers["actor"], actor_loss)

        with torch.no_grad():
            next_action, next_log_prob = self.actor(batch.next_obs, noise["next_policy"])
            next_q = self.critic_target(batch.next_obs, next_action)[0]  # (A,E,B)
            next_value = pessimistic(next_q, c.target, self.beta, active) - alpha * next_log_prob
            if c.max_q_backup:
                moments = self.actor.moments(batch.next_obs)
                actions = self.actor.squash(*moments, noise["backup"])[0]  # (A,n,B,U)
                best_q = self.critic.best(batch.next_obs, actions)  # (A,E,B)
                next_value = pessimistic(best_q, "min", self.beta, active)
            target = batch.rew + c.gamma * batch.mask * next_value  # (A,B)
        act = batch.act[:, None].expand(-1, self.critic.members, -1, -1)
        act.requires_grad_()  # (A,E,B,U): one for each g_i
        q, features = self.critic(batch.obs, act)  # (A,E,B), (A,E,B,H)
        critic_loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": average(critic_loss), "q_data": average(q)}
        if any(c.eta for c in self.configs):
            (gradients,) = torch.autograd.grad(q.sum(), act, create_graph=True)  # (A,E,B,U)
            diversity_loss = diversity(gradients, active)  # (A,)
            # A share for each member: the losses are summed over them.
            n = c.n_critics if active is None else active.sum(1, keepdim=True)
            critic_loss = critic_loss + self.eta * diversity_loss[:, None] / n
            metrics["diversity_loss"] = diversity_loss
        if self.plugin:
            penalty, extra = self.plugin.penalty(
                self.critic, batch, features, self.propose(noise), next_action, noise, phase
            )
            critic_loss, metrics = critic_loss + penalty, metrics | extra
        descend(self.optimizers["critic"], self.critic.total(critic_loss))
        polyak(self.critic_target, self.critic, c.tau)

        metrics |= {"actor_loss": actor_loss, "alpha": alpha[:, 0], "entropy": -log_prob.mean(-1)}
        return metrics

    def propose(self, noise: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The policy as a plug-in sees it: one reparameterised sample for each of the first n states."""
        return lambda obs: self.actor(obs, noise["policy"][:, : obs.shape[1]])[0]

    def act(self, obs: Tensor) -> Tensor:
        """Mean action: (A,n,O) -> (A,n,U)."""
        return self.actor(obs)[0]
