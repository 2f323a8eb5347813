"""Adroit's rewards have D4RL's sign of the distance, in data and in evaluation."""

import gymnasium
import gymnasium_robotics
import numpy as np
import pytest

from rdlib.data import adroit, catalog, load
from rdlib.data.env_spec import EnvSpec, SimulationError, complete
from rdlib.data.environments import make

gymnasium.register_envs(gymnasium_robotics)
TASKS = ("AdroitHandDoor-v1", "AdroitHandHammer-v1", "AdroitHandRelocate-v1")


def palm_and_object(env) -> float:
    """The distance that the reward is about, from the simulator's state rather than from observations."""
    inner = env.unwrapped
    palm = inner.data.site("S_grasp").xpos
    thing = inner.data.site("S_handle").xpos if "Door" in env.spec.id else inner.data.body("Object").xpos
    return float(np.linalg.norm(palm - thing))


def episode(env_id: str, steps: int = 30):
    """(next observations, rewards, distances) of gymnasium-robotics' own environment under noise."""
    env = gymnasium.make(env_id)
    env.reset(seed=5)
    rows = []
    for action in np.random.default_rng(0).uniform(-1, 1, (steps, *env.action_space.shape)).astype("f4"):
        obs, reward, *_ = env.step(action)
        rows.append((obs, reward, palm_and_object(env)))
    env.close()
    return [np.array(x) for x in zip(*rows, strict=True)]


@pytest.mark.parametrize("env_id", TASKS)
def test_a_step_pays_for_nearness(env_id):
    _, paid, distance = episode(env_id)
    env = make(env_id, 1)
    env.reset([5])
    actions = np.random.default_rng(0).uniform(-1, 1, (30, env.act_dim)).astype("f4")
    ours = np.array([env.step(a[None])[1][0] for a in actions])
    env.close()
    np.testing.assert_allclose(ours, paid - 0.2 * distance, atol=1e-9)
    assert EnvSpec(env_id, 200).identity() == [env_id, 200, adroit.D4RL_SIGN]


@pytest.mark.parametrize("env_id", TASKS)
def test_rewards_of_data_are_corrected_once(env_id):
    obs, paid, distance = episode(env_id)
    right = adroit.corrected(env_id, paid, obs)
    np.testing.assert_allclose(right, paid - 0.2 * distance, atol=1e-6)
    if "Hammer" not in env_id:  # whose observations do not tell
        np.testing.assert_allclose(adroit.corrected(env_id, right, obs), right, atol=1e-6)


@pytest.mark.parametrize("env_id", ["AdroitHandPen-v1", "AdroitHandDoorSparse-v1", "Hopper-v5"])
def test_other_rewards_are_left(env_id):
    assert not adroit.correction(env_id, {}) and len(EnvSpec(env_id, 100).identity()) == 2
    assert not adroit.correction("AdroitHandDoor-v1", {"reward_type": "sparse"})


def test_a_version_that_pays_d4rls_sign_is_left():
    """Such as gymnasium-robotics 1.2.0, or those to come."""

    class Right(type(gymnasium.make("AdroitHandDoor-v1").unwrapped)):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, reward - 0.2 * np.linalg.norm(obs[35:38]), *rest

    known = gymnasium.registry["AdroitHandDoor-v1"]
    known.entry_point, before = Right, known.entry_point
    adroit._slope.cache_clear()
    try:
        env = make("AdroitHandDoor-v1", 1)
        assert "Corrected" not in str(env._envs[0])
        env.close()
    finally:
        known.entry_point = before
        adroit._slope.cache_clear()


def test_a_random_policy_on_the_door_scores_nothing():
    """D4RL's random return is -56.5; as gymnasium-robotics pays it, about -45.7."""
    n = 20
    env = make("AdroitHandDoor-v1", n)
    env.reset(range(n))
    rng, returns = np.random.default_rng(0), np.zeros(n)
    for _ in range(200):
        returns += env.step(rng.uniform(-1, 1, (n, 28)).astype("f4"))[1]
    env.close()
    assert returns.mean() == pytest.approx(catalog.REFERENCE_SCORES["door"][0], abs=0.7)
    assert abs(catalog.score(returns, catalog.reference(env.spec)).mean()) < 0.03


def test_the_bundled_human_data_say_so():
    d = load("door-human")
    assert d.notes["rewards"] == adroit.D4RL_SIGN and d.reference is None
    assert catalog.reference_of(d) == catalog.REFERENCE_SCORES["door"]


def test_rewards_that_cannot_be_corrected_are_refused():
    wrapper = {"name": "FlattenObservation", "entry_point": "gymnasium.wrappers:F", "kwargs": {}}
    with pytest.raises(SimulationError, match="wrapped in FlattenObservation, and its rewards"):
        complete(EnvSpec("AdroitHandDoor-v1", 200, {}, (wrapper,)))
