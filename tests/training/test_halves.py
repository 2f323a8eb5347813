"""Too little memory, or a device that fails: agents in groups equal agents together, nothing is lost."""

from pathlib import Path

import pytest
import torch
from helpers.runs import Killed, at, die
from helpers.synthetic import asked, snapshot, write_hdf5

from rdlib.__main__ import main
from rdlib.engine.engine import Engine
from rdlib.training import agents as agents_module
from rdlib.training import halves
from rdlib.training import trainer as train_module
from rdlib.training.checkpoint import CheckpointError, saved_step
from rdlib.training.failures import DeviceError
from rdlib.training.policy import load_policy
from rdlib.training.record import load_records
from rdlib.training.run import Run
from rdlib.training.trainer import train

pytestmark = pytest.mark.usefixtures("same_product")
MANY = {"seeds": (0, 1, 2, 3, 4), "dtype": "float64", "steps": 20, "eval_every": 10}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_hdf5(tmp_path_factory.mktemp("data") / "one.hdf5")


def memory_for(monkeypatch, most: int, after: int = 0) -> list[int]:
    """A device that holds so many agents, and shows it at updates from `after` on. Returns the number of
    agents of every call that went well."""
    real, seen = Engine.run, []

    def run(self, step, count):
        if len(self.streams) > most and step >= after:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")
        seen.append(len(self.streams))
        return real(self, step, count)

    monkeypatch.setattr(Engine, "run", run)
    return seen


def assert_same(ours: Run, theirs: Run) -> None:
    first, second = snapshot(ours.algorithm), snapshot(theirs.algorithm)
    assert first.keys() == second.keys() or not any(k.startswith("optim") for k in first)
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-9, atol=1e-9)
    assert [r.key for r in ours.records] == [r.key for r in theirs.records]
    for a, b in zip(ours.records, theirs.records):
        assert (a.status, a.stopped_at, a.steps) == (b.status, b.stopped_at, b.steps)
        for x, y in zip(a.evaluations, b.evaluations, strict=True):
            assert (x["step"], x["lengths"]) == (y["step"], y["lengths"])
            assert x["returns"] == pytest.approx(y["returns"], rel=1e-6)
            assert x["training"] == pytest.approx(y["training"], rel=1e-9)


@pytest.fixture
def together(data, tmp_path) -> Run:
    return train(asked(data, tmp_path / "whole", **MANY))


@pytest.mark.parametrize("most, sizes", [(3, {3, 2}), (2, {2, 1}), (1, {1})])
def test_groups_end_in_what_one_batch_ends_in(data, tmp_path, monkeypatch, capsys, together, most, sizes):
    seen = memory_for(monkeypatch, most)
    out = tmp_path / "groups"
    run = train(asked(data, out, **MANY))
    assert set(seen) == sizes
    assert_same(run, together)
    assert "5 agents of td3n_rd do not fit" in "".join(capsys.readouterr())
    names = {p.name for p in out.iterdir()}
    assert names == {"checkpoint.safetensors", ".lock", *(r.file_name for r in run.records)}
    assert {r.key for r in load_records(out)} == {r.key for r in together.records}
    assert load_policy(out).step == 20
    seen.clear()
    assert train(asked(data, out, **MANY)).records == run.records and not seen


def sizes_of_calls(monkeypatch) -> list[int]:
    """The number of agents of every call of updates, as they come."""
    return memory_for(monkeypatch, most=99)


@pytest.mark.parametrize("most, sizes", [(1, {1}), (2, {1, 2}), (4, {2, 3}), (5, {5}), (9, {5})])
def test_no_more_agents_than_asked_train_together(data, tmp_path, monkeypatch, together, most, sizes):
    seen = sizes_of_calls(monkeypatch)
    run = train(asked(data, tmp_path / "few", together=most, **MANY))
    assert set(seen) == sizes
    assert_same(run, together)
    seen.clear()
    assert train(asked(data, tmp_path / "few", together=most, **MANY)).records == run.records and not seen


