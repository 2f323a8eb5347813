"""What is evaluated is the task that the data came from: arguments, wrappers, limits and reward."""

import dataclasses
import json
import sys

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium import wrappers
from minari.data_collector import EpisodeBuffer

from rdlib.data import DataError, catalog
from rdlib.data.env_spec import EnvSpec, SimulationError, complete, with_arguments
from rdlib.data.environments import GymnasiumEnv, PlanarEnv, check_fits, make
from rdlib.data.readers.minari import read_minari
from rdlib.data.report import examine
from rdlib.training.evaluation import episode_seeds
from rdlib.training.parameters import from_notebook
from rdlib.training.plan import make_plan
from rdlib.training.policy import load_policy
from rdlib.training.request import ConfigError, TrainConfig
from rdlib.training.trainer import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`eval_env` is set to None:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*(code_permalink|author|description).*:UserWarning"),
]


def actions_of(env, steps, seed=0):
    low, high = env.action_space.low, env.action_space.high
    return np.random.default_rng(seed).uniform(low, high, (steps, len(low))).astype(low.dtype)


def play(env, steps=8, seed=3) -> EpisodeBuffer:
    """One episode of noise, as it would be collected."""
    found = EpisodeBuffer(seed=seed, observations=[env.reset(seed=seed)[0]], actions=[])
    for action in actions_of(env, steps):
        obs, reward, terminated, truncated, _ = env.step(action)
        found.observations.append(obs)
        found.actions.append(action)
        found.rewards.append(reward)
        found.terminations.append(terminated)
        found.truncations.append(truncated)
    found.truncations[-1] = True
    return found


@pytest.fixture
def collect(tmp_path, monkeypatch):
    """Makes a Minari dataset of an episode in `env` and reads it."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def collected(env, dataset_id="test/task-v0", **more):
        minari.create_dataset_from_buffers(dataset_id, [play(env)], env=env, data_format="hdf5", **more)
        return read_minari(dataset_id, tmp_path)

    return collected


def paid(env, steps=8) -> np.ndarray:
    """What `env` (one copy) pays for the episode of `play`."""
    env.reset([3])
    low, high = env.act_low, env.act_high
    actions = np.random.default_rng(0).uniform(low, high, (steps, len(low))).astype(low.dtype)
    return np.array([env.step(a[None])[1][0] for a in actions])


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("HalfCheetah-v5", {"ctrl_cost_weight": 0}),
        ("Pendulum-v1", {"g": 1.0}),
        ("Hopper-v5", {"frame_skip": 2}),
    ],
)
def test_the_evaluation_pays_what_the_data_s_environment_pays(collect, env_id, kwargs):
    d = collect(gymnasium.make(env_id, **kwargs))
    assert (d.env_id, d.env_kwargs, d.env_wrappers) == (env_id, kwargs, ())
    env = make(EnvSpec.of(d), 1)
    assert isinstance(env, GymnasiumEnv)
    np.testing.assert_allclose(paid(env), d.rew, rtol=1e-6)
    assert abs(paid(make(env_id, 1)) - d.rew).max() > 0.01  # the id alone is another task
    report = examine(d)
    assert report.score is None and report.usable
    assert next(iter(kwargs)) in report.env_id and catalog.reference(env.spec) is None


@pytest.mark.parametrize(
    ("env_id", "kwargs"), [("HalfCheetah-v5", {"ctrl_cost_weight": 0}), ("Pendulum-v1", {"g": 1.0})]
)
def test_a_trained_policy_is_scored_by_the_data_s_environment(collect, tmp_path, env_id, kwargs):
    collect(gymnasium.make(env_id, max_episode_steps=60, **kwargs))
    sizes = {"actor_width": 8, "actor_depth": 1, "batch_size": 4}
    out = str(tmp_path / "run")
    run = train(TrainConfig("bc", "test/task-v0", config=sizes, steps=5, episodes=1, device="cpu", out=out))
    policy, returns = load_policy(out), {}
    for name, given in (("the data's", kwargs), ("plain", {})):
        env = gymnasium.make(env_id, max_episode_steps=60, **given)
        obs, total = env.reset(seed=episode_seeds(0, 1)[0])[0], 0.0
        for _ in range(60):
            obs, reward, *_ = env.step(policy.act(obs))
            total += reward
        returns[name] = total
    assert run.records[0].evaluations[-1]["returns"] == pytest.approx([returns["the data's"]], rel=1e-3)
    assert returns["plain"] != pytest.approx(returns["the data's"], rel=0.01)


def test_arguments_that_are_the_defaults_rendering_and_watching_leave_an_environment_plain(collect):
    env = gymnasium.make("HalfCheetah-v5", ctrl_cost_weight=0.1, render_mode="rgb_array")
    d = collect(wrappers.RecordEpisodeStatistics(env))
    spec = EnvSpec.of(d)
    assert spec == EnvSpec("HalfCheetah-v5", 1000) and spec.plain
    env = make(spec, 1)
    assert isinstance(env, PlanarEnv) and catalog.reference(env.spec) == catalog.reference_of(d)
    assert examine(d).score is not None


def test_gymnasium_s_own_wrappers_are_rebuilt(collect):
    d = collect(
        wrappers.ClipReward(wrappers.RescaleAction(gymnasium.make("Hopper-v5"), -0.5, 2.0), 0.5, 0.9)
    )
    assert [w["name"] for w in d.env_wrappers] == ["RescaleAction", "ClipReward"]
    env = make(EnvSpec.of(d), 1)
    assert (env.act_low, env.act_high) == (pytest.approx([-0.5] * 3), pytest.approx([2.0] * 3))
    np.testing.assert_allclose(paid(env), d.rew, rtol=1e-6)
    assert examine(d).env_id == (
        "Hopper-v5 in RescaleAction(min_action=-0.5, max_action=2.0) "
        "in ClipReward(min_reward=0.5, max_reward=0.9)"
    )


class Doubled(gymnasium.RewardWrapper, gymnasium.utils.RecordConstructorArgs):
    """A user's own wrapper."""

    def __init__(self, env, by=2):
        gymnasium.utils.RecordConstructorArgs.__init__(self, by=by)
        super().__init__(env)

    def reward(self, reward):
        return 2 * reward


