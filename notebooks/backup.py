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
# # The backup-generalisation cycle, seen
#
# The chapter before this page says that offline TD learning fails in a cycle of two steps: backups on the data
# move, by generalisation, the values of actions that no data hold, and the moved values enter the next
# backups. Here the cycle is watched on a problem small enough to see whole, with the real agents of `rdlib`.
#
# The problem: on a line from 0 to 1 the agent stands at $s$ and strides $0.1\,a$ with an action
# $a \in [-1, 1]$. Its reward is the position it arrives at, so it should go right. But a stride with
# $|a| > 0.6$ falls, back to 0. With $\gamma = 0.95$ no policy can be worth more than $1/(1-\gamma) = 20$.
# The data are single timid strides, $|a| \le 0.2$, from everywhere and to both sides. What a stride of
# $a = 1$ does, they do not say.

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
updates = 3000
seeds = [0, 1, 2]

# %% tags=["remove-cell"]
from rdlib.training.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display

from rdlib.results import plots, toy
from rdlib.results.slider import Slider, svg

plots.use_style()
torch.set_num_threads(1)  # matrices this small only make threads wait for each other
HERE, ACTIONS = 0.5, np.linspace(-1, 1, 81)  # the position looked at, in the middle of the line
line = toy.Line()
data = line.data()
data

# %% [markdown]
# On the left all there is to learn from. On the right what is true in the middle of the line, by value
# iteration: the dashed curve $Q^*(s, a)$ goes on with the best policy there is, the dotted one with the best
# policy whose strides are all timid. Too long a stride falls back to 0, and costs the way back.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: the thousand strides of the data, positions from 0 to 1 against actions, all actions between -0.2 and 0.2. Right: the true value in the middle of the line over actions from -1 to 1: it rises slowly between -0.6 and 0.6 and drops outside."}}
true = line.best(np.array(HERE), ACTIONS)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.plot(data.obs[:, 0], data.act[:, 0], ".", ms=3, color="grey")
left.set(xlabel="position s", ylabel="action a", ylim=(-1, 1), title="the data")
right.axvspan(-toy.TIMID, toy.TIMID, color="grey", alpha=0.25, lw=0)
right.plot(ACTIONS, true, "--", color=plots.PALETTE[2], label="then the best policy")
timid = line.best(np.array(HERE), ACTIONS, longest=toy.TIMID)
right.plot(ACTIONS, timid, ":", color=plots.PALETTE[4], label="then the best timid policy")
right.set(xlabel="action a", title="true values at s = 0.5", ylim=(0, 20), xticks=np.linspace(-1, 1, 5))
right.legend();

# %% [markdown]
# ## No remedy
#
# TD3-N-UNC with one critic and no pessimism is plain off-policy actor-critic learning: the critic regresses on
# $r + \gamma\,\bar Q(s', \bar\pi(s'))$, the policy climbs the critic. Three seeds train side by side. Nothing is
# random in the target, the networks have three (critic) and two (policy) hidden layers.

