"""Seeded evaluation, all agents together, against one agent in a hand-written loop; and beside training."""

import signal
import threading

import gymnasium
import numpy as np
import pytest
import torch
from helpers.runs import Killed, assert_same_run, at, die, lasting
from helpers.synthetic import asked, dataset, limits, write_hdf5

from rdlib import algos
from rdlib.data import environments
from rdlib.data.batches import Normaliser
from rdlib.data.environments import SimulationError
from rdlib.engine.nets import Actor, Initialiser
from rdlib.engine.rng import Streams
from rdlib.training import evaluation, trainer
from rdlib.training.checkpoint import CHECKPOINT, load_progress
from rdlib.training.evaluation import Evaluator, Returns, episode_seeds
from rdlib.training.policy import load_policy

pytestmark = pytest.mark.usefixtures("same_product")
PLAIN = ["bc", "td3n_rd", "sacn", "iql_dr3", "cql", "edac_rd", "td3bc_ln"]

SEEDS = [5, 6, 2**40]
EPISODES = 3
DIMS = {"Hopper-v5": (11, 3), "Reacher-v5": (10, 2)}


class Agents:
    """Three different untrained policies, each with data (so a normaliser) of its own."""

    def __init__(self, env_id: str, which=(0, 1, 2), dtype=torch.float64):
        obs_dim, act_dim = DIMS[env_id]
        env = environments.make(env_id, 1)
        box = (env.act_low, env.act_high)
        env.close()
        data = [dataset(i, obs_dim=obs_dim, act_dim=act_dim) for i in which]
        self.normaliser = Normaliser(data, box, True, [(1.0, 0.0)] * len(data), dtype)
        self.seeds = [SEEDS[i] for i in which]
        streams = Streams(self.seeds)
        self.actor = Actor(Initialiser(streams, "actor", dtype), obs_dim, act_dim, 8, 2)
        with torch.no_grad():
            self.actor.net.head.weight *= 4  # or they would all hardly move
        self.env_id = env_id

    def player(self, obs, reward):
        return self.actor(obs)

    def run(self, alive=None, act=None, **options) -> Returns:
        evaluator = Evaluator(self.env_id, self.seeds, EPISODES, **options)
        try:
            policy = act or self.actor
            return evaluator.run(lambda obs, reward: policy(obs), self.normaliser, alive)
        finally:
            evaluator.close()


def same(a: Returns, b: Returns) -> None:
    np.testing.assert_array_equal(a.returns, b.returns)
    np.testing.assert_array_equal(a.lengths, b.lengths)


@pytest.mark.parametrize("env_id", DIMS)
def test_together_or_alone_the_returns_are_the_same(env_id):
    together = Agents(env_id).run()
    assert together.returns.shape == together.lengths.shape == (3, EPISODES)
    assert together.returns.dtype == np.float64
    assert len(np.unique(together.returns)) > 3
    for i in range(3):
        alone = Agents(env_id, (i,)).run()
        np.testing.assert_allclose(together.returns[i], alone.returns[0], rtol=1e-6)
        np.testing.assert_array_equal(together.lengths[i], alone.lengths[0])


@pytest.mark.parametrize("env_id", DIMS)
def test_evaluations_are_seeded_and_repeat_in_the_same_evaluator(env_id):
    agents = Agents(env_id)
    evaluator = Evaluator(env_id, agents.seeds, EPISODES)
    first = evaluator.run(agents.player, agents.normaliser)
    same(first, evaluator.run(agents.player, agents.normaliser))
    evaluator.close()
    for threads in (1, 2, 5):
        same(first, agents.run(threads=threads))


@pytest.mark.parametrize("env_id", DIMS)
def test_one_agent_equals_a_hand_written_loop(env_id):
    agents = Agents(env_id, (1,))
    found = agents.run()
    norm = {k: v[0, 0].numpy() for k, v in agents.normaliser.state_dict().items() if v.dim() == 3}
    for e, seed in enumerate(episode_seeds(SEEDS[1], EPISODES)):
        env = gymnasium.make(env_id)
        obs, _ = env.reset(seed=seed)
        total, length, over = 0.0, 0, False
        while not over:
            x = torch.from_numpy((obs - norm["obs_mean"]) / norm["obs_std"])[None, None]
            with torch.no_grad():
                action = agents.actor(x)[0, 0].numpy()
            action = (action * norm["act_half"] + norm["act_middle"]).astype(np.float32)
            obs, reward, terminated, truncated, _ = env.step(action)
            total, length, over = total + reward, length + 1, terminated or truncated
        env.close()
        assert found.returns[0, e] == pytest.approx(total, rel=1e-9)
        assert found.lengths[0, e] == length


def test_episode_seeds_are_the_agents_own():
    assert episode_seeds(3, 4) == episode_seeds(3, 10)[:4]
    drawn = [s for seed in range(50) for s in episode_seeds(seed, 10)]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= s < 2**31 for s in episode_seeds(2**63 - 1, 10))


