"""The bench counts what runs: FLOPs by hand, rates that agree with each other, memory within its bound."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from rdlib import bench, matmul
from rdlib.engine import ConfigError

CPU = torch.device("cpu")
N, B, H, O, U = 3, 64, 32, bench.OBS_DIM, bench.ACT_DIM  # noqa: E741
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
    row = bench.measure("td3n", 1, CPU, 0.0, TINY)
    assert row["GFLOP/update"] * 1e9 == pytest.approx(by_hand(), rel=0.02)


def test_agents_multiply_the_work():
    one, three = (bench.measure("td3n_rd", a, CPU, 0.0, TINY) for a in (1, 3))
    assert three["GFLOP/update"] == pytest.approx(3 * one["GFLOP/update"])
    assert one["GFLOP/update"] > bench.measure("td3n", 1, CPU, 0.0, TINY)["GFLOP/update"]


@pytest.mark.parametrize("name", ["td3n", "td3n_rd"])
def test_rates_agree_with_each_other(name):
    row = bench.measure(name, 2, CPU, 0.05, TINY)
    assert set(row) == {"updates/s", "agent-updates/s", "ms/update", "GFLOP/update", "GFLOP/s"}
    assert row["updates/s"] > 0
    assert row["agent-updates/s"] == pytest.approx(2 * row["updates/s"])
    assert row["ms/update"] * row["updates/s"] == pytest.approx(1e3)
    assert row["GFLOP/s"] == pytest.approx(row["GFLOP/update"] * row["updates/s"])


def test_the_clock_is_that_of_the_wall(monkeypatch):
    """Updates that take 10 ms at least cannot come at more than 100 a second."""
    from rdlib.algos.td3n import TD3N

    update = TD3N.update

    def slow(*arguments):
        import time

        time.sleep(0.01)
        return update(*arguments)

    monkeypatch.setattr(TD3N, "update", slow)
    assert 10 < bench.measure("td3n", 1, CPU, 0.0, TINY)["updates/s"] < 100


def test_product_rates():
    rates = bench.product_rates(CPU)
    assert list(rates) == ["mm 256", "mm 512", "mm 1024", "bmm 10x256"]
    assert all(0.1 < rate < 1e6 for rate in rates.values())


def test_memory_of_a_million_transitions():
    """In a process of its own, whose parent's larger peak must not hide this one."""
    ballast = np.ones(60_000_000)
    del ballast
    code = "from rdlib import bench; print(bench.peak_of_transitions(1_000_000))"
    call = [sys.executable, "-c", code]
    shown = subprocess.run(
        call, capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout  # fmt: skip
    # At least the rows themselves, 27 floats of 4 bytes; at most what the issue allows.
    assert 27 * 4e6 / 2**20 < float(shown) <= 1024


def test_synthetic_data_is_what_it_says():
    data = bench.synthetic(1_234)
    assert (len(data), data.obs_dim, data.act_dim, data.env_id) == (1_234, O, U, "Hopper-v5")
    assert data.episode_lengths().tolist() == [500, 500, 234] and np.abs(data.act).max() <= 1
    assert bench.synthetic(1_234).digest == data.digest != bench.synthetic(1_234, seed=1).digest


@pytest.mark.parametrize(
    ("names", "agents", "overrides", "message"),
    [
        (["td3n", "nope"], [1], {}, "no algorithm 'nope'"),
        (["td3n"], [1, 0], {}, "agents = "),
        (["td3n", "bc"], [1], {"width": 8}, "bc: no field 'width'"),
    ],
)
def test_faults_are_found_before_anything_is_measured(names, agents, overrides, message, monkeypatch):
    monkeypatch.setattr(matmul, "choose", lambda device: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=message):
        bench.report(names, agents, CPU, 0.0, overrides)


def test_plain_products_leave_the_process_as_it_was():
    matmul.use("onednn")
    torch.set_num_threads(2)
    try:
        before = getattr(matmul._onednn, "fp32_precision", None)
        with pytest.raises(ZeroDivisionError), matmul.plain():
            assert torch.get_num_threads() == 1
            assert getattr(matmul._onednn, "fp32_precision", "none") == "none"
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
        assert getattr(matmul._onednn, "fp32_precision", None) == before
    finally:
        matmul.use("default")
        torch.set_num_threads(1)
