"""Many copies of one environment stepped together, by native threads.

Hopper, HalfCheetah and Walker2d are stepped straight through MuJoCo: one `MjData` per environment (so
that the solver's warm start carries over exactly as in gymnasium), worker threads that each drive a
slice of them (`mj_step` releases the interpreter lock for the whole frame skip), and observation,
reward and termination as array expressions over all environments. Trajectories equal gymnasium's to
the last bit. Every other environment is gymnasium's own, stepped by the same threads.

`mujoco.rollout` is not used: it returns no solver warm start, without which closed-loop stepping leaves
gymnasium's trajectory after the first contact. Threads that play whole episodes, each asking the policy
itself, were slower on two cores: for ten Hoppers by 40 %, the interpreter being what they wait for.
"""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import mujoco_env
from gymnasium.utils import seeding

from rdlib.data.checks import DataError, one_line
from rdlib.data.dataset import Dataset
from rdlib.data.env_spec import EnvSpec, SimulationError, complete, limit_of, make_one
from rdlib.engine import hardware

INF = float("inf")
# More threads wait for the interpreter rather than simulate: on a host of 16 cores 150 Hoppers took 1,000
# steps in 7 to 11 s on four of them, and in 21 to 89 s on all, where datasets were rolled out as well.
THREADS = 4


@dataclass(frozen=True)
class Planar:
    """What gymnasium's planar locomotion tasks differ in (gymnasium/envs/mujoco/*_v4.py, *_v5.py)."""

    xml: str
    frame_skip: int
    ctrl_cost: float
    reset_noise: float
    normal_velocity: bool = False  # reset velocities: normal rather than uniform
    velocity_clip: float = INF
    healthy_reward: float = 0.0
    z_range: tuple[float, float] | None = None  # None: never terminates
    angle_range: tuple[float, float] = (-INF, INF)
    state_limit: float = INF
    reward_when_fallen: bool = False  # v4 (as v2) pays the healthy reward at the terminal step too


_CHEETAH = Planar("half_cheetah.xml", 5, 0.1, 0.1, normal_velocity=True)
_HOPPER = Planar(
    "hopper.xml",
    4,
    1e-3,
    5e-3,
    velocity_clip=10.0,
    healthy_reward=1.0,
    z_range=(0.7, INF),
    angle_range=(-0.2, 0.2),
    state_limit=100.0,
)
_WALKER = Planar(
    "walker2d_v5.xml",
    4,
    1e-3,
    5e-3,
    velocity_clip=10.0,
    healthy_reward=1.0,
    z_range=(0.8, 2.0),
    angle_range=(-1.0, 1.0),
)
NATIVE = {
    "HalfCheetah-v4": _CHEETAH,
    "HalfCheetah-v5": _CHEETAH,
    "Hopper-v4": replace(_HOPPER, reward_when_fallen=True),
    "Hopper-v5": _HOPPER,
    "Walker2d-v4": replace(_WALKER, xml="walker2d.xml", reward_when_fallen=True),
    "Walker2d-v5": _WALKER,
}


def warn_of_version(version: str, what: str) -> None:
    """Warn if `what` comes from another MuJoCo than this one: 3.5.0 changed Hopper's contacts, so scores
    do not compare across it."""
    if version != mujoco.__version__:
        warnings.warn(
            f"{what} comes from MuJoCo {version}, and this is {mujoco.__version__}: contacts differ "
            "from 3.5.0 on, so its scores and these may not compare",
            stacklevel=2,
        )


