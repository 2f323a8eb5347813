"""EDAC as anybody would write it: SAC-N with separate critics, the cosine of every pair of action
gradients in a double loop."""

import torch

from reference.plain import PlainSACN


def diversity(nets, obs, act):
    """Σ_{i≠j} cos(∇_a Q_i, ∇_a Q_j) / (N-1), mean over states; differentiable in the weights."""
    units = []
    for net in nets:
        a = act.clone().requires_grad_()
        q = net(torch.cat([obs, a], 1)).sum()
        slope = torch.autograd.grad(q, a, create_graph=True)[0]
        units.append(slope / (slope.norm(dim=1, keepdim=True) + 1e-10))  # 0 where all units are dead
    total = 0
    for i, first in enumerate(units):
        for j, second in enumerate(units):
            if i != j:
                total = total + (first * second).sum(1).mean()
    return total / (len(nets) - 1)


class PlainEDAC(PlainSACN):
    """An et al. 2021: SAC-N whose critics share one loss."""

    def value(self, nets, obs, act):
        if self.c.target == "lcb":
            return self.critics.bound(nets, obs, act, self.c.beta)
        return self.critics.q(nets, obs, act).min(0).values

    def update(self, number, obs, act, rew, next_obs, mask, policy, next_policy, backup=None):
        c, nets = self.c, self.critics.nets
        action, log_prob = self.sample(obs, policy)
        self.alpha_adam.zero_grad()
        (-self.log_alpha * (log_prob.detach() - act.shape[1])).mean().backward()
        self.alpha_adam.step()
        alpha = self.log_alpha.exp().item()
        self.adam.zero_grad()
        (alpha * log_prob - self.value(nets, obs, action)).mean().backward()
        self.adam.step()
        with torch.no_grad():
            if backup is None:
                next_act, next_log_prob = self.sample(next_obs, next_policy)
                value = self.value(self.critics.targets, next_obs, next_act) - alpha * next_log_prob
            else:
                tried = [self.critics.q(nets, next_obs, self.sample(next_obs, z)[0]) for z in backup]
                value = torch.stack(tried).max(0).values.min(0).values
            y = rew + c.gamma * mask * value
        loss = sum(((net(torch.cat([obs, act], 1))[:, 0] - y) ** 2).mean() for net in nets)
        if c.eta:
            loss = loss + c.eta * diversity(nets, obs, act)
        for adam in self.critics.adams:
            adam.zero_grad()
        loss.backward()
        for adam in self.critics.adams:
            adam.step()
        self.critics.follow(c.tau)
