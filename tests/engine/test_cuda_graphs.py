"""Captured updates equal eager ones: on a GPU as CUDA graphs, on a CPU by a tape that repeats the recorded
operations on the recorded memory, without asking Python again."""

import warnings

import pytest
import torch
from helpers.synthetic import agents, snapshot
from helpers.tape import Tape

from rdlib import algos
from rdlib.engine import engine
from rdlib.engine.cuda_graphs import CudaGraphs, capture_for

NAMES = [*algos.names(), "td3n_ln_rd", "sacn_ln_dr3"]
every = pytest.mark.parametrize("name", NAMES)
# What of an algorithm only shows when it is switched on.
OPTIONS = [
    ("iql", {"dropout": 0.1}, {}), ("edac", {"max_q_backup": 3}, {}),
    ("diffusion_ql", {"lr_decay": True, "max_q_backup": 2, "ema_start": 7}, {}),
    ("td3n", {"policy_delay": 3}, {}), ("td3n_rd", {"policy_delay": 3}, {"ood_every": 2}),
    ("td3n_rd", {"target": "min"}, {"switch": "hard", "ood": "noise", "kernel": "cosine"}),
    ("sacn_rd", {}, {"stages": "first"}), ("td3bc_rd", {}, {"objective": "std", "ood_every": 3}),
]  # fmt: skip


def pair(name, capture, device="cpu", **options):
    """The same agents twice, the second with captured updates."""
    made = [agents(name, dtype=torch.float32, device=device, **options) for _ in range(2)]
    for one in made:
        one.algorithm.total_steps = 60  # or schedules stay where they begin
    made[1].engine.capture = capture
    return made


def assert_equal_runs(eager, captured, calls=((0, 1), (1, 12), (13, 7))):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing may fall back
        for step, count in calls:
            ours, theirs = captured.engine.run(step, count), eager.engine.run(step, count)
            assert ours.keys() == theirs.keys()
            for key in theirs:
                assert torch.equal(ours[key], theirs[key]), key
    first, second = snapshot(captured.algorithm), snapshot(eager.algorithm)
    assert first.keys() == second.keys()
    for key in second:
        assert torch.equal(first[key], second[key]), key


@every
def test_recorded_updates_equal_eager_ones_to_the_bit(name):
    tape = Tape()
    eager, captured = pair(name, tape)
    assert_equal_runs(eager, captured)
    assert tape.recorded == captured.algorithm.period and tape.replayed == 20


@pytest.mark.parametrize("name, config, plugin", OPTIONS, ids=str)
def test_options_are_captured_too(name, config, plugin):
    assert_equal_runs(*pair(name, Tape(), config=config, plugin=plugin))


@pytest.mark.parametrize("name", ["td3n_rd", "sacn_dr3", "edac"])
def test_ensembles_of_different_sizes_are_captured_too(name):
    assert_equal_runs(*pair(name, Tape(), each={"n_critics": (2, 5, 3)}))


@pytest.mark.parametrize("name", ["td3n_rd", "iql", "dt"])
def test_more_updates_than_rows_are_run_in_parts(name, monkeypatch):
    monkeypatch.setattr(engine, "ROWS", 4)
    eager, captured = pair(name, Tape())
    assert_equal_runs(eager, captured)
    assert captured.engine.rows == 4


@pytest.mark.parametrize("name", ["td3n_rd", "iql", "dt", "diffusion_ql"])
def test_loaded_weights_are_captured_anew(name):
    """Loading moves an optimiser's moments to other memory; a graph would go on with the old."""
    tape = Tape()
    eager, captured = pair(name, tape)
    assert_equal_runs(eager, captured, ((0, 9),))
    start = snapshot(agents(name, dtype=torch.float32).algorithm)
    for made in (eager, captured):
        made.engine.run(9, 5)
        made.algorithm.load_tensors({k: v.clone() for k, v in start.items()})
    assert_equal_runs(eager, captured, ((0, 9), (9, 2)))
    assert tape.recorded == 2 * captured.algorithm.period


def test_a_resumed_run_starts_in_the_middle_of_a_period():
    eager, captured = pair("td3n_rd", Tape(), config={"policy_delay": 3})
    for made in (eager, captured):
        made.engine.capture = None
        made.engine.run(0, 4)
    captured.engine.capture = Tape()
    assert_equal_runs(eager, captured, ((4, 1), (5, 8)))


class Failing(Tape):
    """Fails where it is told to."""

    def __init__(self, at: str, error: Exception):
        super().__init__()
        self.at, self.error = at, error

    def warm_up(self, call):
        super().warm_up(call)
        if self.at == "warm_up":
            raise self.error

    def record(self, call):
        if self.at == "record":
            raise self.error
        replay = super().record(call)

        def failing():
            if self.at == "replay" and self.replayed == 5:
                raise self.error
            replay()

        return failing


