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
# # The data
#
# Offline reinforcement learning is given a fixed set of transitions $(s, a, r, s')$ and may ask for no more.
# Whoever collected them, the *behaviour policy*, decides what can be learnt: which states are known at all,
# and at each of them which actions. This page looks at that for every quality of one environment, puts the
# bundled data beside what D4RL publishes, and shows how to bring data of your own.
#
# The bundled datasets, all but the human `door-human`, are **stand-ins**: made by this project's own
# policies, by D4RL's protocol, so that the book runs without a download. They are not D4RL's files.
# Those can be had by the same call, under the name `d4rl/hopper-medium-v2`.

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
environment = "hopper"
size = 10_000

# %% tags=["remove-cell"]
from rdlib.training.parameters import check_parameters

check_parameters(globals())

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from rdlib.data import bundled, catalog
from rdlib.data.bundled import rollout
from rdlib.results import plots

plots.use_style()
qualities = rollout.qualities(environment)
data = {
    q: rollout.load(environment, q, size=size, progress=False)
    for q in qualities
    if q != "demos"
}
data |= {
    q: rollout.load(environment, q) for q in qualities if q == "demos"
}  # 25 episodes, always
colours = dict(zip(data, plots.PALETTE, strict=False))
for found in data.values():
    print(found)

# %% [markdown]
# *(This page rolls out a small part of each dataset: 10,000 steps instead of up to two million. The next
# table says how much of each was measured: the whole, or its first 100,000 steps.)*
#
# ## Five qualities
#
# D4RL's protocol trains a policy online with SAC and keeps what it did at several stages:
#
# | quality | whose actions |
# |---|---|
# | random | the untrained network's |
# | medium | a policy's, stopped at about a third of the expert's return |
# | medium-replay | the learner's own on its way to medium: what its replay buffer saw |
# | medium-expert | half medium's, half the expert's |
# | expert | the best policy's |
#
# Our own medium policies are nearer to their experts than a third, as the scores below show.
#
# For the pen, D4RL has a human's demonstrations and data *cloned* from them. Ours are of a policy of middling
# skill, `pen-demos`: 25 episodes, and no human made them. The score is D4RL's, 0 for a random policy and 100
# for an expert: $100\,(R - R_\text{random})/(R_\text{expert} - R_\text{random})$.

# %%
rows = []
for entry in catalog.PAPER_DATASETS.values():
    if entry.short in bundled.statistics():
        whole = bundled.statistics()[entry.short]
        rows.append({
            "dataset": entry.short, "measured on": whole["transitions"],
            "episodes": whole["episodes"], "return": whole["return"], "±": whole["std"],
            "score": whole["score"], "D4RL's": entry.d4rl_score,
        })  # fmt: skip
pd.DataFrame(rows).style.format(
    {
        "measured on": "{:,}",
        "episodes": "{:,}",
        "return": "{:.0f}",
        "±": "{:.0f}",
        "score": "{:.1f}",
        "D4RL's": "{:.1f}",
    },
    na_rep="",
).set_properties(padding="0.1em 0.6em").hide()

# %% [markdown]
# An empty cell in the last column: no published mean was at hand. `medium-replay` depends most on the learner, and ours
# is not D4RL's: a result on it compares with other results on the same data only.
#
# ## Returns and lengths of episodes
#
# Two datasets of equal mean can teach different things: one policy that always falls after a while, or two
# that do not. The spread tells them apart.

# %% mystnb={"image": {"alt": "One row per quality: a histogram of episode returns on the left and of episode lengths on the right."}}
figure, axes = plt.subplots(
    len(data), 2, figsize=(7, 1.35 * len(data)), sharex="col", squeeze=False
)
for (left, right), (quality, found) in zip(axes, data.items(), strict=True):
    left.hist(found.episode_returns(), bins=40, color=colours[quality])
    left.set_title(quality, loc="left", fontsize=10)
    right.hist(found.episode_lengths(), bins=40, color=colours[quality])
axes[-1, 0].set_xlabel("return of an episode")
axes[-1, 1].set_xlabel("steps of an episode")

# %% [markdown]
# ## What is covered
#
# All qualities of the environment on the same two axes: the first two principal components of their states
# together, and of their actions. Where no dot lies, the data say nothing, and whatever a critic answers
# there is generalisation.


