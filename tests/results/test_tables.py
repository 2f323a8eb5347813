"""The paper's numbers as data, and ours joined with them: exact, or refused by the cell's name."""

import base64
import csv
import dataclasses
import importlib.util
import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers.extras import needed
from helpers.records import BETTER, CORL, FOUR, PAPER, REFERENCE, RESULTS, evaluation, record, runs

from rdlib.algos import cells as settings
from rdlib.engine.config import ConfigError
from rdlib.results import compare, plots, stats, tables, typeset, webtable
from rdlib.results.printed import TOTALS, read_corl, read_paper, title
from rdlib.results.tables import TableError
from rdlib.training.record import RecordError, load_records, save_record


def printed(table, algo, dataset):
    [found] = [p for p in PAPER if (p.table, p.algo, p.dataset) == (table, algo, dataset)]
    return found


def cell(cells, algo, dataset):
    [found] = [c for c in cells if (c.printed.algo, c.printed.dataset) == (algo, dataset)]
    return found


# The paper's numbers -------------------------------------------------------------------------


def test_every_cell_of_the_tables_has_its_number_and_settings():
    ours = {(c.table, c.algo, c.dataset) for c in settings.cells()}
    theirs = [(p.table, p.algo, p.dataset) for p in PAPER if p.dataset not in TOTALS]
    assert set(theirs) == ours and len(theirs) == len(ours) == 72 + 153
    assert len(PAPER) == 72 + 153 + 3 * 9
    assert all((p.std is not None) == (p.table == 1) for p in PAPER)


def test_totals_of_table_2_add_up_as_printed():
    algos = dict.fromkeys(p.algo for p in PAPER if p.table == 2)
    for algo in algos:
        for row, parts in TOTALS.items():
            mean = sum(
                p.mean for p in PAPER
                if p.table == 2 and p.algo == algo and p.dataset.startswith(parts)
            )  # fmt: skip
            assert mean == pytest.approx(printed(2, algo, row).mean, abs=0.05), (algo, row)


@pytest.mark.parametrize(
    "algo, plain, with_rd, std, std_rd",
    [
        ("td3n", 78.30, 94.66, 20.08, 1.33), ("sacn", 78.03, 93.72, 10.17, 1.32),
        ("td3bc", 76.12, 78.14, 5.14, 2.48), ("cql", 76.59, 84.46, 5.62, 3.47),
    ],
)  # fmt: skip
def test_means_of_table_1(algo, plain, with_rd, std, std_rd):
    for name, mean, deviation in ((algo, plain, std), (f"{algo}_rd", with_rd, std_rd)):
        column = [p for p in PAPER if p.table == 1 and p.algo == name]
        assert len(column) == 9
        assert np.mean([p.mean for p in column]) == pytest.approx(mean, abs=0.006)
        assert np.mean([p.std for p in column]) == pytest.approx(deviation, abs=0.006)


def test_gains_of_table_1():
    def gain(algo, *datasets):
        return sum(printed(1, f"{algo}_rd", d).mean - printed(1, algo, d).mean for d in datasets)

    nine = [p.dataset for p in PAPER if p.table == 1 and p.algo == "cql"]
    assert gain("td3n", *nine) == pytest.approx(147.2)
    assert gain("sacn", *nine) == pytest.approx(141.2)
    rescued = ("hopper-medium", "walker2d-medium")
    assert gain("td3n", *rescued, "walker2d-medium-expert") == pytest.approx(117.0)
    assert gain("sacn", *rescued) == pytest.approx(125.2)


def test_the_paper_s_bold_follows_the_rule_but_for_one_tie():
    exceptions = []
    for p in PAPER:
        rivals = [
            q.mean for q in PAPER
            if q.table == p.table and q.dataset == p.dataset
            and (q.algo == p.algo.removesuffix("_rd") if p.table == 1 else not q.algo.endswith("_rd"))
        ]  # fmt: skip
        if p.bold != (p.algo.endswith("_rd") and p.mean >= max(rivals)):
            exceptions.append((p.table, p.algo, p.dataset))
    assert exceptions == [(1, "td3bc_rd", "halfcheetah-medium-replay")]  # 44.6 against 44.6


def test_both_tables_print_the_same_where_they_overlap():
    for p in PAPER:
        if p.table == 2 and p.algo in ("td3n_rd", "sacn_rd", "td3bc", "cql"):
            for q in PAPER:
                if q.table == 1 and (q.algo, q.dataset) == (p.algo, p.dataset):
                    assert q.mean == p.mean


def test_corl_s_numbers_are_whole_and_the_best_is_no_less_than_the_last():
    assert len(CORL) == 7 * 11 and CORL["sacn_min", "hopper-medium"] == (40.82, 101.79)
    assert all(last <= best for last, best in CORL.values())
    assert {d for _, d in CORL} < {p.dataset for p in PAPER}


