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
# # Train an agent
#
# One notebook trains any algorithm of the book, with or without Representation Distinction (RD), on any dataset.
# It evaluates the agent while it learns, leaves a record of the run, and says in three sentences what came of it.
# As it stands it trains TD3-N-UNC with RD on `hopper-medium`, in minutes on two CPU cores; from a terminal,
#
#     papermill notebooks/train.ipynb -p algo td3n_rd
#
# does the same, and `-p dataset door-human`, `-p seeds 0,1,2` or `-p rd weight=0.03` change what is trained.

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
algo = "td3n_rd"
dataset = "hopper-medium"
seeds = [0]
steps = 0
config = {}
rd = {}
device = "auto"
compile = "auto"
together = 0
scale = "auto"
beside = True
env = ""
env_kwargs = {}
out = ""

# %% [markdown]
# <details><summary>What the parameters mean</summary>
#
# | parameter | meaning |
# |---|---|
# | `algo` | `bc`, `dt`, `td3bc`, `cql`, `iql`, `edac`, `diffusion_ql`, `sacn`, `td3n`; with a critic also `…_rd`, `…_dr3`, `…_ln` (layer norm) |
# | `dataset` | a bundled one (`hopper-medium`, `walker2d-expert`, `pen-demos`, `door-human`, …), `d4rl/hopper-medium-v2`, a path to an `.hdf5`, a Minari id; or several of one environment with commas between, trained together |
# | `seeds` | `0`, `[0, 1, 2]` or `"0,1,2"`; all seeds train together |
# | `steps` | gradient updates; 0: as the scale says |
# | `rd`, `config` | hyperparameters of the plug-in and of the algorithm: `{"weight": 0.03}` or `"weight=0.03"` |
# | `beside` | `False`: train no behaviour cloning beside it |
# | `device` | `auto`, `cpu`, `cuda` |
# | `compile` | `auto`: on a CPU a run of 12,000 updates or more becomes [compiled programs](sec-compiled) at update 4,000; `true`: at the start; `false`: never |
# | `together` | most agents in one batch, the others after them; 0: as many as fit. On a CPU, 1 is [often quickest](hardware.ipynb) for ensembles |
# | `scale` | `quick`: minutes on two CPU cores, with smaller networks than the paper's; `paper`: the published scale, hours on a GPU; `auto`: `quick` |
# | `env`, `env_kwargs` | the environment to evaluate in, where the data do not say it or another is meant, and arguments of it: `Ant-v4` and `use_contact_forces=true` |
# | `out` | folder of the records and the checkpoint; empty: `runs/<algo>/<dataset>` |
#
# </details>

# %%
from rdlib.training.parameters import from_notebook

asked = from_notebook(globals())  # refuses unknown names and wrong types

# %% tags=["hide-cell"]
import json
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

import rdlib
from rdlib.results import machines, plots, typeset, video
from rdlib.results.sentences import sentences
from rdlib.training.plan import make_plan
from rdlib.training.request import command

plots.use_style()
plan = make_plan(asked)
settings = {
    "algorithm": plan.recipe.name,
    "agents trained together": len(plan.agents),
    "gradient updates": f"{plan.steps:,}",
    "evaluated every": f"{plan.eval_every:,} updates, {asked.episodes} episodes, {plan.env_id}",
    "device": str(plan.device),
    "records and checkpoint": str(plan.out),
}
agent = plan.agents[0]
for name, config in (("hyperparameters", agent.config), ("plug-in", agent.plugin)):
    if config is not None:
        settings[name] = ", ".join(f"{k} {v}" for k, v in asdict(config).items())
typeset.scrolled(pd.DataFrame(settings.items(), columns=["setting", "value"]))

# %% [markdown]
# ## How long will it take?
#
# At quick scale minutes on two CPU cores, and less on a GPU.
# At the paper's scale (`-p scale paper`), by the machines that were measured, updates alone:

# %% tags=["remove-input"]
if plan.scale == "quick":
    display(Markdown(
        "**Quick scale.** Few updates, a smaller ensemble and smaller networks than the paper's: "
        "enough to see every part at work, not to reproduce a number of its tables."
    ))  # fmt: skip
clone = next((p for p in (Path.cwd(), *Path.cwd().parents) if (p / "book/results/hardware").is_dir()), None)
measured = sorted((clone / "book/results/hardware").glob("*.json")) if clone else []
hours = machines.expected(asked.algo, {path.stem: json.loads(path.read_text()) for path in measured})
if len(hours):
    display(typeset.scrolled(hours, digits=2))
else:
    print(f"{asked.algo} was measured on no machine whose record is here: `python -m rdlib bench` measures yours.")

# %% [markdown]
# ## Training
#
# After some seconds of updates a line says what the run will take on this machine.
# An interrupted or killed run resumes from its last checkpoint when the same notebook is run again, and a finished one is read back.
# Beside it trains behaviour cloning (BC), which every offline method should beat, for no more updates than the agent.

# %%
run = rdlib.train(plan, progress=True)

