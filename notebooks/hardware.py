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
# # Hardware and cost
#
# The tables of the paper are hundreds of runs of a million updates. What that costs depends on two things: how
# quick one update is against what the machine could do, and how many agents share it. This page reads
# the records that `python -m rdlib bench --out FOLDER` left, one for each machine in
# `book/results/hardware`; no number in its tables is typed.
#
# The bench runs full updates (sampling, losses, backward, optimisers, target networks) on random data of
# Hopper's shapes. Beside each measured time it predicts one: every matrix product as quick as it is alone on this
# machine, and the bytes of all other kernels as quick as a copy. Where the measured time is much longer than
# the predicted one, the rest is launches and Python; where it is near, only less arithmetic would help.

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

# %%
import json
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

folder = next(
    (
        p / results
        for p in (Path.cwd(), *Path.cwd().parents)
        if (p / results).is_dir()
    ),
    None,
)
if folder is None:
    raise FileNotFoundError(
        f"{results} is not here: clone the repository and run this page inside it"
    )
benches = {
    path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))
}
machines = [
    {
        "record": name, "device": b["device"], "processor": b.get("processor", "not recorded"),
        "cores": b["cores"],
        "best product, GFLOP/s": max(b["rates"].values()), "copy, GB/s": b["GB/s"],
        "torch": b["versions"]["torch"], "commit": b["commit"][:8],
    }
    for name, b in benches.items()
]  # fmt: skip
pd.DataFrame(machines).style.format(precision=0).hide()

# %% [markdown]
# ## One update
#
# $A$ is the number of agents that train together. *Share* is that of the products' own ceiling at the same
# shapes; *agents/s* counts an update of each agent, so a device that is not yet full shows more of them with larger $A$.
# The last column is the quickest other implementation that we measured on two cores of an AMD EPYC (its own defaults, compilation
# not counted); it is there for $A = 1$ on a CPU only, and beside the record of another processor a rough guide. The CQL there, JAX-CORL's, has two hidden layers where CORL's and ours have three, so
# below the tables ours runs once more with two.

# %%
from rdlib.training.bench.speed import PEER_SIZE, PEERS

behind, eager, alike, gains, crowded = {}, {}, {}, {}, {}
for name, bench in benches.items():
    rows = pd.DataFrame(bench["rows"])
    rows["share, %"] = 100 * rows["GFLOP/s"] / rows["ceiling GFLOP/s"]
    rows = rows.rename(
        columns={
            "agents": "A",
            "predicted ms": "predicted",
            "agent-updates/s": "agents/s",
        }
    )
    columns = [
        "algo",
        "A",
        "ms/update",
        "predicted",
        "agents/s",
        "GFLOP/s",
        "share, %",
    ]
    if "eager ms/update" in rows:  # captured as graphs, or compiled
        rows = rows.rename(columns={"eager ms/update": "kernel by kernel, ms"})
        columns.insert(3, "kernel by kernel, ms")
        alone = rows[rows.A == 1].set_index("algo")
        gains[name] = alone["kernel by kernel, ms"] / alone["ms/update"]
    if "cpu" not in bench["device"]:  # its process keeps what earlier rows freed
        columns.append("MiB")
    if "cpu" in bench["device"]:
        alone = rows.A == 1
        peers = rows.algo.map({name: peer.rate for name, peer in PEERS.items()})
        rows["peer's"] = peers.where(alone)
        columns.append("peer's")
        ratios = rows.set_index("algo")["updates/s"] / rows.set_index("algo")["peer's"]
        behind[name] = ratios[ratios < 1].to_dict()
        if name in gains:
            ratios = ratios / gains[name]
            eager[name] = ratios[ratios < 1].to_dict()
        each = rows.pivot(index="algo", columns="A", values="agents/s")
        each = each.div(each[1], axis=0).stack() if 1 in each else pd.Series(dtype=float)
        crowded[name] = each[each < 1].to_dict()
        alike[name] = {
            row["algo"]: (row[PEER_SIZE], row["peer's"])
            for row in rows[rows.get(PEER_SIZE, pd.Series(dtype=float)).notna()].to_dict("records")
        }
    how = ", updates compiled" if bench.get("compiled") else ""
    display(Markdown(f"**{name}**: {bench['device']}, {bench['matmul']} product{how}"))
    table = (
        rows[columns]
        .style.format(precision=1 if "cpu" in bench["device"] else 2, na_rep="")
        .format(
            precision=0, subset=[c for c in ("agents/s", "GFLOP/s", "share, %", "MiB") if c in columns]
        )
    )
    display(table.set_properties(padding="0.1em 0.5em").hide())