HEAD = b"table,algo,dataset,mean,std,bold\n"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "line 1: '', expected the columns table,algo"),
        (b"table,algo\n1,td3n\n", "line 1: 'table,algo', expected the columns"),
        (HEAD, "has no row"),
        (HEAD + b"1,td3n,hopper-medium,1.0\n", "line 2: 4 values for 6 columns"),
        (HEAD + b"1,td3n,hopper-medium,1.0,,0,7\n", "line 2: 7 values for 6 columns"),
        (HEAD + b"1,td3n,hopper-medium,x,,0\n", "line 2: mean = 'x' is no number"),
        (HEAD + b"1,td3n,hopper-medium,nan,,0\n", "line 2: mean = 'nan' is no number"),
        (HEAD + b"1,td3n,hopper-medium,1,inf,0\n", "line 2: std = 'inf' is no number"),
        (HEAD + b"1,td3n,hopper-medium,1,,0\n1,sacn,hopper-medium,,,0\n", "line 3: mean = ''"),
        (HEAD + b"1,td3n,hopper-medium,1,,yes\n", "line 2: bold = 'yes', expected one of 0, 1"),
        (HEAD + b"3,td3n,hopper-medium,1,,0\n", "line 2: table = '3', expected one of 1, 2"),
        (HEAD + b"1,td4n,hopper-medium,1,,0\n", "line 2: algo = 'td4n', expected one of td3n"),
        (HEAD + b"1,td3n,hopper,1,,0\n", "line 2: dataset = 'hopper', expected one of"),
        (HEAD + 2 * b"1,td3n,hopper-medium,1,,0\n", r"line 3: .*'hopper-medium'\) stands in line 2"),
        (HEAD + b"1,td3n,\xff,1,,0\n", "not a readable CSV file: .*utf-8"),
        (HEAD + b'1,"td3n,x\n', "not a readable CSV file: unexpected end"),
    ],
    ids=str,
)
def test_a_file_of_numbers_is_read_strictly(tmp_path, content, message):
    path = tmp_path / "paper.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}.*{message}"):
        read_paper(path)
    with pytest.raises(ConfigError, match=r"absent.csv: .*clone of the repository"):
        read_corl(tmp_path / "absent.csv")


# Ours ----------------------------------------------------------------------------------------


def test_a_cell_is_over_seeds_last_iterate_with_the_best_beside():
    [mine] = tables.collect(runs("td3n", [30.0, 60.0, 90.0])).values()
    assert mine.last == pytest.approx((30.0, 60.0, 90.0)) and mine.seeds == (0, 1, 2)
    assert mine.mean == pytest.approx(60.0)
    assert np.mean(mine.best) == pytest.approx(60 + 100 * 100 / (REFERENCE[1] - REFERENCE[0]))
    assert tables.spread(mine.last) == "60.0 ± 24.5" and tables.spread([3.0]) == "3.0"


def test_a_diverged_run_counts_as_a_random_policy_and_is_said():
    records = [*runs("td3n", [90.0, 90.0]), record(seed=2, score=100.0, status="diverged")]
    ours = tables.collect(records)
    [mine] = ours.values()
    assert mine.last == pytest.approx((90.0, 90.0, 0.0)) and mine.diverged == 1
    assert mine.best[2] > 100
    text = typeset.markdown(tables.join(1, PAPER, ours), "ours")
    assert "60.0 ± 42.4 (1 of 3 diverged)" in text


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scale": "quick"}, r"different scales: paper; quick"),
        ({"dataset_digest": "another"}, "different datasets"),
        ({"dataset": "d4rl/hopper-medium-v2", "dataset_source": "d4rl"}, "different datasets.*d4rl"),
        ({"config": {"beta": 2.0}}, "different configurations: beta = 2.0; beta = None"),
        ({"plugin": {"weight": 1.0}}, "different plug-ins: weight = 1.0; weight = None"),
        ({"matmul": "bf16"}, "different precisions: bf16; float32"),
        ({"steps": 100, "stopped_at": 100}, r"different lengths \(updates\): 100; 400"),
        ({"last_k": 2}, "different evaluations"),
        ({"versions": {"mujoco": "3.5.0"}}, "different MuJoCo versions: 3.4.0; 3.5.0"),
        ({"dtype": "float64"}, "different dtypes: float32; float64"),
        ({"max_episode_steps": 500}, "different time limits: 1000; 500"),
        ({"seed": 1}, "seed 1 is there 2 times"),
        (
            {"evaluations": [evaluation(200, 1.0), evaluation(400, 1.0, 2.0)]},
            "different numbers of episodes",
        ),
        ({"evaluations": [evaluation(100, 1.0), evaluation(400, 1.0)]}, "different times of evaluation"),
    ],
    ids=str,
)
def test_what_cannot_be_averaged_is_refused_by_the_cell_s_name(change, message):
    records = [*runs("td3n", [1.0, 2.0]), record(**{"seed": 2, **change})]
    with pytest.raises(TableError, match=f"^td3n on hopper-medium: .*{message}"):
        tables.collect(records)