@pytest.mark.parametrize(
    ("wrapped", "message"),
    [
        (Doubled, "'Hopper-v5' is wrapped in Doubled, which is not gymnasium's own"),
        (wrappers.NormalizeReward, "wrapped in NormalizeReward, whose running statistics"),
        (wrappers.NormalizeObservation, "wrapped in NormalizeObservation, whose running statistics"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_by_name(collect, wrapped, message):
    d = collect(wrapped(gymnasium.make("Hopper-v5")))
    asked = TrainConfig("bc", "test/task-v0", scale="quick", device="cpu")
    with pytest.raises(SimulationError, match=message):
        make_plan(asked)
    [warning] = [w for w in examine(d).warnings if "cannot be made here" in w]
    assert wrapped.__name__ in warning
    elsewhere = make_plan(dataclasses.replace(asked, env="Hopper-v4"))
    assert elsewhere.env == EnvSpec("Hopper-v4")


def test_the_evaluation_s_environment_goes_before_the_data_s(collect):
    env = gymnasium.make("Pendulum-v1", g=1.0)
    d = collect(env, eval_env=gymnasium.make("Pendulum-v1", g=2.0, max_episode_steps=50))
    assert EnvSpec.of(d) == EnvSpec("Pendulum-v1", 50, {"g": 2.0})


def test_data_do_not_have_modules_imported(collect, tmp_path):
    collect(gymnasium.make("Pendulum-v1"))
    file = tmp_path / "test" / "task-v0" / "data" / "metadata.json"
    content = json.loads(file.read_text())
    spec = json.loads(content["env_spec"])
    wrapper = {"name": "ClipReward", "entry_point": "antigravity:ClipReward", "kwargs": {}}
    for change in ({"entry_point": "antigravity:Env"}, {"additional_wrappers": [wrapper]}):
        file.write_text(json.dumps(content | {"env_spec": json.dumps(spec | change)}))
        d = read_minari("test/task-v0", tmp_path)
        if "entry_point" in change:
            make(EnvSpec.of(d), 1).close()
        else:
            with pytest.raises(SimulationError, match="not gymnasium's own"):
                make(EnvSpec.of(d), 1)
    assert "antigravity" not in sys.modules
    for key, value in (
        ("kwargs", [1]),
        ("additional_wrappers", {"name": 1}),
        ("additional_wrappers", ["x"]),
    ):
        file.write_text(json.dumps(content | {"env_spec": json.dumps(spec | {key: value})}))
        with pytest.raises(DataError, match="metadata.json, 'env_spec': 'env_(kwargs|wrappers)' is "):
            read_minari("test/task-v0", tmp_path)


@pytest.mark.parametrize(
    ("g", "env_kwargs", "reference"), [(1.0, {}, [-1e3, -1e2]), (1.0, {"g": 2.0}, None)]
)
def test_a_reference_of_the_data_scores_the_data_s_task_only(collect, g, env_kwargs, reference):
    d = collect(gymnasium.make("Pendulum-v1", g=g), ref_min_score=-1000, ref_max_score=-100)
    assert d.reference == (-1000.0, -100.0)
    assert examine(d).score == pytest.approx(100 * (d.rew.sum() + 1000) / 900, rel=1e-5)
    plan = make_plan(TrainConfig("bc", "test/task-v0", env_kwargs=env_kwargs, scale="quick", device="cpu"))
    assert plan.reference(plan.agents[0].dataset) == reference
    assert plan.env.kwargs == {"g": env_kwargs.get("g", g)}


@pytest.mark.parametrize(("low", "high"), [(2, 1), (1, 1), ("a", 1), (True, 1), (0, float("nan"))])
def test_references_that_are_none_are_refused(collect, tmp_path, low, high):
    collect(gymnasium.make("Pendulum-v1"))
    file = tmp_path / "test" / "task-v0" / "data" / "metadata.json"
    content = json.loads(file.read_text()) | {"ref_min_score": low, "ref_max_score": high}
    file.write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"ref_min_score and ref_max_score: 'reference' is .*two finite numbers"
    ):
        read_minari("test/task-v0", tmp_path)


def test_limits_of_actions_that_contradict_the_environment_s_are_named(collect, tmp_path):
    d = collect(gymnasium.make("Pendulum-v1"))
    check_fits(make(EnvSpec.of(d), 1), d)
    narrow = dataclasses.replace(d, act_limits=(np.array([-2.0]), np.array([1.5])))
    with pytest.raises(
        DataError, match=r"action space is 1.5 high in dimension 0, and that of Pendulum-v1 2"
    ):
        check_fits(make(EnvSpec.of(d), 1), narrow)
    assert not examine(narrow).usable


MODULE = """
import gymnasium
gymnasium.register("Mine-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv", max_episode_steps=7)
"""


def test_an_environment_of_a_user_s_module(collect, tmp_path, monkeypatch):
    (tmp_path / "mine_of_the_test.py").write_text(MODULE)
    (tmp_path / "broken_of_the_test.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    collect(gymnasium.make("Pendulum-v1", g=3.0))
    try:
        plan = make_plan(TrainConfig("bc", "test/task-v0", env="mine_of_the_test:Mine-v0", device="cpu"))
        assert plan.env == EnvSpec("mine_of_the_test:Mine-v0")
        env = make(plan.env, 2)
        assert (env.max_episode_steps, env.env_id) == (7, "mine_of_the_test:Mine-v0")
        env.reset([1, 2])
        env.close()
        d = collect(gymnasium.make("Mine-v0", g=3.0), "test/mine-v0")
        plan = make_plan(TrainConfig("bc", "test/mine-v0", env="mine_of_the_test:Mine-v0", device="cpu"))
        assert plan.env == EnvSpec("mine_of_the_test:Mine-v0", 7, d.env_kwargs) and d.env_kwargs == {
            "g": 3.0
        }
    finally:
        gymnasium.registry.pop("Mine-v0", None)
    for name, message in (
        (
            "broken_of_the_test",
            r"broken_of_the_test cannot be imported \(ZeroDivisionError: division by zero\)",
        ),
        ("nowhere_to_be_found", r"cannot be imported \(ModuleNotFoundError"),
    ):
        with pytest.raises(SimulationError, match=message):
            make(f"{name}:Mine-v0", 1)


def test_arguments_asked_for_serve_ants_111_observations(tmp_path):
    asked = from_notebook({"env": "Ant-v4", "env_kwargs": "use_contact_forces=true,max_episode_steps=30"})
    assert asked.env_kwargs == {"use_contact_forces": True, "max_episode_steps": 30}
    env = make(with_arguments(EnvSpec("Ant-v4"), asked.env_kwargs), 1)
    assert (env.obs_dim, env.max_episode_steps) == (111, 30)
    assert make("Ant-v4", 1).obs_dim == 27
    with pytest.raises(SimulationError, match=r"'Ant-v4\(legs=5\)' cannot be made here: .*'legs'"):
        make(with_arguments(EnvSpec("Ant-v4"), {"legs": 5}), 1)
    with pytest.raises(SimulationError, match="max_episode_steps = 0"):
        with_arguments(EnvSpec("Ant-v4"), {"max_episode_steps": 0})
    with pytest.raises(ConfigError, match="env_kwargs"):
        TrainConfig(env_kwargs="legs")


def test_d4rl_s_reference_is_for_d4rl_s_time_limit():
    for spec, known in (
        (EnvSpec("Hopper-v5"), True), (EnvSpec("Hopper-v4", 1000), True),
        (EnvSpec("Hopper-v5", 200), False),
        (EnvSpec("AdroitHandPen-v1", 100), True), (EnvSpec("AdroitHandPen-v1", 200), False),
        (EnvSpec("Hopper-v5", None, {"frame_skip": 2}), False), (EnvSpec("mine:Hopper-v5"), False),
    ):  # fmt: skip
        assert (catalog.reference(spec) is not None) == known, spec


def test_datasets_of_one_id_and_other_arguments_are_not_one_environment(collect):
    collect(gymnasium.make("Pendulum-v1", g=1.0), "test/one-v0")
    collect(gymnasium.make("Pendulum-v1", g=2.0), "test/two-v0")
    both = TrainConfig("bc", "test/one-v0,test/two-v0", scale="quick", device="cpu")
    with pytest.raises(
        ConfigError, match=r"mixes environments .*Pendulum-v1\(g=1.0\).*Pendulum-v1\(g=2.0\)"
    ):
        make_plan(both)
    plans = [
        make_plan(TrainConfig("bc", f"test/{name}-v0", device="cpu", scale="quick"))
        for name in ("one", "two")
    ]
    assert [p.env.identity() for p in plans] == [["Pendulum-v1", 200, {"g": g}, []] for g in (1.0, 2.0)]
    assert complete(EnvSpec("Pendulum-v1", 200)).identity() == ["Pendulum-v1", 200]  # as it always was
