"""Evaluation beside training: what it finds, what it delays, and what becomes of its errors."""

import threading

import numpy as np
import pytest
import torch
from helpers.synthetic import asked, write_hdf5
from test_train import Killed, assert_same_run, die, fail_at, lasting

from rdlib import algos
from rdlib.data.environments import SimulationError
from rdlib.engine.rng import Streams
from rdlib.training import evaluation, trainer
from rdlib.training.checkpoint import load_checkpoint
from rdlib.training.evaluation import Evaluator

pytestmark = pytest.mark.usefixtures("same_product")
PLAIN = ["bc", "td3n_rd", "sacn", "iql_dr3", "cql", "edac_rd", "td3bc_ln"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_hdf5(tmp_path_factory.mktemp("data") / "one.hdf5", 0)


@pytest.fixture
def beside(monkeypatch):
    """As on a GPU, with the CPU in its place; checkpoints and calls as in test_train."""
    monkeypatch.setattr(evaluation, "beside", lambda device, agents: True)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "UPDATES_PER_CALL", 7)


def run(data, out, **more):
    return trainer.train(asked(data, out, seeds=(0, 1), **more))


@pytest.mark.parametrize("algo", PLAIN)
def test_evaluated_beside_training_or_between_updates_is_the_same(data, tmp_path, monkeypatch, algo):
    between = run(data, tmp_path / "between", algo=algo)
    monkeypatch.setattr(evaluation, "beside", lambda device, agents: True)
    assert_same_run(run(data, tmp_path / "beside", algo=algo), between)


def test_updates_go_on_while_an_evaluation_does(data, tmp_path, monkeypatch, beside):
    """The evaluation of step 0 waits until updates have been made, which would be for ever without."""
    moved, play = threading.Event(), Evaluator.run
    updates = trainer.Trainer._updates

    def patiently(self, *given):
        assert threading.current_thread() is not threading.main_thread()
        assert moved.wait(60)
        return play(self, *given)

    def noted(self, count):
        updates(self, count)
        moved.set()

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", patiently)
        patch.setattr(trainer.Trainer, "_updates", noted)
        patch.setattr(trainer, "CHECKPOINT_SECONDS", 1e9)
        found = run(data, tmp_path / "a")
    again = run(data, tmp_path / "b")
    for ours, theirs in zip(found.records, again.records):
        assert lasting(ours) == lasting(theirs)  # of the agents as they were at step 0


@pytest.mark.parametrize("method", ["_save", "_updates", "_evaluate", "_collect"])
def test_a_run_killed_with_an_evaluation_under_way_resumes_to_the_same_end(
    data, tmp_path, monkeypatch, beside, method
):
    whole = run(data, tmp_path / "whole")
    for number in range(3):
        out = tmp_path / f"died-{number}"
        with monkeypatch.context() as patch:
            fail_at(patch, method, number, die)
            with pytest.raises(Killed):
                run(data, out)
        assert_same_run(run(data, out), whole)


def test_a_checkpoint_holds_the_evaluations_begun_before_it(data, tmp_path, monkeypatch, beside):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 1e9)  # no other than the interruption's
    with monkeypatch.context() as patch:
        fail_at(patch, "_updates", 3, lambda: trainer.signal.raise_signal(trainer.signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path)
    note = load_checkpoint(tmp_path / "checkpoint.safetensors")[1]
    assert note["step"] >= 20
    assert [[row["step"] for row in agent] for agent in note["evaluations"]] == [[0, 20], [0, 20]]


def test_an_error_of_the_evaluation_ends_the_run_and_leaves_its_checkpoint(
    data, tmp_path, monkeypatch, beside
):
    play, calls = Evaluator.run, []

    def sometimes(self, *given):
        calls.append(1)
        if len(calls) == 2:
            raise SimulationError("the simulator broke")
        return play(self, *given)

    whole = run(data, tmp_path / "whole")
    monkeypatch.setattr(Evaluator, "run", sometimes)
    with pytest.raises(SimulationError, match="the simulator broke"):
        run(data, tmp_path / "a")
    assert_same_run(run(data, tmp_path / "a"), whole)


def test_an_agent_that_diverges_under_an_evaluation_keeps_its_row(tmp_path, beside):
    rewards = np.full(300, 1e30, dtype="f4")  # finite, and its square is not
    found = run(write_hdf5(tmp_path / "huge.hdf5", 2, rewards=rewards), tmp_path / "out")
    assert [r.status for r in found.records] == ["diverged", "diverged"]
    assert [r.steps_evaluated().tolist() for r in found.records] == [[0], [0]]


def test_what_plays_where():
    """Windows of a transformer and fifty candidates of a diffusion are too much for a CPU beside a GPU;
    on a CPU nothing is beside anything."""

    def agents(name):
        recipe = algos.find(name)
        small = {"width": 8, "actor_width": 8} if name != "dt" else {"width": 8}
        small = {k: v for k, v in small.items() if hasattr(recipe.entry.config(), k)}
        return algos.build(recipe, [recipe.config(small)], [None], Streams([0]), 3, 1)

    gpu = torch.device("cuda")  # named, not used
    where = {name: evaluation.beside(gpu, agents(name)) for name in algos.ALGORITHMS}
    assert [name for name, aside in where.items() if not aside] == ["diffusion_ql", "dt"]
    assert not evaluation.beside(torch.device("cpu"), agents("bc"))


@pytest.mark.gpu("returns found beside training on a GPU are those of its policies on the CPU")
def test_returns_beside_a_gpu_are_those_of_the_policies_on_the_cpu(data, tmp_path):
    found = trainer.train(asked(data, tmp_path, seeds=(0, 1), device="cuda"))
    policy = trainer.load_policy(tmp_path)
    evaluator = Evaluator(policy.env, policy.seeds, 2)
    again = evaluator.run(policy.algorithm.player(2), policy.normaliser)
    evaluator.close()
    for returns, record in zip(again.returns, found.records):
        assert returns.tolist() == record.evaluations[-1]["returns"]
