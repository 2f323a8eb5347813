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
# # Table 1: each base with and without RD
#
# The paper puts RD onto four algorithms, on nine datasets. Here stands the effect of RD, the score with it less the score without:
# ours with its interval, the paper's as a diamond. Ours are small runs on stand-in data, so signs and sizes may differ.

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

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from rdlib.data import catalog
from rdlib.results import compare, grid, plots, printed, tables, typeset

plots.use_style()
repository = next(
    (p for p in (Path(".."), Path(".")) if (p / "book/results/paper.csv").is_file()), None
)
if repository is None:
    raise FileNotFoundError("book/results/paper.csv: run this page in a clone of the repository")
published = repository / "book/results"  # the paper's and CORL's numbers are there, whatever is shown
results = Path(results) if results else published

# %% tags=["hide-input"] mystnb={"image": {"alt": "Effect of RD on the score, one panel for each base and one row for each dataset: ours with a 95 % interval and the paper's"}}
paper, corl = printed.read_paper(published / "paper.csv"), printed.read_corl(published / "corl.csv")
ours = tables.collect(tables.read_scale(results / "paper", "paper"), grid.SEEDS)
quick = tables.collect(tables.read_scale(results / "quick", "quick"))
boxes = tables.join(1, paper, ours, quick, corl)
scale, words = ("ours", "the paper's scale") if ours else ("quick", "quick scale, bundled data")
effects = compare.effects(boxes, scale)
figure = plots.forest(effects)
raised, clear = effects.ours > 0, effects.p < tables.SIGNIFICANT
figure.suptitle(
    f"At {words}, RD raises {raised.sum()} of {effects.ours.count()} scores; "
    f"beyond chance (p < {tables.SIGNIFICANT}): {(raised & clear).sum()} up, {(clear & ~raised).sum()} down"
)
display(figure)
plots.plt.close("all")

# %% tags=["hide-input"]
display(typeset.shown(boxes))
ran, small = (sum(getattr(b, of) is not None for b in boxes) for of in ("ours", "quick"))
print(f"{ran} of {len(boxes)} cells have been run at the paper's scale, {small} at quick scale.")
if ran < len(boxes):
    display(Markdown(typeset.not_run(1)))

# %% [markdown]
# A score is D4RL's: 0 is a random policy, 100 an expert. Ours is the mean ± deviation over seeds of the *last-iterate* score: the
# mean of the last evaluations, as many as were fixed before the run. A run that diverged counts as 0.
# The slides do not say whether theirs is last or best, nor over how many seeds.
# Runs of mixed data, settings or scales are refused and stop this page.
#
# Quick runs take minutes on two CPU cores: small networks, 4 critics instead of 10, 6,000 to 20,000 updates on 100,000
# transitions of a stand-in rolled out by this project, since D4RL's files are not bundled. They show that the code
# runs and what RD does to it there. They are no estimate of the paper's numbers.
#
# ## Does RD do what the paper says?
#
# Of each pair, the effect is the score with RD less the score without. The signs can agree or not. In
# three pairs the paper's effect is 0 as printed, and these count on neither side. Each base has the
# rank correlation, over datasets, of our column with the paper's and with CORL's.

# %% tags=["hide-input"]
pairs = {base: f"{base}_rd" for base in ("td3n", "sacn", "td3bc", "cql")}
datasets = list(dict.fromkeys(b.printed.dataset for b in boxes))
effects, ranks = compare.effects(boxes), compare.correlations(boxes).set_index("algorithm")
for base in pairs:
    mine = effects[effects.base == base]
    signs = mine["same sign"].dropna()
    up, down = (mine.paper > 0).sum(), (mine.paper < 0).sum()
    line = f"{printed.title(base)}: in the paper RD raises {up} of {len(mine)} scores and lowers {down}; "
    if mine.ours.notna().any():
        line += f"ours has the same sign in {int(signs.sum())} of {len(signs)}"
        line += f", rank correlation {ranks['with the paper'][base]:.2f} over {ranks.datasets[base]} datasets"
    else:
        line += "ours: not run"
    print(line)

