# ---
# jupyter:
#   html_theme.sidebar_secondary.remove: true
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
# # Hardware and cost
#
# On two CPU cores an update runs at most of the speed that the machine's products allow, and Table 1 would still take months.
# On a GPU many agents share the device, which is what the agents' axis is for.
# The page reads the records that `python -m rdlib bench --out FOLDER` left, one for each machine in `book/results/hardware`.
#
# The bench runs full updates (sampling, losses, backward, optimisers, target networks) on random data of Hopper's shapes.
# Its *limit* has every matrix product as quick as it is alone on this machine, and the bytes of all else as quick as a copy.
# Far below the limit, the rest is launches and Python; near it, only less arithmetic would help.

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
results = "book/results/hardware"  # in a clone of the repository; the installed package has no records

# %% tags=["remove-cell"]
from rdlib.training.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import json
from pathlib import Path

import pandas as pd
from IPython.display import display

from rdlib.results import machines, plots, typeset
from rdlib.training.bench.speed import PEER_SIZE, PEERS
from rdlib.training.record import load_records

plots.use_style()
folder = next((p / results for p in (Path.cwd(), *Path.cwd().parents) if (p / results).is_dir()), None)
if folder is None:
    raise FileNotFoundError(f"{results} is not here: clone the repository and run this page inside it")
benches = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
rows = [
    {"record": name, "device": b["device"], "processor": b.get("processor", "not recorded"), "cores": b["cores"],
     "best product, GFLOP/s": max(b["rates"].values()), "copy, GB/s": b["GB/s"],
     "torch": b["versions"]["torch"], "commit": b["commit"][:8]}
    for name, b in benches.items()
]  # fmt: skip
typeset.scrolled(pd.DataFrame(rows), digits=0)


# %% [markdown]
# ## How fast is one agent?
#
# On two cores ours is as quick as the quickest peer that we measured, or quicker, but for the algorithms named below the figures.
# The peers ran on two cores of an AMD EPYC, by their own defaults; beside the record of another processor they are a rough guide.

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each machine measured: updates a second of one agent of each algorithm on a logarithmic scale, ours beside one launch at a time, the machine's limit and the quickest peer"}}
for name, bench in benches.items():
    found = machines.alone(bench)
    if found.empty:
        continue
    figure = machines.bars(found, "updates a second, one agent")
    figure.suptitle(f"{name}: {bench['device']}")
    display(figure)
    plots.plt.close("all")
    if "one launch at a time" in found:
        gain = (found["ours"] / found["one launch at a time"]).sort_values(ascending=False)
        print(f"{name}: times as quick as one launch at a time: {', '.join(f'{a} {x:.1f}' for a, x in gain.items())}")
    if "quickest peer" in found:
        ratio = (found["ours"] / found["quickest peer"]).loc[lambda x: x < 1]
        print(f"{name}: slower than the quickest peer: {', '.join(f'{a} ({x:.2f} of it)' for a, x in ratio.items()) or 'none'}")
    for r in bench["rows"]:
        if r.get(PEER_SIZE):
            size = ", ".join(f"{k} {v}" for k, v in PEERS[r["algo"]].config.items())
            print(f"{name}: {r['algo']} of its peer's size ({size}): {r[PEER_SIZE]:.1f} updates/s, the peer's {PEERS[r['algo']].rate}")

# %% [markdown]
# ## What do more agents bring?
#
# On a GPU nearly their number, until it is full; on a CPU larger products for small networks, and nothing for large ones.
# The figures count an update of each agent, so bars that grow with the agents are a device that was not full.

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each machine measured: updates a second of all agents of each algorithm on a logarithmic scale, a bar for each number of agents trained together"}}
for name, bench in benches.items():
    each = machines.together(bench)
    if len(each.columns) < 2:
        continue
    figure = machines.bars(each.rename(columns="{} agents".format), "updates a second, all agents")
    figure.suptitle(f"{name}: {bench['device']}")
    display(figure)
    plots.plt.close("all")
    worse = each.div(each[1], axis=0).stack().loc[lambda x: x < 1] if 1 in each else pd.Series(dtype=float)
    print(f"{name}: slower for each agent than alone: {', '.join(f'{a} ({x:.2f} at {k})' for (a, k), x in worse.items()) or 'none'}")

