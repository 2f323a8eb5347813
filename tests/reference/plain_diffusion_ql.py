"""Diffusion-QL as anybody would write it: one agent, two separate critics, nn.Linear, nn.Mish,
torch.optim.Adam, clip_grad_norm_; written from the paper (Wang et al. 2023, arXiv 2208.06193)."""

import copy
import math

import torch
from torch import nn

from reference.plain import copied

F64 = torch.float64


class Noise(nn.Module):
    """ε_θ(x, t, s), t counted from 1."""

    def __init__(self, time, net):
        super().__init__()
        self.time, self.net = time, net

    def forward(self, x, t, obs):
        powers = torch.arange(8, dtype=F64) / 7
        angle = (t - 1)[:, None] * 10_000.0**-powers
        waves = torch.cat([torch.sin(angle), torch.cos(angle)], 1)
        return self.net(torch.cat([x, self.time(waves), obs], 1))


class PlainDiffusionQL:
    def __init__(self, algorithm, agent: int):
        self.c = c = algorithm.configs[agent]
        self.actor = Noise(
            copied(algorithm.actor.time, agent, activation=nn.Mish),
            copied(algorithm.actor.net, agent, activation=nn.Mish),
        )
        self.average = copy.deepcopy(self.actor)
        self.critics = nn.ModuleList(
            copied(algorithm.critic.net, agent, e, activation=nn.Mish) for e in range(2)
        )
        self.targets = copy.deepcopy(self.critics)
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), c.actor_lr, foreach=False)
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), c.critic_lr, foreach=False)
        t = torch.arange(1, c.timesteps + 1, dtype=F64)
        self.alpha = torch.exp(-0.1 / c.timesteps - 9.9 * (2 * t - 1) / (2 * c.timesteps**2))
        self.alpha_bar = self.alpha.cumprod(0)

    def q(self, nets, obs, act):
        return [net(torch.cat([obs, act], 1))[:, 0] for net in nets]

    def sample(self, model, obs, noise):
        x, rest = noise[0], list(noise[1:])
        for t in range(self.c.timesteps, 0, -1):
            alpha, bar = self.alpha[t - 1], self.alpha_bar[t - 1]
            before = self.alpha_bar[t - 2] if t > 1 else torch.ones((), dtype=F64)
            eps = model(x, torch.full((len(x),), t), obs)
            x0 = ((x - (1 - bar).sqrt() * eps) / bar.sqrt()).clamp(-1, 1)
            mean = before.sqrt() * (1 - alpha) / (1 - bar) * x0
            mean = mean + alpha.sqrt() * (1 - before) / (1 - bar) * x
            x = mean
            if t > 1:
                x = x + ((1 - alpha) * (1 - before) / (1 - bar)).sqrt() * rest.pop(0)
        return x.clamp(-1, 1)

    def step(self, adam, module, loss, rate):
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        loss.backward()
        if self.c.max_grad_norm > 0:
            nn.utils.clip_grad_norm_(module.parameters(), self.c.max_grad_norm)
        adam.step()
        module.zero_grad()

    def update(
        self, number, total, obs, act, rew, next_obs, mask,
        diffusion_step, diffusion, policy, next_policy, valued,
    ):  # fmt: skip
        c = self.c
        factor = (1 + math.cos(math.pi * number / total)) / 2 if c.lr_decay else 1.0
        with torch.no_grad():
            if c.max_q_backup:
                draws = next_policy.unflatten(1, (10, -1))  # (T,10,B,U)
                acts = [self.sample(self.average, next_obs, draws[:, k]) for k in range(10)]
                each = [self.q(self.targets, next_obs, a) for a in acts]
                best = [torch.stack(values).max(0)[0] for values in zip(*each)]
            else:
                best = self.q(self.targets, next_obs, self.sample(self.average, next_obs, next_policy))
            y = rew + c.gamma * mask * torch.minimum(*best)
        loss = sum(nn.functional.mse_loss(q, y) for q in self.q(self.critics, obs, act))
        self.step(self.critic_adam, self.critics, loss, factor * c.critic_lr)

        bar = self.alpha_bar[diffusion_step][:, None]
        noisy = bar.sqrt() * act + (1 - bar).sqrt() * diffusion
        bc_loss = nn.functional.mse_loss(self.actor(noisy, diffusion_step + 1, obs), diffusion)
        q = self.q(self.critics, obs, self.sample(self.actor, obs, policy))
        if valued.item() == 0:
            q_loss = -q[0].mean() / q[1].abs().mean().detach()
        else:
            q_loss = -q[1].mean() / q[0].abs().mean().detach()
        self.step(self.actor_adam, self.actor, bc_loss + c.eta * q_loss, factor * c.actor_lr)
        self.critics.zero_grad()

        if number >= c.ema_start and number % c.ema_every == 0:
            self.follow(self.actor, self.average, 1 - c.ema_decay)
        self.follow(self.critics, self.targets, c.tau)

    @torch.no_grad()
    def follow(self, net, target, weight):
        for p, q in zip(net.parameters(), target.parameters()):
            q.copy_(weight * p + (1 - weight) * q)
