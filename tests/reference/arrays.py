"""Losses in NumPy float64, one agent and one critic at a time."""

import math

import numpy as np


def layers(module, agent: int, member: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (n_in, n_out) and biases (n_out,) of one network of a stack, head last."""
    at = (agent,) if member is None else (agent, member)
    return [
        (x.weight[at].detach().numpy().astype(float), x.bias[at][0].detach().numpy().astype(float))
        for x in (*module.net.hidden, module.net.head)
    ]


def features(net, x: np.ndarray, activation=lambda z: np.maximum(z, 0)) -> np.ndarray:
    """Penultimate activations of a batch (B, n_in) -> (B, H)."""
    for weight, bias in net[:-1]:
        x = activation(x @ weight + bias)
    return x


def forward(net, x: np.ndarray) -> np.ndarray:
    """(B, n_in) -> (B, n_out)."""
    return features(net, x) @ net[-1][0] + net[-1][1]


def q_values(critics, obs, act) -> np.ndarray:
    """(N, B): Q_i(s, a) of each critic."""
    return np.stack([forward(net, np.hstack([obs, act]))[:, 0] for net in critics])


def bound(q: np.ndarray, how: str, beta: float) -> np.ndarray:
    """(N, B) -> (B,): mean - β std (of the population), or the minimum."""
    if how == "min":
        return q.min(0)
    centre = q.sum(0) / len(q)
    return centre - beta * np.sqrt(((q - centre) ** 2).sum(0) / len(q))


def squashed(net, obs, noise) -> tuple[np.ndarray, np.ndarray]:
    """Tanh-Gaussian sample and its log density by the change of variables."""
    mean, log_std = np.split(forward(net, obs), 2, axis=1)
    std = np.exp(np.clip(log_std, -5, 2))
    u = mean + std * noise
    normal = -((u - mean) ** 2) / (2 * std**2) - np.log(std) - 0.5 * math.log(2 * math.pi)
    return np.tanh(u), (normal - np.log(1 - np.tanh(u) ** 2)).sum(1)


def kernel(first, second, how: str) -> np.ndarray:
    """Rows of features (B, H), (B, H) -> (B,)."""
    k = np.array([a @ b for a, b in zip(first, second)])
    if how == "cosine":
        k = k / np.array([math.sqrt(a @ a) * math.sqrt(b @ b) for a, b in zip(first, second)])
    return k


def magnitude(k: np.ndarray, how: str) -> np.ndarray:
    """|K|, K or K²."""
    return {"abs": np.abs(k), "plain": k, "square": k * k}[how]


def stage_weight(act, policy_act, c) -> np.ndarray:
    """w(s) (B,): how much of stage 2."""
    if c.stages != "both":
        return np.full(len(act), 1.0 if c.stages == "second" else 0.0)
    d = ((policy_act - act) ** 2).sum(1) / act.shape[1]
    if c.switch == "hard":
        return np.full(len(act), 1.0 if d.mean() < c.threshold else 0.0)
    return np.exp(-d / c.sigma**2)


def rd_penalty(f_data, f_policy, f_ood, w, c) -> float:
    """λ · mean over states of (1-w) K(a, π) + w K(π, π_ood), for one critic's features."""
    total = np.zeros(len(w))
    if c.stages != "second":
        total += (1 - w) * magnitude(kernel(f_data, f_policy, c.kernel), c.magnitude)
    if c.stages != "first":
        total += w * magnitude(kernel(f_policy, f_ood, c.kernel), c.magnitude)
    return c.weight * total.mean()