def test_dead_agents_give_nan_and_do_not_disturb_the_others():
    agents = Agents("Hopper-v5")
    whole = agents.run()
    part = agents.run(np.array([True, False, True]))
    assert np.isnan(part.returns[1]).all() and (part.lengths[1] == 0).all()
    np.testing.assert_array_equal(part.returns[[0, 2]], whole.returns[[0, 2]])
    np.testing.assert_array_equal(part.lengths[[0, 2]], whole.lengths[[0, 2]])

    def rotten(obs):
        act = agents.actor(obs).clone()
        act[1] = float("nan")
        return act

    sick = agents.run(act=rotten)
    np.testing.assert_array_equal(sick.returns[[0, 2]], whole.returns[[0, 2]])
    assert np.isnan(agents.run(np.zeros(3, dtype=bool)).returns).all()


def test_a_time_limit_of_the_data_cuts_episodes():
    cut = Agents("Hopper-v5").run(max_episode_steps=4)
    assert (cut.lengths == 4).all()


@pytest.mark.parametrize(
    "env_id, message",
    [("Hoper-v5", "Hoper"), ("Hopper-v99", "Hopper"), ("", "''"), ("CartPole-v1", "CartPole")],
)
def test_environments_that_cannot_be_had_are_named(env_id, message):
    with pytest.raises(SimulationError, match=message):
        Evaluator(env_id, [0], 1)


def test_limits_helper_is_hoppers():
    env = environments.make("Hopper-v5", 1)
    np.testing.assert_array_equal([env.act_low, env.act_high], limits(3))
    env.close()


def test_a_reward_that_is_no_number_makes_no_return(monkeypatch):
    """It would stand in a record, which JSON cannot hold."""
    real = environments.BatchedEnv.step

    def step(self, *arguments):
        obs, rewards, *ends = real(self, *arguments)
        return obs, np.full_like(rewards, np.nan), *ends

    monkeypatch.setattr(environments.BatchedEnv, "step", step)
    with pytest.raises(SimulationError, match="Reacher-v5 gave a reward that is not a finite number"):
        Agents("Reacher-v5").run()


# ---- beside training


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_hdf5(tmp_path_factory.mktemp("data") / "one.hdf5", 0)


@pytest.fixture
def beside(monkeypatch):
    """As on a GPU, with the CPU in its place; checkpoints and calls are short."""
    monkeypatch.setattr(evaluation, "beside", lambda device, agents: True)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "UPDATES_PER_CALL", 7)


def run(data, out, observer=None, **more):
    return trainer.train(asked(data, out, seeds=(0, 1), **more), observer=observer)


@pytest.mark.parametrize("algo", PLAIN)
def test_evaluated_beside_training_or_between_updates_is_the_same(data, tmp_path, monkeypatch, algo):
    between = run(data, tmp_path / "between", algo=algo)
    monkeypatch.setattr(evaluation, "beside", lambda device, agents: True)
    assert_same_run(run(data, tmp_path / "beside", algo=algo), between)


def test_updates_go_on_while_an_evaluation_does(data, tmp_path, monkeypatch, beside):
    """The evaluation of step 0 waits until updates have been made, which would be for ever without."""
    moved, play = threading.Event(), Evaluator.run

    def patiently(self, *given):
        assert threading.current_thread() is not threading.main_thread()
        assert moved.wait(60)
        return play(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", patiently)
        patch.setattr(trainer, "CHECKPOINT_SECONDS", 1e9)
        found = run(data, tmp_path / "a", observer=at("update", 0, moved.set))
    again = run(data, tmp_path / "b")
    for ours, theirs in zip(found.records, again.records):
        assert lasting(ours) == lasting(theirs)  # of the agents as they were at step 0


@pytest.mark.parametrize("event", ["save", "update", "begin", "evaluate"])
def test_a_run_killed_with_an_evaluation_under_way_resumes_to_the_same_end(data, tmp_path, beside, event):
    whole = run(data, tmp_path / "whole")
    for number in range(3):
        out = tmp_path / f"died-{number}"
        with pytest.raises(Killed):
            run(data, out, observer=at(event, number, die))
        assert_same_run(run(data, out), whole)


def test_a_checkpoint_holds_the_evaluations_begun_before_it(data, tmp_path, monkeypatch, beside):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 1e9)  # no other than the interruption's
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, observer=at("update", 3, lambda: signal.raise_signal(signal.SIGINT)))
    progress = load_progress(tmp_path / CHECKPOINT)
    assert progress.step >= 20
    assert [[row["step"] for row in agent] for agent in progress.evaluations] == [[0, 20], [0, 20]]


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
    policy = load_policy(tmp_path)
    evaluator = Evaluator(policy.env, policy.seeds, 2)
    again = evaluator.run(policy.algorithm.player(2), policy.normaliser)
    evaluator.close()
    for returns, record in zip(again.returns, found.records):
        assert returns.tolist() == record.evaluations[-1]["returns"]
