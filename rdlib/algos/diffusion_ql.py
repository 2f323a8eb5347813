"""Diffusion-QL: a diffusion model for a policy, drawn to high values.

Paper: Wang et al. 2023 (arXiv 2208.06193), algorithm 1. Official code:
github.com/Zhendong-Wang/Diffusion-Policies-for-Offline-RL at a37a009, whose order of updates this is.

    x_t = sqrt(ᾱ_t) a + sqrt(1 - ᾱ_t) ε,   ε, z_t ~ N(0, I),   t uniform in 1 … T
    x_{t-1} = c1_t clip((x_t - sqrt(1 - ᾱ_t) ε_θ(x_t, t, s)) / sqrt(ᾱ_t), ±1) + c2_t x_t + σ_t z_t
    min_θ  E |ε - ε_θ(x_t, t, s)|² / dim A  -  η E Q_i(s, x_0) / mean|Q_j(s, x_0)|
    min_Q  E (r + γ min_i Q̄_i(s', x̄_0) - Q_i(s, a))²,   x̄_0 of the average θ̄ of past θ

x_0 has its graph through all T steps; i is drawn anew at each update and j is the other critic, its
mean|Q_j| a constant. In an evaluated episode one of `candidates` actions is taken, with probability
softmax(min_i Q̄_i). What a plug-in sees as π(s) is the x_0 of the actor's own loss: θ does not move before.

Deviations
1. Both learning rates are constant. The official `--lr_decay` calls its cosine over 2,000 epochs once
   per 50 epochs, so it takes away 0.1% in a whole run; `lr_decay=True` here takes the cosine to 0.
2. With E critics, i is any of them and j the next; `n_critics=2` is the paper's.
3. T normal draws per sample: the official code also draws for the last step, times 0.
4. An evaluation is 10 episodes, on pen too, where the authors play 100; they report a checkpoint chosen by
   its diffusion loss or by its score, we the last evaluations.
5. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.algos.denoiser import Denoiser
from rdlib.engine.base import Algorithm, Batch, Metrics, Player, Plugin, per_agent
from rdlib.engine.config import REWARDS, ConfigError, check_choice, check_least
from rdlib.engine.nets import Critic, Initialiser, frozen_copy, mish, polyak
from rdlib.engine.optim import adam, descend, frozen
from rdlib.engine.rng import Streams


@dataclass(frozen=True)
class Config:
    """Hyperparameters of Diffusion-QL (values: the paper's for hopper-medium)."""

    n_critics: int = 2
    timesteps: int = 5  # T
    eta: float = 1.0  # η, weight of the value against the diffusion loss
    max_grad_norm: float = 9.0  # gn, of the actor's and of all critics' gradient; 0: no clipping
    max_q_backup: int = 0  # next actions, each critic's best of which it backs up (AntMaze: 10); 0: one
    ema_decay: float = 0.995  # of the average θ̄
    ema_start: int = 1_000  # update from which θ̄ follows
    ema_every: int = 5  # updates per step of θ̄
    candidates: int = 50  # actions to choose from, in evaluated episodes
    evaluated: str = "actor"  # whose actions those are: "actor", θ as officially, or "ema", θ̄
    rewards: str = "raw"  # "standardised" on Adroit (see rdlib.data.batches.reward_units)
    gamma: float = 0.99  # γ
    tau: float = 0.005  # τ
    actor_lr: float = 3e-4
    critic_lr: float = 3e-4
    lr_decay: bool = False  # half cosine of both to 0 over the run
    batch_size: int = 256
    width: int = 256  # critic
    depth: int = 3
    actor_width: int = 256
    actor_depth: int = 3
    layer_norm: bool = False  # in the critics

    def __post_init__(self):
        check_least(self, 1, "n_critics", "timesteps", "ema_every", "candidates")
        check_least(self, 0, "eta", "max_grad_norm", "max_q_backup", "ema_start")
        if not 0 <= self.ema_decay <= 1:
            raise ConfigError(f"ema_decay = {self.ema_decay}: expected in [0, 1]")
        check_choice(self, "evaluated", ("actor", "ema"))
        check_choice(self, "rewards", REWARDS)


class DiffusionQL(Algorithm):
    """A agents of Diffusion-QL."""

    own = ("eta", "max_grad_norm", "rewards")
    plays_on_device = True

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
        self.scheduled = c.lr_decay
        self.actor = Denoiser(
            Initialiser(streams, "actor", dtype), *dims, c.actor_width, c.actor_depth, c.timesteps
        )
        self.critic = Critic(
            Initialiser(streams, "critic", dtype), *dims, c.n_critics, c.width, c.depth, c.layer_norm, mish
        )
        self.actor_target = frozen_copy(self.actor)
        self.critic_target = frozen_copy(self.critic)
        like = self.actor.net.head.bias
        self.eta = per_agent(configs, "eta", like)[:, 0]  # (A,)
        norm = per_agent(configs, "max_grad_norm", like)[:, 0]
        self.max_grad_norm = torch.where(norm > 0, norm, math.inf)
        self.streams, self.act_dim, self.dtype = streams, act_dim, dtype
        self.lr = {"actor": c.actor_lr, "critic": c.critic_lr}  # at the start
        for name, net in (("actor", self.actor), ("critic", self.critic)):
            # With a schedule, a tensor: `update` writes it.
            lr = torch.tensor(self.lr[name], device=streams.device) if c.lr_decay else self.lr[name]
            self.optimizers[name] = adam(net.parameters(), lr)
        self.period = math.lcm(self.period, c.ema_every)

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Of each update: step t and noise of the diffusion loss (count,A,B), (count,A,B,U); noise of
        the samples at s and s' (count,A,T,B,U); the valued critic (count,A,1). And what depends on the
        number of the update, (count,): weight of θ in θ̄, factor of the learning rates."""
        c, sizes = self.configs[0], (self.batch_size, self.act_dim)
        many = (c.timesteps, sizes[0] * max(c.max_q_backup, 1), sizes[1])
        numbers = torch.arange(step, step + count, device=streams.device)
        own = {"ema": (numbers >= c.ema_start).to(self.dtype) * (1 - c.ema_decay)}
        if c.lr_decay and self.total_steps:
            done = (numbers / self.total_steps).clamp(max=1)
            own["rate"] = 0.5 * (1 + torch.cos(math.pi * done))
        for purpose, n, high in (
            ("diffusion_step", self.batch_size, c.timesteps),
            ("valued", 1, c.n_critics),
        ):
            highs = torch.full((len(streams),), high, device=streams.device)
            own[purpose] = streams.integers(purpose, step, count, n, highs)
        for purpose, shape in (
            ("diffusion", sizes),
            ("policy", (c.timesteps, *sizes)),
            ("next_policy", many),
        ):
            own[purpose] = streams.normal(purpose, step, count, shape, self.dtype)
        return {**own, **super().noise(streams, step, count)}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """Critics, actor, target networks."""
        self.schedule(noise)
        action = self.actor.sample(batch.obs, noise["policy"])  # x_0 (A,B,U), with its graph
        critic_loss, metrics = self.critic_loss(batch, noise, phase, action)
        descend(self.optimizers["critic"], self.critic.total(critic_loss), self.max_grad_norm)
        bc_loss = self.bc_loss(batch, noise)
        with frozen(self.critic):
            q_loss = self.q_loss(batch, noise, action)
            actor_loss = bc_loss + self.eta * q_loss
            descend(self.optimizers["actor"], actor_loss, self.max_grad_norm)
        if phase % self.configs[0].ema_every == 0:
            self.follow(noise["ema"])
        polyak(self.critic_target, self.critic, self.configs[0].tau)
        return metrics | {"actor_loss": actor_loss, "bc_loss": bc_loss, "q_loss": q_loss}

    @torch.no_grad()
    def target(self, batch: Batch, noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """y (A,B) and the action x̄_0 that it takes, or the first of several (A,B,U)."""
        n_states, c = batch.obs.shape[1], self.configs[0]
        copies = noise["next_policy"].shape[2] // n_states
        next_obs = batch.next_obs.repeat(1, copies, 1)  # (A,copies·B,O)
        next_action = self.actor_target.sample(next_obs, noise["next_policy"])
        next_q = self.critic_target(next_obs, next_action)[0]  # (A,E,copies·B)
        next_value = next_q.unflatten(-1, (copies, -1)).amax(2).amin(1)  # (A,B)
        return batch.rew + c.gamma * batch.mask * next_value, next_action[:, :n_states]

    def critic_loss(
        self, batch: Batch, noise: dict[str, Tensor], phase: int, action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """(y - Q_i(s,a))² of each critic, with a plug-in's penalty: (A,E)."""
        target, next_action = self.target(batch, noise)
        q, features = self.critic(batch.obs, batch.act)  # (A,E,B), (A,E,B,H)
        loss = (q - target[:, None]).square().mean(-1)  # (A,E)
        metrics = {"critic_loss": self.critic.average(loss), "q_data": self.critic.average(q)}

        def policy(obs: Tensor) -> Tensor:
            return action[:, : obs.shape[1]].detach()

        return self.penalised(loss, metrics, batch, features, policy, next_action, noise, phase)

    def bc_loss(self, batch: Batch, noise: dict[str, Tensor]) -> Tensor:
        """|ε - ε_θ(x_t, t, s)|² / dim A: (A,)."""
        return self.actor.loss(batch.obs, batch.act, noise["diffusion_step"], noise["diffusion"])

    def q_loss(self, batch: Batch, noise: dict[str, Tensor], action: Tensor) -> Tensor:
        """-Q_i(s, x_0) / mean|Q_j(s, x_0)|: (A,)."""
        policy_q = self.critic(batch.obs, action)[0]  # (A,E,B)
        scale = policy_q.detach().abs().mean(-1).roll(-1, 1)  # (A,E), of the next critic
        return -(policy_q.mean(-1) / scale).gather(1, noise["valued"])[:, 0]

    @torch.no_grad()
    def follow(self, weight: Tensor) -> None:
        """θ̄ moves towards θ by `weight`."""
        for average, now in zip(self.actor_target.parameters(), self.actor.parameters(), strict=True):
            average.lerp_(now, weight)

    def schedule(self, noise: dict[str, Tensor]) -> None:
        """Learning rates of this update."""
        if "rate" in noise:
            for name, lr in self.lr.items():
                self.optimizers[name].param_groups[0]["lr"].copy_(noise["rate"] * lr)

    @property
    def evaluated(self) -> Denoiser:
        """Whose actions are evaluated."""
        return self.actor if self.configs[0].evaluated == "actor" else self.actor_target

    def act(self, obs: Tensor) -> Tensor:
        """One sample for each state: (A,n,O) -> (A,n,U). The noise is the same at every call, row by
        row, so that diagnostics over time see the policy change and not the draw."""
        return self.evaluated.sample(obs, self._normal("act", 0, obs.shape[1]))

    def player(self, copies: int) -> Player:
        """Samples `candidates` actions for each state and takes one, with probability
        softmax(min_i Q̄_i); noise by the step of the episodes, the same in every round."""
        step = -1

        def play(obs: Tensor, reward: Tensor) -> Tensor:
            nonlocal step
            step += 1
            n, k = obs.shape[1], self.configs[0].candidates
            many = obs.repeat_interleave(k, 1)  # (A,n·k,O)
            actions = self.evaluated.sample(many, self._normal("candidates", step, n * k))
            q = self.critic_target(many, actions)[0].amin(1)  # (A,n·k)
            u = self.streams.uniform("choice", step, 1, (n * k,), self.dtype)[0]
            gumbel = -(-u.log()).log()  # the largest of q + Gumbel noise: a draw from softmax(q)
            best = (q + gumbel).unflatten(-1, (n, k)).argmax(-1)  # (A,n)
            actions = actions.unflatten(1, (n, k))  # (A,n,k,U)
            return torch.take_along_dim(actions, best[..., None, None], 2)[:, :, 0]

        return play

    def _normal(self, purpose: str, step: int, n: int) -> Tensor:
        """Noise of one sample for each of n states: (A,T,n,U)."""
        shape = (self.configs[0].timesteps, n, self.act_dim)
        return self.streams.normal(purpose, step, 1, shape, self.dtype)[0]
