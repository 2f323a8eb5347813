"""The algorithms, one file each, and the names they go by.

A name is an algorithm and any of the suffixes `_rd` (Representation Distinction), `_dr3` (DR3) and `_ln`
(layer norm in the critics): td3n, td3n_rd, diffusion_ql, sacn_ln, td3n_ln_rd, …
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rdlib.algos import bc, cql, diffusion_ql, dt, edac, iql, sacn, td3bc, td3n
from rdlib.algos.scales import SCALES, Scale
from rdlib.engine.base import Algorithm, Plugin, shared
from rdlib.engine.config import ConfigError, near, override
from rdlib.engine.rng import Streams
from rdlib.rd import DR3, RD, DR3Config, RDConfig


@dataclass(frozen=True)
class Entry:
    """One algorithm: its classes, and its sizes of run by the name of the scale."""

    config: type
    agent: Any  # a subclass of Algorithm
    critic: bool
    scales: dict[str, Scale]


ALGORITHMS = {
    "bc": Entry(bc.Config, bc.BC, False, SCALES["bc"]),
    "td3n": Entry(td3n.Config, td3n.TD3N, True, SCALES["td3n"]),
    "sacn": Entry(sacn.Config, sacn.SACN, True, SCALES["sacn"]),
    "td3bc": Entry(td3bc.Config, td3bc.TD3BC, True, SCALES["td3bc"]),
    "iql": Entry(iql.Config, iql.IQL, True, SCALES["iql"]),
    "cql": Entry(cql.Config, cql.CQL, True, SCALES["cql"]),
    "edac": Entry(edac.Config, edac.EDAC, True, SCALES["edac"]),
    "diffusion_ql": Entry(diffusion_ql.Config, diffusion_ql.DiffusionQL, True, SCALES["diffusion_ql"]),
    "dt": Entry(dt.Config, dt.DT, False, SCALES["dt"]),
}
_PLUGINS: dict[str, type] = {"rd": RDConfig, "dr3": DR3Config}


@dataclass(frozen=True)
class Recipe:
    """What a name stands for."""

    name: str
    entry: Entry
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
        return override(_PLUGINS[self.plugin](), overrides, f"{self.name} plug-in")


def names() -> list[str]:
    """Every algorithm name with at most one suffix."""
    suffixes = ("", "_rd", "_dr3", "_ln")
    return [n + s for n, e in ALGORITHMS.items() for s in (suffixes if e.critic else ("",))]


def find(name: str) -> Recipe:
    """The recipe of an algorithm name; an unknown one is an error that lists the near ones."""
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
    recipe: Recipe,
    configs: Sequence[Any],
    plugin_configs: Sequence[Any],
    streams: Streams,
    obs_dim: int,
    act_dim: int,
    dtype: torch.dtype = torch.float32,
    steps: int = 0,
) -> Algorithm:
    """A agents, one configuration (and plug-in configuration, or None) each. `steps`: gradient updates
    of the whole run, which schedules need."""
    plugin: Plugin | None = None
    if recipe.plugin == "rd":
        sizes = {f: shared(configs, f) for f in ("actor_width", "actor_depth", "batch_size")}
        plugin = RD(plugin_configs, streams, obs_dim, act_dim, dtype=dtype, **sizes)
    elif recipe.plugin == "dr3":
        plugin = DR3(plugin_configs, torch.empty((), dtype=dtype, device=streams.device))
    agents = recipe.entry.agent(configs, streams, obs_dim, act_dim, plugin, dtype)
    agents.total_steps = steps
    return agents
