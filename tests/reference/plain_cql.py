"""CQL(H) as anybody would write it: one agent, separate critics and optimisers, nn.Linear, one forward
pass for each critic and candidate."""

import math

import torch

from reference.plain import Ensemble, copied


class PlainCQL:
    """Kumar et al. 2020 on top of SAC with automatic temperature; every loss is taken at the weights that
    the update begins with."""

    def __init__(self, algorithm, agent: int):
        self.c = algorithm.configs[agent]
        self.critics = Ensemble(algorithm.critic, agent, self.c.critic_lr)
        self.actor = copied(algorithm.actor.net, agent)
        self.adam = torch.optim.Adam(self.actor.parameters(), self.c.actor_lr, foreach=False)
        self.log_alpha = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], self.c.alpha_lr, foreach=False)

    def sample(self, obs, noise):
        """Action and log density, the density by the change of variables written out."""
        mean, log_std = self.actor(obs).chunk(2, 1)
        std = log_std.clip(-5, 2).exp()
        before = mean + std * noise
        normal = torch.distributions.Normal(mean, std).log_prob(before)
        action = torch.tanh(before)
        return action, (normal - torch.log(1 - action**2)).sum(1)

    def update(self, number, obs, act, rew, next_obs, mask, policy, next_policy, current, next, random):
        c, nets, targets = self.c, self.critics.nets, self.critics.targets
        alpha = self.log_alpha.exp().item()
        action, log_prob = self.sample(obs, policy)
        alpha_loss = -(self.log_alpha * (log_prob.detach() - act.shape[1])).mean()
        actor_loss = (alpha * log_prob - self.critics.q(nets, obs, action).min(0).values).mean()

        with torch.no_grad():
            next_action, _ = self.sample(next_obs, next_policy)
            y = rew + c.gamma * mask * self.critics.q(targets, next_obs, next_action).min(0).values
            proposals = [(a, torch.full_like(rew, act.shape[1] * math.log(0.5))) for a in random]
            proposals += [self.sample(next_obs, z) for z in next]
            proposals += [self.sample(obs, z) for z in current]
        losses = []
        for net in nets:
            q = net(torch.cat([obs, act], 1))[:, 0]
            terms = [
                (net(torch.cat([obs, a], 1))[:, 0] - log_density) / c.cql_temp
                for a, log_density in proposals
            ]
            soft_maximum = c.cql_temp * torch.logsumexp(torch.stack(terms), 0)
            losses.append(((q - y) ** 2).mean() + c.cql_alpha * (soft_maximum - q).mean())

        self.alpha_adam.zero_grad()
        alpha_loss.backward()
        self.alpha_adam.step()
        self.adam.zero_grad()
        actor_loss.backward()
        self.adam.step()
        for adam, loss in zip(self.critics.adams, losses):
            adam.zero_grad()  # of the actor's loss too
            loss.backward()
            adam.step()
        self.critics.follow(c.tau)
