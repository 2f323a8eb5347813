"""The bench counts what runs: FLOPs by hand, rates that agree with each other, memory within its bound."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import rdlib
from rdlib import algos
from rdlib.algos import cells
from rdlib.engine import hardware
from rdlib.engine.config import ConfigError
from rdlib.training.bench import against, projection, roofline, speed, turns
from rdlib.training.bench.roofline import Ceiling, Count, Product

CPU = torch.device("cpu")
N, B, H, O, U = 3, 64, 32, speed.OBS_DIM, speed.ACT_DIM  # noqa: E741
TINY = {
    "batch_size": B, "n_critics": N, "width": H, "depth": 2, "actor_width": H, "actor_depth": 2,
}  # fmt: skip
CRITIC = (O + U) * H + H * H + H  # multiplications of one state and member
ACTOR = O * H + H * H + H * U
FIRST_CRITIC, FIRST_ACTOR = (O + U) * H, O * H


def by_hand():
    """FLOPs of one TD3-N update, mean over the two of its period. A backward pass costs a forward one
    for the weights and one for the inputs; the first layer's inputs need none."""
    target = ACTOR + N * CRITIC
    critics = N * (3 * CRITIC - FIRST_CRITIC)
    # Every second update: the policy's value to the critics' inputs, no gradient of their weights.
    actor = N * 2 * CRITIC + 3 * ACTOR - FIRST_ACTOR
    return 2 * B * (target + critics + actor / 2)


def test_flops_are_those_of_a_hand_count():
    row = speed.measure("td3n", 1, CPU, 0.0, TINY)
    assert row["GFLOP/update"] * 1e9 == pytest.approx(by_hand(), rel=0.02)


def test_agents_multiply_the_work():
    one, three = (speed.measure("td3n_rd", a, CPU, 0.0, TINY) for a in (1, 3))
    assert three["GFLOP/update"] == pytest.approx(3 * one["GFLOP/update"])
    assert one["GFLOP/update"] > speed.measure("td3n", 1, CPU, 0.0, TINY)["GFLOP/update"]


@pytest.mark.parametrize("name", ["td3n", "td3n_rd"])
def test_rates_agree_with_each_other(name):
    row = speed.measure(name, 2, CPU, 0.05, TINY)
    assert {"MB/update", "kernels/update", "MiB"} < set(row) and "predicted ms" not in row
    assert row["updates/s"] > 0
    assert row["agent-updates/s"] == pytest.approx(2 * row["updates/s"])
    assert row["ms/update"] * row["updates/s"] == pytest.approx(1e3)
    assert row["GFLOP/s"] == pytest.approx(row["GFLOP/update"] * row["updates/s"])


@pytest.fixture(scope="module")
def ceiling():
    return Ceiling(CPU)


def test_the_ceiling_is_of_the_same_products(ceiling):
    row = speed.measure("td3n", 2, CPU, 0.05, TINY, ceiling)
    assert row["predicted ms"] == pytest.approx(row["products ms"] + row["traffic ms"])
    assert row["ceiling GFLOP/s"] * row["products ms"] == pytest.approx(row["GFLOP/update"] * 1e3)
    assert row["GFLOP/s"] < 1.2 * row["ceiling GFLOP/s"]  # products and all else cannot beat products
    assert row["evaluation s"] == row["playing s"] > 0


def test_updates_wait_only_for_what_does_not_fit_beside_them(monkeypatch):
    monkeypatch.setattr("rdlib.training.evaluation.beside", lambda device, agents: True)
    monkeypatch.setattr(speed, "playing_seconds", lambda made: 2.0)
    made = speed.make("td3n", 2, CPU, TINY)
    played, waited = speed.evaluation_seconds(made, 100.0)
    assert played == 2.0 and 0 < waited < 1.0  # the copy of the weights
    assert speed.evaluation_seconds(made, 0.5)[1] > 1.5


def test_what_an_operation_reads_and_writes_is_counted():
    a, b = torch.ones(3, 4, 5), torch.ones(3, 5, 6)
    rows = torch.ones(1000, 7)
    with Count() as count:
        c = torch.bmm(a, b)  # a product: its bytes are the ceiling's matter
        d = c.relu()  # reads and writes 3·4·6 floats
        e = d.mT[:, :2]  # views
        e.add_(1.0)  # reads and writes 3·2·4
        torch.baddbmm(b[:, :1, :5].expand(3, 4, 5), a, torch.ones(3, 5, 5))  # 100 floats made, 60 added
        rows[torch.zeros(11, dtype=torch.int64)]  # 44 floats read here and there, and written
    assert count.products == {
        Product(3, 4, 5, 6, False, False, torch.float32): 1,
        Product(3, 4, 5, 5, False, False, torch.float32): 1,
    }
    assert count.flops == 2 * 3 * 4 * 5 * 6 + 2 * 3 * 4 * 5 * 5
    floats = 2 * 72 + 2 * 24 + 75 + 2 * 60 + 2 * 77
    assert 0 <= count.bytes - 4 * floats <= 4 * 75 + 2 * 11 * 8  # how torch fills `ones` and `zeros`