# %% mystnb={"image": {"alt": "Two scatter plots in which each colour is a quality: states on the left, actions on the right, each on two principal components. Random actions lead to a small region of states; the expert keeps to a narrow band of both."}}
def plane(columns, points=1_500):
    """Rows of each array of `columns`, on the first two principal components of all together."""
    some = {
        k: v[np.linspace(0, len(v) - 1, min(points, len(v))).astype(int)].astype(
            float
        )
        for k, v in columns.items()
    }
    joined = np.concatenate(list(some.values()))
    mean, std = joined.mean(0), joined.std(0) + 1e-3
    directions = np.linalg.svd((joined - mean) / std, full_matrices=False)[2][:2]
    return {k: (v - mean) / std @ directions.T for k, v in some.items()}


figure, axes = plt.subplots(1, 2, figsize=(8, 4))
for axis, title, field in zip(
    axes, ("states", "actions"), ("obs", "act"), strict=True
):
    for quality, dots in plane(
        {q: getattr(d, field) for q, d in data.items()}
    ).items():
        axis.scatter(
            *dots.T,
            s=2,
            alpha=0.5,
            color=colours[quality],
            label=quality,
            rasterized=True,
        )
    axis.set(title=title, xlabel="first component", ylabel="second")
figure.legend(
    *axes[0].get_legend_handles_labels(),
    loc="outside lower center",
    ncols=3,
    markerscale=5,
)
# %% [markdown]
# ## How far from the data is an action?
#
# A TD update trusts $Q(s', \pi(s'))$. Whether the data can support that value is a question of distance: here
# we take 300 states of each dataset that are held out, find for each its 20 nearest states in the rest (states standardised), and
# measure how near the nearest of *their* actions comes to an action proposed at the held-out state. Three proposals: the
# data's own action there, the best bundled policy's, and a uniformly random one.

# %% mystnb={"image": {"alt": "For each quality three box plots of the distance to the nearest action in the data: of the data's own action, of the best policy's, and of a random action."}}
best = rollout.policy(
    environment,
    "expert" if "expert" in rollout.about(environment) else "demonstrator",
)
generator = torch.Generator().manual_seed(0)


def distances(found, held=300, near=20):
    """Distance to the nearest action of the `near` nearest states, for three proposals: (held,) each."""
    obs, act = torch.from_numpy(found.obs), torch.from_numpy(found.act)
    order = torch.randperm(len(obs), generator=generator)
    ask, rest = order[:held], order[held : held + 8_000]
    scale = obs.std(0) + 1e-3
    neighbours = (
        torch.cdist(obs[ask] / scale, obs[rest] / scale)
        .topk(near, largest=False)
        .indices
    )
    with torch.no_grad():
        proposals = {
            "the data's own": act[ask],
            "best policy's": best(obs[ask][None])[0][0],
            "random": 2 * torch.rand(act[ask].shape, generator=generator) - 1,
        }
    known = act[rest][neighbours]  # (held, near, U)
    return {
        k: (known - a[:, None]).norm(dim=-1).amin(1).numpy()
        for k, a in proposals.items()
    }


figure, axis = plt.subplots(figsize=(8, 3.6))
for i, found in enumerate(data.values()):
    for j, (label, values) in enumerate(distances(found).items()):
        box = axis.boxplot(
            values,
            positions=[4 * i + j],
            widths=0.8,
            showfliers=False,
            patch_artist=True,
        )
        box["boxes"][0].set(facecolor=plots.PALETTE[j], alpha=0.7)
        box["medians"][0].set_color("black")
        if i == 0:
            axis.plot([], [], color=plots.PALETTE[j], lw=6, label=label)
axis.set_xticks([4 * i + 1 for i in range(len(data))], data)
axis.set(ylabel="distance to the nearest action")
axis.legend(title="action")
# %% [markdown]
# In Hopper's data, only where an expert acted is the best policy's action a known one. In the medium data it lies much
# further from any that was tried than the data's own does, and in the random data and the replay about as far as a random
# action: nothing there says what it is worth. That is the out-of-distribution action of the first chapters.
#
# ## The behaviour policies at work

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from IPython.display import HTML, display

