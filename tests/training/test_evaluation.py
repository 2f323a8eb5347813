"""Seeded evaluation, all agents together, against one agent in a hand-written loop."""

import gymnasium
import numpy as np
import pytest
import torch
from helpers.synthetic import dataset, limits

from rdlib.data import environments
from rdlib.data.batches import Normaliser
from rdlib.data.environments import SimulationError
from rdlib.engine.nets import Actor, Initialiser
from rdlib.engine.rng import Streams
from rdlib.training.evaluation import Evaluator, Returns, episode_seeds

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
    same(first, agents.run(threads=1))


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