# %% [markdown]
# On a CPU the record is of updates compiled to one program ([how](sec-compiled)), as those of the peers in JAX are by
# XLA; *one launch at a time* is the same update without. It gains most where networks are small or losses have many elementwise
# steps, and least where products are nearly all of an update: a transformer's windows; what CQL gains differs between the two machines. What a compiler of this kind needs is the whole
# update: `torch.compile` of the networks, or of the update with its backward passes in pieces, made it slower here.
#
# Two cores of a shared machine have moods: the same row may differ by a third from one process to the next, the peers' too, and a
# share above 100 % is such noise. A ratio near 1 therefore decides nothing: unifloral's IQL, run by turns with ours in one
# sitting, was ahead of it by a little more often than behind.
#
# On a CPU a batch of agents costs about what they cost one by one: its cores are busy with one. What $A$ brings there
# is larger products for small networks: BC's, TD3+BC's, Diffusion-QL's. The ensembles of ten and CQL are bound by
# products already at $A = 1$, and what many agents compute no longer fits the cache, so that the same products take longer, as their ceiling in the
# records tells: the algorithms above that are slower for each agent than alone. Those train at the rate of $A = 1$ with `--together 1`
# (`together=1`, `-p together 1`): no more agents than that in one batch, the others after them, to the same results. With
# `--compile` each batch compiles its own update, which for short runs takes more than it brings.
#
# On a GPU one agent leaves most of the device idle, and that is what the agents' axis is for: `rdlib` captures
# each phase of an update once, as a CUDA graph, and replays it with one launch. The table of machines tells whether
# this page is read with such a record: no record of a GPU, no claim about one.
#
# ## What a GPU does with one update
#
# An H200, 15 agents of TD3-N-UNC at the paper's size (five seeds of three datasets), float32 with products in TF32: the time of all kernels in
# two updates, from a profile taken beside the record (`book/results/hardware/h200-profile.txt`).

# %% tags=["hide-input"]
for path in sorted(folder.glob("*-profile.txt")):
    spent = machines.families(path)
    print(f"{path.stem}: " + ", ".join(f"{kind} {ms:.2f} ms" for kind, ms in spent.items()))
trained = folder.parent / "paper-tenth"
each = {r.algo: r for r in (load_records(trained) if trained.is_dir() else [])}
for algo, r in sorted(each.items()):
    print(f"trained: {r.agents} agents of {algo}, {1e3 * r.seconds / r.steps:.2f} ms an update with all evaluations, {r.device}")

# %% [markdown]
# Captured updates equal those of one launch at a time to the bit there, for every algorithm with RD, DR3 and layer norm (`book/results/hardware/h200-tests.txt`).
#
# The products take what they take alone, and a third of the update; Adam moves at two thirds of a copy's bandwidth; what is left is elementwise kernels, a bias added, a
# ReLU, each of which reads and writes every activation once more. Launches no longer count: the kernels' sum is the update's time but for the random numbers,
# which one call draws for 250 updates and a profile of two shows too large. So batches beyond 15 agents should bring
# little; fewer passes over the activations would bring more: what `--compile` does on a CPU, and is refused on a GPU so far. One launch at a time, without graphs, one agent
# takes several times as long, as the lines under the figures tell.
#
# Of what we had set ourselves for this card, one agent's graphs (five times as quick as one launch at a time) and the share of the products' ceiling (35 % at
# 15 agents) were met. Missed were the times of 15 agents, 1.0 ms for TD3-N-UNC, 1.8 with RD, 0.25 for TD3+BC, of which the first two were set below what this page predicts from the
# card's own products and copies; five agents of TD3-N-UNC for 1.3 times the time of one; evaluation's share, of which below; and Table 1 in four hours.
#
# The evaluations of `h200` are of sixteen threads, with datasets being rolled out on the same cores, and slow: threads of one interpreter wait
# for each other. In `h200-four-cores`, on four of the host's cores and with nothing beside, as many episodes take a ninth to a half of that, and fit beside the updates of the larger algorithms; `rdlib`
# simulates with four threads since, and the two trainings in the last lines above, on four cores too and evaluated every 20,000 updates, waited for none.

