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
# # Ablations and rivals
#
# What of RD does the work, how sensitive is it, and what else would have done as well? The questions were fixed
# before any of the runs (`workflow/protocol.md`, with the rule by which the setting is chosen and what would
# count against RD) and are the rows of `workflow/ablations.csv`. Each row is trained as one batch, its variants side by
# side. This page fills in as records come into `book/results/ablations-paper`.

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
results = ""  # folder of paper.csv, corl.csv and the records; empty: the repository's book/results

# %% tags=["hide-input"]
from pathlib import Path

from IPython.display import Markdown, display

from rdlib import grid, plots, tables

plots.use_style()
repository = next(
    (p for p in (Path(".."), Path(".")) if (p / "book/results/paper.csv").is_file()), None
)
if repository is None:
    raise FileNotFoundError("book/results/paper.csv: run this page in a clone of the repository")
results = Path(results) if results else repository / "book/results"

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from rdlib.results import load_records

questions = grid.read_questions(repository / "workflow/ablations.csv")
records = tables.read_scale(results / "ablations-paper", "paper")
rates = grid.read_rates(repository / "workflow/speed.csv")
stages = {
    "select": "Choosing the setting, on Hopper and seeds of its own",
    "rival": "Rivals, with as many values to choose from",
    "ablate": "Ablations of RD as frozen",
}


def cells_of(question, variant, among=records):
    """What has been run of one variant, by dataset."""
    return {c.dataset: c for c in tables.collect(question.answers(variant, among)).values()}


def label(variant):
    """weight 0.1"""
    return ", ".join(f"{k.removeprefix('plugin.')} {v}" for k, v in variant.items())


rows = []
for q in questions:
    for variant in q.variants:
        by_dataset = cells_of(q, variant)
        whole = all(d in by_dataset and by_dataset[d].seeds == q.seeds for d in q.datasets)
        done = sum(len(c.seeds) for c in by_dataset.values())
        part_run = f"{done} of {len(q.seeds) * len(q.datasets)} runs" if done else "not run"
        hours = sum(grid.core_hours(q.algo, d, len(q.seeds), rates) for d in q.datasets)
        rows.append({
            "stage": q.stage, "question": q.question, "algorithm": tables.title(q.algo),
            "variant": label(variant), "status": "run" if whole else part_run,
            "mean": np.mean([c.mean for c in by_dataset.values()]) if whole else np.nan,
            **{d: tables.spread(c.last) for d, c in by_dataset.items()},
            "seeds": f"{min(q.seeds)} to {max(q.seeds)}", "core hours": np.nan if whole else hours,
        })  # fmt: skip
table = pd.DataFrame(rows)
for stage, heading in stages.items():
    part = table[table.stage == stage].drop(columns="stage").dropna(axis=1, how="all")
    display(Markdown(f"**{heading}**"), tables.scrolled(part))
print(
    f"{(table.status == 'run').sum()} of {len(table)} variants have been run; the others would take "
    f"{table['core hours'].sum():,.0f} hours of one CPU core."
)
display(tables.downloads("ablations", {"csv": table.to_csv(index=False)}))

# %% [markdown]
# What runs them, all or one (with `-n` it only says what it would run):
#
#     snakemake --snakefile workflow/Snakefile --profile workflow/profiles/local ablations
#     snakemake --snakefile workflow/Snakefile --profile workflow/profiles/local runs --config only=lambda-td3n
#
# ## How the score depends on λ
#
# One line a backbone, mean over the three Hopper datasets; the dashed line is that base without RD. At the paper's scale:

# %% tags=["hide-input"]
by_name = {q.name: q for q in questions}
sweeps = [q for q in questions if q.name.startswith("lambda-")]


def mean_over(question, variant, among):
    """Mean score over the question's datasets; NaN unless all ran."""
    found = cells_of(question, variant, among)
    whole = all(d in found for d in question.datasets)
    return np.mean([c.mean for c in found.values()]) if whole else np.nan


def sweep(among):
    """Mean score against λ, a colour for each backbone that has been run."""
    figure, axes = plots.plt.subplots(figsize=(6, 3.6))
    for q, colour in zip(sweeps, plots.PALETTE):
        points = [(v["plugin.weight"], mean_over(q, v, among)) for v in q.variants]
        if not np.isnan([mean for _, mean in points]).all():
            axes.plot(*zip(*points), "o-", color=colour, label=tables.title(q.algo))
            base = by_name.get(f"base-{q.algo.removesuffix('_rd')}")
            if base:
                axes.axhline(mean_over(base, {}, among), color=colour, ls="--", lw=1.2)
    if not axes.lines:
        plots.plt.close("all")
        print("not run")
        return
    axes.set(xscale="log", xlabel="λ", ylabel="mean normalised score")
    axes.legend()
    display(figure)
    plots.plt.close("all")


# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean score on Hopper at the paper's scale against the weight of RD, a line for each backbone"}}
sweep(records)

# %% [markdown]
# The same walk at quick scale, for TD3-N-UNC: the same datasets in their bundled form, the same seeds, smaller
# networks and fewer updates. It chooses nothing for the paper's scale, where the kernel's size and the number of
# updates are others; it shows the procedure, and how wide the range of weights is that works.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean score on Hopper at quick scale against the weight of RD for TD3-N-UNC, with the base as a dashed line"}}
small = tables.read_scale(results / "ablations-quick", "quick")
sweep(small)

# %% tags=["hide-input"]
def ends(found):
    """Median over runs of Q(s, π(s)) at the end."""
    last = [r.evaluations[-1]["diagnostics"]["q_policy"] for c in found.values() for r in c.records]
    return f"{np.nanmedian(np.array(last, dtype=float)):,.0f}"  # None: not finite


def row_of(question, variant, among, **more):
    """What has been run of one variant, as a row; empty if nothing has."""
    found = cells_of(question, variant, among)
    if not found:
        return {}
    return {
        "algorithm": tables.title(question.algo), "variant": label(variant) or question.question, **more,
        "mean": mean_over(question, variant, among),
        **{d: tables.spread(found[d].last) for d in question.datasets if d in found},
        "median Q(s, π(s)) at the end": ends(found),
    }  # fmt: skip


def chosen(question, variants, among):
    """The variant that the protocol's rule picks; None unless all of them ran."""
    means = [mean_over(question, v, among) for v in variants]
    if np.isnan(means).any():
        return None
    return next(v for v, mean in zip(variants, means) if mean >= max(means) - 1)


rows = [
    row_of(q, v, small)
    for q in [by_name["base-td3n"], by_name["base-sacn"], *sweeps]
    for v in q.variants
]
display(tables.scrolled(pd.DataFrame([row for row in rows if row])))
for q in sweeps:
    picked = chosen(q, q.variants, small)
    if picked:
        print(f"{tables.title(q.algo)}: by the protocol's rule {label(picked)}, at quick scale")

# %% [markdown]
# Too little of it and values run away as they do in the base; too much and they are pressed so low that nothing is
# learnt, on the replay data too, where the base is sound. In between lies about half a decade. The replay data, on
# which the base does not diverge, gain nothing from any λ.
#
# ## Is RD better than more pessimism?
#
# The rivals had as many values to choose from, on the same data and seeds: DR3's weight, the base's own pessimism β, layer norm,
# more critics. Scores against the one knob of each, dots for the three datasets; the dashed line is
# the base. At the paper's scale:

# %% tags=["hide-input"]
smallest_first = lambda question, more=(): sorted(  # noqa: E731
    [*question.variants, *more], key=lambda v: next(iter(v.values()))
)
knobs = {
    "RD's λ": ("lambda-td3n", ()),
    "DR3's weight": ("dr3", ()),
    # β's default stands in the base's own row: 1 at the paper's scale, 4 at quick scale
    "pessimism β": ("beta", ({"beta": 1.0},)),
}
knobs = {
    name: (by_name[q], smallest_first(by_name[q], more)) for name, (q, more) in knobs.items()
}
single = [by_name[n] for n in ("base-td3n", "layer-norm", "n-5", "n-20", "n-50")]


def rivals(among):
    """Scores against the knob of RD, DR3 and the base; then what is best of each."""
    figure, axes = plots.plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
    for ax, (name, (q, variants)) in zip(axes, knobs.items()):
        for variant in variants:
            value = next(iter(variant.values()))
            for c, colour in zip(q.datasets, plots.PALETTE):
                if c in (found := cells_of(q, variant, among)):
                    ax.plot(value, found[c].mean, ".", color=colour, ms=5)
        means = [(next(iter(v.values())), mean_over(q, v, among)) for v in variants]
        ax.plot(*zip(*means), color="C7", lw=1.5)
        ax.axhline(mean_over(by_name["base-td3n"], {}, among), color="C7", ls="--", lw=1)
        ax.set(xscale="log", xlabel=name)
    if not any(np.isfinite(line.get_ydata()).any() for ax in axes for line in ax.lines):
        plots.plt.close("all")
        print("not run")
        return
    for c, colour in zip(by_name["dr3"].datasets, plots.PALETTE):
        axes[0].plot([], [], ".", color=colour, label=c.removeprefix("hopper-"))
    axes[0].legend(fontsize=7)
    axes[0].set_ylabel("mean normalised score")
    display(figure)
    plots.plt.close("all")
    rows = [row_of(q, {}, among, tried=1) for q in single]
    for q, variants in knobs.values():
        picked = chosen(q, variants, among)
        rows += [row_of(q, picked, among, tried=len(variants))] if picked else []
    best = pd.DataFrame([row for row in rows if row])
    display(tables.scrolled(best.sort_values("mean", ascending=False)))