# %%
print(", ".join(f"{name} {value}" for name, value in toy.CONFIG.items()))
n = len(seeds)
agents = toy.ToyAgents("td3n", [data] * n, seeds, [toy.CONFIG] * n, [{}] * n)
every = max(1, updates // 25)

# %% tags=["hide-input"]
looks, behaviour, worth = [], [], []


def look_around(made):
    """The critics at HERE, their mean over the data's actions there, and what the policies are really worth there."""
    inside = np.abs(ACTIONS) <= toy.TIMID
    now = made.look(HERE, ACTIONS)
    return now, now.q[:, inside].mean(1), line.worth(made.policy, np.array([HERE]))[:, 0]


for count in [0] + [every] * (updates // every):
    if count:
        agents.train(count)
    for kept, found in zip((looks, behaviour, worth), look_around(agents), strict=True):
        kept.append(found)
behaviour, worth = np.array(behaviour), np.array(worth)  # (moments, seeds)
expected = np.array([now.q_policy for now in looks])

# %% [markdown]
# Move the slider through training. The shaded strip is where the data have actions; the dashed curve is true;
# the solid curves are the critics (first seed dark, the others pale) and the dots the policies on them.

# %% tags=["hide-input"]
top = 1.05 * max(now.q.max() for now in looks)


def frame(now, width=6.4, height=3.6):
    figure, axes = plt.subplots(figsize=(width, height))
    toy.draw(axes, now, range(n), true)
    axes.axhline(line.ceiling, color="grey", ls=":", lw=1.2, label="no policy is worth more")
    axes.set(ylim=(-2, top), ylabel="value at s = 0.5")
    axes.legend(loc="upper left", fontsize=8)
    return svg(figure)


about = "Without remedy: values in the middle of the line over actions, during training"
some = looks[::2]  # it opens where a value has become impossible
past = [now.q_policy.max() > line.ceiling for now in some]
names = [f"after {now.step:,} updates" for now in some]
display(Slider([frame(now) for now in some], names, about, at=past.index(True) if any(past) else 0))

# %% [markdown]
# The same as a still picture, six moments:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six moments of training without remedy. The critics' curves lie below the true one at first; their slope at the data's edge carries on to action 1, where the policies go at once; then whole curves rise past the ceiling of 20 and go on rising."}}
moments = [looks[i] for i in (np.array([0.04, 0.12, 0.24, 0.4, 0.6, 1]) * (len(looks) - 1)).round().astype(int)]
figure, rows = plt.subplots(2, 3, figsize=(8, 5.4), sharex=True, sharey=True)
for axes, now in zip(rows.flat, moments, strict=True):
    toy.draw(axes, now, range(n), true)
    axes.axhline(line.ceiling, color="grey", ls=":", lw=1.2)
    axes.set(ylim=(-2, top))
for row in rows:
    row[0].set_ylabel("value at s = 0.5")
names = dict(zip(*reversed(rows[0, 0].get_legend_handles_labels()), strict=True))
figure.legend(names.values(), names.keys(), loc="outside lower center", ncols=2);

# %% [markdown]
# What is to be seen, in the words of the two steps:
#
# 1. Backups on the shaded strip lift the whole curve, not only the strip: that is generalisation. Within the
#    strip more to the right is a little better, which is true, and the critic carries the slope on, which is
#    not: at $a = 1$ it is worth less than anything in the data.
# 2. The policy goes where the curve is highest, to $a = 1$. From then on every target
#    $r + \gamma\,\bar Q(s', \bar\pi(s'))$ contains a value there. It is higher than what the strip deserves, so the
#    strip is lifted, and with it, by step 1, the value at $a = 1$.
#
# No data ever contradict it. The curves pass 20, more than any policy can be worth, while the policy that they
# praise falls at each stride and is worth 0.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Over updates, for three seeds: the value of the policy's action and the mean value of the data's actions rise together far beyond the ceiling of 20, while the true worth of the policy is 0."}}
def curves(axes, steps, groups):
    """(moments, seeds) each, by label; seeds of one group in one colour."""
    for (label, values), colour in zip(groups.items(), (3, 0, 2), strict=False):
        lines = axes.plot(steps, values, color=plots.PALETTE[colour], lw=1.5)
        lines[0].set_label(label)
    axes.axhline(line.ceiling, color="grey", ls=":", lw=1.2, label="no policy is worth more")
    axes.set(xlabel="gradient updates", ylabel="value at s = 0.5")
    axes.legend(fontsize=8)


steps = [now.step for now in looks]
figure, axes = plt.subplots(figsize=(6.4, 3.4))
shown = {"Q(s, π(s))": expected, "Q(s, a), mean over the data's actions": behaviour, "what π is really worth": worth}
curves(axes, steps, shown)

# %%
rise = np.diff(expected, axis=0)[1:] / np.diff(behaviour, axis=0)[1:]
c = np.median(rise)
print(f"at the end the critics expect {expected[-1].round(1)}")
print(f"of policies that are worth {worth[-1].round(1)}")
print(f"while a value of the data rises by 1, the policy's rises by c = {c:.2f}")
print(f"(median over training); γc = {toy.GAMMA * c:.2f}")
assert expected[-1].min() > line.ceiling and worth[-1].max() < 1, "not the disease this page describes"

# %% [markdown]
# That last number is what the cycle lives on. If the policy's value rises by $c$ while the data's rises by 1,
# and targets take $\gamma$ of it, a lift comes back as $\gamma c$: above 1 it grows without end, near 1 it goes
# on for long. Here the critics gain height more and more slowly, but have long left the values that are
# possible. What $c$ is, and that it is a ratio of kernels, is the subject of the next pages.
#
# ### Change $c$, change $\gamma$
#
# The [two numbers of the chapter before](../book/disease.md): $q$ on the data, $\bar q$ for the policy, both 0 at first, reward 1.

# %%
def two_numbers(gamma, c, rate=0.1, backups=400):
    """q and q̄ over backups: (backups,2)."""
    now, found = np.zeros(2), []
    for _ in range(backups):
        error = 1 + gamma * now[1] - now[0]
        now = now + rate * error * np.array([1, c])
        found.append(now)
    return np.array(found)


# %% tags=["hide-input"]
CS, GAMMAS = (0, 0.25, 0.5, 0.75, 0.9, 1, 1.05, 1.1, 1.2), (0, 0.5, 0.8, 0.9, 0.95, 0.99)


def numbers_frame(gamma, c):
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.plot(two_numbers(gamma, c), label=["q, on the data", "q̄, of the policy"])
    end = f"settles at 1 / (1 - γc) = {1 / (1 - gamma * c):.3g}" if gamma * c < 1 else "runs away"
    axes.set(ylim=(-1, 30), xlabel="backups", title=f"γ = {gamma:g}, c = {c:g}: γc = {gamma * c:.3g}, q {end}")
    axes.legend(loc="upper left")
    return svg(figure)


by_c = [numbers_frame(toy.GAMMA, c) for c in CS]
display(Slider(by_c, [f"c = {c:g}" for c in CS], f"Two numbers at γ = {toy.GAMMA}: change c", at=CS.index(0.9)))
by_gamma = [numbers_frame(gamma, 1) for gamma in GAMMAS]
names = [f"γ = {gamma:g}" for gamma in GAMMAS]
display(Slider(by_gamma, names, "Two numbers at c = 1: change γ", at=GAMMAS.index(0.9)))

# %% [markdown]
# The same as a still picture, $q$ alone:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: q over 400 backups at gamma 0.95 for nine c. Up to 0.75 it settles below 4, at 0.9 near 7, at 1 it is still climbing towards 20, from 1.05 on it leaves the picture. Right: q at c = 1 for six gamma, settling at 1 for 0, 2 for 0.5, 5 for 0.8 and 10 for 0.9, and climbing for longer beyond."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
for axes, pairs in ((left, [(toy.GAMMA, c) for c in CS]), (right, [(gamma, 1) for gamma in GAMMAS])):
    for i, (gamma, c) in enumerate(pairs):
        q = two_numbers(gamma, c)[:, 0]
        label = f"{c if axes is left else gamma:g}"
        axes.plot(q, color=plt.colormaps["viridis"](0.9 * i / len(pairs)), label=label)
    axes.set(ylim=(-1, 30), xlabel="backups")
    axes.legend(title="c" if axes is left else "γ", fontsize=8, ncols=2, loc="upper left")
left.set(title=f"γ = {toy.GAMMA}", ylabel="q")
right.set(title="c = 1");

# %% [markdown]
# Between 0.9 and 1.1 a small change of $c$ decides everything: it is there that a remedy has to work. $\gamma$ does the same as $c$,
# but it belongs to the problem and not to the network.
#
# ## The cycle cut
#
# If the cycle is the cause, cutting it must cure the values even though the critic, the data, the seeds and the
# generalisation stay as they are. Step 2 is cut by fixing the policy where the data are: $\pi(s) = 0.1$
# always. The targets then ask only for values that the data correct.
#
# A second control tells whether it is maximisation that matters: $\pi(s) = 1$ always, fixed too, outside the
# data. Nobody climbs the critic, but the targets ask where no data are. Both use the same agents with the
# learning rate of the policy at 0.

# %%
config = {**toy.CONFIG, "actor_lr": 0.0}
fixed = toy.ToyAgents("td3n", [data] * 2 * n, seeds * 2, [config] * 2 * n, [{}] * 2 * n)
fixed.hold([0.1] * n + [1.0] * n)

# %%
fixed_looks, held = [], []
for count in [0] + [every] * (updates // every):
    if count:
        fixed.train(count)
    fixed_looks.append(fixed.look(HERE, ACTIONS))
    held.append(fixed_looks[-1].q_policy)
held = np.array(held)
paid = line.worth(fixed.policy, np.array([HERE]))[:, 0]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: with the policy fixed at 0.1, within the data, the critics approach the true worth and stay there. Right: with the policy fixed at 1, outside the data, the critics pass the ceiling and run away as they did with a policy that learns."}}
figure, pair = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for axes, part, where in zip(pair, (slice(0, n), slice(n, None)), ("0.1, in the data", "1, outside"), strict=True):
    axes.plot(steps, held[:, part], color=plots.PALETTE[0], lw=1.5)
    axes.axhline(paid[part][0], color=plots.PALETTE[2], lw=1.5, ls="--", label="what it is really worth")
    axes.axhline(line.ceiling, color="grey", ls=":", lw=1.2, label="no policy is worth more")
    axes.set(xlabel="gradient updates", title=f"policy fixed at {where}")
    axes.legend(fontsize=8)
pair[0].set_ylabel("Q(s, π(s)) at s = 0.5");

# %%
print(f"fixed in the data: expected {held[-1, :n].round(1)}, worth {paid[0]:.1f}")
print(f"fixed outside:     expected {held[-1, n:].round(1)}, worth {paid[-1]:.1f}")
assert np.abs(held[-1, :n] - paid[:n]).max() < 0.15 * line.ceiling and held[-1, n:].min() > line.ceiling

# %% [markdown]
# Cut, it does not run away: the values come to what the policy is really worth. Fixed outside the data it runs
# away as before. So maximisation is not what makes values grow; it only finds the way out of the data. What
# makes them grow is that targets ask where only generalisation answers.
#
# Online, the agent would try $a = 1$, fall, and the next backup would say so. Offline nobody tries.
#
# ## What this page does not show
#
# One problem of one dimension, chosen so that leaving the data is bad, with a learning rate ten times the
# usual and without the usual remedies against overestimation (the minimum of two critics, an ensemble). Milder
# settings give milder curves: with $\gamma = 0.9$ or two hidden layers the values pass the ceiling and then
# settle. That a real agent does this on a real dataset is shown
# [two chapters on](overgeneralisation.ipynb).