@pytest.mark.parametrize("first, then, sizes", [(0, 1, [5, 5]), (1, 0, [1] * 6 + [2, 2])])
def test_what_has_begun_goes_on_as_it_began(data, tmp_path, monkeypatch, together, first, then, sizes):
    seen = sizes_of_calls(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(Killed):  # after the save at update 10
            train(asked(data, tmp_path / "few", together=first, **MANY), observer=at("save", 1, die))
    assert_same(train(asked(data, tmp_path / "few", together=then, **MANY)), together)
    assert seen == sizes


def test_a_batch_that_cannot_even_be_built_is_split(data, tmp_path, monkeypatch, together):
    real = agents_module.algos.build

    def build(recipe, configs, plugins, streams, obs_dim, act_dim, dtype, steps=0):
        if steps and len(configs) > 3:  # steps: of a trainer; a policy is built on the CPU
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(recipe, configs, plugins, streams, obs_dim, act_dim, dtype, steps)

    monkeypatch.setattr(agents_module.algos, "build", build)
    assert_same(train(asked(data, tmp_path / "groups", **MANY)), together)


@pytest.mark.parametrize("event", ["save", "update", "finish"])
@pytest.mark.parametrize("number", range(4))
def test_a_run_in_groups_that_dies_resumes_to_the_same_end(
    data, tmp_path, monkeypatch, together, event, number
):
    memory_for(monkeypatch, 3)
    out = tmp_path / "groups"
    dying = at(event, number + (event == "save"), die)  # the first save is the whole batch's
    if event == "finish" and number > 1:
        train(asked(data, out, **MANY), observer=dying)  # two halves are finished twice only
    else:
        with pytest.raises(Killed):
            train(asked(data, out, **MANY), observer=dying)
        assert not list(out.glob("record-*"))
    assert_same(train(asked(data, out, **MANY)), together)


@pytest.mark.parametrize("what", ["save_record", "save_run", "load_records"])
def test_groups_that_die_while_they_are_joined_are_joined_again(
    data, tmp_path, monkeypatch, together, what
):
    memory_for(monkeypatch, 3)
    out = tmp_path / "groups"
    with monkeypatch.context() as patch:
        patch.setattr(halves, what, lambda *arguments: die())
        with pytest.raises(Killed):
            train(asked(data, out, **MANY))
    assert_same(train(asked(data, out, **MANY)), together)


def test_groups_that_die_while_their_folders_are_removed_are_not_trained_again(
    data, tmp_path, monkeypatch, together
):
    seen = memory_for(monkeypatch, 3)
    out = tmp_path / "groups"
    with monkeypatch.context() as patch:
        patch.setattr(halves, "clean", lambda plan: None)
        train(asked(data, out, **MANY))
    (out / ".group-1" / "checkpoint.safetensors").unlink()
    seen.clear()
    assert_same(train(asked(data, out, **MANY)), together)
    assert not seen and not (out / ".group-1").exists() and not (out / ".group-2").exists()


def test_another_run_into_a_folder_of_groups_is_refused(data, tmp_path, monkeypatch):
    memory_for(monkeypatch, 3)
    with pytest.raises(Killed):
        train(asked(data, tmp_path, **MANY), observer=at("begin", 0, die))
    (tmp_path / ".group-1").mkdir()
    with pytest.raises(CheckpointError, match="holds another run"):
        train(asked(data, tmp_path, **{**MANY, "seeds": (0, 1, 2, 3)}))


def test_one_agent_that_does_not_fit_is_an_error_that_says_so(data, tmp_path, monkeypatch, capsys):
    memory_for(monkeypatch, 0)
    config = asked(data, tmp_path, **{**MANY, "seeds": (0,)})
    with pytest.raises(DeviceError, match="1 agent.*do not fit.*Tried to allocate 2 GiB.* at update 0"):
        train(config)
    words = ["train", "--algo", "td3n_rd", "--dataset", str(data), "--env", "Hopper-v5", "--scale",
             "quick", "--device", "cpu", "--episodes", "1", "--out", str(tmp_path / "cli"), "--config",
             "width=8,actor_width=8,batch_size=16"]  # fmt: skip
    assert main(words) == 2
    assert "rdlib: error: 1 agent" in capsys.readouterr().err


def test_memory_that_lacks_later_leaves_the_checkpoint_and_says_where_the_run_stands(
    data, tmp_path, monkeypatch
):
    """Not split: half of a trained batch is not to be had from the other half's beginning."""
    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", 0.0)
    whole = train(asked(data, tmp_path / "whole", **MANY))
    with monkeypatch.context() as patch:
        memory_for(patch, 3, after=10)
        with pytest.raises(DeviceError, match="5 agent.*stands at update 10"):
            train(asked(data, tmp_path / "short", **MANY))
        assert saved_step(tmp_path / "short") == 10
        with pytest.raises(DeviceError, match="stands at update 10"):
            train(asked(data, tmp_path / "short", **MANY))
    assert_same(train(asked(data, tmp_path / "short", **MANY)), whole)


def test_a_lost_device_is_an_error_that_says_so_and_the_run_resumes(data, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", 0.0)
    whole = train(asked(data, tmp_path / "whole", **MANY))
    real = Engine.run

    def run(self, step, count):
        if step >= 10:
            raise RuntimeError("CUDA error: device lost\nCompile with TORCH_USE_CUDA_DSA")
        return real(self, step, count)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", run)
        with pytest.raises(DeviceError, match=r"cpu failed \(CUDA error: device lost\).*at update 10"):
            train(asked(data, tmp_path / "lost", **MANY))
    assert_same(train(asked(data, tmp_path / "lost", **MANY)), whole)


def test_other_errors_stay_what_they_are(data, tmp_path, monkeypatch):
    def run(self, step, count):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Engine, "run", run)
    with pytest.raises(RuntimeError, match="^shapes do not match$"):
        train(asked(data, tmp_path, **MANY))


def test_a_run_inside_another_s_folder_is_no_group_of_it(data, tmp_path, monkeypatch):
    together = train(asked(data, tmp_path, **MANY))
    inner = train(asked(data, tmp_path / "group-1", **{**MANY, "seeds": (7,)}))
    seen = memory_for(monkeypatch, 99)
    assert_same(train(asked(data, tmp_path, **MANY)), together)
    assert not seen and load_records(tmp_path / "group-1") == inner.records


def test_one_agent_is_never_split(data, tmp_path):
    (tmp_path / ".group-1").mkdir(parents=True)
    assert len(train(asked(data, tmp_path, **{**MANY, "seeds": (0,)})).records) == 1


def test_a_cpu_without_memory_says_so_as_a_gpu_does(data, tmp_path, monkeypatch):
    def run(self, step, count):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to …")

    monkeypatch.setattr(Engine, "run", run)
    with pytest.raises(DeviceError, match="1 agent.*do not fit.*memory of cpu.*can't allocate"):
        train(asked(data, tmp_path, **{**MANY, "seeds": (0,)}))
