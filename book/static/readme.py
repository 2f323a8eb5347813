"""The figures of README and index, from the records in book/results/quick: python book/static/readme.py"""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.results import compare, plots, printed, tables
from rdlib.training.record import load_records

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
NAMES = {"td3n": "TD3-N-UNC", "td3n_rd": "TD3-N-UNC + RD"}


def draw() -> None:
    """Left: mean Q at the policy's actions on fixed states. Right: score. Mean and ± std over seeds."""
    plots.use_style()
    frame = plots.evaluations(load_records(RESULTS / "quick"))
    frame = frame[(frame["dataset"] == "hopper-medium") & frame["algo"].isin(NAMES)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for (algo, name), colour in zip(NAMES.items(), (plots.PALETTE[3], plots.PALETTE[0]), strict=True):
        rows = frame[frame["algo"] == algo]
        for axes, column in ((left, "q_policy"), (right, "score")):
            band(axes, rows.pivot_table(index="step", columns="seed", values=column), name, colour)
    left.set(yscale="symlog", ylabel="Q(s, π(s))", title="value of the policy's actions")
    right.set(ylabel="normalised score", title="score of the policy")
    for axes in (left, right):
        axes.set_xlabel("gradient updates")
    left.legend()
    save(figure, "readme.svg")


def forest() -> None:
    """The effect of RD on every dataset and base, ours and the paper's, for light and for dark pages."""
    quick = tables.collect(tables.read_scale(RESULTS / "quick", "quick"))
    boxes = tables.join(1, printed.read_paper(RESULTS / "paper.csv"), {}, quick)
    effects, whole = compare.effects(boxes, "quick"), compare.summary(boxes, "quick")
    for name, style in (("forest.svg", "default"), ("forest-dark.svg", "dark_background")):
        with plt.style.context(style):
            plots.use_style()
            save(plots.forest(effects, whole), name, transparent=True)


def save(figure: Figure, name: str, **how: bool) -> None:
    """The same records give the same file."""
    plt.rcParams["svg.hashsalt"] = "rdlib"
    figure.savefig(HERE / name, metadata={"Date": None}, **how)


def band(axes: Axes, table, name: str, colour) -> None:
    """Mean over seeds, ± one deviation, and the seeds themselves as thin lines."""
    mean, std = table.mean(axis=1), table.std(axis=1, ddof=0)
    axes.plot(mean.index, mean, color=colour, lw=2, label=name)
    axes.fill_between(mean.index, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    axes.plot(table.index, table, color=colour, lw=0.5, alpha=0.6)


if __name__ == "__main__":
    draw()
    forest()
