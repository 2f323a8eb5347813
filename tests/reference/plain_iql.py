"""IQL as anybody would write it: one agent, separate critics, nn.Linear, torch.optim.Adam and torch's own
cosine schedule and normal distribution."""

import torch
from torch import nn

from reference.plain import Ensemble, copied


class PlainIQL:
    """Kostrikov et al. 2022 in the order V, π, Q, targets of the official code."""

    def __init__(self, algorithm, agent: int):
        self.c = c = algorithm.configs[agent]
        self.critics = Ensemble(algorithm.critic, agent, c.critic_lr)
        self.actor, self.value = copied(algorithm.actor.net, agent), copied(algorithm.value, agent)
        self.log_std = nn.Parameter(algorithm.log_std[agent, 0].detach().clone())
        self.value_adam = torch.optim.Adam(self.value.parameters(), c.value_lr, foreach=False)
        self.actor_adam = torch.optim.Adam(
            [*self.actor.parameters(), self.log_std], c.actor_lr, foreach=False
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.actor_adam, algorithm.total_steps)

    def update(self, number, obs, act, rew, next_obs, mask, keep=None):
        c, critics = self.c, self.critics
        with torch.no_grad():
            q = critics.q(critics.targets, obs, act).min(0).values
        u = q - self.value(obs)[:, 0]
        self.value_adam.zero_grad()
        (torch.abs(c.expectile - (u < 0).double()) * u**2).mean().backward()
        self.value_adam.step()

        with torch.no_grad():
            weight = torch.exp(c.temperature * (q - self.value(obs)[:, 0])).clip(max=c.max_weight)
        hidden, layer = obs, 0
        for module in self.actor:
            hidden = module(hidden)
            if isinstance(module, nn.ReLU) and keep is not None:
                hidden = torch.where(keep[layer], hidden / (1 - c.dropout), 0.0)
                layer += 1
        policy = torch.distributions.Normal(torch.tanh(hidden), self.log_std.clip(-5, 2).exp())
        self.actor_adam.zero_grad()
        (-weight * policy.log_prob(act).sum(1)).mean().backward()
        self.actor_adam.step()
        self.schedule.step()

        with torch.no_grad():
            target = rew + c.gamma * mask * self.value(next_obs)[:, 0]
        critics.fit(obs, act, target)
        critics.follow(c.tau)