def test_seeds_are_those_fixed_in_advance_unless_any_are_allowed():
    records = runs("td3n", [1.0, 2.0])
    assert tables.collect(records, seeds=(0, 1))
    with pytest.raises(TableError, match=r"td3n on hopper-medium: seeds \[2, 3\] are missing"):
        tables.collect(records, seeds=range(4))
    with pytest.raises(TableError, match=r"seeds \[1\] are not among"):
        tables.collect(records, seeds=(0,))
    with pytest.raises(TableError, match="raw returns"):
        tables.collect([record(reference=None)])


def test_names_of_a_dataset_are_one_row_and_what_stands_in_is_said():
    bundled = record("bc", "pen-demos")
    human = record("bc", "D4RL/pen/human-v2", dataset_source="minari")
    assert tables.collect([bundled])["bc", "pen-human"].note.endswith("no human's")
    assert tables.collect([human])["bc", "pen-human"].note == ""
    assert "not D4RL's file" in tables.collect([record()])["td3n", "hopper-medium"].note


def test_a_row_is_of_one_dataset():
    d4rl = runs("td3n_rd", [1.0], "d4rl/hopper-medium-v2", dataset_source="d4rl")
    ours = tables.collect([*runs("td3n", [1.0]), *d4rl])
    with pytest.raises(
        TableError, match=r"Table 1, hopper-medium: .*different datasets: .*\(td3n_rd\); .*\(td3n\)"
    ):
        tables.join(1, PAPER, ours)


def test_quick_runs_with_rd_and_without_are_of_one_dataset():
    quick = tables.collect(
        [
            *runs("td3n", FOUR, scale="quick"),
            *runs("td3n_rd", BETTER, scale="quick", dataset_digest="e" * 64),
            *runs("td3bc", FOUR, scale="quick", dataset_digest="f" * 64),
        ]
    )
    with pytest.raises(TableError, match="td3n_rd on .*, quick: .* datasets: .*e{12}.* .td3n_rd.;"):
        tables.join(1, PAPER, {}, quick)
    del quick["td3n_rd", "hopper-medium"]
    table = tables.frame(tables.join(1, PAPER, {}, quick)).set_index("algorithm")
    assert table.digest["td3bc"].dropna().tolist() == ["f" * 12]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 300, "stopped_at": 300}, r"lengths \(updates\): 300 \(td3n_rd\); 400 \(td3n\)"),
        ({"config": {"n_critics": 50}}, "configurations: n_critics = 50 .*; n_critics = None .td3n."),
        ({"last_k": 2}, "evaluations: .*last 1.*td3n.; .*last 2.*td3n_rd"),
        ({"reference": [0.0, 1.0]}, "evaluations"), ({"dtype": "float64"}, "dtypes"),
        ({"versions": {"mujoco": "3.5.0"}}, "MuJoCo versions"), ({"matmul": "tf32"}, "precisions"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_rd_and_its_base_differ_in_nothing_but_rd(scale, change, message):
    found = tables.collect(
        [*runs("td3n", FOUR, scale=scale), *runs("td3n_rd", BETTER, scale=scale, **change)]
    )
    ours, quick = (found, {}) if scale == "paper" else ({}, found)
    with pytest.raises(TableError, match=rf"hopper-medium.*different {message}"):
        tables.join(1, PAPER, ours, quick)
    plugin = runs("td3n_rd", BETTER, scale=scale, plugin={"weight": 0.1}, matmul="onednn")
    found = tables.collect([*runs("td3n", FOUR, scale=scale), *plugin])
    assert tables.join(1, PAPER, *((found, {}) if scale == "paper" else ({}, found)))


def test_algorithms_of_a_row_may_differ_in_length_and_settings():
    longer = {"steps": 800, "stopped_at": 800, "config": {"eta": 1.0}}
    evaluations = [evaluation(800, 1.0)]
    edac = runs("edac", FOUR, evaluations=evaluations, **longer)
    assert tables.join(2, PAPER, tables.collect([*runs("td3n_rd", FOUR), *edac]))
    other = runs("edac", FOUR, last_k=2, evaluations=evaluations, **longer)
    with pytest.raises(TableError, match="Table 2, hopper-medium: .*different evaluations.*edac"):
        tables.join(2, PAPER, tables.collect([*runs("td3n_rd", FOUR), *other]))


def test_records_from_before_a_field_was_recorded_join_those_with_it():
    old = record(seed=0, dtype=None, max_episode_steps=None, earlier=None)
    [cell] = tables.collect([old, record(seed=1, earlier=[{"commit": "ab"}])]).values()
    assert cell.seeds == (0, 1)


def test_older_records_are_refused_by_name(tmp_path):
    path = save_record(record(), tmp_path / "paper")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 0}))
    with pytest.raises(RecordError, match=rf"{re.escape(str(path))}: schema 0, this version reads 1"):
        tables.read_scale(tmp_path / "paper", "paper")


