"""What the records of `python -m rdlib bench` say of a machine: how fast, against what, at what cost."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from rdlib import algos
from rdlib.results.plots import PALETTE
from rdlib.results.printed import title
from rdlib.training.bench.speed import PEERS, project

TALLEST = 7.5  # inches of a figure ten wide, which a page shows at two thirds
KERNEL_KINDS = {  # the first of these whose words are in a kernel's name
    "products": ("gemm", "gemv"), "Adam and target networks": ("multi_tensor_apply",),
    "random numbers": ("long", "int>"), "elementwise, reductions, copies": ("",),
}  # fmt: skip


def alone(bench: Mapping[str, Any]) -> pd.DataFrame:
    """Updates/s of one agent by algorithm: ours (compiled, or captured as graphs), one launch at a time,
    the limit that the machine's products and copies set, and on a CPU the quickest peer. What a
    record does not have is left out."""
    rows = {
        title(r["algo"]): {
            "ours": r["updates/s"],
            "one launch at a time": 1e3 / r["eager ms/update"] if "eager ms/update" in r else None,
            "the limit": 1e3 / r["predicted ms"],
            "quickest peer": PEERS[r["algo"]].rate if _on_cpu(bench) and r["algo"] in PEERS else None,
        }
        for r in _measured(bench) if r["agents"] == 1
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", dtype=float).dropna(axis=1, how="all")


def standing(found: pd.DataFrame) -> str:
    """What `alone` shows, in one sentence."""
    share = (found["ours"] / found["the limit"]).median()
    text = f"one agent runs at {100 * share:.0f} % of the machine's limit (median)"
    if "quickest peer" in found:
        ratio = (found["ours"] / found["quickest peer"]).dropna()
        text += f", and ahead of the quickest peer for {(ratio >= 1).sum()} of {len(ratio)} algorithms"
    if "one launch at a time" in found:
        gain = (found["ours"] / found["one launch at a time"]).median()
        text += f",\n{gain:.1f} times as quick as one launch at a time"
    return text


def together(bench: Mapping[str, Any], of: str = "agent-updates/s") -> pd.DataFrame:
    """Updates/s of all agents (or `of`: "MiB") by algorithm, a column for each number of agents."""
    rows = pd.DataFrame(_measured(bench))
    rows["algorithm"] = rows["algo"].map(title)
    return rows.pivot(index="algorithm", columns="agents", values=of)


def _measured(bench: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows for which there was enough memory."""
    return [r for r in bench["rows"] if "ms/update" in r]


def _on_cpu(bench: Mapping[str, Any]) -> bool:
    return "cpu" in bench["device"]


def bars(found: pd.DataFrame, xlabel: str) -> Figure:
    """A group of bars for each row, on a logarithmic scale."""
    size = (10, min(1.2 + 0.17 * len(found) * (len(found.columns) + 0.5), TALLEST))
    figure, axes = plt.subplots(figsize=size)
    found.iloc[::-1, ::-1].plot.barh(
        ax=axes, width=0.85, legend=False, color=PALETTE[: len(found.columns)][::-1]
    )
    axes.set(xscale="log", xlabel=xlabel, ylabel="")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=4)
    return figure


def cost(benches: Sequence[Mapping[str, Any]]) -> tuple[pd.DataFrame, list[str]]:
    """Projected hours of the paper's tables on one machine by its records together: of updates, and of
    evaluations beside them, a row for each column of a table; and the algorithms not measured."""
    rows, missing = [], []
    for projection in project([row for bench in benches for row in bench["rows"]]):
        missing += projection["missing"]
        rows += [
            {"table": projection["table"], "column": title(algo), "updates": h["updates"],
             "evaluations": h["evaluation"]}
            for algo, h in projection["columns"].items()
        ]  # fmt: skip
    return pd.DataFrame(rows), sorted(set(missing))


def expected(algo: str, benches: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """How long the updates of one run of `algo` take at the paper's scale on the machines measured, by the
    number of agents trained together; empty where none measured it."""
    steps = algos.find(algo).entry.scales["paper"].steps
    rows = [
        {"machine": name, "device": bench["device"], "agents together": r["agents"],
         "updates": f"{steps:,}", "hours": steps / r["updates/s"] / 3600}
        for name, bench in benches.items() for r in _measured(bench) if r["algo"] == algo
    ]  # fmt: skip
    return pd.DataFrame(rows)


def families(profile: Path) -> dict[str, float]:
    """Milliseconds an update of each of KERNEL_KINDS in a profile's table; its first line says of how many
    updates it is; rows of operators repeat their kernels' time and are left out."""
    first, *lines = profile.read_text().splitlines()
    found = dict.fromkeys(KERNEL_KINDS, 0.0)
    for line in lines:
        times = re.findall(r"([\d.]+)(us|ms)(?=\s)", line)
        if len(times) == 6 and not line.strip().startswith("aten::"):
            value, unit = times[3]  # self CUDA
            kind = next(k for k, words in KERNEL_KINDS.items() if any(w in line for w in words))
            found[kind] += float(value) * (1e-3 if unit == "us" else 1) / int(first.split()[0])
    return found
