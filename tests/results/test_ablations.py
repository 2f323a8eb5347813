"""Settings of the protocol: found by what was asked, picked by its rule, compared as the statistics say."""

import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.records import BETTER, FOUR, evaluation, record, runs

from rdlib import algos
from rdlib.engine.config import recorded
from rdlib.results import ablations, stats, tables
from rdlib.results.ablations import Setting
from rdlib.results.grid import Question

HOPPER = ("hopper-medium", "hopper-expert")
QUESTION = Question(
    "select", "lambda", "λ for RD", "td3n_rd", HOPPER, (100, 101), {}, {},
    ({"plugin.weight": 0.3}, {"plugin.weight": 0.01}),
)  # fmt: skip
SEEN = dict.fromkeys(("q_policy", "q_data"), 2.0)


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def asked(weight, dataset, scores, seeds=(100, 101)):
    """Records of QUESTION's variant of this weight at quick scale."""
    recipe = algos.find("td3n_rd")
    config = recorded(recipe.config(recipe.entry.scales["quick"].overrides))
    plugin = recorded(recipe.plugin_config({"weight": weight}))
    return [
        record("td3n_rd", dataset, seed, score, scale="quick", config=config, plugin=plugin)
        for seed, score in zip(seeds, scores, strict=True)
    ]


def setting(algo, scores, variant="", q_end=2.0):
    """Of one dataset, with a value at the end."""
    last = [replace(r, evaluations=[e | {"diagnostics": SEEN | {"q_policy": q_end}} for e in r.evaluations])
            for r in runs(algo, scores)]  # fmt: skip
    return Setting(algo, variant, {"hopper-medium": tables.collect(last)[algo, "hopper-medium"]})


def test_a_question_is_answered_by_the_variants_that_ran_on_all_its_datasets():
    whole = [r for d in HOPPER for r in asked(0.01, d, (10.0, 30.0))]
    part = asked(0.3, "hopper-medium", (50.0, 60.0))
    [found] = ablations.answers(QUESTION, [*part, *whole])
    assert (found.name, found.value("plugin.weight")) == ("TD3-N-UNC + RD, weight 0.01", 0.01)
    np.testing.assert_allclose(found.scores(HOPPER), [[10, 10], [30, 30]])
    both = ablations.answers(QUESTION, [*whole, *part], ["hopper-medium"])
    assert [s.variant for s in both] == ["weight 0.3", "weight 0.01"]  # in the question's order
    assert both[0].value("n_critics") == 4
    assert ablations.answers(QUESTION, asked(0.01, HOPPER[0], (1.0, 2.0), (0, 1)), HOPPER[:1]) == []
    described = replace(QUESTION, stage="ablate", question="stage 1 only")
    assert ablations.answers(described, whole)[0].variant == "stage 1 only, weight 0.01"


def test_a_question_is_not_run_until_every_seed_of_every_variant_is():
    everything = [r for w in (0.3, 0.01) for d in HOPPER for r in asked(w, d, (10.0, 30.0))]
    assert ablations.not_run([QUESTION], everything) == []
    assert ablations.not_run([QUESTION], everything[:-1]) == ["lambda"]
    assert ablations.not_run([QUESTION], everything[:-4]) == ["lambda"]


def test_the_rule_picks_the_first_within_a_point_of_the_best():
    settings = [setting("td3n", [x, x]) for x in (10.0, 29.5, 30.0, 20.0)]
    assert ablations.picked(settings, ["hopper-medium"]) is settings[1]
    assert ablations.best(settings, ["hopper-medium"]) is settings[2]


def test_settings_are_told_apart_by_their_fields_and_need_every_dataset():
    records = [
        r for beta, datasets in ((4.0, HOPPER), (5.0, HOPPER), (6.0, HOPPER[:1]))
        for d in datasets for r in runs("td3n", [beta, beta + 2], d, config={"beta": beta})
    ]  # fmt: skip
    found = ablations.by_config([*records, *runs("td3n", [1.0], "walker2d-medium")], ["beta"], HOPPER)
    assert [(s.variant, s.scores(HOPPER).mean()) for s in found] == [
        ("beta 4", pytest.approx(5.0)), ("beta 5", pytest.approx(6.0)),
    ]  # fmt: skip
    cells = tables.collect(records[:4])
    assert ablations.as_it_is(cells, "td3n", HOPPER)[0].name == "TD3-N-UNC"
    assert ablations.as_it_is(cells, "td3n_rd", HOPPER) == []