def test_scales_have_folders_of_their_own(tmp_path):
    assert tables.read_scale(tmp_path / "paper", "paper") == []
    path = save_record(record(scale="quick"), tmp_path / "paper")
    with pytest.raises(TableError, match=rf"{re.escape(str(path))}: of scale 'quick', not 'paper'"):
        tables.read_scale(tmp_path / "paper", "paper")
    for change, message in (
        ({"algo": "tdn3_rd"}, "of an unknown algorithm, 'tdn3_rd'"),
        ({"algo": "td3n_rdd"}, "of an unknown algorithm, 'td3n_rdd'; known are td3n, .*diffusion_ql, each"),
        ({"algo": "td3n_rd_ln"}, "of an unknown algorithm, 'td3n_rd_ln'"),
        ({"algo": "diffusion"}, "of an unknown algorithm, 'diffusion'"),
        ({"dataset": "hoper-medium"}, "of an unknown dataset, 'hoper-medium'"),
    ):
        folder = tmp_path / str(change)
        path = save_record(record(**change), folder)
        with pytest.raises(TableError, match=rf"{re.escape(str(path))}: {message}"):
            tables.read_scale(folder, "paper")
        renamed = path.rename(path.with_name("record-0.json"))  # the file is named, not what it says it is
        with pytest.raises(TableError, match=rf"{re.escape(str(renamed))}: {message}"):
            tables.read_scale(folder, "paper")
    for algo in ("td3n_ln_rd", "sacn_dr3", "diffusion_ql_rd", "bc"):
        save_record(record(algo), tmp_path / "known")
    assert len(tables.read_scale(tmp_path / "known", "paper")) == 4
    (tmp_path / "other").mkdir()
    with pytest.raises(RecordError, match="no records"):
        tables.read_scale(tmp_path / "other", "paper")


# Joined --------------------------------------------------------------------------------------


def test_bold_is_the_paper_s_rule_among_our_own_and_the_dagger_needs_p():
    found = tables.collect([*runs("td3n", FOUR), *runs("td3n_rd", BETTER), *runs("sacn_rd", FOUR)])
    cells = tables.join(1, PAPER, found)
    rd, plain = cell(cells, "td3n_rd", "hopper-medium"), cell(cells, "td3n", "hopper-medium")
    assert rd.bold and rd.p == pytest.approx(2 / 70) and not plain.bold and plain.p is None
    text, printed_text = (" ".join(typeset.markdown(cells, of).split()) for of in ("ours", "paper"))
    assert "| 25.0 ± 11.2 | **75.0 ± 11.2†** |" in text
    assert "| 41.9 ± 50.5 | **103.0 ± 0.8** |" in printed_text
    assert not cell(cells, "sacn_rd", "hopper-medium").bold  # without its base there is nothing to beat
    few = tables.collect([*runs("td3n", FOUR[:3]), *runs("td3n_rd", BETTER[:3])])
    text = typeset.markdown(tables.join(1, PAPER, few), "ours")
    assert "**70.0 ± 8.2**" in text  # three seeds: no dagger
    worse = tables.collect([*runs("td3n", BETTER), *runs("td3n_rd", FOUR)])
    assert not any(c.bold for c in tables.join(1, PAPER, worse))


def test_bold_in_table_2_needs_every_column_without_rd():
    others = ["bc", "dt", "td3bc", "cql", "iql", "edac", "diffusion_ql"]
    records = [r for i, a in enumerate(others) for r in runs(a, [s - i for s in FOUR])]
    records += [*runs("td3n_rd", BETTER), *runs("sacn_rd", [5.0] * 4)]
    cells = tables.join(2, PAPER, tables.collect(records))
    assert [c.printed.algo for c in cells if c.bold] == ["td3n_rd"]
    fewer = tables.collect([r for r in records if r.algo != "edac"])
    assert not any(c.bold for c in tables.join(2, PAPER, fewer))


def test_quick_runs_stand_beside_never_in_and_are_never_bold():
    quick = tables.collect([*runs("td3n", FOUR, scale="quick"), *runs("td3n_rd", BETTER, scale="quick")])
    with pytest.raises(TableError, match="td3n on hopper-medium: quick runs do not stand"):
        tables.join(1, PAPER, quick)
    cells = tables.join(1, PAPER, {}, quick)
    assert not any(c.bold for c in cells)
    assert typeset.filled(cells) == ["quick", "paper"]
    assert "75.0 ± 11.2 " in typeset.markdown(cells, "quick")
    assert "**" not in typeset.markdown(cells, "quick")
    table = tables.frame(cells)
    assert len(table) == 72 + 2 and set(table[table.status == "run"].scale) == {"quick"}
    assert table[table.status == "run"].bold.isna().all()


