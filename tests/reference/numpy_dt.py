"""The Decision Transformer's loss in NumPy, from the paper (Chen et al. 2021, arXiv 2106.01345, section 3):
one window at a time, of its real steps only, token by token, so that there is neither padding nor mask."""

import numpy as np


def normed(x, w, name):
    centred = x - x.mean(-1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attended(x, w, name, heads):
    """Each token (T,H) looks at itself and those before it."""
    q, k, v = np.split(linear(x, w, f"{name}.c_attn"), 3, -1)
    size = q.shape[-1] // heads
    out = np.zeros_like(q)
    for t in range(len(x)):
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            score = np.exp(k[: t + 1, own] @ q[t, own] / np.sqrt(size))
            out[t, own] = score @ v[: t + 1, own] / score.sum()
    return linear(out, w, f"{name}.c_proj")


def actions(w, config, states, acts, to_go, time):
    """Predicted actions (K,U) of one window's real steps: (K,O), (K,U), (K,), (K,)."""
    tokens = []
    for s, a, g, t in zip(states, acts, to_go, time):
        when = w["embed_timestep.weight"][min(t, config.horizon - 1)]
        tokens += [
            linear(np.array([g / config.return_scale]), w, "embed_return") + when,
            linear(s, w, "embed_state") + when, linear(a, w, "embed_action") + when,
        ]  # fmt: skip
    x = normed(np.stack(tokens), w, "embed_ln")
    for i in range(config.depth):
        x = x + attended(normed(x, w, f"h.{i}.ln_1"), w, f"h.{i}", config.heads)
        inner = np.maximum(linear(normed(x, w, f"h.{i}.ln_2"), w, f"h.{i}.c_fc"), 0)
        x = x + linear(inner, w, f"h.{i}.c_proj_2")
    return np.tanh(linear(normed(x, w, "ln_f")[1::3], w, "predict_action"))


def loss(w, config, windows) -> float:
    """Mean over all real steps of the squared error, mean over an action's dimensions; `windows` as in
    rdlib.data.batches.Windows, of one agent."""
    errors = []
    for obs, act, to_go, time, valid in zip(*windows):
        there = [x[valid] for x in (obs, act, to_go, time)]
        errors += list(((actions(w, config, *there) - there[1]) ** 2).mean(-1))
    return float(np.mean(errors))
