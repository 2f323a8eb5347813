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
# On a GPU many agents share the device, and Table 1 takes hours.

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

# %% tags=["parameters", "remove-cell"]
results = "book/results/hardware"  # in a clone of the repository; the installed package has no records

# %% tags=["remove-cell"]
from rdlib.training.parameters import check_parameters

check_parameters(globals())

# %% tags=["remove-input"] mystnb={"image": {"alt": "For each machine measured: updates a second of one agent of each algorithm on a logarithmic scale, ours beside one launch at a time, the machine's limit and the quickest peer"}}
import json
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from rdlib.results import machines, plots, typeset
from rdlib.training.bench.speed import PEER_SIZE, PEERS
from rdlib.training.record import load_records

plots.use_style()
folder = next((p / results for p in (Path.cwd(), *Path.cwd().parents) if (p / results).is_dir()), None)
if folder is None:
    raise FileNotFoundError(f"{results} is not here: clone the repository and run this page inside it")
benches = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
alone = {name: found for name, b in benches.items() if not (found := machines.alone(b)).empty}
for name, found in alone.items():
    figure = machines.bars(found, "updates a second, one agent")
    figure.suptitle(f"{name}: {machines.standing(found)}")
    display(figure)
    plots.plt.close("all")

# %% [markdown]
# - Bars are full updates (sampling, losses, backward, optimisers, target networks) on random data of Hopper's shapes.
# - *The limit* has every matrix product as quick as it is alone on this machine, and the bytes of all else as quick as a copy.
# - *One launch at a time* is the same update neither compiled to one program ([how](sec-compiled)) nor captured as a CUDA graph.
# - The peers ran on two cores of an AMD EPYC, by their own defaults; beside another processor they are a rough guide.
# - Two cores of a shared machine vary by a third from one process to the next, so a ratio near 1 decides nothing.

# %% tags=["remove-input"]
sized = [(name, r) for name, b in benches.items() for r in b["rows"] if r.get(PEER_SIZE)]
slower = [
    {"machine": name, "algorithm": a, "of the quickest peer": f"{x:.2f}", "at": "our settings"}
    for name, found in alone.items() if "quickest peer" in found
    for a, x in (found["ours"] / found["quickest peer"]).items() if x < 1
] + [
    {"machine": name, "algorithm": r["algo"], "of the quickest peer": f"{r[PEER_SIZE] / peer.rate:.2f}",
     "at": "the peer's size: " + ", ".join(f"{k} {v}" for k, v in peer.config.items())}
    for name, r in sized for peer in [PEERS[r["algo"]]]
]  # fmt: skip
if slower:
    display(Markdown("Behind the quickest peer, and where a peer's networks have another size, at that size:"))
    display(typeset.scrolled(pd.DataFrame(slower)))

# %% [markdown]
# ## What do more agents bring?
#
# On a GPU nearly their number, until it is full; on a CPU larger products for small networks, and nothing for large ones.
# An update of each agent counts, so bars that grow with the agents are a device that was not full.

# %% tags=["remove-input"] mystnb={"image": {"alt": "For each machine measured: updates a second of all agents of each algorithm on a logarithmic scale, a bar for each number of agents trained together"}}
many = {name: b for name, b in benches.items() if len(machines.together(b).columns) > 1}
for name, bench in many.items():
    each = machines.together(bench)
    gain = (each[max(each)] / each[min(each)]).median()
    figure = machines.bars(each.rename(columns="{} agents".format), "updates a second, all agents")
    figure.suptitle(f"{name}: {max(each)} agents together do {gain:.1f} times the updates of one (median)")
    display(figure)
    plots.plt.close("all")

# %% [markdown]
# - *On a CPU* its cores are busy with one agent. Larger products help small networks: BC's, TD3+BC's, Diffusion-QL's.
# - Ensembles of ten and CQL are bound by products already, and what many agents compute no longer fits the cache. `--together 1` trains them one after the other, to the same results.
# - *On a GPU* one agent leaves most of the device idle: each phase of an update is captured once, as a CUDA graph, and replayed with one launch.
#
# ## What memory does it take?
#
# Networks, moments and activations grow with the agents; the data lie on the device once for each dataset, 100 MiB for a million transitions of Hopper.
# Where a device runs out, `rdlib.train` says so and trains the agents in halves, one after the other, to the same results.

# %% tags=["remove-input"] mystnb={"image": {"alt": "For each machine measured: peak memory of each algorithm in MiB on a logarithmic scale, a bar for each number of agents trained together"}}
for name, bench in many.items():
    each = machines.together(bench, "MiB")
    figure = machines.bars(each.rename(columns="{} agents".format), "MiB at most")
    figure.suptitle(f"{name}: at most {each.max().max() / 1024:.1f} GiB, for {each.max(axis=1).idxmax()}")
    display(figure)
    plots.plt.close("all")