def test_a_table_says_how_far_each_is_from_the_one_compared_with():
    rd, base = setting("td3n_rd", BETTER), setting("td3n", FOUR, "β 4", q_end=None)
    first, second = ablations.table([rd, replace(base, runs=setting("td3n", FOUR, q_end=7.6).runs)],
                                    ["hopper-medium"], rd).to_dict("records")  # fmt: skip
    assert (first["mean"], first["hopper-medium"]) == (pytest.approx(75.0), "75.0 ± 11.2")
    assert (second["setting"], second["seeds"]) == ("β 4", 4)
    assert second["less TD3-N-UNC + RD"] == "-50.0" and second["test"] == "p = 0.029"
    assert second["P(TD3-N-UNC + RD above)"] == "1.00 (1.00 to 1.00)"
    assert second["median Q(s, π(s)) at the end"] == "8"
    assert np.isnan(base.ends(["hopper-medium"])).all()  # a record has None for NaN


def test_the_figures_show_every_setting():
    one, two = setting("td3n_rd", FOUR, "a"), setting("td3n_rd", BETTER, "b")
    base = setting("td3n", [5.0] * 4)
    [axes] = ablations.differences([one, two], ["hopper-medium"], base).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    low, high = stats.interval(stats.difference, FOUR, [5.0] * 4)
    assert axes.get_lines()[0].get_xdata() == pytest.approx([low, high])
    assert axes.get_lines()[1].get_xdata() == pytest.approx([20.0])
    weighed = [
        Setting("td3n_rd", "", {d: o for (_, d), o in tables.collect(asked(w, HOPPER[0], (w, w))).items()})
        for w in (0.1, 1.0)
    ]
    [axes] = ablations.sweep({"RD": ("plugin.weight", weighed, [base])}, HOPPER[:1]).axes
    dots, mean, dashed = axes.get_lines()
    assert list(dots.get_xdata()) == [0.1, 1.0] and mean.get_ydata() == pytest.approx([0.1, 1.0])
    assert dashed.get_ydata() == pytest.approx([5.0, 5.0]) and axes.get_xscale() == "log"


def test_training_has_a_row_for_each_dataset_and_the_median_over_seeds():
    def run(algo, dataset, seed, value):
        shown = [evaluation(s, 1.0) | {"diagnostics": {"q_policy": value + s}} for s in (200, 400)]
        return record(algo, dataset, seed, evaluations=shown)

    records = [run(a, d, s, 10.0 * s) for a in ("td3n_rd", "td3n") for d in HOPPER for s in range(3)]
    axes = ablations.training(records, {"score": "score", "q_policy": "Q"}, ["q_policy"]).axes
    titles = [ax.get_title(loc="left") for ax in axes]
    ends = [float(x) for x in re.findall(r"[\d.]+", titles[0].split(":")[1].replace("TD3", ""))]
    assert titles[0].startswith("hopper-expert, score at the end: TD3-N-UNC ") and ends[0] == ends[1]
    assert titles[2].startswith("hopper-medium") and titles[1] == titles[3] == ""
    assert [ax.get_yscale() for ax in axes] == ["linear", "symlog"] * 2
    lines = axes[1].get_lines()
    assert len(lines) == 2 * (3 + 1) and lines[3].get_label() == "TD3-N-UNC"
    assert list(lines[3].get_ydata()) == [210.0, 410.0] and list(lines[3].get_xdata()) == [0.2, 0.4]


def test_a_run_is_a_row_with_what_it_ended_with():
    shown = [evaluation(200, 7.0), evaluation(400, 50.0, 70.0) | {"diagnostics": {"q_data": 4.0}}]
    found = ablations.runs([record(evaluations=shown, config={"beta": 3.0}, seconds=8.0, agents=4)], "beta")
    [row] = found.to_dict("records")
    assert (row["algorithm"], row["beta"], row["q_data"], row["updates"]) == ("TD3-N-UNC", 3.0, 4.0, 400)
    assert (row["last returns"], row["seconds per agent"], row["steps"]) == ("60.0 ± 10.0", 2.0, 10.0)
    assert ablations.words({"plugin.weight": 0.3, "beta": 2.0}) == "weight 0.3, beta 2"
