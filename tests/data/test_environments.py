"""Batched simulation against gymnasium, to the last bit."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium
import numpy as np
import pytest

from rdlib.data import environments
from rdlib.data.environments import NATIVE, BatchedEnv, GymnasiumEnv, PlanarEnv, SimulationError, make
from rdlib.engine import hardware

# gymnasium announces that v4 is superseded; D4RL's data belongs to its dynamics, so it is meant.
pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")

# Small actions make for longer episodes than random ones of full size.
SCALES = (1.0, 0.3, 0.05)


def actions_for(env: BatchedEnv, steps: int, seed: int = 0) -> np.ndarray:
    """(steps, n, U), every environment at its own scale."""
    rng = np.random.default_rng(seed)
    scale = np.resize(SCALES, env.n)[:, None]
    actions = rng.uniform(env.act_low, env.act_high, (steps, env.n, env.act_dim)) * scale
    return actions.astype(np.float32)


@contextmanager
def both(env_id: str, n: int, limit: int | None = None, **options) -> Iterator[tuple]:
    ours = make(env_id, n, limit, **options)
    theirs = [gymnasium.make(env_id, max_episode_steps=limit) for _ in range(n)]
    yield ours, theirs
    ours.close()
    for env in theirs:
        env.close()


def compare(ours: BatchedEnv, theirs: list, steps: int) -> dict[str, list[int]]:
    """Steps both, resetting what ends, and asserts equality throughout. Returns the lengths of the
    episodes by the way they ended."""
    n, ends = ours.n, {"terminated": [], "truncated": []}
    seed, length = 100, np.zeros(n, dtype=int)
    obs = ours.reset(range(seed, seed + n))
    for i, env in enumerate(theirs):
        np.testing.assert_array_equal(obs[i], env.reset(seed=seed + i)[0])
    seed += n
    for t, actions in enumerate(actions_for(ours, steps)):
        obs, rewards, terminated, truncated = ours.step(actions)
        length += 1
        for i, env in enumerate(theirs):
            reference = env.step(actions[i])
            where = f"step {t} of environment {i}"
            np.testing.assert_array_equal(obs[i], reference[0], err_msg=where)
            assert rewards[i] == reference[1], where
            assert (terminated[i], truncated[i]) == reference[2:4], where
        ended = np.flatnonzero(terminated | truncated).tolist()
        if ended:
            seeds = range(seed, seed + len(ended))
            seed += len(ended)
            obs = ours.reset(seeds, ended)
            for i, s in zip(ended, seeds):
                ends["terminated" if terminated[i] else "truncated"].append(int(length[i]))
                np.testing.assert_array_equal(obs[i], theirs[i].reset(seed=s)[0])
            length[ended] = 0
    return ends


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Hopper-v4", "Walker2d-v5", "Walker2d-v4"])
def test_episodes_that_fall_equal_gymnasiums(env_id):
    with both(env_id, 3) as (ours, theirs):
        assert isinstance(ours, PlanarEnv)
        ends = compare(ours, theirs, 600)
    assert len(ends["terminated"]) >= 10 and max(ends["terminated"]) > 60, ends


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "HalfCheetah-v4"])
def test_episodes_up_to_the_registered_time_limit_equal_gymnasiums(env_id):
    with both(env_id, 3) as (ours, theirs):
        ends = compare(ours, theirs, 1050)  # and the beginning of the next
    assert ends == {"terminated": [], "truncated": [1000] * 3}


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Walker2d-v5"])
def test_a_time_limit_cuts_episodes_as_gymnasiums_does(env_id):
    with both(env_id, 3, limit=25) as (ours, theirs):
        assert ours.max_episode_steps == 25
        ends = compare(ours, theirs, 200)
    assert ends["terminated"] and set(ends["truncated"]) == {25}


def neighbours(*limits: float) -> list[float]:
    return [y for x in limits for y in (np.nextafter(x, -np.inf), x, np.nextafter(x, np.inf))]


def states(nq: int, nv: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Healthy and unhealthy states: at random, and on both sides of each limit alone."""
    rng = np.random.default_rng(0)
    limits = [(z, 0.0) for z in neighbours(0.7, 0.8, 2.0)]
    limits += [(1.2, angle) for angle in neighbours(-1.0, -0.2, 0.2, 1.0)]
    for z, angle in limits:
        yield np.array([0.0, z, angle, *rng.uniform(-0.1, 0.1, nq - 3)]), rng.uniform(-1, 1, nv)
    for velocity in neighbours(-100, 100):
        yield np.array([0.0, 1.2, *np.zeros(nq - 2)]), np.array([*np.zeros(nv - 1), velocity])
    for size in (5, 15, 150):  # velocities are observed clipped at 10
        for angles in (0.25, 1.2):
            for _ in range(10):
                qpos = rng.uniform(-angles, angles, nq)
                qpos[1] = rng.uniform(0.75, 2.1)
                yield qpos, rng.uniform(-size, size, nv)