# %% tags=["hide-input"] mystnb={"image": {"alt": "At the paper's scale: mean score on Hopper against RD's weight, DR3's weight and the base's pessimism"}}
rivals(records)

# %% [markdown]
# At quick scale, the best setting of each by the same rule and how many were tried:

# %% tags=["hide-input"] mystnb={"image": {"alt": "At quick scale: mean score on Hopper against RD's weight, DR3's weight and the base's pessimism, three panels with one scale"}}
rivals(small)

# %% [markdown]
# TEXT-RIVALS
#
# ## What of RD does the work?
#
# Ablations of RD at quick scale, on `hopper-medium` only, with the seeds of the tables; RD as it is and the base first.

# %% tags=["hide-input"]
published = tables.collect(tables.read_scale(results / "quick", "quick"))
rows = [
    {
        "algorithm": tables.title(algo), "variant": "as it is",
        "hopper-medium": tables.spread(published[algo, "hopper-medium"].last),
        "median Q(s, π(s)) at the end": ends({"hopper-medium": published[algo, "hopper-medium"]}),
    }
    for algo in ("td3n", "td3n_rd")
]  # fmt: skip
rows += [row_of(q, v, small) for q in questions if q.stage == "ablate" for v in q.variants]
kept = pd.DataFrame([row for row in rows if row]).drop(columns="mean", errors="ignore")
display(tables.scrolled(kept))

# %% [markdown]
# TEXT-ABLATE
#
# ## What can be seen at quick scale
#
# The records of TD3-N-UNC in `book/results/quick` are small runs on the bundled `hopper-medium`: small
# networks, 12,000 updates, three seeds. They do not rank anything. They do show the quantities that RD acts on: the
# product of features between the data's action and the policy's, what values do, and how far the last iterate is
# from the best.

# %% tags=["hide-input"]
quick = [
    r
    for r in load_records(results / "quick")
    if r.dataset == "hopper-medium" and r.algo in ("td3n", "td3n_rd")
]
frame = plots.evaluations(quick)


def compare(column, ylabel, log=False):
    """One diagnostic over training, without and with RD, every seed thin."""
    figure, axes = plots.plt.subplots(figsize=(6, 3.4))
    for (algo, part), colour in zip(frame.groupby("algo"), plots.PALETTE):
        runs = part.pivot_table(index="step", columns="seed", values=column)
        axes.plot(runs.index, runs, color=colour, lw=0.6, alpha=0.6)
        axes.plot(runs.index, runs.median(axis=1), color=colour, lw=2, label=tables.title(algo))
    axes.set(xlabel="gradient updates", ylabel=ylabel, yscale="symlog" if log else "linear")
    axes.legend()
    display(figure)
    plots.plt.close("all")


# %% tags=["hide-input"] mystnb={"image": {"alt": "Feature product between data action and policy action over updates, logarithmic beyond 1: without RD it grows by eight orders of magnitude, with it it stays below a hundred"}}
compare("kernel_data_policy", "feature product, data and policy", log=True)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean value of the policy's actions over updates, logarithmic beyond 1: without RD it ends between 0.7 and 2 million for the three seeds, with RD it settles near 60"}}
compare("q_policy", "mean Q(s, π(s))", log=True)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Cosine of the features of data action and policy action over updates, with and without RD"}}
compare("cosine_data_policy", "feature cosine, data and policy")

# %% [markdown]
# The product can be made small by small norms as well as by turning features apart; the cosine tells which it
# was. Rank and norm of the features beside it, at the end of each run, with last against best score and the cost:

# %% tags=["hide-input"]
rows = []
for r in quick:
    end = r.evaluations[-1]["diagnostics"]
    rows.append(
        {
            "algorithm": tables.title(r.algo),
            "seed": r.seed,
            "last": r.last_score(),
            "best": r.best_score(),
            "feature norm": end["feature_norm"],
            "effective rank": end["srank"],
            "seconds per agent": r.seconds / r.agents,
        }
    )
display(tables.scrolled(pd.DataFrame(rows)))
