"""From what a user asks for to what will run: every name, type and size is checked before anything is
written or trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rdlib import algos
from rdlib.algos import cells
from rdlib.data import catalog, environments
from rdlib.data.dataset import Dataset
from rdlib.data.env_spec import EnvSpec, limit_of, with_arguments
from rdlib.engine import compiler, hardware
from rdlib.engine.config import ConfigError, recorded
from rdlib.training.record import fingerprint
from rdlib.training.request import PLUGIN_PREFIX, TrainConfig, dataset_names


@dataclass(frozen=True)
class AgentPlan:
    """One agent of the batch: its data, seed and complete hyperparameters."""

    dataset: Dataset
    seed: int
    config: Any
    plugin: Any  # None without a plug-in

    def identity(self, plan: "Plan") -> dict[str, Any]:
        """Everything that determines this agent's result, apart from device and versions."""
        return {
            "algo": plan.recipe.name,
            "config": recorded(self.config),
            "plugin": None if self.plugin is None else recorded(self.plugin),
            "dataset": [self.dataset.name, self.dataset.digest],
            "seed": self.seed,
            "env": plan.env.identity(),
            "steps": plan.steps,
            "evaluation": [plan.eval_every, plan.asked.episodes, plan.asked.last_k],
            "dtype": plan.asked.dtype,
        }


@dataclass(frozen=True)
class Plan:
    """A run with nothing left open."""

    asked: TrainConfig
    recipe: algos.Recipe
    scale: str
    device: torch.device
    steps: int
    eval_every: int
    agents: tuple[AgentPlan, ...]
    env: EnvSpec  # that all agents are evaluated in
    out: Path

    @property
    def env_id(self) -> str:
        """What that environment is called; with arguments and wrappers, if it has any."""
        return str(self.env)

    @property
    def fingerprint(self) -> str:
        """Equal for equal batches: what a checkpoint is checked against."""
        return fingerprint([a.identity(self) for a in self.agents])

    def reference(self, dataset: Dataset) -> list[float] | None:
        """(min, max) return by which agents of `dataset` are scored; None: there is none."""
        if dataset.reference and self.env == EnvSpec.of(dataset):
            return list(dataset.reference)
        found = catalog.reference(replace(self.env, max_episode_steps=limit_of(self.env)))
        return list(found) if found else None


def make_plan(asked: TrainConfig, given: Dataset | Sequence[Dataset] | None = None) -> Plan:
    """Check and complete `asked`, loading its datasets where none are `given`. Raises ConfigError or
    DataError."""
    recipe = algos.find(asked.algo)
    device = hardware.find_device(asked.device)
    if asked.precision == "tf32" and not hardware.has_tf32(device):
        raise ConfigError(f"precision = 'tf32' needs a GPU that has it, and the device is {device}")
    if asked.compile == "true":
        compiler.check(device)
    scale = "quick" if asked.scale == "auto" else asked.scale
    size = recipe.entry.scales[scale]
    variants_of(asked, recipe, size.overrides)  # a wrong field is told before data are fetched
    if given is None:
        names = dataset_names(asked.dataset)
        if len(set(names)) < len(names):
            raise ConfigError(f"dataset = {asked.dataset!r} names one twice")
        datasets = [load_for(name, asked, size.size) for name in names]
    else:
        datasets = [given] if isinstance(given, Dataset) else list(given)
        asked = replace(asked, dataset=",".join(d.name for d in datasets))
    datasets = _told_apart(datasets, asked.dataset)
    env = _environment(asked, datasets)
    for d in datasets:  # rolled out by this project, perhaps with another version
        if d.source == "bundled" and env.id in environments.NATIVE:
            environments.warn_of_version(d.notes["mujoco"].removeprefix("mujoco=="), d.name)
    settings = [cells.find(recipe.name, d.name) if scale == "paper" else None for d in datasets]
    lengths = {cell.steps for cell in settings if cell and cell.steps}
    if len(lengths) > 1 and not asked.steps:
        raise ConfigError(
            f"dataset = {asked.dataset!r}: the tables train these for {sorted(lengths)} updates; "
            "give steps, or train them apart"
        )
    steps = asked.steps or max(lengths, default=size.steps)
    plan = Plan(
        asked=asked,
        recipe=recipe,
        scale=scale,
        device=device,
        steps=steps,
        eval_every=min(asked.eval_every or size.eval_every, steps),
        agents=tuple(
            AgentPlan(d, seed, _completed(config, d, str(env)), plugin)
            for d, cell in zip(datasets, settings, strict=True)
            for config, plugin in variants_of(
                asked, recipe, {**size.overrides, **(cell.config if cell else {})}
            )
            for seed in asked.seeds
        ),
        env=env,
        out=asked.folder,
    )
    runs = {fingerprint(agent.identity(plan)) for agent in plan.agents}
    if len(runs) < len(plan.agents):
        raise ConfigError(
            f"dataset = {asked.dataset!r}, variants = {asked.variants!r}: two agents would be the "
            "same run; each dataset and variant can be given once"
        )
    return plan


