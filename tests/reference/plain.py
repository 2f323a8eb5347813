"""TD3-N and SAC-N as anybody would write them: one agent, a list of separate critics, nn.Linear and
torch.optim.Adam."""

import copy

import torch
from torch import nn
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform


def network(sizes, activation=nn.ReLU) -> nn.Sequential:
    parts = []
    for n_in, n_out in zip(sizes, sizes[1:]):
        parts += [nn.Linear(n_in, n_out, dtype=torch.float64), activation()]
    return nn.Sequential(*parts[:-1])


def copied(mlp, *at: int, activation=nn.ReLU) -> nn.Sequential:
    """A plain network with the weights of network `at` of a stack (an MLP of rdlib.engine.nets)."""
    stacked = [*mlp.hidden, mlp.head]
    sizes = [stacked[0].weight.shape[-2]] + [x.weight.shape[-1] for x in stacked]
    net = network(sizes, activation)
    with torch.no_grad():
        for ours, theirs in zip(net[::2], stacked):
            ours.weight.copy_(theirs.weight[at].T)
            ours.bias.copy_(theirs.bias[at][0])
    return net


def assert_same_weights(net, plain, at) -> None:
    """Network `at` of a stack (an MLP of rdlib.engine.nets) has the weights of a plain one."""
    for ours, theirs in zip((*net.hidden, net.head), plain[::2]):
        torch.testing.assert_close(ours.weight[at].T, theirs.weight, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(ours.bias[at][0], theirs.bias, rtol=1e-6, atol=1e-8)


class Ensemble:
    """N critics, each with an optimiser of its own."""

    def __init__(self, critic, agent: int, lr: float):
        self.nets = [copied(critic.net, agent, e) for e in range(critic.members)]
        self.targets = copy.deepcopy(self.nets)
        self.adams = [torch.optim.Adam(n.parameters(), lr, foreach=False) for n in self.nets]

    def q(self, nets, obs, act):
        return torch.stack([net(torch.cat([obs, act], 1))[:, 0] for net in nets])

    def bound(self, nets, obs, act, beta):
        q = self.q(nets, obs, act)
        return q.mean(0) - beta * q.var(0, unbiased=False).sqrt()

    def fit(self, obs, act, target):
        for net, adam in zip(self.nets, self.adams):
            loss = nn.functional.mse_loss(net(torch.cat([obs, act], 1))[:, 0], target)
            adam.zero_grad()
            loss.backward()
            adam.step()

    def follow(self, tau):
        for net, target in zip(self.nets, self.targets):
            follow(net, target, tau)


@torch.no_grad()
def follow(net, target, tau):
    for p, q in zip(net.parameters(), target.parameters()):
        q.copy_(tau * p + (1 - tau) * q)


class PlainBC:
    """Regression on the data's actions."""

    def __init__(self, algorithm, agent: int):
        self.actor = copied(algorithm.actor.net, agent)
        self.adam = torch.optim.Adam(
            self.actor.parameters(), algorithm.configs[agent].actor_lr, foreach=False
        )

    def update(self, number, obs, act, rew, next_obs, mask):
        loss = nn.functional.mse_loss(torch.tanh(self.actor(obs)), act)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


class PlainTD3N:
    """Fujimoto et al. 2018, algorithm 1, with the ensemble's lower confidence bound."""

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
            value = critics.bound(critics.targets, next_obs, next_act, c.beta)
            target = rew + c.gamma * mask * value
        critics.fit(obs, act, target)
        if number % c.policy_delay == 0:
            action = torch.tanh(self.actor(obs))
            self.adam.zero_grad()
            (-critics.bound(critics.nets, obs, action, c.beta).mean()).backward()
            self.adam.step()
            critics.follow(c.tau)
            follow(self.actor, self.actor_target, c.tau)


class PlainSACN:
    """Haarnoja et al. 2018 with automatic temperature, the bound of an ensemble for the minimum of two,
    in the order temperature, actor, critics of the EDAC code."""

    def __init__(self, algorithm, agent: int):
        self.c = algorithm.configs[agent]
        self.critics = Ensemble(algorithm.critic, agent, self.c.critic_lr)
        self.actor = copied(algorithm.actor.net, agent)
        self.adam = torch.optim.Adam(self.actor.parameters(), self.c.actor_lr, foreach=False)
        self.log_alpha = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], self.c.alpha_lr, foreach=False)

    def sample(self, obs, noise):
        mean, log_std = self.actor(obs).chunk(2, 1)
        std = log_std.clip(-5, 2).exp()
        base = Independent(Normal(mean, std), 1)
        policy = TransformedDistribution(base, [TanhTransform(cache_size=1)])
        action = torch.tanh(mean + std * noise)
        return action, policy.log_prob(action)

    def update(self, number, obs, act, rew, next_obs, mask, policy, next_policy):
        c, critics = self.c, self.critics
        action, log_prob = self.sample(obs, policy)
        self.alpha_adam.zero_grad()
        target_entropy = -act.shape[1]
        (-self.log_alpha * (log_prob.detach() + target_entropy)).mean().backward()
        self.alpha_adam.step()
        alpha = self.log_alpha.exp().item()
        self.adam.zero_grad()
        (alpha * log_prob - critics.bound(critics.nets, obs, action, c.beta)).mean().backward()
        self.adam.step()
        with torch.no_grad():
            next_act, next_log_prob = self.sample(next_obs, next_policy)
            value = critics.bound(critics.targets, next_obs, next_act, c.beta)
            target = rew + c.gamma * mask * (value - alpha * next_log_prob)
        critics.fit(obs, act, target)
        critics.follow(c.tau)