def test_factors_stored_transposed_are_measured_so():
    a = torch.ones(2, 3, 4)
    with Count() as count:
        torch.bmm(a.mT, a)
    (product,) = count.products
    assert (product.left_transposed, product.right_transposed) == (True, False)
    assert roofline.product_seconds(product, CPU) > 0


def test_a_row_that_does_not_fit_says_so_and_the_others_go_on(monkeypatch, capsys, tmp_path):
    real = speed.measure

    def measure(name, agents, *rest):
        if agents == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried\nmore")
        return real(name, agents, *rest)

    monkeypatch.setattr(speed, "measure", measure)
    found = speed.report(["bc"], (1, 2), CPU, 0.0, {"actor_width": 8}, tmp_path / "out")
    assert [("ms/update" in row) for row in found["rows"]] == [True, False]
    assert "does not fit: CUDA out of memory. Tried" in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert written == json.loads(json.dumps(found))
    named = {"device", "processor", "cores", "matmul", "versions", "commit", "rates", "GB/s"}
    assert named < written.keys()


def test_a_processor_has_a_name_with_and_without_the_system_s_help(monkeypatch):
    assert hardware.processor().strip() == hardware.processor() != ""
    monkeypatch.setattr(Path, "read_text", lambda self: "processor : 0\nmodel name\t: Some CPU: 3 GHz\n")
    assert hardware.processor() == "Some CPU: 3 GHz"

    def absent(self):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(hardware.platform, "processor", lambda: "")
    assert hardware.processor() == platform.machine()


# ---- two checkouts by turns


def test_two_checkouts_run_by_turns(tmp_path, capsys):
    found = against.report(
        Path(rdlib.__file__).parents[1], ["bc"], (2,), CPU, 0.0, {"actor_width": 8}, tmp_path
    )
    assert found["commit"] == found["against"]
    [row] = json.loads((tmp_path / "against.json").read_text())["rows"]
    assert (row["algo"], row["agents"]) == ("bc", 2) and len(row["ratios"]) == against.TURNS
    low, *_, high = sorted(row["ratios"])
    assert 0 < low and capsys.readouterr().out.splitlines()[-1].endswith(f"{low:.2f} to {high:.2f}")


def test_what_the_other_checkout_cannot_do_is_one_error(tmp_path):
    """Not this package in its place, which could."""
    (tmp_path / "rdlib").mkdir()
    (tmp_path / "rdlib" / "__init__.py").touch()
    with pytest.raises(ConfigError, match=rf"the bench of {tmp_path} cannot do this: Mod.*'rdlib.engine'"):
        against.report(tmp_path, ["bc"], (1,), CPU, 0.0, {})


def test_a_request_that_fails_does_not_end_the_other_side():
    told = list(turns.answers(['{"make": {"name": "nope"}}', '{"lost": {}}']))
    assert [json.loads(line)["error"].partition(":")[0] for line in told] == ["TypeError", "AttributeError"]


# ---- what the tables would take


def same(algo, dims, config):
    return 1.0


def row(algo, agents, ms, seconds=0.0):
    return {"algo": algo, "agents": agents, "ms/update": ms, "evaluation s": seconds}


def test_every_cell_of_a_table_is_in_one_batch():
    for number in (1, 2):
        found = projection.table_runs(number)
        assert sum(b.agents for b in found) == 5 * sum(c.table == number for c in cells.cells())
        for b in found:
            algos.find(b.algo).config(b.config)
    (edac,) = [b for b in projection.table_runs(2) if (b.algo, b.environment) == ("edac", "hopper")]
    assert (edac.agents, edac.steps, edac.config["n_critics"]) == (25, 3_000_000, 50)
    assert all(len([b for b in projection.table_runs(1) if b.algo == a]) == 3 for a in ("cql", "td3n_rd"))


def test_hours_by_hand():
    columns = {c.algo for c in cells.cells() if c.table == 1}
    rows = [row(a, n, ms, 3.6) for a in columns for n, ms in ((10, 2.0), (20, 4.0))]
    found = projection.table(1, rows, same)
    # 8 columns of 3 batches of 15 agents, 1e6 updates of 3 ms, 200 evaluations of 3.6 s.
    assert found["missing"] == []
    assert found["hours"]["updates"] == pytest.approx(24 * 3.0 / 3.6)
    assert found["hours"]["evaluation"] == pytest.approx(24 * 200 * 3.6 / 3600)
    assert "20.00 h of updates and 4.80 h" in projection.describe(found)
    double = projection.table(1, rows, lambda algo, dims, config: dims[0])
    assert double["hours"]["updates"] == pytest.approx((1 + 2 * 17 / 11) * 8 * 3.0 / 3.6)


def test_beyond_the_most_agents_time_is_proportional():
    rows = [row("bc", 1, 1.0), row("bc", 4, 2.0)]
    found = [projection.interpolated(rows, "ms/update", a) for a in (1, 2, 4, 8)]
    assert found == pytest.approx([1.0, 4 / 3, 2.0, 4.0])


