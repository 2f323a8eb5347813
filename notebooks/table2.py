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
# The paper compares RD on two backbones with seven methods on 17 datasets.
# There RD's two columns are the best in total; at quick scale they are not.

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
results = ""  # folder of folders of records (quick, paper, …); empty: the repository's book/results

# %% tags=["remove-cell"]
from rdlib.training.parameters import check_parameters

check_parameters(globals())

# %% tags=["remove-input"]
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from rdlib.results import (
    claims,
    compare,
    grid,
    plots,
    printed,
    stats,
    tables,
    typeset,
    webtable,
)  # fmt: skip

plots.use_style()
results = Path(results) if results else tables.published()
boxes = tables.read(2, results)
inner = [b for b in boxes if b.printed.dataset not in printed.TOTALS]
SCALES = {
    "ours": "the paper's scale", "study": "study scale", "quick": "quick scale, bundled data",
}  # fmt: skip
ran = {of: n for of in SCALES if (n := sum(getattr(b, of) is not None for b in inner))}
display(webtable.shown(boxes))
cells = ", ".join(f"{n} at {SCALES[of]}" for of, n in ran.items()) or "none, so that sections below are empty"
display(Markdown(f"Of {len(inner)} boxes these have been run: {cells}. {typeset.not_run(2)}"))

# %% [markdown]
# - The paper's columns are not of one kind: the slides give no seeds and no deviations here.
# - All EDAC numbers and several of BC and CQL equal those of the EDAC paper's table.
# - The Diffusion-QL column looks like that paper's selection of the best checkpoint, which is not comparable with last iterates.
# - Ours are all run by one code, under one protocol. Bold marks an RD column that is no lower than every column without RD, where all columns of the row ran.
#
# In the paper an RD column is *not* the best on seven of the 17 datasets:

# %% tags=["remove-input"]
rows = []
for dataset in claims.datasets(2):
    row = {b.printed.algo: b.printed.mean for b in inner if b.printed.dataset == dataset}
    best, rd = max(row, key=row.get), max((a for a in row if a.endswith("_rd")), key=row.get)
    if not best.endswith("_rd"):
        rows.append({
            "dataset": dataset, "best": f"{printed.title(best)} {row[best]:.1f}",
            "RD's better column": f"{printed.title(rd)} {row[rd]:.1f}",
        })  # fmt: skip
display(typeset.scrolled(pd.DataFrame(rows)))

# %% [markdown]
# ## With RD and without, beyond Table 1's datasets
#
# At quick scale nothing here speaks for RD: of the pairs that differ beyond chance both are against it.
# The paper's second table does not have the bases of RD's columns; here is every base that ran on a dataset that Table 1 does not have.
# No test is corrected for the others. A score below 0 is below a random policy's.

# %% tags=["remove-input"]
for of, what in SCALES.items():
    scale = "paper" if of == "ours" else of
    found = tables.collect(tables.read_scale(results / scale, scale))
    pairs = [
        (found[a, d], found[f"{a}_rd", d]) for a in ("td3n", "sacn") for d in claims.datasets(2)
        if d not in claims.datasets(1) and (a, d) in found and (f"{a}_rd", d) in found
    ]  # fmt: skip
    rows = [
        {
            "base": printed.title(base.algo), "dataset": base.data,
            "seeds": f"{len(base.seeds)} and {len(rd.seeds)}", "without": tables.spread(base.last),
            "with RD": tables.spread(rd.last), "effect": f"{rd.mean - base.mean:+.1f}",
            "test": typeset.probability(stats.p_value(rd.last, base.last)),
        }
        for base, rd in pairs
    ]  # fmt: skip
    if rows:
        display(Markdown(f"At {what}:"), typeset.scrolled(pd.DataFrame(rows)))

# %% [markdown]
# - *halfcheetah-random*: TD3-N-UNC learns a little and RD takes most of that away. Why RD may hurt where values are negative is a [known limit](sec-deviations) of its product.
# - *pen-cloned*: SAC-N-UNC ends below a random policy, and with RD further below.
# - *The pen*: nearly all runs of both bases end below a random policy, so there is little that RD could have spoilt or saved.
#
# ## Agreement with the paper and with CORL
#
# Spearman's rank correlation over datasets, of our column with each: does a method find the same datasets hard?

# %% tags=["remove-input"]
for of in ran:
    ranks = compare.correlations(boxes, of)
    ranks["algorithm"] = ranks.algorithm.map(printed.title)
    display(Markdown(f"At {SCALES[of]}:"), typeset.scrolled(ranks, digits=2))

# %% [markdown]
# ## Every seed on `hopper-medium`
#
# Filled: last iterate; hollow: best evaluation of the same run.
# How far they are apart is what a choice by the best checkpoint hides.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Last-iterate and best score of every seed on hopper-medium, one row for each method of Table 2; the best evaluations lie well above the last iterates for several"}}
for of in ran:
    mine = [o for b in inner if b.printed.dataset == "hopper-medium" and (o := getattr(b, of))]
    if mine:
        figure = plots.seed_points(mine, [b.printed for b in inner] if of == "ours" else ())
        figure.suptitle(f"hopper-medium, {SCALES[of]}")
        display(figure)
        plots.plt.close("all")

# %% [markdown]
# ## Over the datasets that every column ran on
#
# IQM with 95 % bootstrap intervals over seeds.

# %% tags=["remove-input"] mystnb={"image": {"alt": "IQM of every column of Table 2 with its interval, over the datasets that all ran on"}}
for of in ran:
    cells = {(b.printed.algo, b.printed.dataset): o for b in inner if (o := getattr(b, of))}
    algos = list(dict.fromkeys(b.printed.algo for b in inner))
    found, names, seeds = compare.everywhere(cells, algos, claims.datasets(2))
    if found:
        iqm = {printed.title(a): (stats.iqm(x), stats.interval(stats.iqm, x)) for a, x in found.items()}
        figure = plots.intervals(iqm, "IQM of normalised scores", 0)
        best = max(iqm, key=lambda name: iqm[name][0])
        figure.suptitle(f"{SCALES[of]}: {best} is first, over {len(names)} datasets and {len(seeds)} seeds")
        display(figure)
        plots.plt.close("all")

# %% [markdown]
# ## As files
#
# A row of the CSV that used the bundled stand-ins says so in its `note`; one that was not run has its command.
# `pen-demos`, which stands for pen-human, is by a trained policy and not by a person.
# The commands train on D4RL's files. For the bundled stand-in take its short name, `--dataset pen-cloned` instead of `--dataset d4rl/pen-cloned-v1`.

# %% tags=["remove-input"]
table = tables.frame(boxes, grid.commands()).to_csv(index=False)
files = {"csv": table, "md": webtable.shown(boxes).markdown, "tex": typeset.latex(boxes)}
display(typeset.downloads("table2", files))
