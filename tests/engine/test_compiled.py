"""Updates as compiled programs: equal to eager ones to rounding, from one kernel to a whole run."""

import importlib
import os
import re
import subprocess
import sys
import sysconfig

import pytest
import torch
from helpers.runs import Killed, at, die
from helpers.synthetic import agents, asked, snapshot, write_hdf5
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from rdlib.engine import compiled, compiler
from rdlib.engine.compiled import RULES, Ahead, Programs, Recording
from rdlib.engine.config import ConfigError
from rdlib.engine.optim import Adam, AdamW
from rdlib.training import trainer
from rdlib.training.bench import speed
from rdlib.training.checkpoint import CheckpointError
from rdlib.training.plan import make_plan
from rdlib.training.request import command

compiles = pytest.mark.compiler("updates as compiled programs")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_hdf5(tmp_path_factory.mktemp("data") / "hopper-made-up.hdf5")


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-8, atol=1e-11, msg=f"{key}: {{}}".format)


class Graphs(Programs):
    """The same programs, run as they are and not compiled: in milliseconds, on any machine."""

    def compile(self, module, inputs):
        return module


def assert_programs_equal_eager_updates(capture, name, **chosen):
    eager, programs = (agents(name, **chosen) for _ in range(2))
    for made in (eager, programs):
        made.algorithm.total_steps = 60
    programs.engine.capture = capture
    for step, count in ((0, 1), (1, 12), (13, 7)):
        ours, theirs = programs.engine.run(step, count), eager.engine.run(step, count)
        assert_close(ours, theirs)
    assert_close(snapshot(programs.algorithm), snapshot(eager.algorithm))


# A second gradient (edac), a rate that changes (iql), attention and AdamW (dt), a log-sum-exp (cql), layer
# norm, phases of two kinds and sums over some of the critics.
PHASES = {"config": {"policy_delay": 1}, "plugin": {"ood_every": 2}, "each": {"n_critics": (2, 4, 3)}}


@pytest.mark.parametrize(
    "name", ["bc", "iql", "edac", "dt", "cql", "diffusion_ql", "td3n_ln_rd", "sacn_dr3"]
)
def test_what_is_recorded_equals_eager_updates(name):
    chosen = {"iql": {"config": {"dropout": 0.1}}, "td3n_ln_rd": PHASES}.get(name, {})
    assert_programs_equal_eager_updates(Graphs(), name, **chosen)


@compiles
def test_what_another_process_compiled_is_found_and_equals_eager_updates():
    """One is enough for TorchInductor, with dropout and a changing rate; the rest is recording. The number
    of this process makes a program that no earlier one has left in the cache."""
    small = {"dropout": 0.1, "depth": 1, "actor_depth": 1, "tau": 0.01 + 1e-9 * os.getpid()}
    made, ahead = agents("iql", config=small), Ahead()
    made.algorithm.total_steps = 60
    made.engine.record(0, ahead)
    ahead.start("default")
    ahead.wait()
    found = counters["aot_autograd"]
    before = found["autograd_cache_hit"], found["autograd_cache_miss"]
    assert_programs_equal_eager_updates(Programs(), "iql", config=small)
    assert (found["autograd_cache_hit"], found["autograd_cache_miss"]) == (before[0] + 1, before[1])


@pytest.mark.parametrize("optimiser", [Adam, AdamW])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("tensor_rate", [False, True])
def test_adam_is_that_of_torch(optimiser, decay, tensor_rate):
    torch.manual_seed(0)
    start, gradients = torch.randn(3, 5, dtype=torch.float64), torch.randn(30, 3, 5, dtype=torch.float64)
    found = []
    for arithmetic in (False, True):
        p = torch.nn.Parameter(start.clone())
        lr = torch.tensor(3e-2) if tensor_rate else 3e-2
        one = optimiser([p], lr=lr, weight_decay=decay, fused=True, betas=(0.8, 0.99))
        for g in gradients[:2]:
            p.grad = g.clone()
            one.step()
        with Recording(RULES) as recording:
            for g in gradients[2:]:
                p.grad = g.clone()
                one.step()
        if arithmetic:
            recording.undo()
            module, inputs = compiled.program(recording.calls)
            with torch.no_grad():
                module(*inputs)
        found.append(p.detach().clone())
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    assert (found[0] - start).abs().min() > 1e-3


