"""The algorithms and the names they go by. Imports no torch: an algorithm's file is imported when used.

A name is an algorithm and any of the suffixes `_rd` (Representation Distinction), `_dr3` (DR3) and `_ln`
(layer norm in the critics): td3n, td3n_rd, diffusion_ql, sacn_ln, td3n_ln_rd, …

Algorithms of other packages: `register`, for one process; or an entry point of the group `rdlib.algorithms`
whose value is an `AlgorithmEntry`, which every process finds, so that the command line does too.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from rdlib.algos.scales import SCALES, Scale
from rdlib.engine.config import ConfigError, near, override

if TYPE_CHECKING:
    import torch

    from rdlib.engine.base import Algorithm, Plugin
    from rdlib.engine.rng import Streams

GROUP = "rdlib.algorithms"
_PLUGINS = {"rd": "rdlib.rd:RDConfig", "dr3": "rdlib.rd:DR3Config"}  # suffixes, configurations


@dataclass(frozen=True)
class AlgorithmEntry:
    """One algorithm: its two classes, or where they are, and its sizes of run by the name of the scale."""

    config_class: type | str  # "module:Name" is imported when used
    agent_class: Any  # a subclass of Algorithm, or "module:Name"
    critic: bool  # whether it has critics, for plug-ins and layer norm to act on
    scales: dict[str, Scale]  # "quick" and "paper"

    @property
    def config(self) -> type:
        """The dataclass of its hyperparameters."""
        return _imported(self.config_class)

    @property
    def agent(self) -> Any:
        """The subclass of Algorithm."""
        return _imported(self.agent_class)


@cache
def _imported(where: Any) -> Any:
    if not isinstance(where, str):
        return where
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def _own(module: str, agent: str, critic: bool = True) -> AlgorithmEntry:
    path = f"rdlib.algos.{module}"
    return AlgorithmEntry(f"{path}:Config", f"{path}:{agent}", critic, SCALES[module])


ALGORITHMS = {
    "bc": _own("bc", "BC", critic=False),
    "td3n": _own("td3n", "TD3N"),
    "sacn": _own("sacn", "SACN"),
    "td3bc": _own("td3bc", "TD3BC"),
    "iql": _own("iql", "IQL"),
    "cql": _own("cql", "CQL"),
    "edac": _own("edac", "EDAC"),
    "diffusion_ql": _own("diffusion_ql", "DiffusionQL"),
    "dt": _own("dt", "DT", critic=False),
}
_BUILT_IN = frozenset(ALGORITHMS)


def register(name: str, config: type, agent: Any, scales: dict[str, Scale], critic: bool = True) -> None:
    """Give an algorithm a name in this process. `config` is a frozen dataclass whose fields have defaults,
    `agent` a subclass of `rdlib.engine.base.Algorithm`. Suffixes come with the name. A name registered
    before is replaced, a built-in one is not. Raises ConfigError."""
    _add(name, AlgorithmEntry(config, agent, critic, scales))


def _add(name: str, entry: AlgorithmEntry) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or name.split("_")[-1] in ("ln", *_PLUGINS):
        raise ConfigError(
            f"algorithm {name!r}: expected lower case letters, digits and _, and no suffix _rd, _dr3 or _ln"
        )
    if name in _BUILT_IN:
        raise ConfigError(f"algorithm {name!r}: rdlib has one of this name; choose another")
    if missing := {"quick", "paper"} - entry.scales.keys():
        raise ConfigError(f"algorithm {name!r}: scales lack {', '.join(sorted(missing))}")
    if not dataclasses.is_dataclass(entry.config):
        raise ConfigError(f"algorithm {name!r}: {entry.config!r} is no dataclass")
    fields = {f.name for f in dataclasses.fields(entry.config)}
    needed = {"batch_size", *(("actor_width", "actor_depth", "layer_norm") if entry.critic else ())}
    if missing := needed - fields:
        raise ConfigError(f"algorithm {name!r}: its configuration lacks {', '.join(sorted(missing))}")
    for scale in entry.scales.values():
        override(entry.config(), scale.overrides, name)
    ALGORITHMS[name] = entry


@cache
def _found() -> None:
    """Add what other packages offer, once a process. One that cannot be used is a warning: it must not
    stop the others."""
    for point in entry_points(group=GROUP):
        try:
            entry = point.load()
            if not isinstance(entry, AlgorithmEntry):
                raise ConfigError(f"algorithm {point.name!r}: {point.value} is no AlgorithmEntry")
            _add(point.name, entry)
        except Exception as error:  # whatever another package's import raises
            warnings.warn(f"entry point {point.name} = {point.value} ({GROUP}): {error}", stacklevel=2)


@dataclass(frozen=True)
class Recipe:
    """What a name stands for."""

    name: str
    entry: AlgorithmEntry
    plugin: str | None  # "rd", "dr3"
    layer_norm: bool

    def config(self, overrides: dict[str, Any]) -> Any:
        """The algorithm's configuration with `overrides`; raises ConfigError."""
        if self.layer_norm:
            if overrides.get("layer_norm") is False:
                raise ConfigError(f"{self.name}: layer_norm = False contradicts the name")
            overrides = {"layer_norm": True, **overrides}
        return override(self.entry.config(), overrides, self.name)

    def plugin_config(self, overrides: dict[str, Any]) -> Any:
        """The plug-in's configuration with `overrides`, or None; raises ConfigError."""
        if self.plugin is None:
            if overrides:
                more = f"; {self.name}_rd has" if self.entry.critic else ", nor a critic for one to act on"
                raise ConfigError(
                    f"{self.name}: {sorted(overrides)} configure a plug-in, but this algorithm has "
                    f"none{more}"
                )
            return None
        default = _imported(_PLUGINS[self.plugin])()
        return override(default, overrides, f"{self.name} plug-in")


