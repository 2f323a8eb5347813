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
4. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.algos.deterministic import Deterministic
from rdlib.engine.base import Batch, Metrics
from rdlib.engine.config import check_choice, check_least
from rdlib.engine.nets import pessimistic, polyak
from rdlib.engine.optim import descend, frozen


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


class TD3N(Deterministic):
    """A agents of TD3-N-UNC."""

    own = ("beta", "n_critics")
    beta: Tensor  # (A,1)

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
        next_value = pessimistic(next_q, c.target, self.beta, self.critic.active)  # (A,B)
        return batch.rew + c.gamma * batch.mask * next_value, next_action

    def critic_loss(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> tuple[Tensor, Metrics]:
        """(y - Q_i(s,a))² of each critic, with a plug-in's penalty: (A,E)."""
        target, next_action = self.target(batch, noise)
        q, features = self.critic(batch.obs, batch.act)  # (A,E,B), (A,E,B,H)
        loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": self.critic.average(loss), "q_data": self.critic.average(q)}
        return self.penalised(loss, metrics, batch, features, self.actor, next_action, noise, phase)

    def actor_loss(self, batch: Batch) -> Tensor:
        """-(mean_i Q_i - β std_i Q_i)(s, π(s)): (A,)."""
        policy_q = self.critic(batch.obs, self.actor(batch.obs))[0]  # (A,E,B)
        value = pessimistic(policy_q, self.configs[0].target, self.beta, self.critic.active)  # (A,B)
        return -value.mean(-1)