def test_recording_leaves_all_memory_as_it_was():
    made = agents("td3n_rd")
    made.engine.run(0, 4)
    before = snapshot(made.algorithm)
    with Recording() as recording:
        made.engine.run(4, 3)
    assert any(not torch.equal(v, before[k]) for k, v in snapshot(made.algorithm).items())
    recording.undo()
    for key, value in snapshot(made.algorithm).items():
        assert torch.equal(value, before[key]), key


def test_loaded_weights_are_recorded_anew():
    eager, programs = (agents("bc") for _ in range(2))
    programs.engine.capture = Graphs()
    start = snapshot(agents("bc").algorithm)
    for made in (eager, programs):
        made.engine.run(0, 5)
        made.algorithm.load_tensors(start)
        made.engine.run(0, 5)
    assert_close(snapshot(programs.algorithm), snapshot(eager.algorithm))


# ---- what cannot be compiled is an error, not a slow run


def test_no_compiler(data, tmp_path):
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        with pytest.raises(ConfigError, match=r"compile = True needs a C\+\+ compiler.*install g\+\+"):
            make_plan(asked(data, tmp_path / "none", compile=True))
    assert not (tmp_path / "none").exists()


def test_no_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ConfigError, match="compile = True needs Python's headers.*python3-dev|needs a C"):
        compiler.check(torch.device("cpu"))


def test_not_on_a_gpu():
    with pytest.raises(ConfigError, match="compile = True is for a CPU; on cuda updates are captured"):
        compiler.check(torch.device("cuda"))


def test_an_update_that_asks_the_host(monkeypatch):
    made = agents("bc")
    made.engine.capture = Programs()
    real = type(made.algorithm).update

    def asking(self, batch, noise, phase):
        metrics = real(self, batch, noise, phase)
        return {"loss": metrics["actor_loss"] * metrics["actor_loss"][0].item()}

    monkeypatch.setattr(type(made.algorithm), "update", asking)
    before = snapshot(made.algorithm)
    with pytest.raises(ConfigError, match="compile = True: this update cannot be.*_local_scalar_dense"):
        made.engine.run(0, 3)
    for key, value in snapshot(made.algorithm).items():
        assert torch.equal(value, before.get(key, torch.zeros_like(value))), key


# ---- a run


@compiles
def test_a_compiled_run_resumes_as_one_and_its_record_says_so(data, tmp_path, monkeypatch, same_product):
    algo = "bc"
    plain = trainer.train(asked(data, tmp_path / "plain", algo=algo))
    whole = trainer.train(asked(data, tmp_path / "whole", algo=algo, compile=True))
    assert whole.records[0].device == f"{plain.records[0].device}, compiled"
    assert whole.records[0].config_hash == plain.records[0].config_hash  # how, not what
    for ours, theirs in zip(whole.algorithm.parameters(), plain.algorithm.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)

    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Killed):
        trainer.train(asked(data, tmp_path / "died", algo=algo, compile=True), observer=at("save", 1, die))
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        with pytest.raises(CheckpointError, match=r"begun with compile, which needs a C\+\+ compiler"):
            trainer.train(asked(data, tmp_path / "died", algo=algo))
    resumed = trainer.train(asked(data, tmp_path / "died", algo=algo))  # goes on as it began
    assert [r.evaluations for r in resumed.records] == [r.evaluations for r in whole.records]
    assert resumed.records[0].device == whole.records[0].device
    for ours, theirs in zip(resumed.algorithm.parameters(), whole.algorithm.parameters()):
        assert torch.equal(ours, theirs)
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        assert trainer.train(asked(data, tmp_path / "whole", algo=algo)).records == whole.records
    with pytest.raises(CheckpointError, match="was begun without compile.*leave compile out"):
        trainer.train(asked(data, tmp_path / "plain", algo=algo, compile=True))