def variants_of(
    asked: TrainConfig, recipe: algos.Recipe, preset: Mapping[str, Any]
) -> list[tuple[Any, Any]]:
    """Configuration and plug-in configuration of each variant, on top of `preset`. Raises ConfigError."""
    chosen = []
    for variant in asked.variants:
        own = {k: v for k, v in variant.items() if not str(k).startswith(PLUGIN_PREFIX)}
        extra = {k.removeprefix(PLUGIN_PREFIX): v for k, v in variant.items() if k not in own}
        config = recipe.config({**preset, **asked.config, **own})
        chosen.append((config, recipe.plugin_config({**asked.plugin, **extra})))
    return chosen


def _completed(config: Any, dataset: Dataset, env_id: str) -> Any:
    """The configuration with what it leaves to the data (DT's target return), so that records say it."""
    return config.for_data(dataset, env_id) if hasattr(config, "for_data") else config


def load_for(name: str, asked: TrainConfig, default: int) -> Dataset:
    """A dataset; the scale's size applies only where a dataset is rolled out to any size."""
    return catalog.load(
        name,
        size=asked.size or (default if catalog.is_rolled_out(name) else 0) or None,
        env=asked.env or None,
        horizon=asked.horizon or None,
        clip_actions=asked.clip_actions,
    )


def _told_apart(datasets: list[Dataset], asked: str) -> list[Dataset]:
    """Datasets of one name get their folder's before it, so that records and curves can tell them apart.
    Raises ConfigError where that does not help."""
    if len({(d.name, d.digest) for d in datasets}) < len(datasets):
        raise ConfigError(f"dataset = {asked!r} holds one dataset twice: two agents would be the same run")
    counts = Counter(d.name for d in datasets)
    named = [replace(d, name=f"{_folder(d)}/{d.name}") if counts[d.name] > 1 else d for d in datasets]
    twice = [name for name, count in Counter(d.name for d in named).items() if count > 1]
    if twice:
        raise ConfigError(
            f"dataset = {asked!r}: two are called {twice[0]!r}, and records could not tell them apart; "
            "rename a file or its folder"
        )
    return named


def _folder(d: Dataset) -> str:
    return Path(d.notes.get("path", "")).absolute().parent.name


def _environment(asked: TrainConfig, datasets: list[Dataset]) -> EnvSpec:
    """The environment that all of the batch is evaluated on: what is asked for, else the data's own."""
    found: list[EnvSpec] = []
    for spec in map(EnvSpec.of, datasets):
        if spec is not None and spec not in found:
            found.append(spec)
    if asked.env:  # if it is the data's own, with all that the data say of it
        found = [replace(s, id=asked.env) for s in found if s.id == asked.env.rpartition(":")[2]]
        env = found[0] if len(found) == 1 else EnvSpec(asked.env, asked.horizon or None)
    elif len(found) > 1 or (found and any(d.env_id is None for d in datasets)):
        raise ConfigError(
            f"dataset = {asked.dataset!r} mixes environments ({sorted(map(_named, datasets))}); "
            "agents trained together need datasets of one environment"
        )
    elif not found:
        raise ConfigError(
            f"dataset {asked.dataset!r} does not say what to evaluate on: set env to a gymnasium id"
        )
    else:
        env = found[0]
    return with_arguments(env, asked.env_kwargs)


def _named(d: Dataset) -> str:
    spec = EnvSpec.of(d)
    return f"{spec}, {spec.max_episode_steps} steps" if spec else "not stated"
