"""SAC-N: soft actor-critic with an ensemble of N critics.

Papers: Haarnoja et al. 2018 (arXiv 1812.05905), eq. 5-7, 17; An et al. 2021 (arXiv 2110.01548),
algorithm 1 with η = 0. SAC-N-UNC is our reading of the RD paper's backbone: N critics and a
lower-confidence-bound target; `n_critics=2, target="min"` is SAC itself, with which the bundled
behaviour policies were trained online.
Official code: github.com/snu-mllab/EDAC at c21d8aa.

Deviations
1. The actor's loss and the target are taken at the temperature, and the target at the actor, that this
   update has just moved (CORL's order); in the official code all losses are taken before any step.
2. Layers start as `nn.Linear` does. `init="official"` takes the official start: hidden biases 0.1; heads
   within ±3e-3 (critics) and ±1e-3 (actor); the actor's hidden weights within ±1/sqrt(width), in the first
   layer a fifth of `nn.Linear`'s on Hopper; target critics drawn separately. CORL's own code differs from
   both: its critics' hidden weights are within ±1/sqrt(width) too, its targets copies. At the paper's
   scale it has not been measured which start is better.
3. Target `lcb` (mean - β std over members) instead of the minimum over members; ours, see the book.
4. log σ is clamped to [-5, 2], as in the code of SAC-N and CORL; Haarnoja et al. take [-20, 2].
5. log(1 - tanh²) in a density is exact; officially and in CORL it is log(1 - tanh² + 1e-6).
6. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.algos.squashed import SquashedGaussian
from rdlib.engine.base import Batch, Metrics
from rdlib.engine.config import check_choice, check_least, later
from rdlib.engine.nets import pessimistic, polyak
from rdlib.engine.optim import descend, frozen


@dataclass(frozen=True)
class Config:
    """Hyperparameters of SAC-N-UNC (values: shared by SAC-N, EDAC and the RD paper's relatives)."""

    n_critics: int = 10  # N
    target: str = "lcb"  # "lcb": mean - β std, "min": minimum over members
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

    def __post_init__(self):
        check_least(self, 1, "n_critics")
        check_choice(self, "target", ("lcb", "min"))
        check_choice(self, "init", ("linear", "official"))
        check_least(self, 0, "beta")


class SACN(SquashedGaussian):
    """A agents of SAC-N-UNC."""

    own = ("beta", "n_critics")
    beta: Tensor  # (A,1)

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
        return batch.rew + c.gamma * batch.mask * next_value, next_action

    def critic_loss(
        self, batch: Batch, noise: dict[str, Tensor], phase: int, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        """(y - Q_i(s,a))² of each critic, with a plug-in's penalty: (A,E)."""
        target, next_action = self.target(batch, noise, alpha)
        q, features = self.critic(batch.obs, batch.act)  # (A,E,B), (A,E,B,H)
        loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": self.critic.average(loss), "q_data": self.critic.average(q)}
        policy = self.propose(noise)
        return self.penalised(loss, metrics, batch, features, policy, next_action, noise, phase)
