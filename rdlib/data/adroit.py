"""Adroit door, hammer and relocate: D4RL's sign of the distance between the palm and the object.

D4RL and gymnasium-robotics 1.2.0 pay -0.1 times that distance; gymnasium-robotics 1.2.1 to 1.4.2 pay
+0.1 times it, so that a policy is paid for keeping away. Data from there and evaluations are corrected:
0.2 times the distance is taken off each reward. `findings/adroit_reward_sign.sh` shows both signs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

D4RL_SIGN = "D4RL's: -0.1 times the distance from palm to object"
# The palm and the object, or their difference, in an observation.
_DIFFERENCE = {"Door": slice(35, 38), "Relocate": slice(30, 33)}
_HAMMER = slice(33, 36), slice(36, 39)


def correction(env_id: str, kwargs: Mapping[str, Any]) -> list[str]:
    """[D4RL_SIGN] where the environment's rewards are corrected, else []."""
    dense = str(kwargs.get("reward_type", "dense")).lower() == "dense"
    return [D4RL_SIGN] if _task(env_id) and dense else []


def correct(env: gymnasium.Env, env_id: str) -> gymnasium.Env:
    """`env` with rewards of D4RL's sign; itself, if the installed version pays them already."""
    return _Corrected(env, _task(env_id)) if _slope(env_id) > 0 else env


def corrected(env_id: str, rewards: NDArray[Any], next_obs: NDArray[Any]) -> NDArray[np.float32]:
    """`rewards` (N,) that gymnasium-robotics paid, with D4RL's sign; those that have it are kept.
    next_obs (N,O): what each step led to."""
    task = _task(env_id)
    distance = _distance(task, next_obs)
    if _has_d4rls_sign(task, rewards, distance, next_obs):
        return rewards.astype(np.float32, copy=False)
    return (rewards - 0.2 * distance).astype(np.float32)


def _task(env_id: str) -> str:
    """Door, Hammer or Relocate; "" for other environments and for sparse rewards."""
    found = re.fullmatch(r"(?:[\w.]+:)?AdroitHand(Door|Hammer|Relocate)-v[01]", env_id)
    return found[1] if found else ""


def _distance(task: str, obs: NDArray[Any]) -> NDArray[Any]:
    """Between palm and object, of observations (...,O): (...)."""
    if task == "Hammer":
        return np.linalg.norm(obs[..., _HAMMER[0]] - obs[..., _HAMMER[1]], axis=-1)
    return np.linalg.norm(obs[..., _DIFFERENCE[task]], axis=-1)


def _has_d4rls_sign(task: str, rewards: NDArray[Any], distance: NDArray[Any], obs: NDArray[Any]) -> bool:
    """Whether rewards are D4RL's already, judged by their other parts. The hammer's depend on what
    observations do not hold, and are taken to be of gymnasium-robotics 1.2.1 or later."""
    if task == "Door":  # what is left is a cost of velocities, so never positive
        hinge = obs[:, 28]
        known = (
            -0.1 * np.square(hinge - 1.57) + 2.0 * (hinge > 0.2) + 8.0 * (hinge > 1) + 10.0 * (hinge > 1.35)
        )
        return bool((rewards - known + 0.1 * distance <= 1e-4).all())
    if task == "Relocate":  # most steps, before the ball is lifted, pay nothing else
        minus, plus = (abs(rewards - sign * 0.1 * distance) < 1e-4 for sign in (-1, 1))
        return bool(minus.sum() > plus.sum())
    return False


@functools.cache
def _slope(env_id: str) -> float:
    """How much more the installed environment pays for a palm further off: the mark on the palm is moved,
    which touches no dynamics, and the same step taken again."""
    env = gymnasium.make(env_id)
    palm = env.unwrapped.model.site("S_grasp").pos  # type: ignore[attr-defined]
    paid, distance = [], []
    for shift in (0.0, 1.0):
        palm[0] += shift
        env.reset(seed=0)
        obs, reward, *_ = env.step(np.zeros(env.action_space.shape or (), np.float32))
        paid.append(float(reward))
        distance.append(float(_distance(_task(env_id), obs)))
    env.close()
    return (paid[1] - paid[0]) / (distance[1] - distance[0])


class _Corrected(gymnasium.Wrapper):
    def __init__(self, env: gymnasium.Env, task: str):
        super().__init__(env)
        self._of = task

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, float(reward) - 0.2 * float(_distance(self._of, obs)), *rest
