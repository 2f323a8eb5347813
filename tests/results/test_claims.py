"""A claim's verdict follows from the records by one rule, whichever of them there are."""

import pytest
from helpers.records import BETTER, FOUR, evaluation, record, runs

from rdlib.results import claims, tables
from rdlib.results.claims import NOT_RUN, Finding
from rdlib.training.record import save_record

EXPERT = 3234.3 / 1000 / 0.01  # Hopper's reference return, per step, discounted for ever


def ending(algo, values, dataset="hopper-medium"):
    """A run for each value of the policy's actions at the end."""
    return [
        record(algo, dataset, seed, config={"gamma": 0.99}, evaluations=[
            evaluation(400, 50.0) | {"diagnostics": {"q_policy": value}}
        ])
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_values_run_away_above_an_expert_s():
    below, above, broken = ending("td3n", [EXPERT - 1, EXPERT + 1, None])
    assert claims.expert_value(below) == pytest.approx(EXPERT)
    assert [claims.ran_away(r) for r in (below, above, broken)] == [False, True, True]
    assert not claims.ran_away(record(reference=None, config={"gamma": 0.99}))


def test_the_cycle_and_what_rd_does_to_it():
    base, rd = ending("td3n", [1e6] * 5), ending("td3n_rd", [50.0] * 5)
    cells = tables.collect([*base, *rd, *ending("bc", [1e6] * 5)])
    assert claims.cycle(cells) == Finding("confirmed", "5 of 5 runs")
    assert claims.held(cells) == Finding("confirmed", "5 of 5 runs, with RD 0")
    sound = tables.collect([*ending("td3n", [50.0] * 5), *rd])
    assert claims.cycle(sound) == Finding("not seen", "0 of 5 runs")
    assert claims.held(sound).verdict == "not seen"
    worse = tables.collect([*ending("td3n", [50.0] * 5), *ending("td3n_rd", [1e6] * 5)])
    assert claims.held(worse) == Finding("refuted", "0 of 5 runs, with RD 5")
    assert claims.held(tables.collect(base)) == NOT_RUN == claims.cycle({})


@pytest.mark.parametrize(
    "rd, base, verdict, number",
    [
        (BETTER, FOUR, "confirmed", "+50.0, p = 0.029 (1 of 9 datasets)"),
        (FOUR, BETTER, "refuted", "-50.0, p = 0.029 (1 of 9 datasets)"),
        (FOUR, FOUR, "not seen", "+0.0, p = 1.000 (1 of 9 datasets)"),
    ],
)
def test_a_difference_of_scores_has_a_verdict_by_its_sign_and_p(rd, base, verdict, number):
    cells = tables.collect([*runs("cql", base), *runs("cql_rd", rd), *runs("cql", base, "hopper-expert")])
    assert claims.raised(cells, "cql_rd", "cql", claims.datasets(1)) == Finding(verdict, number)


def test_the_best_of_table_2_is_asked_only_where_every_column_ran():
    columns = ("bc", "dt", "td3bc", "cql", "iql", "edac", "diffusion_ql", "td3n_rd")
    most = [r for algo in columns for r in runs(algo, FOUR)]
    cells = tables.collect([*most, *runs("sacn_rd", BETTER)])
    found = claims.first_of_all(cells)
    assert found.verdict == "confirmed"
    assert found.number == "SAC-N-UNC + RD 75.0, BC 25.0, p = 0.029 (1 of 17 datasets)"
    assert claims.first_of_all(tables.collect(most)) == NOT_RUN


def test_the_first_stage_alone_is_read_from_the_ablations(tmp_path):
    weight, config = {"weight": 0.1, "stages": "both"}, {"gamma": 0.99}
    for r in (*runs("td3n_rd", BETTER, plugin=weight, config=config), *runs("td3n", FOUR, config=config)):
        save_record(r, tmp_path / "paper")
    for more in ({"stages": "first"}, {"stages": "first", "weight": 1.0}):
        for r in runs("td3n_rd", FOUR, plugin=weight | more):
            save_record(r, tmp_path / "ablations-paper")
    cells = claims.read(tmp_path, "paper", "paper")
    found = {claim.words: claim.ask(cells) for claim in claims.CLAIMS}
    assert found["Two stages do what one cannot"] == Finding("confirmed", "+50.0, p = 0.029")
    assert found["Table 1: RD raises TD3-N-UNC"].verdict == "confirmed"
    assert found["Table 1: RD raises CQL"] == NOT_RUN == found["Table 2: RD is best of all methods"]
    assert claims.read(tmp_path, "absent", "paper") == {}