@pytest.mark.parametrize("env_id", NATIVE)
def test_any_state_is_observed_and_judged_healthy_as_gymnasium_does(env_id):
    """States put in place, since episodes from a reset fall over long before they reach most limits
    (a Hopper by its angle, never by its height)."""
    with both(env_id, 1) as (ours, (theirs,)):
        assert isinstance(ours, PlanarEnv)
        healthy = []
        for qpos, qvel in states(ours.model.nq, ours.model.nv):
            theirs.unwrapped.set_state(qpos, qvel)
            ours._qpos[0], ours._qvel[0] = qpos, qvel
            obs, _, fallen = ours._outcome(np.zeros((1, ours.act_dim), dtype=np.float32))
            np.testing.assert_array_equal(obs[0], theirs.unwrapped._get_obs())
            healthy.append(getattr(theirs.unwrapped, "is_healthy", True))
            assert fallen[0] != healthy[-1], (qpos, qvel)
    assert len(set(healthy)) == (1 if "Cheetah" in env_id else 2)


def test_environments_of_gymnasium_itself_equal_gymnasiums():
    with both("AdroitHandPen-v1", 2, limit=12) as (ours, theirs):
        assert isinstance(ours, GymnasiumEnv) and (ours.obs_dim, ours.act_dim) == (45, 24)
        ends = compare(ours, theirs, 30)
    assert ends == {"terminated": [], "truncated": [12] * 4}


def test_an_end_and_the_time_limit_at_one_step_are_both_reported():
    env = make("Hopper-v5", 3)
    env.reset(range(3))
    actions, terminated, limit = actions_for(env, 1000), np.zeros(3, dtype=bool), 0
    while not terminated[0]:
        terminated = env.step(actions[limit])[2]
        limit += 1
    with both("Hopper-v5", 3, limit=limit) as (ours, theirs):
        ours.reset(range(3))
        theirs[0].reset(seed=0)
        for a in actions[:limit]:
            step, reference = ours.step(a), theirs[0].step(a[0])
        assert (step[2][0], step[3][0]) == reference[2:4] == (True, True)


def test_many_cores_are_not_all_used_unless_asked(monkeypatch):
    monkeypatch.setattr(hardware, "available_cores", lambda: 16)
    for asked, threads in ((None, environments.THREADS), (6, 6)):
        env = make("Hopper-v5", 8, threads=asked)
        assert env._threads == threads
        env.close()


@pytest.mark.parametrize("env_id", ["Hopper-v5", "AdroitHandDoor-v1"])
def test_the_number_of_threads_does_not_matter(env_id):
    trajectories = []
    for threads in (1, 2, 5, None):
        env = make(env_id, 5, threads=threads)
        trajectory = [env.reset(range(5))]
        for actions in actions_for(env, 20):
            trajectory += env.step(actions)
        env.close()
        trajectories.append(trajectory)
    for other in trajectories[1:]:
        for x, y in zip(trajectories[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "AdroitHandDoor-v1"])
