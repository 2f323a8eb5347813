"""RD against its base over whole columns, and ours against the paper's."""

import numpy as np
import pytest
from helpers.extras import needed
from helpers.records import BETTER, CORL, FOUR, PAPER, REFERENCE, evaluation, record, runs

from rdlib.results import compare, stats, tables


def test_effects_and_correlations():
    records = [
        r for d, plain, rd in (("hopper-medium", 20, 90), ("hopper-medium-replay", 95, 80),
                               ("halfcheetah-medium", 40, 50))
        for r in (*runs("td3n", [plain - 1.0, plain + 1.0], d), *runs("td3n_rd", [rd - 1.0, rd + 1.0], d))
    ]  # fmt: skip
    cells = tables.join(1, PAPER, tables.collect(records), corl=CORL)
    table = compare.effects(cells).set_index(["base", "dataset"])
    assert len(table) == 36
    one = table.loc["td3n", "hopper-medium"]
    assert (one.paper, one["same sign"]) == (61.1, True) and one.ours == pytest.approx(70.0)
    ends = stats.interval(stats.difference, [89.0, 91.0], [19.0, 21.0])
    assert (one.low, one.high) == ends and ends == pytest.approx((68.0, 72.0))
    assert table.loc["td3n", "hopper-medium-replay"]["same sign"] is False
    assert table.loc["td3n", "halfcheetah-medium"]["same sign"] is None  # 66.8 against 66.8
    assert np.isnan(table.loc["cql", "hopper-medium"].ours)
    found = compare.correlations(cells).set_index("algorithm")
    expected = needed("scipy", "stats").spearmanr([20, 95, 40], [41.9, 92.5, 66.8]).statistic
    assert found.loc["td3n", "with the paper"] == pytest.approx(expected)
    assert found.loc["td3n", "datasets"] == 3 and np.isnan(found.loc["td3n", "with CORL"])
    assert np.isnan(found.loc["cql", "with the paper"])
    quick = tables.collect(runs("cql", [5.0], "hopper-medium", scale="quick") + runs(
        "cql", [9.0], "hopper-medium-expert", scale="quick"
    ))  # fmt: skip
    cells = tables.join(1, PAPER, tables.collect(records), quick, CORL)
    found = compare.correlations(cells, "quick").set_index("algorithm")
    assert found.loc["cql", "datasets"] == 2 and found.loc["td3n", "datasets"] == 0
    assert found.loc["cql", "with the paper"] == found.loc["cql", "with CORL"] == 1


def test_a_pair_has_what_both_sides_ran_by_the_seeds_that_all_have():
    """Three datasets: one with a seed less, one without its base, which has no part in it."""
    records = [
        *runs("td3n", FOUR), *runs("td3n_rd", BETTER), *runs("td3n_rd", FOUR, "walker2d-medium"),
        *runs("td3n", FOUR[:3], "hopper-medium-replay"),
        *runs("td3n_rd", FOUR[::-1], "hopper-medium-replay"),
        *runs("sacn", FOUR), *runs("sacn_rd", BETTER[:1]),
    ]  # fmt: skip
    cells = tables.join(1, PAPER, tables.collect(records))
    [pair] = compare.pairs(cells)  # SAC-N-UNC's two sides share one seed
    assert (pair.base, pair.seeds) == ("td3n", (0, 1, 2))
    assert pair.datasets == ("hopper-medium", "hopper-medium-replay")
    np.testing.assert_allclose(pair.with_rd, [[60, 40], [70, 30], [80, 20]])
    np.testing.assert_allclose(pair.without, [[10, 10], [20, 20], [30, 30]])
    assert pair.effect == pytest.approx((50 + 10) / 2) == pair.best_effect
    assert pair.p == stats.p_value(pair.with_rd, pair.without)
    rest = pair.leaving_out({"hopper-medium"})
    assert rest.datasets == ("hopper-medium-replay",) and rest.effect == pytest.approx(10)
    assert rest.best_without.shape == (3, 1) and pair.leaving_out(set(pair.datasets)) is None
    assert compare.pairs(cells, "quick") == []
    row = compare.summary(cells).set_index("base").loc["td3n"]
    assert (row.datasets, row.seeds, row.effect, row.p) == (2, 3, pair.effect, pair.p)
    assert row["IQM + RD"] == stats.iqm(pair.with_rd) and row["IQM"] == stats.iqm(pair.without)
    assert (row["IQM low"], row["IQM high"]) == stats.interval(stats.iqm, pair.without)
    low, high = stats.interval(stats.improvement, pair.with_rd, pair.without)
    assert (row["improvement low"], row["improvement high"]) == (low, high) and low < row.improvement
    others = compare.summary(cells).set_index("base").drop("td3n")
    assert set(others.index) == {"sacn", "td3bc", "cql"} and (others.seeds == 0).all()
    assert others.drop(columns=["seeds", "datasets"]).isna().all(None)


def test_an_effect_by_the_best_checkpoint_is_another_than_by_the_last_iterate():
    def run(algo, seed, best, last):
        raw = [REFERENCE[0] + s * (REFERENCE[1] - REFERENCE[0]) / 100 for s in (best, last)]
        shown = [evaluation(200, raw[0]), evaluation(400, raw[1])]
        return record(algo, seed=seed, evaluations=shown)

    records = [run("cql", s, 50.0, 20.0) for s in (0, 1)] + [run("cql_rd", s, 45.0, 40.0) for s in (0, 1)]
    cells = tables.join(1, PAPER, tables.collect(records))
    [pair] = compare.pairs(cells)
    assert (pair.best_effect, pair.effect) == pytest.approx((-5.0, 20.0))
