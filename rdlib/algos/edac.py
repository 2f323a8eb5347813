"""EDAC: SAC-N whose critics are kept from agreeing on the direction of better actions.

Paper: An et al. 2021 (arXiv 2110.01548), algorithm 1. To the squared errors of the N critics, summed over
members, it adds their diversity loss (eq. 4-5), g_i the gradient of Q_i(s,a) in the data's action:

    η / (N-1)  E_{(s,a) in D}  Σ_{i≠j} ⟨ĝ_i, ĝ_j⟩,   ĝ = g / |g|

Official code: github.com/snu-mllab/EDAC, lifelong_rl/trainers/q_learning/sac.py at c21d8aa (at bdff4d6
the sum is over a random min(N, dim A) of the critics; the paper and CORL take all). SAC-N is η = 0.

Deviations
1. The actor's loss and the target are taken at the temperature, and the target at the actor, that this
   update has just moved (CORL's order); in the official code all losses are taken before any step.
2. Layers start as `nn.Linear` does. `init="official"` takes the official start: hidden biases 0.1; heads
   within ±3e-3 (critics) and ±1e-3 (actor); the actor's hidden weights within ±1/sqrt(width), in the first
   layer a fifth of `nn.Linear`'s on Hopper; target critics drawn separately. CORL's own code differs from
   both: its critics' hidden weights are within ±1/sqrt(width) too, its targets copies. At the paper's
   scale it has not been measured which start is better.
3. log(1 - tanh²) in a density is exact; officially and in CORL it is log(1 - tanh² + 1e-6).
4. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
The backup of the best of several actions (pen-cloned) is the official one: by the critics themselves, not
their targets, each critic's own best, without entropy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.algos.squashed import SquashedGaussian
from rdlib.engine.base import Batch, Metrics
from rdlib.engine.config import REWARDS, check_choice, check_least, later
from rdlib.engine.nets import pessimistic, polyak
from rdlib.engine.optim import descend, frozen


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
    init: str = later("linear")  # weights at the start: "linear", as `nn.Linear`'s; "official"
    normalize_states: bool = False
    rewards: str = "raw"  # units of rewards; "standardised" on pen

    def __post_init__(self):
        check_least(self, 2, "n_critics")
        check_choice(self, "target", ("lcb", "min"))
        check_choice(self, "init", ("linear", "official"))
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


class EDAC(SquashedGaussian):
    """A agents of EDAC."""

    own = ("beta", "eta", "n_critics", "rewards")
    beta: Tensor  # (A,1)
    eta: Tensor  # (A,1)

    def several(self) -> dict[str, int]:
        """Actions at s', the best of which is backed up."""
        return {"backup": self.configs[0].max_q_backup}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """Temperature, actor, critics, target critics."""
        action, log_prob = self.actor(batch.obs, noise["policy"])  # (A,B,U), (A,B)
        descend(self.optimizers["alpha"], self.temperature_loss(log_prob))
        alpha = self.log_alpha.detach().exp()  # (A,1), just moved
        with frozen(self.critic):
            actor_loss = self.actor_loss(batch, action, log_prob, alpha)
            descend(self.optimizers["actor"], actor_loss)
        critic_loss, metrics = self.critic_loss(batch, noise, phase, alpha)
        descend(self.optimizers["critic"], self.critic.total(critic_loss))
        polyak(self.critic_target, self.critic, self.configs[0].tau)
        return metrics | {"actor_loss": actor_loss, "alpha": alpha[:, 0], "entropy": -log_prob.mean(-1)}

    def actor_loss(self, batch: Batch, action: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
        """α log π(u|s) - the critics' pessimistic value of u: (A,)."""
        policy_q = self.critic(batch.obs, action)[0]  # (A,E,B)
        value = pessimistic(policy_q, self.configs[0].target, self.beta, self.critic.active)  # (A,B)
        return (alpha * log_prob - value).mean(-1)

    @torch.no_grad()
    def target(self, batch: Batch, noise: dict[str, Tensor], alpha: Tensor) -> tuple[Tensor, Tensor]:
        """y (A,B) and the action a' that it takes (A,B,U)."""
        c, active = self.configs[0], self.critic.active
        next_action, next_log_prob = self.actor(batch.next_obs, noise["next_policy"])
        next_q = self.critic_target(batch.next_obs, next_action)[0]  # (A,E,B)
        next_value = pessimistic(next_q, c.target, self.beta, active) - alpha * next_log_prob  # (A,B)
        if c.max_q_backup:
            actions = self.actor(batch.next_obs, noise["backup"])[0]  # (A,n,B,U)
            best_q = self.critic.best(batch.next_obs, actions)  # (A,E,B)
            next_value = pessimistic(best_q, "min", self.beta, active)
        return batch.rew + c.gamma * batch.mask * next_value, next_action

    def critic_loss(
        self, batch: Batch, noise: dict[str, Tensor], phase: int, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        """(y - Q_i(s,a))² and a share of the diversity loss of each critic, with a plug-in's penalty."""
        target, next_action = self.target(batch, noise, alpha)
        act = batch.act[:, None].expand(-1, self.critic.members, -1, -1).requires_grad_()  # (A,E,B,U)
        q, features = self.critic(batch.obs, act)  # (A,E,B), (A,E,B,H)
        loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": self.critic.average(loss), "q_data": self.critic.average(q)}
        if any(c.eta for c in self.configs):
            (gradients,) = torch.autograd.grad(q.sum(), act, create_graph=True)  # (A,E,B,U)
            metrics["diversity_loss"] = diversity(gradients, self.critic.active)  # (A,)
            loss = loss + self.eta * metrics["diversity_loss"][:, None] / self.critic.own  # one share each
        policy = self.propose(noise)
        return self.penalised(loss, metrics, batch, features, policy, next_action, noise, phase)