# %% [markdown]
# At quick scale the same question can be asked, of runs that have little in common with the paper's but the
# algorithm: the effect of RD on each dataset, the paper's beside ours, and in how many of them the signs agree.

# %% tags=["hide-input"]
small = compare.effects(boxes, "quick").dropna(subset=["ours"])
both = {pair.base: pair for pair in compare.pairs(boxes, "quick")}
hopper = {d for d in datasets if d.startswith("hopper")}
for base, mine in small.groupby("base", sort=False):
    signs, clear = mine["same sign"].dropna(), mine[mine.p < tables.SIGNIFICANT]
    p = ""
    if base in both:
        p = f" ({typeset.probability(both[base].p)} by {len(both[base].seeds)} seeds"
        for what, left_out in (("hopper-medium", {"hopper-medium"}), ("Hopper", hopper)):
            rest = both[base].leaving_out(left_out)
            p += f"; {rest.effect:.1f} without {what}, {typeset.probability(rest.p)}" if rest else f"; without {what}: not run"
        p += ")"
    print(
        f"{printed.title(base)}, quick scale: RD raises {(mine.ours > 0).sum()} of {len(mine)} scores, by {mine.ours.mean():.1f} "
        f"on average{p}; the sign is the paper's in {int(signs.sum())} of {len(signs)}; "
        f"†: {(clear.ours > 0).sum()} up, {(clear.ours < 0).sum()} down"
    )
small["ours"] = [
    f"{e:.1f}{'†' if p < tables.SIGNIFICANT else ''}" for e, p in zip(small.ours, small.p)
]
small["paper"] = [f"{e:.1f}" for e in small.paper]
if small.empty:
    print("At quick scale no pair: not run.")
else:
    wide = small.pivot(index="dataset", columns="base", values=["paper", "ours"])
    order = [d for d in datasets if d in wide.index]
    columns = [(side, b) for b in pairs if b in set(small.base) for side in ("paper", "ours")]
    wide = wide.loc[order, columns].reset_index()
    wide.columns = ["dataset", *(f"{printed.title(b)}, {side}" for side, b in columns)]
    display(typeset.scrolled(wide))

# %% [markdown]
# †: p < 0.05 by the permutation test of that one dataset. With five seeds a side it can reach 0.008; with three it cannot fall
# below 0.1, and nothing is called significant however far apart two cells are. The p of a whole pair is one
# test of its datasets together, by the seeds that all of them have: seeds are dealt anew within each dataset, and the mean effect is compared. RD's weight and
# the bases' quick settings were found with `hopper-medium` and these seeds in view, so the test is there a second time
# without it, and a third time without all of Hopper's: on the other two environments alone only CQL's effect is beyond chance, just so, and as one of twelve tests in
# these lines, none of them corrected for the others. Whether that one was chance, [fresh seeds](ablations.ipynb) have been asked; it was not.
#
# ## By the best checkpoint too
#
# All of the above is by last iterates. A method may also raise only the best evaluation of a run, which nobody who has just the data can
# pick; the protocol (`workflow/protocol.md`) says that this would count against RD, and that it is shown whatever it says. So here is each pair's mean effect
# by both, over the datasets and seeds that both sides have.

# %% tags=["hide-input"]
for of, what in (("ours", "the paper's scale"), ("quick", "quick scale")):
    found = compare.pairs(boxes, of)
    for pair in found:
        print(
            f"{printed.title(pair.base)}, {what}, {len(pair.datasets)} datasets: effect of RD by best checkpoint "
            f"{pair.best_effect:+.1f}, by last iterate {pair.effect:+.1f}"
        )
    if found:
        best_only = [printed.title(p.base) for p in found if p.best_effect > 0 >= p.effect]
        last_only = [printed.title(p.base) for p in found if p.effect > 0 >= p.best_effect]
        print(
            f"At {what} a gain by the best checkpoint that the last iterate does not have is there with "
            f"{', '.join(best_only) or 'no base'}, a gain by the last iterate alone with {', '.join(last_only) or 'no base'}."
        )
    else:
        print(f"At {what}: not run.")

