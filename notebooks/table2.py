# ---
# jupyter:
#   html_theme.sidebar_secondary.remove: true
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 2: RD beside other methods
#
# The paper compares RD on two backbones with seven methods on 17 datasets. Each tab has one number a box; the first has ours.
# The table is made from the records each time the book is built.

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
results = ""  # folder of folders of records (quick, paper, …); empty: the repository's book/results

# %% tags=["remove-cell"]
from rdlib.training.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from rdlib.results import compare, grid, plots, printed, stats, tables, typeset

plots.use_style()
repository = next(
    (p for p in (Path(".."), Path(".")) if (p / "book/results/paper.csv").is_file()), None
)
if repository is None:
    raise FileNotFoundError("book/results/paper.csv: run this page in a clone of the repository")
published = repository / "book/results"  # the paper's and CORL's numbers are there, whatever is shown
results = Path(results) if results else published

# %% tags=["hide-input"]
paper, corl = printed.read_paper(published / "paper.csv"), printed.read_corl(published / "corl.csv")
ours = tables.collect(tables.read_scale(results / "paper", "paper"), grid.SEEDS)
quick = tables.collect(tables.read_scale(results / "quick", "quick"))
boxes = tables.join(2, paper, ours, quick, corl)
display(typeset.shown(boxes))
inner = [b for b in boxes if b.printed.dataset not in printed.TOTALS]
ran, small = (sum(getattr(b, of) is not None for b in inner) for of in ("ours", "quick"))
print(f"{ran} of {len(inner)} cells have been run at the paper's scale, {small} at quick scale.")
if ran < len(inner):
    display(Markdown(typeset.not_run(2)))

# %% [markdown]
# The paper's columns are not of one kind. The slides give no seeds and no deviations here. All EDAC numbers and
# several of BC and CQL equal those of the EDAC paper's table. The Diffusion-QL column looks like that
# paper's selection of the best checkpoint, which is not comparable with last iterates. Ours are all run by one
# code, under one protocol.
#
# The paper's bold marks an RD column that is no lower than every column without RD. Ours follows the same rule
# among our own runs, and only where all columns of the row ran. In the paper an RD column is *not* the best
# on seven of the 17 datasets:

# %% tags=["hide-input"]
for dataset in dict.fromkeys(b.printed.dataset for b in inner):
    row = {b.printed.algo: b.printed.mean for b in inner if b.printed.dataset == dataset}
    best = max(row, key=row.get)
    if not best.endswith("_rd"):
        rd = max((a for a in row if a.endswith("_rd")), key=row.get)
        tied = " (a tie)" if row[best] == row[rd] else ""
        print(
            f"{dataset}: {printed.title(best)} {row[best]:.1f}, {printed.title(rd)} {row[rd]:.1f}{tied}"
        )

# %% [markdown]
# ## With RD and without, beyond Table 1's datasets
#
# The paper's second table has RD's two columns and not their bases', so on the eight datasets that Table 1 does not have it
# does not say what RD adds. Here is every base that ran on one of these, with its column with RD. p is the
# permutation test of one dataset, and none of these tests is corrected for the others. A score below 0 is below a random policy's.

# %% tags=["hide-input"]
beyond = dict.fromkeys(b.printed.dataset for b in inner)
for p in paper:
    if p.table == 1:
        beyond.pop(p.dataset, None)
for found, what in ((ours, "the paper's scale"), (quick, "quick scale, bundled data")):
    rows = []
    for base in ("td3n", "sacn"):
        for dataset in beyond:
            mine, its = found.get((f"{base}_rd", dataset)), found.get((base, dataset))
            if mine is None or its is None:
                continue
            rows.append({
                "base": printed.title(base), "dataset": its.data, "seeds": f"{len(its.seeds)} and {len(mine.seeds)}",
                "without": tables.spread(its.last), "with RD": tables.spread(mine.last),
                "effect": mine.mean - its.mean, "p": f"{stats.p_value(mine.last, its.last):.3f}",
            })  # fmt: skip
    if not rows:
        print(f"At {what}: not run.")
        continue
    shown = pd.DataFrame(rows)
    clear = shown[shown.p.astype(float) < tables.SIGNIFICANT]
    display(typeset.scrolled(shown))
    print(
        f"At {what}: RD raises {(shown.effect > 0).sum()} of {len(shown)} scores; with p < {tables.SIGNIFICANT}: "
        f"{(clear.effect > 0).sum()} up, {(clear.effect < 0).sum()} down"
    )