# %% [markdown]
# ## What would the tables take?
#
# At the paper's scale, five seeds, all datasets of an environment in one batch, projected from the times above.
# Hours are of the whole machine: of updates, and of the evaluations that run beside them at the paper's cadence.

# %% tags=["remove-input"] mystnb={"image": {"alt": "For each machine measured: projected hours of each column of the paper's two tables, of updates and of evaluations"}}
by_machine = {}
for name, bench in benches.items():
    key = bench["device"], bench.get("processor", name), bench["compiled"]
    by_machine.setdefault(key, []).append(name)
for names in by_machine.values():
    table, missing = machines.cost([benches[n] for n in names])
    hours = table.set_index(table.column + ", Table " + table.table.astype(str))[["updates", "evaluations"]]
    figure = machines.bars(hours, "hours")
    sums = ", ".join(f"Table {t} {h:,.0f} h" for t, h in table.groupby("table").updates.sum().items())
    figure.suptitle(
        f"{' and '.join(names)}: updates of {sums}" + (f"\nnot measured: {', '.join(missing)}" if missing else "")
    )
    display(figure)
    plots.plt.close("all")

# %% [markdown]
# - The evaluations of `h200` are of sixteen threads with datasets being rolled out on the same cores, and too slow.
# - `h200-four-cores`, with nothing beside it, takes a ninth to a half of that, and rdlib simulates with four threads since.
# - On the CPUs the hours are of two threads with updates compiled (`--compile`).
#
# ## What was measured on
#
# The records are what `python -m rdlib bench --out FOLDER` left, one for each machine in `book/results/hardware`.

# %% tags=["remove-input"]
rows = [
    {"record": name, "device": b["device"], "processor": b.get("processor", "not recorded"), "cores": b["cores"],
     "best product, GFLOP/s": max(b["rates"].values()), "copy, GB/s": b["GB/s"],
     "torch": b["versions"]["torch"], "commit": b["commit"][:8]}
    for name, b in benches.items()
]  # fmt: skip
typeset.scrolled(pd.DataFrame(rows), digits=0)

# %% [markdown]
# For your own machine:
#
#     python -m rdlib bench --out my-machine
#     python -m rdlib bench --device cuda --algos td3n,td3n_rd --agents 1,15
#
# ## What does a GPU do with one update?
#
# A third of it are products, which take what they take alone; what is left is Adam and elementwise kernels that read and write every activation once more.
# The time of all kernels in an update of 15 agents of TD3-N-UNC at the paper's size, on an H200 (`book/results/hardware/h200-profile.txt`):

# %% tags=["remove-input"]
spent = {path.stem: machines.families(path) for path in sorted(folder.glob("*-profile.txt"))}
table = pd.DataFrame(spent).rename_axis("ms an update, of").reset_index()
display(typeset.scrolled(table, digits=2))
trained = folder.parent / "paper-tenth"
each = {r.algo: r for r in (load_records(trained) if trained.is_dir() else [])}
rows = [
    {"trained": a, "agents": r.agents, "ms an update, with all evaluations": 1e3 * r.seconds / r.steps, "device": r.device}
    for a, r in sorted(each.items())
]  # fmt: skip
display(typeset.scrolled(pd.DataFrame(rows), digits=2))

# %% [markdown]
# - Captured updates equal those of one launch at a time to the bit there, for every algorithm with RD, DR3 and layer norm (`book/results/hardware/h200-tests.txt`).
# - The kernels' sum is the update's time but for the random numbers, which one call draws for 250 updates and a profile of two shows too large.
# - So batches beyond 15 agents should bring little, and fewer passes over the activations would bring more.
# - *Met* of what we had set ourselves for this card: one agent five times as quick as one launch at a time, and 35 % of the products' ceiling at 15 agents.
# - *Missed*: 15 agents of TD3-N-UNC in 1.0 ms, with RD in 1.8, of TD3+BC in 0.25; five agents for 1.3 times the time of one; evaluation's share; Table 1 in four hours.
#
# ## Where does the time of one update go here?
#
# A profile of TD3-N-UNC at the paper's size, one agent, taken where this page was built (a GPU if there is one): the operations that take longest, by their own time.

# %% tags=["remove-stderr", "remove-input"]
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
# `bmm` is the products of the ten critics' layers, forward and backward.
# On a CPU they are most of it, so little is to be gained by fewer or fused operations; the smaller a method's networks, the less this holds.
