"""Every cell of the paper's tables has settings that its algorithm takes."""

import pytest
from helpers.synthetic import write_hdf5

from rdlib import algos
from rdlib.algos import cells
from rdlib.data import catalog
from rdlib.engine.config import ConfigError
from rdlib.training.plan import make_plan
from rdlib.training.request import TrainConfig

NINE = {f"{e}-{q}" for e in ("hopper", "halfcheetah", "walker2d")
        for q in ("medium", "medium-replay", "medium-expert")}  # fmt: skip
COLUMNS = {
    1: {"td3n", "td3n_rd", "sacn", "sacn_rd", "td3bc", "td3bc_rd", "cql", "cql_rd"},
    2: {"bc", "dt", "td3bc", "cql", "iql", "edac", "diffusion_ql", "sacn_rd", "td3n_rd"},
}


def test_each_cell_of_both_tables_is_there_once():
    rows = {1: NINE, 2: set(catalog.PAPER_DATASETS) - {"door-human"}}
    for table, columns in COLUMNS.items():
        expected = {(a, d) for a in columns for d in rows[table]}
        found = [(c.algo, c.dataset) for c in cells.cells() if c.table == table]
        assert set(found) == expected and len(found) == len(expected)


@pytest.mark.parametrize("cell", cells.cells(), ids=lambda c: f"{c.table}-{c.algo}-{c.dataset}")
def test_the_settings_are_fields_of_the_algorithm_and_differ_from_its_defaults(cell):
    recipe = algos.find(cell.algo)
    config = recipe.config(cell.config)
    for field, value in cell.config.items():
        assert getattr(config, field) == value
    assert cell.steps >= 0 and cell.source


@pytest.mark.parametrize(
    "row, message",
    [
        ("3,td3n,hopper-medium,,,x", "table = '3', expected one of 1, 2"),
        ("1,td4n,hopper-medium,,,x", "no algorithm 'td4n'"),
        ("1,td3n,hopper-big,,,x", "dataset = 'hopper-big'"),
        ("1,td3n,hopper-medium,many,,x", "steps = 'many'"), ("1,td3n,hopper-medium,-1,,x", "steps"),
        ("1,td3n,hopper-medium,,{,x", "config = '{': "), ("1,td3n,hopper-medium,,3,x", "config = '3'"),
        ('1,td3n,hopper-medium,,"{""btea"": 1.0}",x', "no field 'btea'"),
        ('1,td3n,hopper-medium,,"{""beta"": ""1""}",x', "'beta' = '1' is"),
        ("1,td3n,hopper-medium,,", "5 values for 6 columns"),
        ("2,bc,hopper-medium,,,x", "hopper-medium'.* stands in line 2 already"),
        ("1,bc,hopper-medium,7,,x", "other steps or config than before"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_row_is_told_by_its_line(tmp_path, row, message):
    path = tmp_path / "cells.csv"
    path.write_text(",".join(cells.COLUMNS) + "\n2,bc,hopper-medium,,,x\n")
    assert [c.algo for c in cells.read(path)] == ["bc"]
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(ConfigError, match=f"cells.csv, line 3: .*{message}"):
        cells.read(path)
    path.write_text("tabel" + cells.FILE.read_text()[5:])
    with pytest.raises(ConfigError, match="cells.csv, line 1: 'tabel,.*expected the columns table,algo"):
        cells.read(path)


def test_rd_changes_nothing_else_about_a_cell():
    for cell in cells.cells():
        if cell.algo.endswith("_rd"):
            base = cells.find(cell.algo.removesuffix("_rd"), cell.dataset)
            assert base is None or (base.config, base.steps) == (cell.config, cell.steps)


def test_names_with_suffixes_and_long_names_of_datasets_find_their_cell():
    edac = cells.find("edac", "hopper-medium")
    assert edac is not None and edac.config == {"n_critics": 50, "eta": 1.0}
    for algo in ("edac_rd", "edac_dr3", "edac_ln"):
        assert cells.find(algo, "d4rl/hopper-medium-v2") == edac
    assert cells.find("edac", "rd/hopper/medium-v1") == edac
    assert cells.find("diffusion_ql_rd", "pen-human").config["eta"] == 0.15
    assert cells.find("edac", "door-human") is None


def test_the_paper_s_scale_takes_the_cell_and_what_is_asked_goes_before_it(tmp_path):
    asked = TrainConfig(
        algo="edac", dataset="hopper-medium", scale="paper", size=2_000, device="cpu",
        config={"eta": 2.0}, out=str(tmp_path),
    )  # fmt: skip
    plan = make_plan(asked)
    assert (plan.agents[0].config.n_critics, plan.agents[0].config.eta) == (50, 2.0)
    assert plan.steps == 3_000_000
    path = write_hdf5(tmp_path / "own.hdf5")
    other = TrainConfig(algo="edac", dataset=str(path), scale="paper", env="Hopper-v5", device="cpu")
    assert make_plan(other).agents[0].config.n_critics == 10  # no cell: the defaults


def test_a_wrong_field_is_told_before_data_are_rolled_out(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda *a, **k: pytest.fail("data were loaded"))
    with pytest.raises(ConfigError, match="widht"):
        make_plan(TrainConfig(algo="td3n", config={"widht": 8}, out=str(tmp_path)))
