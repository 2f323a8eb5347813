# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The kernel, checked
#
# Each equation of the chapter before this page is checked here by a cell: a real step of a real critic
# against what the equation says, in double precision, with an assertion that fails if the equation is wrong.
# At the end the kernel of a critic is looked at before and after it trained on
# [the small problem](backup.ipynb).

# %% tags=["remove-cell"]
# On Colab this fetches the repository and installs rdlib from it; elsewhere it does nothing.
import os as _os
import subprocess as _subprocess
import sys as _sys

if "google.colab" in _sys.modules and not _os.path.isdir("../book/results"):
    _address, _folder = "https://github.com/rdlib/rdlib", "/content/rdlib"
    _subprocess.run(["git", "clone", "-q", "--depth", "1", _address, _folder], check=True)
    _subprocess.run([_sys.executable, "-m", "pip", "install", "-q", _folder], check=True)
    _os.chdir(f"{_folder}/notebooks")

# %% tags=["parameters"]
seed = 0
updates = 1500  # of the critic in the last section

# %% tags=["remove-cell"]
from rdlib.training.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import torch

from rdlib import ntk
from rdlib.engine.nets import Critic, Initialiser
from rdlib.engine.rng import Streams
from rdlib.results import plots, toy

plots.use_style()
torch.set_num_threads(1)  # matrices this small only make threads wait for each other
torch.set_default_dtype(torch.float64)
OBS, ACT, WIDTH, MEMBERS = 3, 2, 32, 4


def make_critic(depth, layer_norm=False):
    """The ensembles of rdlib: `MEMBERS` critics of `depth` ReLU layers, for one agent."""
    init = Initialiser(Streams([seed]), "critic", torch.float64)
    return Critic(init, OBS, ACT, MEMBERS, WIDTH, depth, layer_norm)


def make_pairs(count, draw):
    """States and actions: (count,OBS), (count,ACT)."""
    generator = torch.Generator().manual_seed(100 * seed + draw)
    obs = torch.randn(count, OBS, generator=generator)
    return obs, 2 * torch.rand(count, ACT, generator=generator) - 1


@torch.no_grad()
def values(critic, obs, act, member=0):
    """Q of one member: (n,)."""
    return critic(obs[None], act[None])[0][0, member]


critic = make_critic(depth=3)
obs, act = make_pairs(1, 0)
s, a = obs[0], act[0]  # the pair that is backed up
others = make_pairs(200, 1)  # the pairs that are looked at
target = 2.0

# %% [markdown]
# ## The step
#
# $\phi' = \phi + \eta\,\delta\,\nabla_\phi Q_\phi(s, a)$ with $\delta = \mathcal{T}Q - Q_\phi(s, a)$ is a step
# of plain gradient descent on $\tfrac12 \delta^2$. `td_step` takes the first form; automatic differentiation and
# `torch.optim.SGD` take the second.

# %%
rate = 1e-3
stepped = ntk.td_step(critic, s, a, target, rate)
reference = make_critic(depth=3)
(0.5 * (target - reference(obs[None], act[None])[0][0, 0, 0]) ** 2).backward()
torch.optim.SGD(reference.parameters(), lr=rate).step()
gap = max((p - q).abs().max().item() for p, q in zip(stepped.parameters(), reference.parameters(), strict=True))
print(f"largest difference between the parameters: {gap:.1e}")
assert gap < 1e-15

# %% [markdown]
# ## The expansion
#
# $Q_{\phi'}(\bar s, \bar a) \approx Q_\phi(\bar s, \bar a) + \eta\, k_\phi(\bar s, \bar a;\, s, a)\,\delta$: on the
# left what the step really did to the values of 200 pairs that it never saw, on the right the remainder
# while $\eta$ is varied.

# %%
rate = 1e-4
stepped = ntk.td_step(critic, s, a, target, rate)
before = values(critic, *others)
moved = values(stepped, *others) - before
predicted = ntk.taylor_prediction(critic, s, a, target, rate, *others) - before

# %%
rates = np.logspace(-6, -3, 13)
remainder, distance = [], []
for eta in rates.tolist():
    after = ntk.td_step(critic, s, a, target, eta)
    promise = ntk.taylor_prediction(critic, s, a, target, eta, *others)
    remainder.append((values(after, *others) - promise).abs().numpy())
    both = zip(after.parameters(), critic.parameters(), strict=True)
    distance.append(sum(((p - q) ** 2).sum().item() for p, q in both) ** 0.5)
