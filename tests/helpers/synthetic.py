"""Small made-up data and agents for tests; nothing here is measured against."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from rdlib import algos
from rdlib.data.dataset import Dataset
from rdlib.engine.base import Algorithm, Batch, Metrics
from rdlib.training.agents import Agents, assemble
from rdlib.training.request import TrainConfig

O, U = 4, 2  # noqa: E741
DOUBLE = torch.float64
TINY = {
    "batch_size": 16, "n_critics": 3, "width": 8, "depth": 2, "actor_width": 8, "actor_depth": 2,
    "context": 4, "warmup": 4,
}  # fmt: skip
PROMPT = {"ema_start": 0}  # where an algorithm has it: nothing waits for longer than a test lasts
# What agents of one batch may differ in, by where the field lives.
OWN = {
    "beta": (0.5, 1.0, 2.0), "alpha": (1.0, 2.5, 5.0), "eta": (0.5, 1.0, 2.0),
    "cql_alpha": (1.0, 10.0, 5.0),
    "expectile": (0.6, 0.7, 0.9), "temperature": (1.0, 3.0, 10.0), "max_grad_norm": (0.3, 9.0, 0.0),
    "rewards": ("raw", "return_range", "standardised"),  # the first and the last on one dataset
}  # fmt: skip
OWN_PLUGIN = {
    "rd": {
        "weight": (0.01, 0.3, 0.1), "sigma": (0.3, 0.5, 0.2), "margin": (0.1, 0.25, 0.4),
        "push": (10.0, 5.0, 1.0), "threshold": (0.1, 0.5, 2.0),
    },
    "dr3": {"weight": (0.01, 0.3, 0.1)},
}  # fmt: skip


def dataset(seed: int = 0, n: int = 200, obs_dim: int = O, act_dim: int = U, **more: Any) -> Dataset:
    """Random transitions in episodes of 6; every other one terminates, the rest time out."""
    rng = np.random.default_rng(seed)
    row = np.arange(n)
    last = (row % 6 == 5) | (row == n - 1)
    arrays = {
        "obs": rng.normal(seed, 1 + np.arange(obs_dim), (n, obs_dim)),
        "act": rng.uniform(-1, 1, (n, act_dim)),
        "rew": rng.normal(size=n),
        "next_obs": rng.normal(seed, 1 + np.arange(obs_dim), (n, obs_dim)),
        "terminal": last & (row // 6 % 2 == 0),
        "last": last,
    }
    return Dataset.make(name=f"made-up-{seed}", source="hdf5", **{**arrays, **more})


def limits(act_dim: int = U) -> tuple[np.ndarray, np.ndarray]:
    """Action limits [-1, 1]."""
    return -np.ones(act_dim, dtype=np.float32), np.ones(act_dim, dtype=np.float32)


def write_hdf5(path: Path, seed: int = 0, n: int = 300, obs_dim: int = 11, act_dim: int = 3, **replace):
    """A D4RL file of made-up data, by default of Hopper's dimensions; `replace` sets whole arrays,
    None leaves one out."""
    rng = np.random.default_rng(seed)
    arrays = {
        "observations": rng.normal(size=(n, obs_dim)).astype("f4"),
        "actions": rng.uniform(-1, 1, (n, act_dim)).astype("f4"),
        "rewards": rng.normal(1, 1, n).astype("f4"),
        "terminals": np.arange(n) % 25 == 24,
        "timeouts": np.arange(n) % 100 == 99,
        **replace,
    }
    if arrays["timeouts"] is not None:
        arrays["timeouts"] = arrays["timeouts"] & ~arrays["terminals"]
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            if value is not None:
                file[key] = value
    return path


def fields(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values` that dataclass `cls` has a field for."""
    names = {f.name for f in dataclasses.fields(cls)}
    return {k: v for k, v in values.items() if k in names}


def agents(
    name: str, which: Sequence[int] = (0, 1, 2), dtype=DOUBLE, device: str = "cpu",
    config: dict[str, Any] | None = None, plugin: dict[str, Any] | None = None, own: bool = True,
    data: Sequence[Dataset] | None = None, each: dict[str, Sequence[Any]] | None = None,
    gather: Callable[[Callable[[torch.Tensor], Batch]], Callable] = lambda g: g,
) -> Agents:  # fmt: skip
    """Agents number `which` of three that differ in seed, dataset (two of them) and, with `own`, in every
    hyperparameter that may differ. `config` and `plugin` override the same fields for all, `each` fields
    of the algorithm for each of the three."""
    recipe = algos.find(name)
    data = DATA if data is None else data
    configs, plugins = [], []
    for i in which:
        mine = {k: v[i] for k, v in OWN.items()} if own else {}
        theirs = OWN_PLUGIN.get(recipe.plugin, {}) if own else {}
        chosen = fields(recipe.entry.config, {**TINY, **PROMPT, **mine})
        theirs_too = {k: v[i] for k, v in (each or {}).items()}
        configs.append(recipe.config({**chosen, **(config or {}), **theirs_too}))
        plugins.append(recipe.plugin_config({k: v[i] for k, v in theirs.items()} | (plugin or {})))
    used = [data[i % len(data)] for i in which]
    made = assemble(recipe, configs, plugins, used, [10 + i for i in which], limits(), device, dtype)
    made.engine.gather = gather(made.engine.gather)
    return made


def one_update(made: Agents, step: int, phase: int | None = None) -> tuple[Batch, dict, Metrics]:
    """Update number `step`, with the batch and noise that it used."""
    a = made.algorithm
    rows = made.streams.integers("batch", step, 1, a.batch_size, made.transitions.sizes)[0]
    batch = made.engine.gather(rows)
    noise = {k: v[0] for k, v in a.noise(made.streams, step, 1).items()}
    metrics = a.update(batch, noise, step % a.period if phase is None else phase)
    return batch, noise, {k: v.detach() for k, v in metrics.items()}


def snapshot(algorithm: Algorithm) -> dict[str, torch.Tensor]:
    """A copy of everything that training changes."""
    return {k: v.detach().clone() for k, v in algorithm.tensors().items()}


DATA = (dataset(0), dataset(1, n=333))


def asked(data: Sequence[Path] | Path | str, out: Path, **more: Any) -> TrainConfig:
    """A complete run of a second or less: tiny networks on D4RL files of Hopper's dimensions."""
    paths = [data] if isinstance(data, Path | str) else data
    algo = more.get("algo", "td3n_rd")
    recipe = algos.find(algo)
    values: dict[str, Any] = {
        "algo": algo, "dataset": ",".join(map(str, paths)), "env": "Hopper-v5", "steps": 40,
        "eval_every": 20, "episodes": 2, "last_k": 1, "scale": "quick", "device": "cpu",
        "plugin": {"states": 8} if recipe.plugin == "rd" else {}, "out": str(out),
    }  # fmt: skip
    small = fields(recipe.entry.config, {**TINY, "depth": 1, "actor_depth": 1})
    values["config"] = {**small, **more.pop("config", {})}
    return TrainConfig(**{**values, **more})
