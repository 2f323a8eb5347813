"""The algorithms, one file each, and the names they go by.

A name is an algorithm and any of the suffixes `_rd` (Representation Distinction), `_dr3` (DR3) and `_ln`
(layer norm in the critics): td3n, td3n_rd, diffusion_ql, sacn_ln, td3n_ln_rd, …
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rdlib.algos import bc, cql, diffusion_ql, dt, edac, iql, sacn, td3bc, td3n
from rdlib.engine import Algorithm, ConfigError, Plugin, override, shared
from rdlib.rd import DR3, RD, DR3Config, RDConfig
from rdlib.rng import Streams


@dataclass(frozen=True)
class Scale:
    """A size of run: gradient steps, transitions of a bundled dataset (0: the whole), evaluation."""

    steps: int
    size: int
    eval_every: int
    overrides: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One algorithm: its classes and its sizes. `quick` is for two CPU cores and a few minutes, with
    smaller networks than the paper's; `paper` is the published scale."""

    config: type
    agent: Any  # a subclass of Algorithm
    critic: bool
    quick: Scale
    paper: Scale


_TWIN = {"width": 128, "actor_width": 128}
_NORMED = {**_TWIN, "normalize_states": True}  # raw states, as published, take far longer to start
_SHALLOW = {"width": 128, "depth": 2, "actor_width": 128, "actor_depth": 2}
# Four critics deviate less than ten, so more pessimism per deviation; targets that follow four times as
# quickly, for a hundredth of the updates.
_SMALL = {**_SHALLOW, "n_critics": 4, "beta": 4.0, "tau": 0.02, "normalize_states": True}
_CQL = {**_SHALLOW, "actor_lr": 3e-4, "alpha_lr": 3e-4}  # the paper's 3e-5 needs its 1e6 steps
_DENOISE = {  # in so few updates the regression has to come first
    "width": 128, "depth": 2, "actor_width": 128, "actor_depth": 2, "candidates": 10,
    "actor_lr": 1e-3, "critic_lr": 1e-3, "eta": 0.2,
}  # fmt: skip
_WINDOWS = {"context": 10, "width": 64, "depth": 2, "actor_lr": 1e-3, "warmup": 300}
_PAPER = Scale(steps=1_000_000, size=0, eval_every=5_000, overrides={})
ALGORITHMS = {
    "bc": Entry(bc.Config, bc.BC, False, Scale(5_000, 100_000, 1_000, {"actor_width": 128}), _PAPER),
    "td3n": Entry(td3n.Config, td3n.TD3N, True, Scale(12_000, 100_000, 1_200, _SMALL), _PAPER),
    "sacn": Entry(sacn.Config, sacn.SACN, True, Scale(12_000, 100_000, 1_200, _SMALL), _PAPER),
    "td3bc": Entry(td3bc.Config, td3bc.TD3BC, True, Scale(20_000, 100_000, 2_000, _TWIN), _PAPER),
    "iql": Entry(iql.Config, iql.IQL, True, Scale(20_000, 100_000, 2_000, _NORMED), _PAPER),
    "cql": Entry(cql.Config, cql.CQL, True, Scale(6_000, 100_000, 1_000, _CQL), _PAPER),
    "edac": Entry(
        edac.Config, edac.EDAC, True,
        Scale(12_000, 100_000, 1_200, {**_SMALL, "target": "lcb", "eta": 5.0}),
        Scale(steps=3_000_000, size=0, eval_every=5_000, overrides={}),
    ),
    "diffusion_ql": Entry(
        diffusion_ql.Config, diffusion_ql.DiffusionQL, True,
        Scale(10_000, 100_000, 2_000, _DENOISE),
        Scale(steps=2_000_000, size=0, eval_every=50_000, overrides={}),
    ),
    "dt": Entry(
        dt.Config, dt.DT, False, Scale(3_000, 100_000, 1_000, _WINDOWS),
        Scale(steps=100_000, size=0, eval_every=5_000, overrides={}),
    ),
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
        near = difflib.get_close_matches(str(name), names(), n=3) or names()
        raise ConfigError(f"algo: no algorithm {name!r}; near: {', '.join(near)}")
    if suffixes and not entry.critic:
        raise ConfigError(f"algo: {name!r}: {base} has no critic for {', '.join(suffixes)} to act on")
    name = "_".join([base, *(["ln"] if "ln" in suffixes else []), *plugins])  # td3n_rd_ln: td3n_ln_rd
    return Recipe(name, entry, plugins[0] if plugins else None, "ln" in suffixes)


def build(
    recipe: Recipe, configs: Sequence[Any], plugin_configs: Sequence[Any], streams: Streams,
    obs_dim: int, act_dim: int, dtype: torch.dtype = torch.float32, steps: int = 0,
) -> Algorithm:  # fmt: skip
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