remainder, distance = np.array(remainder), np.array(distance)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: real against predicted change of 200 values, all on the diagonal. Right: the remainder over the length of the step on logarithmic axes, most pairs on straight lines of slope 2, a few with kinks."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
left.plot(predicted, moved, ".", color=plots.PALETTE[0])
left.axline((0, 0), slope=1, color="grey", lw=1)
left.set(xlabel="predicted: η k δ", ylabel="real change of Q", title=f"η = {rate}")
right.loglog(distance, remainder[:, :40], color=plots.PALETTE[0], lw=0.8, alpha=0.5)
guide = np.median(remainder[0]) * (distance / distance[0]) ** 2
right.loglog(distance, guide, color="grey", ls="--", lw=1.5, label="slope 2")
right.set(xlabel="length of the step |φ' - φ|", ylabel="|real - predicted|", title="remainder, 40 pairs")
right.legend();

# %%
slopes = np.polyfit(np.log(distance), np.log(remainder.clip(1e-300)), 1)[0]
smooth = np.abs(slopes - 2) < 0.1
print(f"real against predicted: correlation {np.corrcoef(moved, predicted)[0, 1]:.6f}, "
      f"largest error {(moved - predicted).abs().max() / moved.abs().max():.1e} of the largest change")
print(f"order of the remainder: median {np.median(slopes):.3f}; {smooth.mean():.0%} of the pairs within 0.1 of 2")
assert abs(np.median(slopes) - 2) < 0.02 and smooth.mean() > 0.7
assert (moved - predicted).abs().max() < 0.02 * moved.abs().max()

# %% [markdown]
# The order is 2, as $\mathcal{O}(\|\phi' - \phi\|^2)$ says. The exceptions are pairs for which a longer step
# moved some ReLU across its kink, where $Q$ as a function of $\phi$ has a corner.
#
# ## Symmetric, positive semidefinite, bounded

# %%
some = make_pairs(40, 2)
gram = ntk.ntk(critic, *some, *some)
eigenvalues = torch.linalg.eigvalsh(gram)
bound = (gram.diagonal()[:, None] * gram.diagonal()).sqrt()
print(f"asymmetry {(gram - gram.T).abs().max():.1e}; smallest eigenvalue {eigenvalues.min():.1e} of trace {gram.trace():.0f}")
print(f"|k| is at most {(gram.abs() / bound).fill_diagonal_(0).max():.3f} of its bound")
ratio = gram / gram.diagonal()
print(f"k(x̄, x) > k(x, x), the lift passed on is larger than the lift, for {(ratio > 1).float().mean():.0%} of the pairs")
assert torch.allclose(gram, gram.T) and eigenvalues.min() > -1e-12 * gram.trace()
assert (gram.abs() <= bound * (1 + 1e-12)).all()

# %% [markdown]
# ## Linear, one hidden layer, deep
#
# The formulas for critics of growing depth, against the kernel by automatic differentiation. The deep one is a
# sum over layers of (inputs' product + 1) times (sensitivities' product); its terms are computed here by a
# backpropagation by hand.


# %% tags=["hide-input"]
def layer_terms(critic, x, y, member=0):
    """Each layer's term of the kernel between all rows of x (n,O+U) and y (m,O+U): a list of (n,m)."""
    layers = [*critic.net.hidden, critic.net.head]
    weights = [layer.weight.detach()[0, member] for layer in layers]  # (in, out)
    biases = [layer.bias.detach()[0, member] for layer in layers]

    def passes(x):
        inputs, masks = [x], []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            z = inputs[-1] @ weight + bias
            masks.append((z > 0).to(z))
            inputs.append(z * masks[-1])
        signals = [torch.ones(len(x), 1)]  # ∂Q/∂z of the head
        for weight, mask in zip(reversed(weights[1:]), reversed(masks), strict=True):
            signals.insert(0, (signals[0] @ weight.T) * mask)
        return inputs, signals

    (h, g), (h2, g2) = passes(x), passes(y)
    return [(h[i] @ h2[i].T + 1) * (g[i] @ g2[i].T) for i in range(len(layers))]


first, second = make_pairs(6, 3), make_pairs(5, 4)
x, y = (torch.cat(pair, 1) for pair in (first, second))
for depth, name in enumerate(("linear", "one hidden layer", "two hidden layers", "three")):
    one = make_critic(depth)
    exact, terms = ntk.ntk(one, *first, *second), layer_terms(one, x, y)
    print(f"{name:18} largest error of the formula {(sum(terms) - exact).abs().max():.1e}")
    torch.testing.assert_close(sum(terms), exact)
    if depth == 0:
        torch.testing.assert_close(exact, x @ y.T + 1)
        linear = ntk.td_step(one, s, a, target, 1.0)  # a step of any length: no remainder
        promise = ntk.taylor_prediction(one, s, a, target, 1.0, *others)
        torch.testing.assert_close(values(linear, *others), promise)
    if depth == 1:  # φᵀφ̄ + 1 + (xᵀx̄ + 1) Σ w² over units active at both
        hidden, w = one.net.hidden[0], one.net.head.weight.detach()[0, 0, :, 0]
        z, z2 = (v @ hidden.weight.detach()[0, 0] + hidden.bias.detach()[0, 0] for v in (x, y))
        shared = ((z > 0) * w**2).double() @ (z2 > 0).double().T
        torch.testing.assert_close(exact, z.relu() @ z2.relu().T + 1 + (x @ y.T + 1) * shared)