def names() -> list[str]:
    """Every algorithm name with at most one suffix."""
    _found()
    suffixes = ("", "_rd", "_dr3", "_ln")
    return [n + s for n, e in ALGORITHMS.items() for s in (suffixes if e.critic else ("",))]


def find(name: str) -> Recipe:
    """The recipe of an algorithm name; an unknown one is an error that lists the near ones."""
    _found()
    known = [n for n in ALGORITHMS if isinstance(name, str) and f"{name}_".startswith(f"{n}_")]
    base = max(known, key=len, default="")  # names of algorithms may hold a "_" themselves
    suffixes = name[len(base) + 1 :].split("_") if base and name != base else []
    entry = ALGORITHMS.get(base)
    unknown = [s for s in suffixes if s not in ("ln", *_PLUGINS)]
    plugins = [s for s in suffixes if s in _PLUGINS]
    if entry and len(plugins) > 1 and not unknown:
        raise ConfigError(f"algo: no algorithm {name!r}: one plug-in at a time, rd or dr3")
    if entry is None or unknown or len(set(suffixes)) < len(suffixes):
        raise ConfigError(f"algo: no algorithm {name!r}; near: {near(name, names())}")
    if suffixes and not entry.critic:
        raise ConfigError(f"algo: {name!r}: {base} has no critic for {', '.join(suffixes)} to act on")
    name = "_".join([base, *(["ln"] if "ln" in suffixes else []), *plugins])  # td3n_rd_ln: td3n_ln_rd
    return Recipe(name, entry, plugins[0] if plugins else None, "ln" in suffixes)


def build(
    recipe: Recipe | type[Algorithm],
    configs: Sequence[Any],
    plugins: Any,
    streams: Streams,
    obs_dim: int,
    act_dim: int,
    dtype: torch.dtype | None = None,
    steps: int = 0,
) -> Algorithm:
    """A agents, one configuration each. `recipe`: or a class that has no name. `plugins`: one configuration
    (or None) each; or a plug-in, or what makes it of `streams`; or None. `dtype`: None is float32. `steps`:
    gradient updates of the whole run, which schedules need."""
    import torch

    from rdlib.engine.base import Plugin, shared
    from rdlib.rd import DR3, RD

    dtype = dtype or torch.float32
    plugin: Plugin | None = None
    kind = recipe.plugin if isinstance(recipe, Recipe) and plugins is not None else None
    if isinstance(plugins, Plugin):
        plugin = plugins
    elif callable(plugins):
        plugin = plugins(streams)
    elif kind == "rd":
        sizes = {f: shared(configs, f) for f in ("actor_width", "actor_depth", "batch_size")}
        plugin = RD(plugins, streams, obs_dim, act_dim, dtype=dtype, **sizes)
    elif kind == "dr3":
        plugin = DR3(plugins, torch.empty((), dtype=dtype, device=streams.device))
    agent: Any = recipe.entry.agent if isinstance(recipe, Recipe) else recipe
    agents: Algorithm = agent(configs, streams, obs_dim, act_dim, plugin, dtype)
    agents.total_steps = steps
    return agents
