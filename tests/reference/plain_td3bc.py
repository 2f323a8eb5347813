"""TD3+BC as anybody would write it: one agent, two separate critics, nn.Linear and torch.optim.Adam."""

import copy

import torch
from torch.nn import functional as F

from reference.plain import Ensemble, copied, follow


class PlainTD3BC:
    """Fujimoto and Gu 2021: TD3 with equation 3 for the actor, λ by equation 5."""

    def __init__(self, algorithm, agent: int):
        self.c = algorithm.configs[agent]
        self.critics = Ensemble(algorithm.critic, agent, self.c.critic_lr)
        self.actor = copied(algorithm.actor.net, agent)
        self.actor_target = copy.deepcopy(self.actor)
        self.adam = torch.optim.Adam(self.actor.parameters(), self.c.actor_lr, foreach=False)

    def update(self, number, obs, act, rew, next_obs, mask, smoothing):
        c, critics = self.c, self.critics
        with torch.no_grad():
            noise = (smoothing * c.policy_noise).clip(-c.noise_clip, c.noise_clip)
            next_act = (torch.tanh(self.actor_target(next_obs)) + noise).clip(-1, 1)
            lowest = critics.q(critics.targets, next_obs, next_act).min(0).values
            target = rew + c.gamma * mask * lowest
        critics.fit(obs, act, target)
        if number % c.policy_delay == 0:
            policy = torch.tanh(self.actor(obs))
            q = critics.nets[0](torch.cat([obs, policy], 1))[:, 0]
            lam = c.alpha / q.abs().mean().item()
            self.adam.zero_grad()
            (-lam * q.mean() + F.mse_loss(policy, act)).backward()
            self.adam.step()
            critics.follow(c.tau)
            follow(self.actor, self.actor_target, c.tau)