# %% [markdown]
# So at quick scale nothing here speaks for RD. Of the six pairs two differ by more than chance explains (p < 0.05), and both are against
# it: TD3-N-UNC on halfcheetah-random, where its base learns a little and RD takes most of that away, and SAC-N-UNC on
# pen-cloned, where both end below a random policy and RD further below. The one rise, SAC-N-UNC's on halfcheetah-random, is within chance. On
# the pen nearly all runs of both bases end below a random policy, so there is little that RD could have spoilt or saved. Why RD may hurt where
# values are negative, as on halfcheetah-random, is a [known limit](sec-deviations) of its product.
#
# ## Agreement with the paper and with CORL
#
# Spearman's rank correlation over datasets, of our column with each. It asks whether a method finds the
# same datasets hard, and needs at least two datasets.

# %% tags=["hide-input"]
for of, what in (("ours", "the paper's scale"), ("quick", "quick scale")):
    ranks = compare.correlations(boxes, of)
    if ranks.datasets.sum():
        ranks["algorithm"] = ranks.algorithm.map(printed.title)
        print(f"at {what}:")
        display(typeset.scrolled(ranks, digits=2))
    else:
        print(f"not run at {what}; so there is nothing to correlate yet")
theirs = pd.DataFrame(
    [(printed.title(p.algo), corl[p.algo, p.dataset][0], p.mean) for p in paper if p.table == 2 and (p.algo, p.dataset) in corl],
    columns=["algorithm", "CORL", "paper"],
)
for name, both in theirs.groupby("algorithm", sort=False):
    rank = both[["CORL", "paper"]].corr("spearman").loc["CORL", "paper"]
    print(f"the paper's {name} with CORL's: {rank:.2f} over {len(both)} datasets")

# %% [markdown]
# ## Every seed
#
# Filled: last iterate; hollow: best evaluation of the same run. How far they are apart is what a choice by the best
# checkpoint hides.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Last-iterate and best score of every seed at the paper's scale, one row for each cell of Table 2 that was run, with the paper's mean as a grey mark"}}
mine = [b.ours for b in inner if b.ours]
if mine:
    display(plots.seed_points(mine, [p for p in paper if p.table == 2]))
    plots.plt.close("all")
else:
    print("At the paper's scale: not run.")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Last-iterate and best score of every seed at quick scale on the bundled hopper-medium, one row for each method of Table 2; the best evaluations lie well above the last iterates for several"}}
small = [b.quick for b in inner if b.quick and b.printed.dataset == "hopper-medium"]
if small:
    figure = plots.seed_points(small)
    figure.suptitle("quick scale, bundled hopper-medium")
    display(figure)
    plots.plt.close("all")
else:
    print("hopper-medium at quick scale: not run.")

# %% [markdown]
# ## Over the datasets that every column ran on
#
# IQM with 95 % bootstrap intervals over seeds, and performance profiles.

# %% tags=["hide-input"] mystnb={"image": {"alt": "At the paper's scale: IQM of every column of Table 2 with its interval, and performance profiles"}}
algos = list(dict.fromkeys(b.printed.algo for b in inner))


def over_all(found, what):
    """IQM and profiles of every column over the datasets that all of them ran on, by the seeds that all have."""
    names = dict.fromkeys(b.printed.dataset for b in inner)
    several = {key for key, cell in found.items() if len(cell.seeds) > 1}
    everywhere = [d for d in names if all((a, d) in several for a in algos)]
    chosen = [found[a, d] for a in algos for d in everywhere]
    seeds = set.intersection(*(set(o.seeds) for o in chosen)) if chosen else set()
    if len(seeds) < 2:
        print(f"No dataset has been run by every column with the same two seeds or more at {what}: not run.")
        return
    common = tables.collect(r for o in chosen for r in o.records if r.seed in seeds)
    columns = {printed.title(a): tables.matrix(common, a, everywhere) for a in algos}
    iqm = {name: (stats.iqm(x), stats.interval(stats.iqm, x)) for name, x in columns.items()}
    label = f"IQM of normalised scores, {len(everywhere)} of {len(names)} datasets, {len(seeds)} seeds"
    for figure in (plots.intervals(iqm, label, 0), plots.profiles(columns)):
        figure.suptitle(what)
        display(figure)
    plots.plt.close("all")


over_all(ours, "the paper's scale")

# %% tags=["hide-input"] mystnb={"image": {"alt": "At quick scale: IQM of every column of Table 2 with its interval, and performance profiles"}}
over_all(quick, "quick scale")

# %% [markdown]
# ## As files
#
# The bundled data that stand in for D4RL's are this project's own, and its `pen-demos` is by a trained policy,
# where pen-human is by a person. A row of the CSV that used them says so in its `note`; one that was not run has its command.
#
# The commands train on D4RL's files. For the bundled stand-in of a dataset, take its short name, without `d4rl/` and the version:
# `--dataset pen-cloned` instead of `--dataset d4rl/pen-cloned-v1`, and `pen-demos` for pen-human.

# %% tags=["hide-input"]
table = tables.frame(boxes, grid.commands())
files = {"csv": table.to_csv(index=False), "md": typeset.shown(boxes).markdown, "tex": typeset.latex(boxes)}
display(typeset.downloads("table2", files))
