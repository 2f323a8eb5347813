"""The hardware page's numbers are those of the bench's records."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.records import RESULTS

from rdlib.results import machines
from rdlib.training.bench.speed import PEERS

BENCHES = {path.stem: json.loads(path.read_text()) for path in (RESULTS / "hardware").glob("*.json")}


def test_one_agent_stands_beside_its_limit_its_peer_and_launches_one_by_one():
    rows = [
        {"algo": "bc", "agents": 1, "updates/s": 500.0, "ms/update": 2.0, "predicted ms": 1.0,
         "eager ms/update": 4.0, "agent-updates/s": 500.0},
        {"algo": "bc", "agents": 4, "updates/s": 200.0, "ms/update": 5.0, "predicted ms": 4.0,
         "eager ms/update": 9.0, "agent-updates/s": 800.0, "MiB": 64.0},
        {"algo": "cql", "agents": 4, "out of memory": "x"},
    ]  # fmt: skip
    bench = {"device": "cpu (x86_64)", "rows": rows}
    assert machines.alone(bench).loc["BC"].to_dict() == {
        "ours": 500.0, "one launch at a time": 250.0, "the limit": 1000.0,
        "quickest peer": PEERS["bc"].rate,
    }  # fmt: skip
    assert machines.together(bench).loc["BC"].to_dict() == {1: 500.0, 4: 800.0}
    assert machines.together(bench, "MiB").loc["BC", 4] == 64.0
    on_gpu = machines.alone(bench | {"device": "NVIDIA H200"})
    assert "quickest peer" not in on_gpu
    plain = [{k: v for k, v in r.items() if not k.startswith("eager")} for r in rows]
    assert "one launch at a time" not in machines.alone(bench | {"rows": plain})
    plt.switch_backend("agg")
    [axes] = machines.bars(machines.alone(bench), "updates/s").axes
    assert sorted(p.get_width() for p in axes.patches) == [250.0, 500.0, 1000.0, PEERS["bc"].rate]
    assert axes.figure.legends[0].get_texts()[0].get_text() == "ours"
    said = machines.standing(machines.alone(bench))
    assert "at 50 % of the machine's limit" in said and "2.0 times as quick as one launch" in said
    assert "ahead of the quickest peer for 0 of 1 algorithms" in said
    assert "peer" not in machines.standing(on_gpu)
    plt.close("all")


@pytest.mark.parametrize("name", BENCHES)
def test_every_record_can_be_shown(name):
    bench = BENCHES[name]
    each = machines.together(bench)
    assert np.isfinite(each.to_numpy()).any() and len(machines.alone(bench)) <= len(each)


def test_a_cost_is_what_the_record_itself_projected():
    bench = BENCHES["h200"]
    table, missing = machines.cost([bench])
    theirs = {p["table"]: p for p in bench["projection"]}
    assert missing == sorted({algo for p in theirs.values() for algo in p["missing"]})
    td3n = table[(table.table == 1) & (table.column == "TD3-N-UNC")].iloc[0]
    assert td3n.updates == pytest.approx(theirs[1]["columns"]["td3n"]["updates"], rel=0.05)
    assert td3n.evaluations == pytest.approx(theirs[1]["columns"]["td3n"]["evaluation"], rel=0.05)


def test_how_long_a_run_takes_is_its_updates_at_the_measured_rate():
    found = machines.expected("td3n_rd", {"h200": BENCHES["h200"]}).set_index("agents together")
    [row] = [r for r in BENCHES["h200"]["rows"] if (r["algo"], r["agents"]) == ("td3n_rd", 15)]
    assert found.hours[15] == pytest.approx(1e6 / row["updates/s"] / 3600) and len(found) == 3
    assert machines.expected("edac", {"h200": BENCHES["h200"]}).empty


def test_a_profile_is_summed_by_family(tmp_path):
    row = "{:<30} 0.1% 1.0us 1% 2.0us 1.0us {} 1% {} 1.0us 3"
    lines = [
        "2 updates",
        row.format("sm90_gemm_x", "4.000ms", "4.000ms"),
        row.format("aten::bmm", "4.000ms", "4.000ms"),
        row.format("multi_tensor_apply", "500.0us", "500.0us"),
    ]
    (tmp_path / "p.txt").write_text("\n".join(lines))
    found = machines.families(tmp_path / "p.txt")
    assert found["products"] == pytest.approx(2.0)
    assert found["Adam and target networks"] == pytest.approx(0.25)
    assert found["random numbers"] == 0.0
    whole = machines.families(RESULTS / "hardware" / "h200-profile.txt")
    assert all(ms > 0 for ms in whole.values())