for name, ratio in gains.items():
    if ratio.empty:
        continue
    said = ", ".join(f"{algo} {r:.1f}" for algo, r in ratio.sort_values()[::-1].items())
    print(f"{name}: times as quick as kernel by kernel, at A = 1: {said}")
for name, ratios in behind.items():
    said = ", ".join(f"{algo} ({ratio:.2f} of it)" for algo, ratio in ratios.items())
    print(f"{name}: slower than the quickest peer at A = 1: {said or 'none'}")
    if name in eager:
        said = ", ".join(f"{algo} ({ratio:.2f} of it)" for algo, ratio in eager[name].items())
        print(f"{name}: the same kernel by kernel, without --compile: {said or 'none'}")
    said = ", ".join(f"{algo} ({r:.2f} at A = {n})" for (algo, n), r in crowded[name].items())
    print(f"{name}: slower for each agent than alone: {said or 'none'}")
    for algo, (ours, peer) in alike[name].items():
        sizes = ", ".join(f"{k} {v}" for k, v in PEERS[algo].config.items())
        print(f"{name}: {algo} of its peer's size ({sizes}): {ours:.1f} updates/s, the peer's {peer}")

# %% [markdown]
# On a CPU the record is of updates compiled to one program ([how](sec-compiled)), as those of the peers in JAX are by
# XLA; *kernel by kernel* is the same update without. It gains most where networks are small or losses have many elementwise
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
# records tells: the rows above that are slower for each agent than alone. Those train at the rate of $A = 1$ with `--together 1`
# (`together=1`, `-p together 1`): no more agents than that in one batch, the others after them, to the same results. With
# `--compile` each batch compiles its own update, which for short runs takes more than it brings.
#
# On a GPU one agent leaves most of the device idle, and that is what the agents' axis is for: `rdlib` captures
# each phase of an update once, as a CUDA graph, and replays it with one launch. The table of machines above tells whether
# this page is read with such a record: no record of a GPU, no claim about one.
#
# ## What a GPU does with one update
#
# An H200, 15 agents of TD3-N-UNC at the paper's size (five seeds of three datasets), float32 with products in TF32: the time of all kernels in
# two updates, from a profile taken beside the record (`book/results/hardware/h200-profile.txt`).

# %%
import re

FAMILIES = {  # the first of these whose words are in a kernel's name
    "products": ("gemm", "gemv"), "Adam and target networks": ("multi_tensor_apply",),
    "random numbers": ("long", "int>"), "elementwise, reductions, copies": ("",),
}  # fmt: skip


def families(path):
    """Milliseconds an update of each family; rows of operators repeat their kernels' time."""
    first, *lines = path.read_text().splitlines()
    found = dict.fromkeys(FAMILIES, 0.0)
    for line in lines:
        times = re.findall(r"([\d.]+)(us|ms)(?=\s)", line)
        if len(times) == 6 and not line.strip().startswith("aten::"):
            value, unit = times[3]  # self CUDA
            kind = next(k for k, words in FAMILIES.items() if any(w in line for w in words))
            found[kind] += float(value) * (1e-3 if unit == "us" else 1) / int(first.split()[0])
    return found


for path in sorted(folder.glob("*-profile.txt")):
    spent = families(path)
    print(f"{path.stem}: " + ", ".join(f"{kind} {ms:.2f} ms" for kind, ms in spent.items()))

from rdlib.training.record import load_records