class BatchedEnv:
    """`n` copies of a gymnasium environment with flat observations and actions.

    Attributes: spec (its time limit filled in), env_id, n, obs_dim, act_dim, act_low and act_high (U,),
    max_episode_steps. Subclasses give `_reset_one`, `_step_rows`.
    """

    act_low: np.ndarray
    act_high: np.ndarray
    _obs: np.ndarray

    def __init__(self, spec: EnvSpec, n: int, threads: int | None):
        self.spec, self.env_id, self.n, self.max_episode_steps = spec, str(spec), n, limit_of(spec)
        self._threads = min(threads or min(hardware.available_cores(), THREADS), n)  # the caller's too
        self._helpers = ThreadPoolExecutor(max(1, self._threads - 1), thread_name_prefix="simulate")
        self._elapsed = np.zeros(n, dtype=np.int64)
        self._cut = np.zeros(n, dtype=bool)  # truncated by the environment itself, before the limit

    @property
    def obs_dim(self) -> int:
        """Length of one observation."""
        return self._obs.shape[1]

    @property
    def act_dim(self) -> int:
        """Length of one action."""
        return len(self.act_low)

    def reset(self, seeds: Sequence[int], which: Sequence[int] | None = None) -> np.ndarray:
        """Restart the environments `which` (default: all) with one seed each, as gymnasium's
        `reset(seed=…)`. Returns the observations of all n, float64 (n, O)."""
        which = range(self.n) if which is None else which
        for i, seed in zip(which, seeds, strict=True):
            self._reset_one(i, int(seed))
            self._elapsed[i] = 0
        return self._observe()

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One step of every environment (or only those of the boolean mask `active` (n,)).

        actions (n, U). Returns observations (n, O), rewards (n,), terminated (n,), truncated (n,);
        observations of inactive environments hold, and their rewards mean nothing.
        """
        if actions.shape != (self.n, self.act_dim):
            raise SimulationError(
                f"{self.env_id}: actions have shape {actions.shape}, expected {(self.n, self.act_dim)}"
            )
        rows = list(range(self.n)) if active is None else np.flatnonzero(active).tolist()
        mine, *others = (rows[i :: self._threads] for i in range(self._threads))
        helping = [self._helpers.submit(self._step_rows, theirs, actions) for theirs in others if theirs]
        self._step_rows(mine, actions)
        for part in helping:
            part.result()
        self._elapsed += 1 if active is None else active
        observations, rewards, terminated = self._outcome(actions)
        truncated = (self._elapsed >= self.max_episode_steps) | self._cut
        return observations, rewards, terminated, truncated

    def close(self) -> None:
        """Stop the worker threads."""
        self._helpers.shutdown()

    def _reset_one(self, i: int, seed: int) -> None:
        raise NotImplementedError

    def _step_rows(self, rows: list[int], actions: np.ndarray) -> None:
        raise NotImplementedError

    def _observe(self) -> np.ndarray:
        raise NotImplementedError

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raise NotImplementedError


class PlanarEnv(BatchedEnv):
    """Hopper, HalfCheetah, Walker2d."""

    def __init__(self, spec: EnvSpec, n: int, threads: int | None):
        super().__init__(spec, n, threads)
        self.task = NATIVE[spec.id]
        xml = Path(mujoco_env.__file__).parent / "assets" / self.task.xml
        self.model = mujoco.MjModel.from_xml_path(str(xml))
        # The contacts of one body tree are one island: not to look for others saves a twelfth, and no bit
        # changes. Older MuJoCos look for none unless told to.
        self.model.opt.disableflags |= getattr(mujoco.mjtDisableBit, "mjDSBL_ISLAND", 0)
        self._data = [mujoco.MjData(self.model) for _ in range(n)]
        self._qpos = np.zeros((n, self.model.nq))
        self._qvel = np.zeros((n, self.model.nv))
        self._x_before = np.zeros(n)
        # The same memory seen as Python objects, looked up once rather than at every step.
        self._ctrl_views = [d.ctrl for d in self._data]
        self._qpos_views = [d.qpos for d in self._data]
        self._qvel_views = [d.qvel for d in self._data]
        limits = self.model.actuator_ctrlrange.astype(np.float32)
        self.act_low, self.act_high = limits[:, 0], limits[:, 1]
        self._obs = self._observe()

    def _reset_one(self, i: int, seed: int) -> None:
        task, model, data = self.task, self.model, self._data[i]
        rng, _ = seeding.np_random(seed)
        mujoco.mj_resetData(model, data)
        data.qpos[:] += rng.uniform(-task.reset_noise, task.reset_noise, model.nq)
        if task.normal_velocity:
            data.qvel[:] += task.reset_noise * rng.standard_normal(model.nv)
        else:
            data.qvel[:] += rng.uniform(-task.reset_noise, task.reset_noise, model.nv)
        mujoco.mj_forward(model, data)
        self._qpos[i], self._qvel[i] = data.qpos, data.qvel

    def _step_rows(self, rows: list[int], actions: np.ndarray) -> None:
        model, skip = self.model, self.task.frame_skip
        for i in rows:
            self._x_before[i] = self._qpos[i, 0]
            self._ctrl_views[i][:] = actions[i]
            mujoco.mj_step(model, self._data[i], nstep=skip)
            self._qpos[i] = self._qpos_views[i]
            self._qvel[i] = self._qvel_views[i]

    def _observe(self) -> np.ndarray:
        clip = self.task.velocity_clip
        velocity = np.clip(self._qvel, -clip, clip)
        self._obs = np.concatenate([self._qpos[:, 1:], velocity], axis=1)
        return self._obs

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        task = self.task
        velocity = (self._qpos[:, 0] - self._x_before) / (self.model.opt.timestep * task.frame_skip)
        fallen = np.zeros(self.n, dtype=bool)
        if task.z_range is not None:
            z, angle = self._qpos[:, 1], self._qpos[:, 2]
            fallen |= ~((task.z_range[0] < z) & (z < task.z_range[1]))
            fallen |= ~((task.angle_range[0] < angle) & (angle < task.angle_range[1]))
            state = np.concatenate([self._qpos, self._qvel], axis=1)[:, 2:]
            fallen |= ~(np.abs(state) < task.state_limit).all(axis=1)
        healthy = task.healthy_reward * (~fallen | task.reward_when_fallen)
        # In the dtype of the actions, as gymnasium computes it.
        ctrl_cost = task.ctrl_cost * np.square(actions).sum(axis=1)
        return self._observe(), velocity + healthy - ctrl_cost, fallen


class GymnasiumEnv(BatchedEnv):
    """Any other environment with Box spaces, through gymnasium itself; it may be a user's, so whatever it
    raises is a SimulationError that names it and the step."""

    def __init__(self, spec: EnvSpec, n: int, threads: int | None):
        super().__init__(spec, n, threads)
        self._envs = [make_one(spec) for _ in range(n)]
        space, observation = self._envs[0].action_space, self._envs[0].observation_space
        for role, box in (("action", space), ("observation", observation)):
            if not isinstance(box, gymnasium.spaces.Box) or len(box.shape) != 1:
                raise SimulationError(f"{spec}: the {role} space is {box}, expected a flat Box")
        assert isinstance(space, gymnasium.spaces.Box) and observation.shape is not None
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise SimulationError(f"{spec}: the action space is {space}, expected finite limits")
        self.act_low, self.act_high = space.low, space.high
        self._obs = np.zeros((n, observation.shape[0]))
        self._rewards = np.zeros(n)
        self._terminated = np.zeros(n, dtype=bool)

    def _reset_one(self, i: int, seed: int) -> None:
        try:
            self._obs[i] = self._envs[i].reset(seed=seed)[0]
        except Exception as error:
            raise self._failed(f"reset with seed {seed}", error) from error
        self._terminated[i] = self._cut[i] = False

    def _step_rows(self, rows: list[int], actions: np.ndarray) -> None:
        low, high = self.act_low, self.act_high
        for i in rows:
            # Rounded to the environment's own type, an action at its limit may overstep it.
            action = np.clip(actions[i].astype(low.dtype), low, high)
            try:
                obs, reward, self._terminated[i], self._cut[i] = self._envs[i].step(action)[:4]
                self._obs[i], self._rewards[i] = obs, float(np.asarray(reward).item())
            except Exception as error:
                raise self._failed(f"step {self._elapsed[i] + 1} of an episode", error) from error

    def _failed(self, when: str, error: Exception) -> SimulationError:
        return SimulationError(f"{self.env_id} failed in {when}: {type(error).__name__}: {one_line(error)}")

    def _observe(self) -> np.ndarray:
        return self._obs.copy()

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._obs.copy(), self._rewards.copy(), self._terminated.copy()

    def close(self) -> None:
        """Stop the worker threads and close every environment."""
        super().close()
        for env in self._envs:
            env.close()


def make(
    env: str | EnvSpec, n: int, max_episode_steps: int | None = None, threads: int | None = None
) -> BatchedEnv:
    """`n` copies of `env`, an id or a whole specification. The time limit is the specification's, else the
    registered one, unless given; `threads` the cores at hand, at most THREADS. Raises SimulationError."""
    spec = complete(EnvSpec(env) if isinstance(env, str) else env)
    spec = replace(spec, max_episode_steps=max_episode_steps or limit_of(spec))
    native = spec.id in NATIVE and spec.plain  # what the fast simulator knows
    build: Callable[..., BatchedEnv] = PlanarEnv if native else GymnasiumEnv
    return build(spec, n, threads)


def check_fits(env: BatchedEnv, d: Dataset, limits: bool = True) -> None:
    """Raise DataError unless `d` has observations and actions of the environment's lengths and, where it
    states limits of actions, the environment's."""
    if (env.obs_dim, env.act_dim) != (d.obs_dim, d.act_dim):
        raise DataError(
            f"{d.name} has observations of {d.obs_dim} and actions of {d.act_dim}; {env.env_id} has "
            f"{env.obs_dim} and {env.act_dim}"
        )
    for theirs, ours, which in zip(d.act_limits or (), (env.act_low, env.act_high), ("low", "high")):
        if limits and not np.allclose(theirs, ours, rtol=1e-5):
            at = int(np.argmax(~np.isclose(theirs, ours, rtol=1e-5)))
            raise DataError(
                f"{d.name}: its action space is {theirs[at]:g} {which} in dimension {at}, and that of "
                f"{env.env_id} {ours[at]:g}; set env, or env_kwargs, to the environment of the data"
            )