def test_totals_add_up_only_what_ran_whole():
    pen = [r for d in ("pen-human", "pen-cloned") for r in runs("bc", [10.0, 30.0], d)]
    cells = tables.join(2, PAPER, tables.collect(pen))
    found = typeset.means(cells, "ours")
    assert found.loc["adroit-total", "bc"] == pytest.approx(40.0)
    assert np.isnan(found.loc["total", "bc"]) and np.isnan(found.loc["adroit-total", "dt"])
    assert typeset.means(cells, "paper").loc["adroit-total", "bc"] == printed(2, "bc", "adroit-total").mean
    assert "mean" not in found.index  # a table with totals needs none
    whole = tables.collect([r for d in NINE for r in runs("cql", [10.0, 30.0], d)])
    assert typeset.means(tables.join(1, PAPER, whole), "ours").loc["mean"].dropna().to_dict() == {
        "cql": pytest.approx(20.0)
    }


NINE = dict.fromkeys(p.dataset for p in PAPER if p.table == 1)


def test_what_was_not_run_says_so_with_its_command():
    commands = {("td3n", "hopper-medium"): "run it"}
    table = tables.frame(tables.join(1, PAPER, {}, corl=CORL), commands)
    assert len(table) == 72 and set(table.status) == {"not run"} and table["last"].isna().all()
    row = table[(table.algorithm == "td3n") & (table.dataset == "hopper-medium")].iloc[0]
    assert (row.command, row.paper) == ("run it", 41.9)
    cql = table[(table.algorithm == "cql") & (table.dataset == "hopper-medium")].iloc[0]
    assert (cql.corl_last, cql.corl_best) == (59.08, 70.80)


def test_a_matrix_for_the_statistics_has_every_seed():
    found = tables.collect([*runs("cql", [1.0, 2.0]), *runs("cql", [3.0, 4.0], "hopper-expert")])
    np.testing.assert_allclose(
        tables.matrix(found, "cql", ["hopper-expert", "hopper-medium"]), [[3.0, 1.0], [4.0, 2.0]]
    )
    with pytest.raises(TableError, match="cql on hopper-random: not run"):
        tables.matrix(found, "cql", ["hopper-random"])
    uneven = tables.collect([*runs("cql", [1.0, 2.0]), *runs("cql", [3.0], "hopper-expert")])
    with pytest.raises(TableError, match=r"cql: datasets have different seeds: hopper-expert \(0,\)"):
        tables.matrix(uneven, "cql", ["hopper-expert", "hopper-medium"])


# Written -------------------------------------------------------------------------------------


