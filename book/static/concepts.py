"""The book's drawings of ideas, for light and for dark pages: python book/static/concepts.py

cycle.svg: the backup-generalisation cycle. stages.svg: where data, policy and OOD policy lie in the two
stages of RD. last.svg: what choosing the best evaluation adds to a score, from the quick records.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdlib.results import plots, printed
from rdlib.training.record import load_records

HERE = Path(__file__).parent
BLUE, ORANGE, GREEN, RED = (plots.PALETTE[i] for i in (0, 1, 2, 3))


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour, bend: float, style="-|>"
):
    """A curved arrow; `bend` is its height over its length."""
    shape = f"arc3,rad={bend}"
    look = {"arrowstyle": style, "color": colour, "lw": 2.5, "connectionstyle": shape, "mutation_scale": 18}
    axes.annotate("", end, start, arrowprops=look)


def cycle() -> Figure:
    """Two boxes of values and the two arrows between them."""
    figure, axes = plt.subplots(figsize=(5.6, 3.5))
    axes.set(xlim=(0, 10), ylim=(0, 6.4))
    axes.axis("off")
    boxes = ((1.9, "values on the data", r"Q(s, a),  (s, a) $\in \mathcal{D}$", BLUE),
             (8.1, "values of the policy", r"Q(s′, π(s′)),  $\notin \mathcal{D}$", RED))  # fmt: skip
    for x, title, text, colour in boxes:
        look = {"boxstyle": "round,pad=0.5", "fc": "none", "ec": colour, "lw": 2}
        axes.text(x, 3.2, f"{title}\n{text}", ha="center", va="center", linespacing=1.7, bbox=look)
    arrow(axes, (2.4, 4.1), (7.6, 4.1), ORANGE, -0.3)
    arrow(axes, (7.6, 2.3), (2.4, 2.3), GREEN, -0.3)
    style = {"ha": "center", "va": "center", "linespacing": 1.5}
    axes.text(5, 5.75, "1  generalisation: a change of 1 here\narrives there as c", **style)
    axes.text(5, 0.65, "2  backup: the next targets hold γ of it,\nand no data correct it", **style)
    axes.text(5, 3.2, "one turn:\n× γc", **style)
    return figure


def stages() -> Figure:
    """Densities over the actions of one state, and the pair that each stage tells apart."""
    figure, rows = plt.subplots(2, 1, figsize=(5.6, 4.6), sharex=True)
    x = np.linspace(-3.4, 3.4, 121)
    places = ((-1.5, 1.2, None), (-1.0, -0.55, 1.9))
    titles = ("stage 1: the policy is far from the data", "stage 2: the policy has come near")
    for axes, (data, policy, ood), title in zip(rows, places, titles, strict=True):
        for centre, name, colour, line in (
            (data, "data", BLUE, "-"), (policy, "policy π", RED, "--"), (ood, "OOD policy", ORANGE, ":"),
        ):  # fmt: skip
            if centre is not None:
                density = np.exp(-((x - centre) ** 2) / 0.32)
                axes.plot(x, density, color=colour, ls=line, lw=2)
                axes.fill_between(x, density, color=colour, alpha=0.2, lw=0)
                at, side = (centre - 0.42, "right") if centre == data else (centre + 0.42, "left")
                axes.text(at, 0.78, name, ha=side)
        first, second = (data, policy) if ood is None else (policy, ood)
        arrow(axes, (first, 1.1), (second, 1.1), "grey", 0.0, "<|-|>")
        axes.text((first + second) / 2, 1.2, "kernel made small", ha="center")
        axes.set(ylim=(0, 1.5), yticks=[], xticks=[])
        axes.set_title(title, fontsize=11, loc="left")
        axes.spines["left"].set_visible(False)
    rows[1].set_xlabel("actions at one state")
    return figure


def last() -> Figure:
    """Last and best score of each algorithm on `hopper-medium`, mean over seeds."""
    records = [r for r in load_records(HERE.parent / "results" / "quick") if r.dataset == "hopper-medium"]
    names = sorted({r.algo for r in records if "_" not in r.algo or r.algo == "diffusion_ql"})
    scores = {n: [(r.last_score(), r.best_score()) for r in records if r.algo == n] for n in names}
    means = {n: np.mean(s, axis=0) for n, s in scores.items()}
    names.sort(key=lambda n: means[n][0])
    figure, axes = plt.subplots(figsize=(5.6, 3.6))
    for row, name in enumerate(names):
        axes.plot(means[name], [row, row], color="grey", lw=1.5, zorder=1)
    for column, (label, mark, colour) in enumerate((("last", "o", BLUE), ("best", "D", ORANGE))):
        axes.scatter(
            [means[n][column] for n in names], range(len(names)), marker=mark, color=colour, label=label
        )
    gain = np.mean([best - end for end, best in means.values()])
    axes.set(
        yticks=range(len(names)),
        yticklabels=[printed.title(n) for n in names],
        xlabel="normalised score on hopper-medium",
    )
    axes.set_title(f"the best evaluation is {gain:.0f} points above the last, on average", fontsize=11)
    axes.legend(loc="lower right")
    return figure


def save(draw: Callable[[], Figure], folder: Path = HERE) -> None:
    """The same figure gives the same files, NAME.svg and NAME-dark.svg: text as text, transparent."""
    for ending, style in (("", "default"), ("-dark", "dark_background")):
        with plt.style.context(style):
            plots.use_style()
            plt.rcParams.update({"svg.hashsalt": "rdlib", "axes.grid": False})
            figure = draw()
            path = folder / f"{draw.__name__}{ending}.svg"
            figure.savefig(path, metadata={"Date": None}, transparent=True)
            plt.close(figure)


if __name__ == "__main__":
    for draw in (cycle, stages, last):
        save(draw)