# %% [markdown]
# ## The head's share
#
# The gradient by the head's weight and bias is $(\varphi, 1)$, so its share of the kernel is the product of
# penultimate features plus 1, with or without layer normalisation below. It is a share: how large a one, at
# initialisation, is printed.

# %%
for layer_norm in (False, True):
    one = make_critic(3, layer_norm)
    n = len(first[0])
    pair = (make_pairs(n, 5), make_pairs(n, 6))
    tails = [ntk.gradients(one, *p)[:, -(WIDTH + 1) :] for p in pair]  # head's weight and bias come last
    features = [one.features(p[0][None], p[1][None]).detach() for p in pair]
    share = ntk.feature_kernel(*features)[0, 0] + 1
    torch.testing.assert_close((tails[0] * tails[1]).sum(-1), share)
    exact = ntk.ntk(one, *pair[0], *pair[1]).diagonal()
    print(f"layer norm {layer_norm!s:5}: the head's share is {(share / exact).median():.0%} of the kernel (median)")

# %% [markdown]
# Where two pairs share no active penultimate unit, both last terms lose their product. The weights for it are set by hand:

# %% tags=["hide-input"]
one = make_critic(3)
with torch.no_grad():
    one.net.hidden[-1].weight.zero_()
    one.net.hidden[-1].weight[..., 0, 0], one.net.hidden[-1].weight[..., 0, 1] = 1.0, -1.0
    one.net.hidden[-1].bias.fill_(-1e6)
    middle = one.net.hidden[1](one.net.hidden[0](x[None, None].expand(1, MEMBERS, -1, -1)).relu()).relu()[0, 0, :, 0]
    low, high = int(middle.argmin()), int(middle.argmax())
    half = (middle[low] + middle[high]) / 2
    one.net.hidden[-1].bias[..., 0], one.net.hidden[-1].bias[..., 1] = -half, half
terms = layer_terms(one, x[low : low + 1], x[high : high + 1])
print(f"disjoint units: head's term {terms[-1].item():.0f} (its bias), last hidden layer's {abs(terms[-2].item()):.0f}")
assert terms[-1].item() == 1 and terms[-2].item() == 0

# %% [markdown]
# ## Ensembles and minibatches
#
# A step on one member leaves the others as they are. A step on a minibatch's mean of $\tfrac12\delta_i^2$ moves
# any value by the mean of $k(\bar x, x_i)\,\delta_i$; the steps of all members together move the ensemble's mean by
# the mean of each member's own kernel times its own error.

# %%
stepped = ntk.td_step(critic, s, a, target, rate, member=1)
changes = [(values(stepped, *others, member=m) - values(critic, *others, member=m)).abs().max() for m in range(MEMBERS)]
print("largest change of each member after a step on member 1:", [f"{c:.1e}" for c in changes])
assert [c > 0 for c in changes] == [m == 1 for m in range(MEMBERS)]

# %%
batch, rate = make_pairs(32, 7), 1e-4
targets = torch.linspace(-1, 3, 32)
reference = make_critic(depth=3)
q = reference(batch[0][None], batch[1][None])[0][0]  # (members,32)
(0.5 * (targets - q) ** 2).mean(-1).sum().backward()
torch.optim.SGD(reference.parameters(), lr=rate).step()

# %%
pushes = []
for m in range(MEMBERS):
    k = ntk.ntk(critic, *others, *batch, member=m)  # (200,32)
    pushes.append(rate * (k * (targets - q[m].detach())).mean(1))
    change = values(reference, *others, m) - values(critic, *others, m)
    assert (change - pushes[-1]).abs().max() < 5e-3 * change.abs().max()
change = sum(values(reference, *others, m) - values(critic, *others, m) for m in range(MEMBERS)) / MEMBERS
error = (change - sum(pushes) / MEMBERS).abs().max() / change.abs().max()
print(f"minibatch of 32 and {MEMBERS} members: largest error of the sum {error:.1e} of the largest change")
assert error < 5e-3

# %% [markdown]
# ## The sign
#
# Kernel times error decides the direction. The same pair backed up towards a target above and below its value,
# in a critic of one hidden layer on inputs so large that some kernels are negative:

# %%
one, far = make_critic(depth=1), [4 * v for v in others]
s, a = 4 * s, 4 * a
k = ntk.ntk(one, *far, s[None], a[None])[:, 0]
clear = k.abs() > 1e-2 * k.abs().max()
now = values(one, s[None], a[None])[0]
for delta in (1.0, -1.0):
    change = values(ntk.td_step(one, s, a, now + delta, 1e-6), *far) - values(one, *far)
    assert (change.sign() == (k * delta).sign())[clear].all()
    print(f"error {delta:+.0f}: {(change > 0).float().mean():.0%} of the values rise; {(k > 0).float().mean():.0%} of the kernels are positive")
assert (k[clear] > 0).any() and (k[clear] < 0).any()

# %% [markdown]
# ## A kernel before and after training
#
# The critic of [the cycle](backup.ipynb), without remedy, before its first update and after it has learned to
# overestimate. Each picture shows $c = k(\bar x, x) / k(x, x)$ for one pair $x$ of the data (the cross, in the middle of
# the line with a small stride) against all pairs $\bar x$: how much of a lift at the cross arrives there.

# %% tags=["hide-input"]
torch.set_default_dtype(torch.float32)
data = toy.Line().data()
agents = toy.ToyAgents("td3n", [data], [seed], [toy.CONFIG], [{}])
X = torch.tensor([[0.5]]), torch.tensor([[0.1]])
positions, actions = torch.linspace(0, 1, 31), torch.linspace(-1, 1, 31)
grid = [v.reshape(-1, 1) for v in torch.meshgrid(positions, actions, indexing="ij")]


batch = agents.made.transitions.gather(torch.arange(0, 1000, 16)[None])


def measure(critic, policy):
    """k(x̄, x) / k(x, x) over the grid and the head's share of it, (31,31) each, and SEEM's eigenvalue of a batch."""
    unit = ntk.ntk(critic, *X, *X)[0, 0]
    whole = ntk.ntk(critic, *grid, *X)[:, 0] / unit
    with torch.no_grad():
        phi, at = critic.features(grid[0][None], grid[1][None]), critic.features(X[0][None], X[1][None])
        head = (ntk.feature_kernel(phi, at.expand_as(phi)) + 1)[0, 0] / unit
        pairs = batch.obs[0], batch.act[0], batch.next_obs[0], policy(batch.next_obs)[0]
    return whole.view(31, 31), head.view(31, 31), ntk.seem(critic, *pairs, toy.GAMMA)


found = {"before training": measure(agents.algorithm.critic, agents.algorithm.act)}
agents.train(updates)
found[f"after {updates:,} updates"] = measure(agents.algorithm.critic, agents.algorithm.act)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four heat maps over position and action. The whole kernel relative to the data pair, before and after training, and the head's share of it: after training the lift that arrives is near 1 or above almost everywhere, and largest at the far actions."}}
top = max(whole.max().item() for whole, _, _ in found.values())
figure, rows = plt.subplots(2, 2, figsize=(8, 6), sharex=True, sharey=True)
for row, (when, (whole, head, _)) in zip(rows, found.items(), strict=True):
    for axes, part, what in zip(row, (whole, head), ("whole kernel", "the head's share"), strict=True):
        image = axes.imshow(part.T, origin="lower", extent=(0, 1, -1, 1), aspect="auto", cmap="viridis", vmin=0, vmax=top)
        axes.plot(0.5, 0.1, "x", color="white", ms=8, mew=2)
        for edge in (-toy.TIMID, toy.TIMID):
            axes.axhline(edge, color="white", lw=0.8, ls=":")
        axes.set(title=f"{what}, {when}")
        axes.grid(False)
    row[0].set_ylabel("action")
for axes in rows[1]:
    axes.set_xlabel("position")
figure.colorbar(image, ax=rows, label="c = k(x̄, x) / k(x, x)");

# %%
for when, (whole, head, eigenvalue) in found.items():
    c, share = whole[15, -1].item(), (head / whole)[15].mean().item()
    print(f"{when}: a lift of 1 at the cross arrives as c = {c:.2f} at a = 1; γc = {toy.GAMMA * c:.2f}; "
          f"the head's share is {share:.0%}; SEEM's eigenvalue {eigenvalue:+.2g}")

# %% [markdown]
# Dotted lines bound the data's actions. The kernel knows nothing of where the data end: before training as
# after it, most of a lift at the cross arrives at $a = 1$, and after training slightly more than all of it. This $c$ is the number that
# [the cycle](backup.ipynb) showed as a ratio of two rises.
#
# One pair by itself says little about a batch, whose pairs all feed and calm each other. SEEM's eigenvalue
# says it for the batch: the largest real part among those of $\gamma\,G(X^*, X) - G(X, X)$, where $G$ is the
# kernel's matrix, $X$ the data's pairs and $X^*$ those of their targets. Positive predicts that TD errors grow, negative that
# they vanish. The [page on overgeneralisation](overgeneralisation.ipynb) measures both in real runs.