def test_inactive_environments_wait_and_go_on_as_if_nothing_had_been(env_id):
    masked, straight = make(env_id, 3, threads=2), make(env_id, 3)
    masked.reset(range(3))
    straight.reset(range(3))
    actions = actions_for(masked, 15)
    for t in range(10):
        expected = straight.step(actions[t])
        before = masked.step(actions[t], np.array([True, False, True]))
        for x, y in zip(before, expected):
            np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])
    # Catch up with environment 1 alone: the other two hold still.
    for t in range(10):
        now = masked.step(actions[t], np.array([False, True, False]))
        np.testing.assert_array_equal(now[0][[0, 2]], before[0][[0, 2]])
    np.testing.assert_array_equal(now[0], expected[0])
    for t in range(10, 15):
        for x, y in zip(masked.step(actions[t]), straight.step(actions[t])):
            np.testing.assert_array_equal(x, y)
    masked.close()
    straight.close()


def test_inactive_environments_do_not_come_nearer_to_their_time_limit():
    env = make("Hopper-v5", 2, max_episode_steps=3)
    env.reset([0, 1])
    actions = np.zeros((2, env.act_dim), dtype=np.float32)
    for _ in range(2):
        assert not env.step(actions, np.array([True, False]))[3].any()
    assert env.step(actions)[3].tolist() == [True, False]
    env.close()


def test_reset_of_some_leaves_the_others():
    env = make("HalfCheetah-v5", 3)
    first = env.reset([0, 1, 2])
    stepped = env.step(actions_for(env, 1)[0])[0]
    again = env.reset([0], which=[1])
    np.testing.assert_array_equal(again[[0, 2]], stepped[[0, 2]])
    np.testing.assert_array_equal(again[1], first[0])
    env.close()


def test_returned_arrays_are_not_overwritten_by_the_next_step():
    for env_id in ("Hopper-v5", "AdroitHandDoor-v1"):
        env = make(env_id, 2)
        env.reset([0, 1])
        actions = actions_for(env, 2)
        first = env.step(actions[0])
        kept = [x.copy() for x in first]
        env.step(actions[1])
        for x, y in zip(first, kept):
            np.testing.assert_array_equal(x, y)
        env.close()


def test_spaces_are_gymnasiums():
    for env_id in NATIVE:
        with both(env_id, 1) as (ours, theirs):
            space = theirs[0].action_space
            np.testing.assert_array_equal(ours.act_low, space.low)
            np.testing.assert_array_equal(ours.act_high, space.high)
            assert ours.act_low.dtype == space.low.dtype
            assert (ours.obs_dim,) == theirs[0].observation_space.shape
            assert ours.max_episode_steps == theirs[0].spec.max_episode_steps == 1000


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 2), (2, 3, 1)])
def test_actions_of_the_wrong_shape_are_an_error_that_names_both_shapes(shape):
    env = make("Hopper-v5", 2)
    env.reset([0, 1])
    with pytest.raises(SimulationError, match=r"Hopper-v5: .*expected \(2, 3\)"):
        env.step(np.zeros(shape, dtype=np.float32))
    env.close()


def test_as_many_seeds_as_environments():
    env = make("Hopper-v5", 2)
    with pytest.raises(ValueError):
        env.reset([0])
    env.close()


@pytest.mark.parametrize("env_id", ["Hoper-v5", "Hopper-v99", "nowhere/Hopper-v5"])
def test_an_unknown_environment_is_an_error_that_names_it(env_id):
    with pytest.raises(SimulationError, match=env_id):
        make(env_id, 1)


def test_an_environment_with_other_spaces_is_an_error_that_says_which():
    with pytest.raises(SimulationError, match=r"CartPole-v1: the action space is Discrete\(2\)"):
        make("CartPole-v1", 1)


def test_an_environment_without_a_time_limit_asks_for_one():
    gymnasium.register("Endless-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv")
    try:
        with pytest.raises(SimulationError, match="max_episode_steps"):
            make("Endless-v0", 1)
        assert make("Endless-v0", 1, 7).max_episode_steps == 7
    finally:
        del gymnasium.registry["Endless-v0"]


