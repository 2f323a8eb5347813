"""IQL: implicit Q-learning, which never asks for the value of an action outside the data.

Paper: Kostrikov et al. 2022 (arXiv 2110.06169), equations 5-7 and algorithm 1. Official code:
github.com/ikostrikov/implicit_q_learning at 09d7002, whose order of updates this is.

    min_V  E L_τ(min_i Q̄_i(s, a) - V(s)),   L_τ(u) = |τ - 1(u < 0)| u²           (5)
    min_Q  E (r + γ V(s') - Q_i(s, a))²                                            (6)
    max_π  E min(exp(β (min_i Q̄_i(s, a) - V(s))), 100) log π(a|s)                 (7)

π is a Gaussian around tanh of a network, its deviation the same in all states; its mean is what is
evaluated and what a plug-in sees as π(s) (IQL has no other use for π's actions). The actor's learning
rate falls to 0 along a half cosine over the run.

Deviations
1. None in the update. CORL's differs: V of before its step in (6) and (7), normalised states, `nn.Linear`'s
   initialisation, log σ from -20, a deterministic actor on hopper-medium. Until August 2023 it passed no
   dropout on to its actor.
2. Where the run's length is unknown (`total_steps` is 0), the learning rate stays.
3. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdlib.engine.base import Algorithm, Batch, Metrics, Plugin
from rdlib.engine.config import REWARDS, ConfigError, check_choice, check_least
from rdlib.engine.nets import MLP, Actor, Critic, Initialiser, frozen_copy, polyak
from rdlib.engine.optim import adam, descend
from rdlib.engine.rng import Streams

LOG_STD = (-5.0, 2.0)


@dataclass(frozen=True)
class Config:
    """Hyperparameters of IQL."""

    n_critics: int = 2
    expectile: float = 0.7  # τ of the expectile loss
    temperature: float = 3.0  # β, the inverse temperature
    max_weight: float = 100.0  # bound of exp(β advantage)
    dropout: float = 0.0  # in the actor; Adroit: 0.1
    rewards: str = "return_range"  # "raw" on Adroit (see rdlib.data.batches.reward_units)
    gamma: float = 0.99  # γ
    tau: float = 0.005  # of the target critics
    actor_lr: float = 3e-4  # at the start
    critic_lr: float = 3e-4
    value_lr: float = 3e-4
    batch_size: int = 256
    width: int = 256  # critic and V
    depth: int = 2
    actor_width: int = 256
    actor_depth: int = 2
    layer_norm: bool = False  # in the critics
    normalize_states: bool = False

    def __post_init__(self):
        check_least(self, 1, "n_critics")
        if not 0 < self.expectile < 1:
            raise ConfigError(f"expectile = {self.expectile}: expected more than 0 and less than 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout = {self.dropout}: expected in [0, 1)")
        check_least(self, 0, "temperature", "max_weight", "value_lr")
        check_choice(self, "rewards", REWARDS)


def expectile_loss(u: Tensor, expectile: Tensor) -> Tensor:
    """L_τ(u), equation 5: (A,B), τ (A,1) -> (A,B)."""
    return torch.where(u < 0, 1 - expectile, expectile) * u.square()


class IQL(Algorithm):
    """A agents of IQL."""

    scheduled = True
    own = ("expectile", "temperature", "rewards")
    expectile: Tensor  # τ (A,1)
    temperature: Tensor  # β (A,1)

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

        def init(purpose: str) -> Initialiser:
            return Initialiser(streams, purpose, dtype, "orthogonal")

        self.actor = Actor(init("actor"), *dims, c.actor_width, c.actor_depth)
        self.log_std = nn.Parameter(
            torch.zeros(len(configs), 1, act_dim, dtype=dtype, device=streams.device)
        )
        self.critic = Critic(init("critic"), *dims, c.n_critics, c.width, c.depth, c.layer_norm)
        self.critic_target = frozen_copy(self.critic)
        self.value = MLP(init("value"), (), obs_dim, 1, c.width, c.depth)
        self.keep_own(self.log_std)
        actor_lr = torch.tensor(c.actor_lr, device=streams.device)  # a tensor: `update` writes it
        self.optimizers |= {
            "value": adam(self.value.parameters(), c.value_lr),
            "actor": adam([*self.actor.parameters(), self.log_std], actor_lr),
            "critic": adam(self.critic.parameters(), c.critic_lr),
        }

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """The actor's learning rate (count,), and what dropout keeps (count,A,layers,B,H)."""
        c, total = self.configs[0], self.total_steps
        done = [min(t / total, 1.0) if total else 0.0 for t in range(step, step + count)]
        rates = [c.actor_lr * 0.5 * (1 + math.cos(math.pi * d)) for d in done]
        own = {"actor_lr": torch.tensor(rates).to(streams.device, non_blocking=True)}
        if c.dropout:
            shape = (c.actor_depth, c.batch_size, c.actor_width)
            # Update by update, and bits: the random words of all at once would not fit.
            kept = [streams.uniform("dropout", step + k, 1, shape)[0] for k in range(count)]
            own["keep"] = torch.stack([u >= c.dropout for u in kept])
        return {**own, **super().noise(streams, step, count)}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """V, actor, critics, target critics."""
        with torch.no_grad():
            target_q = self.critic_target(batch.obs, batch.act)[0].amin(1)  # (A,B)
        value_loss = self.value_loss(batch, target_q)
        descend(self.optimizers["value"], value_loss)
        weight, next_value = self.moved(batch, target_q)
        actor_loss = self.actor_loss(batch, weight, noise.get("keep"))
        self.optimizers["actor"].param_groups[0]["lr"].copy_(noise["actor_lr"])
        descend(self.optimizers["actor"], actor_loss)
        critic_loss, metrics = self.critic_loss(batch, noise, phase, next_value)
        descend(self.optimizers["critic"], self.critic.total(critic_loss))
        polyak(self.critic_target, self.critic, self.configs[0].tau)
        return metrics | {"value_loss": value_loss, "actor_loss": actor_loss, "weight": weight.mean(-1)}

    def value_loss(self, batch: Batch, target_q: Tensor) -> Tensor:
        """L_τ(min_i Q̄_i(s, a) - V(s)): (A,)."""
        advantage = target_q - self.value(batch.obs)[..., 0]  # (A,B)
        return expectile_loss(advantage, self.expectile).mean(-1)

    @torch.no_grad()
    def moved(self, batch: Batch, target_q: Tensor) -> tuple[Tensor, Tensor]:
        """min(exp(β (min_i Q̄_i(s, a) - V(s))), 100) and V(s') of the V just moved: (A,B) each."""
        both = self.value(torch.cat([batch.obs, batch.next_obs], 1))[..., 0]  # (A,2B)
        v, next_value = both.chunk(2, 1)
        weight = (self.temperature * (target_q - v)).exp()
        return weight.clamp(max=self.configs[0].max_weight), next_value

    def actor_loss(self, batch: Batch, weight: Tensor, keep: Tensor | None) -> Tensor:
        """-weight · log π(a|s): (A,)."""
        return -(weight * self.log_prob(batch, keep)).mean(-1)

    def critic_loss(
        self, batch: Batch, noise: dict[str, Tensor], phase: int, next_value: Tensor
    ) -> tuple[Tensor, Metrics]:
        """(r + γ V(s') - Q_i(s,a))² of each critic, with a plug-in's penalty: (A,E)."""
        target = batch.rew + self.configs[0].gamma * batch.mask * next_value  # (A,B)
        q, features = self.critic(batch.obs, batch.act)  # (A,E,B), (A,E,B,H)
        loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": self.critic.average(loss), "q_data": self.critic.average(q)}
        with torch.no_grad():  # the backup asks for no action: only a plug-in may
            next_action = self.actor(batch.next_obs) if self.plugin else batch.act  # (A,B,U)
        return self.penalised(loss, metrics, batch, features, self.actor, next_action, noise, phase)

    def log_prob(self, batch: Batch, keep: Tensor | None) -> Tensor:
        """log π(a|s) of the data's actions, with dropout where `keep` (A,layers,B,H) is False: (A,B)."""
        if keep is not None:
            keep = keep.to(self.log_std.dtype) / (1 - self.configs[0].dropout)
        mean = self.actor(batch.obs, None if keep is None else keep.unbind(1))  # (A,B,U)
        log_std = self.log_std.clamp(*LOG_STD)  # (A,1,U)
        z = (batch.act - mean) * (-log_std).exp()
        log_normal = -0.5 * z.square() - log_std - 0.9189385332046727  # log sqrt(2π)
        return log_normal.sum(-1)

    def act(self, obs: Tensor) -> Tensor:
        """Mean action: (A,n,O) -> (A,n,U)."""
        return self.actor(obs)