from rdlib.results import video

shown = (
    {"demonstrator": "demos", "clone": "cloned"}
    if environment == "pen"
    else {
        "random": "random",
        "replay/15": "medium-replay, half-way",
        "medium": "medium",
        "expert": "expert",
    }
)
try:
    with TemporaryDirectory() as folder:
        figures = ""
        for path, label in zip(
            video.record_bundled(environment, list(shown), Path(folder)),
            shown.values(),
            strict=True,
        ):
            clip = video.element(
                path, f"The {label} policy in {environment}", width=240
            )
            figures += f'<figure style="margin:0">{clip}<figcaption>{label}</figcaption></figure>'
    display(
        HTML(f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{figures}</div>')
    )
except video.VideoError as error:
    print(f"No video: {error}")

# %% [markdown]
# ## Your own data
#
# Whatever the source, it ends in `Dataset.make`, which takes six arrays and checks them: `obs` and `next_obs`
# $(N, O)$, `act` $(N, U)$, `rew`, `terminal` and `last` $(N,)$. `terminal` is the environment's own ending
# only; an episode cut by a time limit is `last` and not `terminal`, since its value does not end there.

# %%
from rdlib.data import DataError, Dataset

some = data[qualities[-1]]
arrays = {
    k: getattr(some, k).copy()
    for k in ("obs", "act", "rew", "next_obs", "terminal", "last")
}
mine = Dataset.make(name="mine", source="hdf5", env_id=some.env_id, **arrays)
print(mine)

# %% [markdown]
# What is wrong is refused, with the array and the row:


# %%
def refuse(what, **changed):
    """Print what `Dataset.make` says to these arrays; it must refuse them."""
    try:
        Dataset.make(name="mine", source="hdf5", **{**arrays, **changed})
    except DataError as error:
        print(f"{what}\n    {error}\n")
    else:
        raise AssertionError(f"{what} was accepted")


spoilt = arrays["rew"].copy()
spoilt[7] = np.nan
inside = arrays["terminal"].copy()
inside[int(np.argmin(arrays["last"]))] = True
refuse("a reward that is not a number", rew=spoilt)
refuse("one action too few", act=arrays["act"][:-1])
refuse("states of another width", next_obs=arrays["next_obs"][:, 1:])
refuse("a termination in the middle of an episode", terminal=inside)
refuse(
    "an episode that does not end",
    last=arrays["last"] & (np.arange(len(some)) < len(some) - 1),
)
refuse("rewards as text", rew=arrays["rew"].astype(str))
refuse("flags that are not 0 or 1", terminal=arrays["terminal"] + 0.5)

# %% [markdown]
# Three forms on disk are read by the same `load`: a Minari dataset by its id, an HDF5 file in D4RL's layout by
# its path (`observations`, `actions`, `rewards`, `terminals`, and `timeouts` or a known horizon), and D4RL's
# own files by name. To write a Minari dataset from episodes:

# %%
from rdlib.data.readers.episodes import Episode
from rdlib.data.readers.minari import read_minari
from rdlib.data.readers.minari_writer import write_minari

ends = np.flatnonzero(mine.last)[:3]
starts = [0, *(ends[:-1] + 1)]
episodes = [
    Episode(
        np.concatenate([mine.obs[i : j + 1], mine.next_obs[j : j + 1]]),
        mine.act[i : j + 1], mine.rew[i : j + 1],
        mine.terminal[i : j + 1], np.arange(i, j + 1) == j, None,
    )
    for i, j in zip(starts, ends, strict=True)
]  # fmt: skip
with TemporaryDirectory() as folder:
    write_minari(
        "mine/first-v0", folder, episodes, some.env_id,
        description="three episodes", author="you", algorithm="yours", license="MIT",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = read_minari("mine/first-v0", folder, download=False)
assert np.array_equal(again.act, mine.act[: len(again)])
print(again)

# %% [markdown]
# and from a terminal, before any training, `python -m rdlib data inspect NAME` tells what a dataset holds (ranges,
# returns, endings, duplicates, saturated actions, licence, digest) and ends with whether it can be used:

# %%
from rdlib.__main__ import main

main(["data", "inspect", f"{environment}-{qualities[-1]}", "--size", str(size)])