# %% [markdown]
# ## Every seed
#
# Means hide what RD is for: most of the paper's gain is where the base's deviation is tens of points, as if seeds
# failed there and no longer do with RD; the slides show no single seed. So here is
# every seed by itself, at the paper's scale where there are runs. Grey bars are the paper's mean ± deviation.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Last-iterate and best score of every seed at the paper's scale, one row for each cell of Table 1 that was run, with the paper's mean and deviation as a grey bar"}}
mine = [b.ours for b in boxes if b.ours]
if mine:
    display(plots.seed_points(mine, [p for p in paper if p.table == 1]))
    plots.plt.close("all")
else:
    print("At the paper's scale: not run.")

# %% [markdown]
# The same at quick scale, one picture for each pair. The paper has no number for these runs.

# %% tags=["hide-input"] mystnb={"image": {"alt": "At quick scale, for each pair: last-iterate and best score of every seed, without and with RD on each dataset that was run"}}
for base, rd in pairs.items():
    names = {d for a, d in quick if a == base} & {d for a, d in quick if a == rd}
    small = [quick[a, d] for d in datasets if d in names for a in (base, rd)]
    if small:
        figure = plots.seed_points(small)
        figure.suptitle("quick scale, bundled data")
        display(figure)
        plots.plt.close("all")
    else:
        print(f"{printed.title(base)} with RD and without, at quick scale: not run.")

# %% [markdown]
# ## Whole runs of fewer seeds
#
# A cell of the table needs five seeds. Runs of the paper's size and length that have fewer are shown here and in no
# cell (`book/results/paper-whole`). Their data are bundled stand-ins, so the paper's number beside them is of other data. The
# bands are of a seed's ten episodes; how far seeds lie apart they cannot show. Hours are of a machine in use, stops counted;
# the device is that of a run's end, and RD's began on one thread.

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each dataset with a whole run of the paper's size: score over a million updates, without and with RD, and the score of the data as a dashed line"}}
scores = {n.name: n.score for n in catalog.names()}
beside = {(p.algo, p.dataset): p for p in paper if p.table == 1}
whole = tables.collect(tables.read_scale(results / "paper-whole", "paper"))
whole = {key: cell for key, cell in whole.items() if key in beside}
of_the_critic = {
    "q_policy": "Q(s, π(s))", "kernel_data_policy": "features' product, data and policy",
    "cosine_data_policy": "their cosine", "feature_norm": "features' norm",
    "srank": "features' rank", "policy_data_distance": "‖π(s) - a‖² / U",
}  # fmt: skip


def at_the_end(ours, name):
    """A diagnostic of the last evaluation, mean over seeds; NaN where one's was not finite."""
    return np.mean([r.evaluations[-1]["diagnostics"][name] for r in ours.records], dtype=float)


rows = [
    {
        "cell": f"{printed.title(a)}, {d}", "updates": f"{o.steps:,}", "seeds": len(o.seeds),
        "last": f"{np.mean(o.last):.1f}", "best": f"{np.mean(o.best):.1f}",
        "the paper's": f"{beside[a, d].mean:.1f} ± {beside[a, d].std:.1f}",
        **{label: f"{at_the_end(o, name):,.4g}" for name, label in of_the_critic.items()},
        "hours": f"{sum(r.seconds for r in o.records) / 3600:.1f}", "device": o.records[0].device,
    }
    for (a, d), o in sorted(whole.items())
]  # fmt: skip
if rows:
    display(typeset.scrolled(pd.DataFrame(rows)))
else:
    print("Whole runs: not run.")