def test_native_environments_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make("Hopper-v5", 2)
        env.reset([0, 1])
        env.step(np.zeros((2, 3), dtype=np.float32))
        env.close()


class Short(gymnasium.Env):
    """Ends itself at its fifth step, and is as bad as `fails` says."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, most: float = 1.0, missing: str = "", fails: str = "", dtype: type = np.float32):
        if missing:
            raise gymnasium.error.DependencyNotInstalled(f"{missing} is not installed")
        if fails == "init":
            raise RuntimeError("no licence\nfor this")
        self.fails, self.action_space = fails, gymnasium.spaces.Box(-0.3, most, (1,), dtype)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(3 if self.fails == "reset" else 2, "f4"), {}

    def step(self, action):
        self.steps += 1
        assert action.dtype == self.action_space.dtype and self.action_space.contains(action), action
        if self.fails == "step" and self.steps == 3:
            raise KeyError("the sensor\nis gone")
        reward = {"none": None, "two": np.ones(2), "one": np.array([0.25])}.get(self.fails, 1.0)
        return np.zeros(2, "f4"), reward, False, self.steps == 5, {}


@pytest.fixture
def short():
    """Registers Short-v0 with options."""

    def register(**options):
        gymnasium.register(
            "Short-v0", Short, max_episode_steps=20, kwargs=options, disable_env_checker=True
        )

    yield register
    del gymnasium.registry["Short-v0"]


def test_an_environment_may_cut_its_episodes_itself(short):
    short()
    env = make("Short-v0", 2)
    env.reset([0, 1])
    cut = [env.step(np.zeros((2, 1)))[3].tolist() for _ in range(5)]
    assert cut == [[False, False]] * 4 + [[True, True]]
    env.reset([2], [0])
    assert env.step(np.zeros((2, 1)), np.array([True, False]))[3].tolist() == [False, True]
    env.close()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"missing": "box2d"}, "'Short-v0' cannot be made here: box2d is not installed"),
        ({"fails": "init"}, "'Short-v0' cannot be made here: no licence for this$"),
        ({"most": np.inf}, "Short-v0: the action space is .*expected finite limits"),
    ],
)
def test_an_environment_that_cannot_be_used_is_an_error_that_says_why(short, options, message):
    short(**options)
    with pytest.raises(SimulationError, match=message):
        make("Short-v0", 1)


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("step", r"^Short-v0 failed in step 3 of an episode: KeyError: 'the sensor.*is gone'$"),
        ("none", r"^Short-v0 failed in step 1 of an episode: TypeError: "),
        ("two", r"^Short-v0 failed in step 1 of an episode: ValueError: "),
        ("reset", r"^Short-v0 failed in reset with seed 0: ValueError: "),
    ],
)
def test_whatever_an_environment_raises_is_one_line_with_its_name_and_the_step(short, fails, message):
    short(fails=fails)
    env = make("Short-v0", 2)
    with pytest.raises(SimulationError, match=message) as error:
        env.reset([0, 1])
        for _ in range(4):
            env.step(np.zeros((2, 1), np.float32))
    assert "\n" not in str(error.value) and error.value.__cause__ is not None
    env.close()


def test_a_reward_of_one_element_is_a_number(short):
    short(fails="one")
    env = make("Short-v0", 2)
    env.reset([0, 1])
    assert env.step(np.zeros((2, 1)))[1].tolist() == [0.25, 0.25]
    env.close()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_that_rounding_puts_beyond_a_limit_are_put_on_it(short, dtype):
    """The middle plus half the range oversteps an asymmetric limit in float32; some environments check."""
    short(most=0.9, dtype=dtype)
    env = make("Short-v0", 1)
    env.reset([0])
    for beyond in (
        np.nextafter(np.float32(0.9), np.float32(1)),
        np.nextafter(np.float32(-0.3), np.float32(-1)),
    ):
        env.step(np.full((1, 1), beyond, np.float32))
    env.close()