def test_a_table_with_a_column_not_measured_has_no_hours():
    found = projection.table(1, [row("td3n", 1, 1.0), {"algo": "cql", "agents": 1}], same)
    assert found["hours"] is None and "cql" in found["missing"] and "td3n" in found["columns"]
    assert "incomplete, not measured: cql, cql_rd" in projection.describe(found)


def test_a_rate_is_updates_by_the_time_they_took(monkeypatch):
    """By a clock of our own, on which an update takes 10 ms."""
    from rdlib.algos.td3n import TD3N

    update = TD3N.update
    clock = SimpleNamespace(perf_counter=lambda: clock.updates / 100, updates=0)

    def counted(*arguments):
        clock.updates += 1
        return update(*arguments)

    monkeypatch.setattr(TD3N, "update", counted)
    monkeypatch.setattr(speed, "time", clock)
    assert speed.measure("td3n", 1, CPU, 0.0, TINY)["updates/s"] == pytest.approx(100)


def test_a_peer_of_other_size_is_met_at_its_size(monkeypatch, capsys):
    """Fewer hidden layers, hence a rate of their own beside that of ours; with A = 2 no peer stands."""
    made = []
    real = speed.measure

    def measured(name, agents, device, seconds, overrides, *more, **options):
        made.append((name, agents, dict(overrides)))
        return {**real(name, agents, device, seconds, overrides, *more, **options), "updates/s": len(made)}

    monkeypatch.setattr(speed, "measure", measured)
    tiny = {"batch_size": 8, "n_critics": 1, "width": 8, "actor_width": 8}
    rows = speed.report(["cql"], (1, 2), CPU, 0.0, tiny)["rows"]
    peer = {**tiny, "depth": 2, "actor_depth": 2}
    assert made == [("cql", 1, tiny), ("cql", 1, peer), ("cql", 2, tiny)]
    assert rows[0][speed.PEER_SIZE] == 2 and speed.PEER_SIZE not in rows[1]
    assert "ours of its size 2.0/s" in capsys.readouterr().out


@pytest.mark.parametrize("name", speed.PEERS)
def test_peers_are_algorithms_with_fields_of_theirs(name):
    algos.find(name).config(dict(speed.PEERS[name].config))
    assert speed.PEERS[name].rate > 0 and speed.PEERS[name].code


def test_product_rates():
    rates = speed.product_rates(CPU)
    assert list(rates) == ["mm 256", "mm 512", "mm 1024", "bmm 10x256"]
    assert all(0.1 < rate < 1e6 for rate in rates.values())


def test_memory_of_a_million_transitions():
    """In a process of its own, whose parent's larger peak must not hide this one."""
    ballast = np.ones(60_000_000)
    del ballast
    code = "from rdlib.training.bench import speed; print(speed.peak_of_transitions(1_000_000))"
    call = [sys.executable, "-c", code]
    shown = subprocess.run(
        call, capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout  # fmt: skip
    # At least the rows themselves, 27 floats of 4 bytes; at most what the issue allows.
    assert 27 * 4e6 / 2**20 < float(shown) <= 1024


def test_synthetic_data_is_what_it_says():
    data = speed.synthetic(1_234)
    assert (len(data), data.obs_dim, data.act_dim, data.env_id) == (1_234, O, U, "Hopper-v5")
    assert data.episode_lengths().tolist() == [500, 500, 234] and np.abs(data.act).max() <= 1
    assert speed.synthetic(1_234).digest == data.digest != speed.synthetic(1_234, seed=1).digest


@pytest.mark.parametrize(
    ("names", "agents", "overrides", "seconds", "message"),
    [
        (["td3n", "nope"], [1], {}, 0.0, "no algorithm 'nope'"),
        (["td3n"], [1, 0], {}, 0.0, "agents = "),
        (["td3n", "bc"], [1], {"width": 8}, 0.0, "bc: no field 'width'"),
        (["td3n"], [1], {}, -1.0, "seconds = -1.0"),
        (["td3n"], [1], {}, float("nan"), "seconds = nan"),
    ],
)
def test_faults_are_found_before_anything_is_measured(
    names, agents, overrides, seconds, message, monkeypatch
):
    monkeypatch.setattr(hardware, "choose_matmul", lambda device: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=message):
        speed.report(names, agents, CPU, seconds, overrides)


def test_plain_products_leave_the_process_as_it_was():
    onednn = getattr(torch.backends.mkldnn, "matmul", None)
    hardware.use_matmul("onednn")
    torch.set_num_threads(2)
    try:
        before = getattr(onednn, "fp32_precision", None)
        with pytest.raises(ZeroDivisionError), hardware.plain_matmul():
            assert torch.get_num_threads() == 1
            assert getattr(onednn, "fp32_precision", "none") == "none"
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
        assert getattr(onednn, "fp32_precision", None) == before
    finally:
        hardware.use_matmul("default")
        torch.set_num_threads(1)