for dataset in datasets:
    groups = {printed.title(a): o.records for (a, d), o in sorted(whole.items()) if d == dataset}
    if groups:
        figure = plots.learning_curves(groups, {"the data": scores[dataset]})
        figure.suptitle(f"{dataset}, bundled, the paper's size")
        display(figure)
        plots.plt.close("all")

# %% [markdown]
# RD makes the product of features between the data's action and the policy's less than a thousandth of what it is without, and it
# does so by shrinking them: their norm is a fiftieth, and their cosine 0.999 with RD too, so data and policy are hardly told apart
# here, where the two actions lie near each other. The features' rank is higher. It changes little else. Values settle at the
# same height without it, and the policy stays as near to the data: TD3+BC's own term keeps it where the critic has
# data, so there is nothing to rescue. The base's curve is a few points higher in its second half, which one seed cannot tell
# from luck; in the paper the pair differs by less than a point. Both end below the data's own score, as they do at quick scale.

# %% [markdown]
# ## Over all datasets
#
# Three summaries that say how sure they are. The interquartile mean (IQM) leaves out the lowest and highest
# quarter of all runs. The probability of improvement is that of a run with RD scoring above one without, mean over
# datasets. A performance profile shows what share of runs is above each score. Intervals are 95 % intervals of the
# bootstrap over seeds, stratified by dataset; with three to five seeds they are too narrow. A pair is compared by the
# seeds that all of its datasets have, at least two.


# %% tags=["hide-input"]
def summaries(of, what):
    """Figures of the pairs that ran (of: "ours" or "quick"), each said to be of `what`."""
    found = compare.summary(boxes, of)
    found = found[found.seeds > 0].set_index("base")
    if found.empty:
        print(f"{what}: not run.")
        return
    iqm, better = {}, {}
    for base, row in found.iterrows():
        name = printed.title(base)
        for label, column in ((name, "IQM"), (f"{name} + RD", "IQM + RD")):
            iqm[label] = row[column], (row[f"{column} low"], row[f"{column} high"])
        better[name] = row["improvement"], (row["improvement low"], row["improvement high"])
        print(f"{what}, {name}: {row.seeds:.0f} seeds on {row.datasets:.0f} of 9 datasets")
    figures = [plots.intervals(iqm, "IQM of normalised scores", 0)]
    figures.append(plots.intervals(better, "probability that RD improves on its base", 0.5))
    for pair in compare.pairs(boxes, of):
        name = printed.title(pair.base)
        figures.append(plots.profiles({name: pair.without, f"{name} + RD": pair.with_rd}))
    for figure in figures:
        figure.suptitle(what)
        display(figure)
    plots.plt.close("all")


# %% tags=["hide-input"] mystnb={"image": {"alt": "At the paper's scale, for each pair: IQM with its interval, probability that RD improves on its base, performance profiles"}}
summaries("ours", "paper's scale")

# %% tags=["hide-input"] mystnb={"image": {"alt": "At quick scale, for each pair: IQM with its interval, probability that RD improves on its base, performance profiles"}}
summaries("quick", "quick scale, bundled data")

# %% [markdown]
# ## As files
#
# The CSV has a row for every cell and scale: the paper's value, CORL's, ours, how it was made, and for what was not run the command.
# The commands train on D4RL's files. For the bundled stand-in of a dataset, take its short name, without `d4rl/` and the version:
# `--dataset hopper-medium` instead of `--dataset d4rl/hopper-medium-v2`.

# %% tags=["hide-input"]
table = tables.frame(boxes, grid.commands())
files = {"csv": table.to_csv(index=False), "md": typeset.shown(boxes).markdown, "tex": typeset.latex(boxes)}
display(typeset.downloads("table1", files))

# %% [markdown]
# CORL's numbers are those of its README, on D4RL's v2 files, by an independent code base; its column for
# SAC-N is another algorithm than SAC-N-UNC (the minimum over up to 500 critics) and is not shown. Most of the
# paper's CQL numbers are equal to earlier numbers of CORL's, so these two are not independent.