# ## What would the tables take?
#
# At the paper's scale, five seeds, all datasets of an environment in one batch, projected from the times above.
# Hours are of updates alone; evaluations run beside them at the paper's cadence (those of `h200` too long, as said above).
# They are hours of the whole machine, on the CPUs two threads with updates compiled (`--compile`).

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each machine measured: projected hours of each column of the paper's two tables, of updates and of evaluations"}}
by_machine = {}
for name, bench in benches.items():
    key = bench["device"], bench.get("processor", name), bench["compiled"]
    by_machine.setdefault(key, []).append(name)
for names in by_machine.values():
    table, missing = machines.cost([benches[n] for n in names])
    hours = table.set_index(table.column + ", Table " + table.table.astype(str))[["updates", "evaluations"]]
    figure = machines.bars(hours, "hours")
    figure.suptitle(" and ".join(names))
    display(figure)
    plots.plt.close("all")
    sums = ", ".join(f"Table {t} {h:,.0f} h of updates" for t, h in table.groupby("table").updates.sum().items())
    print(f"{' and '.join(names)}: {sums}" + (f"; not measured: {', '.join(missing)}" if missing else ""))

# %% [markdown]
# ## Where the time of one update goes
#
# A profile of TD3-N-UNC at the paper's size, one agent, taken where this page was built (a GPU if there is one, its
# updates captured): the kernels that take longest, by their own time.

# %% tags=["remove-stderr", "hide-input"]
import torch

from rdlib.engine import hardware
from rdlib.engine.cuda_graphs import capture_for
from rdlib.training.bench import speed

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
hardware.choose_matmul(device)
made = speed.make("td3n", 1, device, {}, capture=capture_for(device))
updates = 5 * made.algorithm.period
made.engine.run(0, updates)  # captures, and makes Adam's moments
with torch.profiler.profile() as seen:
    made.engine.run(0, updates)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
own = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
kernels = pd.DataFrame(
    {
        "kernel": e.key,
        "calls": e.count / updates,
        "ms": getattr(e, own) / updates / 1e3,
    }
    for e in seen.key_averages()
).sort_values("ms", ascending=False)
total = kernels.ms.sum()
kernels["share, %"] = 100 * kernels.ms / total
top = kernels.head(8).assign(kernel=lambda t: t.kernel.str[:40])
rest = {"kernel": f"{len(kernels) - 8} others", "ms": kernels.ms[8:].sum()}
rest["share, %"] = 100 * rest["ms"] / total
print(f"{device.type}: {total:.1f} ms an update, {updates} updates")
shown = pd.concat([top, pd.DataFrame([rest])])
shown.style.format(precision=1, na_rep="").format(precision=2, subset="ms").hide()

# %% [markdown]
# `bmm` is the products of the ten critics' layers, forward and backward. On a CPU they are most of it, so the update
# is bound by arithmetic, and little is to be gained by fewer or fused operations; the smaller a method's
# networks, the less this holds.
#
# ## Memory, and a GPU that is too small
#
# The data lie on the device once per dataset, not once per agent: a million transitions of Hopper are 100 MiB. Networks,
# moments and activations grow with $A$. Where a device runs out of memory, `rdlib.train` says so and trains the
# agents in halves, one after the other, to the same results: each agent learns what it learns alone. A Colab T4 has
# 15 GB; the training page tells what was split. `--together` sets the most of one batch by hand.
#
# For your own machine:
#
#     python -m rdlib bench --out my-machine
#     python -m rdlib bench --device cuda --algos td3n,td3n_rd --agents 1,15