# %% tags=["hide-input"]
clones = []
if beside and plan.recipe.name != "bc":
    cloning = replace(
        asked, algo="bc", config={}, plugin={}, variants=({},), steps=0, eval_every=0,
        out=str(plan.out / "bc"),
    )  # fmt: skip
    same = list({id(a.dataset): a.dataset for a in plan.agents}.values())  # read once
    cloning = replace(cloning, steps=min(make_plan(cloning, same).steps, plan.steps))
    cloning = make_plan(cloning, same)
    clones = rdlib.train(cloning, progress=True).records

# %% [markdown]
# ## What was learned

# %% tags=["remove-input"] mystnb={"image": {"alt": "Score over gradient updates, of the agent and of behaviour cloning, each with a band, and a level for the behaviour policy"}}
data = plan.agents[0].dataset
records = [r for r in run.records if r.dataset == data.name]
cloned = [r for r in clones if r.dataset == data.name]
found = sentences(records, cloned, data)
display(Markdown("\n".join(f"- {sentence}" for sentence in found)))
curves = {asked.algo: records} | ({"bc": cloned} if cloned else {})
behaviour = plots.dataset_score(data)
figure = plots.learning_curves(curves, {f"mean of {data.name}": behaviour})
figure.suptitle(found[1].split(",")[0])

# %% [markdown]
# The last-iterate score is the mean over the last evaluations, as many as were fixed before the run began.
# The best one beside it is optimistic. The untrained agent is the same network before its first update.

# %% tags=["hide-input"]
rows = [
    {"": r.algo, "dataset": r.dataset, "seed": str(r.seed), "updates": f"{r.stopped_at:,}",
     "status": r.status, "untrained": r.scores()[0], "last": r.last_score(), "best": r.best_score()}
    for r in run.records + clones
]  # fmt: skip
rows += [{"": "behaviour policy", "dataset": data.name, "last": behaviour}]
unit = "100 (return - random) / (expert - random), D4RL's"
print(f"score: {unit}" if records[0].reference else "returns")
typeset.scrolled(pd.DataFrame(rows))

# %% [markdown]
# ## Values
#
# TD learning updates $Q$ at data actions $a$ and asks for it at the policy's actions $\pi(s)$. Where
# $Q(s,\pi(s))$ runs away from $Q(s,a)$ although no data ever supported it, it was generalisation that
# moved it.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean value over gradient updates, at the data's actions, at the policy's and at those of the out-of-distribution policy"}}
frame = plots.evaluations(records)
if "q_data" in frame:
    names = {"q_data": "Q(s, a)", "q_policy": "Q(s, π(s))", "q_ood": "Q(s, π_ood(s))"}
    plots.curves(frame, {k: v for k, v in names.items() if k in frame}, "Q", "mean value on fixed states")
else:
    print(f"{asked.algo} has no critic")

# %% [markdown]
# ## The kernel
#
# How far a TD update at one action moves the value at another is the neural tangent kernel of the two; its
# share that comes from the last layer is the product of their features. RD suppresses it between data and
# policy (stage 1) and, where the two coincide, between the policy and the learned out-of-distribution
# policy $\pi_{ood}$ (stage 2). The cosine on the right does not depend on the norm of the features.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two plots over gradient updates, the feature kernel and its cosine, for the pairs data and policy, policy and OOD, data and other data"}}
import matplotlib.pyplot as plt

if "q_data" in frame:
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
    pairs = {"data_policy": "data, policy", "policy_ood": "policy, OOD", "data_data": "data, other data"}
    for axis, kind in zip(axes, ("kernel", "cosine"), strict=True):
        found = {f"{kind}_{k}": v for k, v in pairs.items() if f"{kind}_{k}" in frame}
        plots.curves(frame, found, kind, f"feature {kind} between actions", axis)
    axes[0].set_yscale("log")
else:
    print(f"{asked.algo} has no critic")

# %% [markdown]
# How near the policy is to the data, and how much of the penalty is stage 2 ($w$ averaged over states):

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean distance between the actions of policy and data, and mean weight of the second stage, over gradient updates"}}
shown = {"policy_data_distance": "mean |π(s) - a|² / dim A", "rd_switch": "mean w(s)"}
shown = {k: v for k, v in shown.items() if k in frame}
plots.curves(frame, shown, "", "distance from the data, and the switch between stages");

# %% [markdown]
# ## The data
#
# Offline RL has nothing else. The colour on the right is the reward.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three plots of the data: histograms of episode returns and of episode lengths, and the states on their first two principal components, coloured by reward"}}
for data in {id(a.dataset): a.dataset for a in plan.agents}.values():
    print(data)
    mean_return, mean_steps = data.episode_returns().mean(), data.episode_lengths().mean()
    print(f"mean episode: {mean_return:.1f} return, {mean_steps:.0f} steps")
    plots.dataset_overview(data)

# %% [markdown]
# ## The policy at work

# %%
try:
    clip = video.record(plan.out, plan.out / "policy.mp4")
    label = f"The trained {asked.algo} policy in {plan.env_id}, first evaluation episode"
    display(HTML(video.element(clip, label)))
except video.VideoError as error:
    print(f"No video: {error}")

# %% [markdown]
# ## Again
#
# The same run from a terminal, and what it wrote:

# %%
print(command(asked))
for record in run.records:
    print(plan.out / record.file_name, f"{record.seconds:.0f} s, {record.device}, {record.matmul} product")