def test_statistics_are_written_of_every_scale(tmp_path):
    path = RESULTS.parent.parent / "workflow" / "tables.py"
    spec = importlib.util.spec_from_file_location("workflow_tables", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for r in HOPPER:
        save_record(r, tmp_path / "quick")
    script.write(tmp_path, tmp_path / "to")
    found = {
        name: pd.read_csv(tmp_path / "to" / f"{name}.csv").set_index("scale")
        for name in ("effects", "summary", "correlations1", "correlations2")
    }
    for name, table in found.items():
        assert table.index.value_counts().to_dict() == {
            scale: {"effects": 36, "summary": 4, "correlations1": 8, "correlations2": 9}[name]
            for scale in ("paper", "study", "quick")
        }, name
    effects = found["effects"].loc["quick"].set_index(["base", "dataset"])
    assert effects.loc["td3n", "hopper-medium"].ours == pytest.approx(30.0)
    assert found["effects"].loc["paper"].ours.isna().all() and effects.p.notna().sum() == 2
    assert found["correlations1"].loc["quick"].set_index("algorithm").datasets["td3n_rd"] == 2
    assert found["correlations2"].loc["quick"].set_index("algorithm").datasets["td3n_rd"] == 3
    summary = found["summary"].loc["quick"].set_index("base")
    assert summary.effect["td3n"] == pytest.approx(30.0) and np.isnan(summary.effect["cql"])
    assert summary.improvement["td3n"] == 1.0 and (found["summary"].loc["paper"].seeds == 0).all()


@pytest.mark.parametrize("table, width, height", [(1, 8, 10), (2, 9, 20)])
def test_every_view_has_every_box_once(table, width, height):
    found = tables.collect([*runs("td3n_rd", BETTER), *runs("bc", [3.0, 4.0])])
    cells = tables.join(table, PAPER, found, corl=CORL)
    assert typeset.filled(cells) == ["ours", "paper", "corl"]
    for of in typeset.filled(cells):
        rows = [line for line in typeset.markdown(cells, of).splitlines() if line.startswith("|")]
        assert len(rows) == height + 2 and {row.count("|") for row in rows} == {width + 2}
    filled = typeset.view(cells, "ours").ne("").sum()
    assert filled[filled > 0].to_dict() == ({"td3n_rd": 1} if table == 1 else {"td3n_rd": 1, "bc": 1})
    assert typeset.view(cells, "corl").loc["hopper-medium", "cql"] == "59.1"
    source = typeset.latex(cells)
    body = [line for line in source.splitlines() if " & " in line]
    assert len(body) == 3 * (height + 1) and {line.count(" & ") for line in body} == {width}
    assert source.count("{") == source.count("}") and source.count(r"\begin") == source.count(r"\end") == 3
    assert "±" not in source and "†" not in source and "▲" not in source
    assert (r"\bfseries 103.0 $\pm$ 0.8" if table == 1 else r"\bfseries 103.0") in source


def test_the_effect_of_rd_is_coloured_and_marked_by_its_sign_and_size():
    colours = [typeset.colour(x) for x in (-40.0, -30.0, -3.0, 3.0, 30.0, 40.0)]
    assert colours[0] == colours[1] != colours[2] and colours[4] == colours[5] != colours[3]
    assert {typeset.colour(x) for x in (0.0, np.nan)} == {""}
    quick = [*runs("td3n", FOUR, scale="quick"), *runs("td3n_rd", BETTER, scale="quick")]
    quick += [*runs("cql", BETTER, scale="quick"), *runs("cql_rd", FOUR, scale="quick")]
    cells = tables.join(1, PAPER, {}, tables.collect(quick))
    effect = typeset.effects(typeset.means(cells, "quick")).loc["hopper-medium"].dropna()
    assert effect.to_dict() == {"td3n_rd": pytest.approx(50.0), "cql_rd": pytest.approx(-50.0)}
    page = webtable.shown(cells).html
    assert "▲ 75.0 ± 11.2" in page and "▼ 25.0 ± 11.2" in page and ">+50.0<" in page and ">-50.0<" in page
    assert labels(page) == ["ours, quick scale", "the paper", "effect of RD"]
    assert (
        page.count(" checked>") == 3 and "▲ +30" in page and "▼ -10" in page
    )  # one of tabs, columns, rows
    second = webtable.shown(tables.join(2, PAPER, {}, {})).html  # its bases are no columns
    assert "effect of RD" not in second and "▲" not in second


def labels(page):
    return re.findall(r'sd-tab-label" for="[\w-]+">([^<]+)<', page)


def test_study_runs_stand_first_with_every_seed_and_empty_where_there_are_none():
    study = tables.collect([*runs("td3n", FOUR, scale="study"), *runs("td3n_rd", BETTER, scale="study")])
    quick = tables.collect(runs("cql", FOUR, scale="quick"))
    cells = tables.join(1, PAPER, {}, quick, CORL, study)
    page = webtable.shown(cells).html
    assert labels(page) == ["ours, study scale", "the paper", "ours, quick scale", "CORL", "effect of RD"]
    first = page.split("</table>")[0]
    assert 'title="seed 0: 60.0; seed 1: 70.0; seed 2: 80.0; seed 3: 90.0">▲ 75.0 ± 11.2<' in first
    assert first.count("±") == 2 and "not run" not in page
    assert {c.quick.scale for c in cells if c.quick} == {"quick"} and not any(c.ours for c in cells)
    assert set(tables.frame(cells).scale) == {"paper", "study", "quick"}


@pytest.mark.parametrize("table, groups", [(1, 4), (2, 3)])
def test_columns_and_rows_can_be_chosen_without_a_script(table, groups):
    """Each column is of one group, a pair or some neighbours; each row of one environment, or a sum."""
    page = webtable.shown(tables.join(table, PAPER, {}, {})).html
    assert "<script" not in page
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = re.findall(r'<tr class="(\w+)"><th>([\w-]+)</th>(.*?)</tr>', body)
    assert all(
        name.startswith(kind) or (kind == "sum" and "-" not in name.replace("-total", ""))
        for kind, name, _ in rows
    )
    for _, _, cells in rows:
        columns = re.findall(r'class="g g(\d)"', cells)
        assert columns == sorted(columns) and set(columns) == set(map(str, range(groups)))
    assert len(re.findall('class="columns-', page)) == groups + 1


def test_the_csv_reads_back(tmp_path):
    cells = tables.join(1, PAPER, tables.collect(runs("cql", FOUR)), corl=CORL)
    tables.frame(cells).to_csv(tmp_path / "t.csv", index=False)
    with open(tmp_path / "t.csv", newline="") as file:
        rows = {(r["algorithm"], r["dataset"]): r for r in csv.DictReader(file)}
    row = rows["cql", "hopper-medium"]
    assert (row["status"], float(row["last"]), row["seeds"]) == ("run", pytest.approx(25.0), "4")
    assert rows["cql_rd", "hopper-medium"]["status"] == "not run"


def test_titles():
    assert title("td3n_rd") == "TD3-N-UNC + RD"
    assert title("sacn_ln") == "SAC-N-UNC + LN" and title("td3n_ln_rd").count("+") == 2


def test_the_published_records_join_both_tables():
    quick = tables.collect(load_records(RESULTS / "quick"))
    paper = tables.collect(tables.read_scale(RESULTS / "paper", "paper"))
    for table in (1, 2):
        cells = tables.join(table, PAPER, paper, quick, CORL)
        ran = [c for c in cells if c.quick]
        assert {c.printed.algo for c in ran if c.printed.dataset == "hopper-medium"} == {
            p.algo for p in PAPER if p.table == table
        }
        assert len(tables.frame(cells)) >= len(cells) - 27


def test_figures_show_every_seed_and_the_interval():
    plots.plt.switch_backend("agg")
    found = tables.collect([*runs("td3n", FOUR), *runs("td3n_rd", BETTER[:3])])
    [axes] = plots.seed_points(list(found.values()), PAPER).axes
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    shown = sorted(float(x) for line in dots for x in line.get_xdata())
    expected = [s for o in found.values() for s in (*o.last, *o.best)]
    np.testing.assert_allclose(shown, sorted(expected))
    assert [t.get_text() for t in axes.get_yticklabels()] == ["TD3-N-UNC", "TD3-N-UNC + RD"]
    bars = [(p.get_x(), p.get_width()) for p in axes.patches]  # of Table 1, and of Table 2 without ±
    assert bars[0] == pytest.approx((41.9 - 50.5, 101.0)) and len(bars) == 2
    boxes = tables.join(1, PAPER, found)
    effects, whole = compare.effects(boxes), compare.summary(boxes)
    panels = plots.forest(effects, whole).axes
    [row] = [row for _, row in whole.iterrows() if row.base == "td3n"]
    assert f"IQM {row.IQM:.1f}, with RD {row['IQM + RD']:.1f}" in panels[0].get_xlabel()
    assert panels[1].get_xlabel() == "effect of RD on the score"  # no runs
    assert [axes.get_title() for axes in panels] == ["TD3-N-UNC", "SAC-N-UNC", "TD3+BC", "CQL"]
    ours, theirs = panels[0].get_lines()[1:]
    assert np.nansum(ours.get_xdata()) == pytest.approx(45.0)
    assert theirs.get_xdata()[list(NINE).index("hopper-medium")] == pytest.approx(61.1)
    [axes] = plots.intervals({"a": (0.6, (0.2, 0.9))}, "p", 0.5).axes
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[0.2, 0.9], [0.6], [0.5, 0.5]]
    [axes] = plots.profiles({"x": np.array([[10.0], [20.0]])}).axes
    [line] = axes.get_lines()
    assert line.get_ydata()[0] == 1.0 and line.get_ydata()[-1] == 0.0 and 0.5 in line.get_ydata()
    plots.plt.close("all")