trained = folder.parent / "paper-tenth"
each = {r.algo: r for r in (load_records(trained) if trained.is_dir() else [])}
for algo, r in sorted(each.items()):
    print(f"trained: {r.agents} agents of {algo}, {1e3 * r.seconds / r.steps:.2f} ms an update with all evaluations, {r.device}")

# %% [markdown]
# Captured updates equal those kernel by kernel to the bit there, for every algorithm with RD, DR3 and layer norm (`book/results/hardware/h200-tests.txt`).
#
# The products take what they take alone, and a third of the update; Adam moves at two thirds of a copy's bandwidth; what is left is elementwise kernels, a bias added, a
# ReLU, each of which reads and writes every activation once more. Launches no longer count: the kernels' sum is the update's time but for the random numbers,
# which one call draws for 250 updates and a profile of two shows too large. So batches beyond 15 agents should bring
# little; fewer passes over the activations would bring more: what `--compile` does on a CPU, and is refused on a GPU so far. Kernel by kernel, without graphs, one agent
# takes several times as long, as the lines under the tables tell.
#
# Of what we had set ourselves for this card, one agent's graphs (five times as quick as kernel by kernel) and the share of the products' ceiling (35 % at
# 15 agents) were met. Missed were the times of 15 agents, 1.0 ms for TD3-N-UNC, 1.8 with RD, 0.25 for TD3+BC, of which the first two were set below what this page predicts from the
# card's own products and copies; five agents of TD3-N-UNC for 1.3 times the time of one; evaluation's share, of which below; and Table 1 in four hours.
#
# The evaluations of `h200` are of sixteen threads, with datasets being rolled out on the same cores, and slow: threads of one interpreter wait
# for each other. In `h200-four-cores`, on four of the host's cores and with nothing beside, as many episodes take a ninth to a half of that, and fit beside the updates of the larger algorithms; `rdlib`
# simulates with four threads since, and the two trainings in the last lines above, on four cores too and evaluated every 20,000 updates, waited for none.

# ## What the tables would take
#
# At the paper's scale, five seeds, all datasets of an environment in one batch, from the times above; *hours* are
# of updates alone, evaluation beside it at the paper's cadence (of `h200` too long, as said above). A column that was not measured is named. Records of one device are taken together. They are hours of the
# whole machine with the threads of its record, two on the CPUs here, with updates compiled there (`--compile`). The pages of
# [Table 1](table1.ipynb) and [Table 2](table2.ipynb) project each cell that was not run in hours of one core and of updates that are not compiled,
# from an earlier measurement (`workflow/speed.csv`); so their totals are larger than these, and are not to be added to them.

# %%
from rdlib.training.bench.speed import project

together = {}
for name, bench in benches.items():
    together.setdefault((bench["device"], bench.get("processor", name), bench["compiled"]), []).append(name)
for names in together.values():
    name = " and ".join(names)
    for projection in project([row for n in names for row in benches[n]["rows"]]):
        columns = projection["columns"]
        rows = [
            {"column": c, "hours": h["updates"], "of evaluation": h["evaluation"]}
            for c, h in columns.items()
        ]
        missing = projection["missing"]
        total = sum(row["hours"] for row in rows)
        said = (
            f"not measured: {', '.join(missing)}"
            if missing
            else f"together {total:,.0f} hours"
        )
        display(Markdown(f"**{name}, table {projection['table']}**: {said}"))
        display(
            pd.DataFrame(rows)
            .style.format(precision=1)
            .set_properties(padding="0.1em 0.5em")
            .hide()
        )

# %% [markdown]
# ## Where the time of one update goes
#
# A profile of TD3-N-UNC at the paper's size, one agent, taken where this page was built (a GPU if there is one, its
# updates captured): the kernels that take longest, by their own time.

# %% tags=["remove-stderr"]
import torch

from rdlib.engine import hardware
from rdlib.engine.cuda_graphs import capture_for
from rdlib.training.bench.speed import Bench

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
hardware.choose_matmul(device)
made = Bench.make("td3n", 1, device, {}, capture=capture_for(device))
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
