"""What an environment is, which is more than its id: arguments, wrappers, time limit; and making one."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from rdlib.data import adroit
from rdlib.data.checks import one_line
from rdlib.data.dataset import Dataset

# gymnasium's wrappers that change neither what is observed nor what is paid: an evaluation needs none.
_ONLY_WATCH = (
    "Autoreset",
    "HumanRendering",
    "OrderEnforcing",
    "PassiveEnvChecker",
    "RecordEpisodeStatistics",
    "RecordVideo",
    "RenderCollection",
)
_RUNNING = ("NormalizeObservation", "NormalizeReward")  # their statistics are in no specification
_RENDERING = ("render_mode", "width", "height", "camera_id", "camera_name", "default_camera_config")


class SimulationError(ValueError):
    """An environment that is unknown or does not fit what is asked of it."""


@dataclass(frozen=True)
class EnvSpec:
    """An environment as gymnasium would make it."""

    id: str  # Hopper-v5, or package.module:Name-v0 where importing the module registers it
    max_episode_steps: int | None = None  # None: as registered
    kwargs: Mapping[str, Any] = field(default_factory=dict)  # other than the registered ones
    wrappers: tuple[Mapping[str, Any], ...] = ()  # gymnasium's own, innermost first: name, kwargs

    @classmethod
    def of(cls, d: Dataset) -> EnvSpec | None:
        """That of the environment that scores on `d` are evaluated on, None where it does not say."""
        return (d.env_id and cls(d.env_id, d.max_episode_steps, d.env_kwargs, d.env_wrappers)) or None

    @property
    def plain(self) -> bool:
        """Whether the id says it all, the time limit apart."""
        return not self.kwargs and not self.wrappers

    def __str__(self) -> str:
        """The id alone if it says all, which is also what D4RL's references go by."""
        arguments = f"({_listed(self.kwargs)})" if self.kwargs else ""
        wrapped = "".join(f" in {w['name']}({_listed(w['kwargs'] or {})})" for w in self.wrappers)
        return f"{self.id}{arguments}{wrapped}"

    def identity(self) -> list[Any]:
        """What tells it from other environments: id and limit, and whatever else is not plain."""
        extra = [] if self.plain else [dict(self.kwargs), list(self.wrappers)]
        return [self.id, self.max_episode_steps, *extra, *adroit.correction(self.id, self.kwargs)]


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def complete(env: EnvSpec) -> EnvSpec:
    """`env` checked, without what changes nothing: arguments that are the defaults, rendering, wrappers
    that only watch. Its module is imported, if it names one.

    Raises SimulationError: unknown to gymnasium, or a wrapper that cannot be rebuilt.
    """
    known = registered(env.id)
    defaults = {**_defaults(known), **known.kwargs}
    kwargs = {
        name: value
        for name, value in env.kwargs.items()
        if name not in _RENDERING and not (name in defaults and _same(value, defaults[name]))
    }
    wrappers = tuple(w for w in env.wrappers if w["name"] not in _ONLY_WATCH)
    for wrapper in wrappers:
        name, reason = wrapper["name"], ""
        if not hasattr(gymnasium.wrappers, name) or not _is_gymnasiums(wrapper):
            reason = "which is not gymnasium's own"
        elif name in _RUNNING:
            reason = "whose running statistics are not part of a specification"
        elif wrapper["kwargs"] is None:
            reason = "whose arguments are not recorded"
        if reason:
            raise SimulationError(
                f"environment {env.id!r} is wrapped in {name}, {reason}, so it cannot be rebuilt; set env "
                "to evaluate in another"
            )
    if not wrappers or not adroit.correction(env.id, kwargs):
        return replace(env, kwargs=kwargs, wrappers=wrappers)
    raise SimulationError(
        f"environment {env.id!r} is wrapped in {wrappers[0]['name']}, and its rewards, whose sign "
        "of a distance differs from D4RL's, can be corrected on plain observations only"
    )


def with_arguments(env: EnvSpec, kwargs: Mapping[str, Any]) -> EnvSpec:
    """`env`, complete, with these arguments before its own; `max_episode_steps` may be among them."""
    merged = {**env.kwargs, **kwargs}
    limit = merged.pop("max_episode_steps", env.max_episode_steps)
    if limit is not None and not (type(limit) is int and limit > 0):
        raise SimulationError(f"max_episode_steps = {limit!r}; it must be a whole number from 1")
    return complete(replace(env, kwargs=merged, max_episode_steps=limit))


def registered(env_id: str) -> Any:
    """gymnasium's own specification of `env_id`. Raises SimulationError."""
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        elif name not in gymnasium.registry:
            # It prints a notice on rewards at its import, of which rdlib.data.adroit takes care.
            with contextlib.suppress(ImportError), contextlib.redirect_stderr(io.StringIO()):
                gymnasium.register_envs(importlib.import_module("gymnasium_robotics"))
        return gymnasium.spec(name)
    except gymnasium.error.Error as error:
        raise SimulationError(f"environment {env_id!r} is not known to gymnasium: {error}") from None
    except Exception as error:  # whatever importing the user's module raises
        why = f"{type(error).__name__}: {one_line(error)}"
        raise SimulationError(f"environment {env_id!r}: {module} cannot be imported ({why})") from error


def limit_of(env: EnvSpec) -> int:
    """The time limit that `env` runs with. Raises SimulationError where it has none."""
    limit = env.max_episode_steps or registered(env.id).max_episode_steps
    if limit is None:
        raise SimulationError(
            f"environment {env.id!r} is registered without max_episode_steps, so its episodes have no end"
        )
    return limit


def make_one(env: EnvSpec, **rendering: Any) -> gymnasium.Env:
    """The environment that a `complete` specification describes, its rewards of D4RL's sign (see
    rdlib.data.adroit). rendering: arguments of gymnasium.make. Raises SimulationError."""
    try:
        options = {**env.kwargs, **rendering}
        made = gymnasium.make(env.id, max_episode_steps=limit_of(env), **options)
        if adroit.correction(env.id, env.kwargs):
            made = adroit.correct(made, env.id)
        for wrapper in env.wrappers:
            made = getattr(gymnasium.wrappers, wrapper["name"])(made, **wrapper["kwargs"])
    except SimulationError:
        raise
    except Exception as error:  # of any kind: the environment may be the user's
        raise SimulationError(f"environment {str(env)!r} cannot be made here: {one_line(error)}") from error
    return made


def _defaults(known: Any) -> dict[str, Any]:
    """The arguments that the registered environment takes, with their defaults."""
    try:
        creator = known.entry_point if callable(known.entry_point) else load_env_creator(known.entry_point)
        parameters = inspect.signature(creator).parameters
    except Exception:  # not importable here: making it will say why
        return {}
    return {n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty}


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON, where a tuple is a list."""
    return json.dumps(a, default=repr) == json.dumps(b, default=repr)


def _is_gymnasiums(wrapper: Mapping[str, Any]) -> bool:
    return str(wrapper.get("entry_point", "gymnasium.wrappers:")).startswith("gymnasium.wrappers")