def test_html_and_downloads_hold_every_box_and_byte():
    cells = tables.join(1, PAPER, tables.collect(runs("cql", FOUR)))
    page = webtable.shown(cells)._repr_html_()
    assert "not run" not in page and ">25.0 ± 11.2<" in page
    links = typeset.downloads("t", {"csv": "a,±\n", "md": "|x|"})._repr_html_()
    content = [base64.b64decode(c).decode() for c in re.findall(r"base64,([^\"]+)", links)]
    assert content == ["a,±\n", "|x|"] and 'download="t.csv"' in links
    long = typeset.scrolled(tables.frame(cells, {("td3n", "hopper-medium"): "x" * 200}))
    assert "x" * 200 in long._repr_html_() and "overflow: auto" in long._repr_html_()


def test_a_page_without_html_has_the_same_tables():
    cells = tables.join(1, PAPER, tables.collect(runs("cql", FOUR)))
    page = webtable.shown(cells)._repr_markdown_()
    assert "25.0 ± 11.2" in page and "**the paper**" in page and "<" not in page.replace("p < 0.05", "")
    frame = pd.DataFrame({"name": ["a|b", None], "score": [1.25, np.nan]})
    frame["seeds"] = pd.array([3, None], dtype="Int64")
    text = [" ".join(line.split()) for line in typeset.scrolled(frame)._repr_markdown_().splitlines()]
    assert text[0] == "| name | score | seeds |" and text[2:] == [r"| a\|b | 1.2 | 3 |", "| | | |"]
    shown = typeset.scrolled(frame)._repr_html_()
    assert "NA" not in shown and "None" not in shown and "<td>3</td>" in shown and "<td>1.2</td>" in shown
    assert "`t.csv`" in typeset.downloads("t", {"csv": "a\n"})._repr_markdown_()


# Pages ---------------------------------------------------------------------------------------


def page(name, results, monkeypatch, capsys):
    """What the page prints of a folder of records, as it is run with `-p results FOLDER`."""
    notebooks = RESULTS.parent.parent / "notebooks"
    monkeypatch.chdir(notebooks)
    monkeypatch.setattr("IPython.display.Markdown", str)
    plots.plt.switch_backend("agg")
    names = {"In": [""]}
    for part in needed("jupytext").read(notebooks / f"{name}.py", fmt="py:percent").cells:
        sources = [part.source] if part.cell_type == "code" else []
        if "parameters" in part.metadata.get("tags", []):
            sources.append(f"# Parameters\nresults = {str(results)!r}")
        for source in sources:
            names["In"].append(source)
            exec(compile(source, name, "exec"), names)
    return re.sub(" +", " ", capsys.readouterr().out)


HOPPER = [
    r for algo, scores in (("td3n", (10.0, 30.0)), ("td3n_rd", (40.0, 60.0)))
    for d in ("hopper-medium", "hopper-medium-replay", "hopper-expert")
    for r in runs(algo, scores, d, scale="quick")
]  # fmt: skip