# ---- a run that leaves it to us


@pytest.fixture
def auto(data, tmp_path, monkeypatch, same_product):
    """Trains a run that goes over to programs from update 6 on, if it has 10; these run uncompiled."""
    monkeypatch.setattr(compiler, "FROM", 6)
    monkeypatch.setattr(compiler, "LEAST", 10)
    monkeypatch.setattr(compiler, "lack", lambda device: "")
    monkeypatch.setattr(Programs, "compile", lambda self, module, inputs: module)
    monkeypatch.setattr(Ahead, "start", lambda self, matmul: None)

    def train(name, steps=12, observer=None, **more):
        more = {"algo": "bc", "steps": steps, "eval_every": 4, **more}
        return trainer.train(asked(data, tmp_path / name, **more), observer=observer)

    return train


def test_a_long_run_goes_over_to_programs_at_a_fixed_update(auto, monkeypatch):
    plain, whole = auto("plain", compile=False), auto("whole")
    assert whole.records[0].device == f"{plain.records[0].device}, compiled from update 6"
    assert whole.records[0].config_hash == plain.records[0].config_hash
    for ours, theirs in zip(whole.algorithm.parameters(), plain.algorithm.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    for save in (1, 3):  # after update 4 and after 8
        with pytest.raises(Killed):
            auto(f"died-{save}", observer=at("save", save, die))
        resumed = auto(f"died-{save}")
        assert [r.evaluations for r in resumed.records] == [r.evaluations for r in whole.records]
        assert resumed.records[0].device == whole.records[0].device
        for ours, theirs in zip(resumed.algorithm.parameters(), whole.algorithm.parameters()):
            assert torch.equal(ours, theirs)


def test_a_short_run_stays_eager_until_it_is_made_longer(auto):
    assert "compiled" not in auto("run", steps=8).records[0].device
    assert auto("run", steps=12).records[0].device.endswith(", compiled from update 8")


def test_an_update_that_cannot_be_compiled_goes_on_eagerly(auto, monkeypatch):
    def refuse(self, module, inputs):
        raise RuntimeError("no such loop")

    plain = auto("plain", compile=False)
    monkeypatch.setattr(Programs, "compile", refuse)
    with pytest.warns(UserWarning, match="cannot be captured here .compile = auto: no such loop"):
        found = auto("run")
    assert [r.evaluations for r in found.records] == [r.evaluations for r in plain.records]
    assert found.records[0].device == plain.records[0].device
    with pytest.raises(ConfigError, match="compile = True: .*no such loop"):
        auto("asked", compile=True)


def test_this_torch_has_the_names_that_no_torch_promises():
    for module, name in compiler.PRIVATE:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_without_them_a_run_says_so_in_one_line_and_goes_on(auto, data, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()  # of `lack`, too
    monkeypatch.setattr(compiler, "LEAST", 10)
    monkeypatch.setattr(compiler, "PRIVATE", (("torch._inductor", "moved"),))
    told = f"needs torch._inductor.moved, which torch {torch.__version__} does not have"
    assert "compiled" not in auto("run").records[0].device
    assert f"compile = auto {told}; updates run one operation after the other" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=f"compile = True {re.escape(told)}"):
        auto("asked", compile=True)


# ---- a command


@compiles
def test_the_command_line(data, tmp_path):
    words = command(asked(data, "run", algo="bc", compile=True)).split()
    call = [sys.executable, *words[1:]]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "run").glob("record-*.json")
    assert ', compiled"' in record.read_text()


@compiles
def test_the_bench_has_both_ways_side_by_side(capsys):
    found = speed.report(["bc"], (1,), torch.device("cpu"), 0.0, {"actor_width": 8}, compile=True)
    (row,) = found["rows"]
    assert found["compiled"] and row["ms/update"] > 0 and row["eager ms/update"] > 0
    shown = capsys.readouterr().out
    assert f"kernel by kernel {row['eager ms/update']:.2f} ms" in shown and "unifloral" in shown