@pytest.mark.parametrize("at", ["warm_up", "record"])
def test_where_capturing_fails_a_warning_says_so_and_results_are_equal(at):
    eager, captured = pair("td3n_rd", Failing(at, RuntimeError("no such thing on this driver")))
    with pytest.warns(UserWarning, match="TD3N.*cannot be captured.*no such thing.*more slowly"):
        captured.engine.run(0, 5)
    eager.engine.run(0, 5)
    assert_equal_runs(eager, captured, ((5, 6),))


@pytest.mark.parametrize("at", ["warm_up", "record", "replay"])
def test_lack_of_memory_is_not_taken_for_lack_of_graphs(at):
    _, captured = pair("td3n", Failing(at, torch.OutOfMemoryError("CUDA out of memory")))
    before = snapshot(captured.algorithm)
    with pytest.raises(torch.OutOfMemoryError), warnings.catch_warnings():
        warnings.simplefilter("error")
        captured.engine.run(0, 9)
    if at != "replay":
        for key, value in snapshot(captured.algorithm).items():
            assert torch.equal(value, before.get(key, torch.zeros_like(value))), key


def test_a_device_that_fails_in_the_middle_is_not_taken_for_lack_of_graphs():
    _, captured = pair("td3n", Failing("replay", RuntimeError("CUDA error: unspecified launch failure")))
    with pytest.raises(RuntimeError, match="launch failure"), warnings.catch_warnings():
        warnings.simplefilter("error")
        captured.engine.run(0, 9)


def test_an_update_that_asks_the_host_is_told_and_still_runs(monkeypatch):
    """What the equality tests would miss if the tape let it pass."""
    _, captured = pair("td3n", Tape())
    real = type(captured.algorithm).update

    def asking(self, batch, noise, phase):
        metrics = real(self, batch, noise, phase)
        return {**metrics, "loss": metrics["critic_loss"] * metrics["critic_loss"][0].item()}

    monkeypatch.setattr(type(captured.algorithm), "update", asking)
    with pytest.warns(UserWarning, match="_local_scalar_dense"):
        captured.engine.run(0, 3)


def test_the_tape_would_see_a_number_that_the_host_computed(monkeypatch):
    """A Python number that changes from update to update stays what it was at capture."""
    eager, captured = pair("bc", Tape())
    numbers = iter(range(1000))
    real = type(captured.algorithm).update

    def counting(self, batch, noise, phase):
        return {"number": real(self, batch, noise, phase)["actor_loss"] * 0 + next(numbers)}

    monkeypatch.setattr(type(captured.algorithm), "update", counting)
    means = [made.engine.run(0, 4)["number"] for made in (eager, captured)]
    assert not torch.equal(*means)


def test_a_cpu_has_no_graphs():
    assert capture_for(torch.device("cpu")) is None


# ---- on a GPU


@pytest.mark.gpu("CUDA graphs against eager updates, bit for bit, 50 of each algorithm")
@every
def test_graphs_equal_eager_updates(name):
    eager, captured = pair(name, CudaGraphs(torch.device("cuda")), "cuda")
    assert_equal_runs(eager, captured, ((0, 1), (1, 29), (30, 20)))


@pytest.mark.gpu("CUDA graphs of what is off by default")
@pytest.mark.parametrize("name, config, plugin", OPTIONS, ids=str)
def test_graphs_equal_eager_updates_with_options(name, config, plugin):
    capture = CudaGraphs(torch.device("cuda"))
    assert_equal_runs(*pair(name, capture, "cuda", config=config, plugin=plugin))


@pytest.mark.gpu("no wait for the GPU inside K updates, no memory taken by them")
@every
def test_graphs_run_without_the_host_and_in_static_memory(name):
    _, captured = pair(name, CudaGraphs(torch.device("cuda")), "cuda")
    captured.engine.run(0, 12)
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        metrics = captured.engine.run(12, 12)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    del metrics
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= held


@pytest.mark.gpu("graphs captured anew after a checkpoint was loaded")
def test_graphs_follow_loaded_weights():
    eager, captured = pair("td3n_rd", CudaGraphs(torch.device("cuda")), "cuda")
    assert_equal_runs(eager, captured, ((0, 9),))
    saved = snapshot(eager.algorithm)
    for made in (eager, captured):
        made.engine.run(9, 5)
        made.algorithm.load_tensors({k: v.clone() for k, v in saved.items()})
    assert_equal_runs(eager, captured, ((9, 9),))