@pytest.mark.parametrize("name, boxes", [("table1", 72), ("table2", 153)])
def test_a_page_of_no_records_says_so_and_how_to_run_it(name, boxes, tmp_path, monkeypatch, capsys):
    said = page(name, tmp_path, monkeypatch, capsys)
    assert f"Of {boxes} boxes these have been run: none, so that sections below are empty" in said
    assert f"snakemake --profile workflow/profiles/local --config numbers={name[-1]} -- tables" in said
    assert "At quick scale" not in said


def test_pages_of_some_runs_show_these(tmp_path, monkeypatch, capsys):
    for r in HOPPER:
        save_record(r, tmp_path / "quick")
    for r in runs("td3n", FOUR, scale="study"):  # its pair has not run yet
        save_record(r, tmp_path / "study")
    said = page("table1", tmp_path, monkeypatch, capsys)
    assert "these have been run: 1 at study scale, 4 at quick scale" in said
    assert "| TD3-N-UNC | 2 of 2 | 0 up, 0 down | +30.0, p = " in said and "At study scale:" not in said
    said = page("table2", tmp_path, monkeypatch, capsys)
    assert "Of 153 boxes these have been run: 3 at quick scale" in said


def test_what_rd_does_to_a_base_is_one_row(tmp_path):
    boxes = tables.join(1, PAPER, {}, tables.collect(HOPPER))
    [row] = compare.agreement(boxes, "quick").to_dict("records")
    assert row["base"] == "TD3-N-UNC" and row["scores raised"] == "2 of 2"
    assert row["mean effect"].startswith("+30.0, p = ") and row["by best checkpoints"] == "+30.0"
    assert row["without hopper-medium"].startswith("+30.0") and row["without hopper"] == ""
    assert row["sign as the paper's"] == "2 of 2"
    assert compare.agreement(boxes, "study").empty


def test_columns_are_compared_where_all_ran_by_the_seeds_that_all_have():
    cells = tables.collect([*runs("bc", FOUR), *runs("dt", BETTER[:3]), *runs("bc", FOUR, "pen-cloned")])
    found, names, seeds = compare.everywhere(cells, ["bc", "dt"], ["pen-cloned", "hopper-medium"])
    assert (names, seeds) == (["hopper-medium"], [0, 1, 2])
    assert found["bc"] == pytest.approx(np.array([FOUR[:3]]).T) and found["dt"].shape == (3, 1)
    assert compare.everywhere(cells, ["bc", "cql"], names) == ({}, [], [])
    apart = tables.collect(
        [*runs("bc", FOUR), *(dataclasses.replace(r, seed=9 + r.seed) for r in runs("dt", FOUR))]
    )
    assert compare.everywhere(apart, ["bc", "dt"], names) == ({}, [], [])


def test_the_bases_that_ran_beyond_table_1_s_datasets_stand_beside_rd_on_table_2_s_page(
    tmp_path, monkeypatch, capsys
):
    expert, pen = {"dataset": "hopper-expert", "scale": "quick"}, {"dataset": "pen-demos", "scale": "quick"}
    for r in (
        *runs("td3n", BETTER, **expert), *runs("td3n_rd", FOUR, **expert),
        *runs("sacn", FOUR[:2], **pen), *runs("sacn_rd", BETTER, **pen),
        *(r for r in HOPPER if r.dataset == "hopper-medium"),
    ):  # fmt: skip
        save_record(r, tmp_path / "quick")
    said = page("table2", tmp_path, monkeypatch, capsys)
    p = typeset.probability(stats.p_value(FOUR, BETTER))
    row = f"| TD3-N-UNC | hopper-expert | 4 and 4 | 75.0 ± 11.2 | 25.0 ± 11.2 | -50.0 | {p} |"
    assert row in said and "| SAC-N-UNC | pen-demos | 2 and 4 | 15.0 ± 5.0 | 75.0 ± 11.2 |" in said
    assert "| TD3-N-UNC | hopper-medium |" not in said


def test_a_whole_run_whose_critic_diverged_is_shown_and_others_than_table_1_s_are_not(
    tmp_path, monkeypatch, capsys
):
    known = ("q_policy", "kernel_data_policy", "cosine_data_policy", "feature_norm", "srank",
             "policy_data_distance")  # fmt: skip
    seen = dict.fromkeys(known, 1.5) | {"q_policy": None}
    last = evaluation(400, 5.0) | {"diagnostics": seen}
    for algo in ("td3bc", "bc"):
        save_record(record(algo, evaluations=[last]), tmp_path / "paper-whole")
    said = page("table1", tmp_path, monkeypatch, capsys)
    assert "| at the end | TD3+BC |" in said and "| q_policy | |" in said and "| srank | 1.5 |" in said


@pytest.mark.parametrize("p, words", [(0.0009, "p < 0.001"), (0.001, "p = 0.001"), (0.2594, "p = 0.259")])
def test_a_p_value_is_worded_with_three_digits_or_as_less(p, words):
    assert typeset.probability(p) == words
