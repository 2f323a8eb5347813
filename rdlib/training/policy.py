"""The trained policy of a run, without its data: what evaluation and clips need."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rdlib import algos
from rdlib.data import catalog, environments
from rdlib.data.batches import Normaliser
from rdlib.data.env_spec import EnvSpec
from rdlib.engine.base import Algorithm
from rdlib.engine.rng import Streams
from rdlib.training.checkpoint import CHECKPOINT, CheckpointError, load_checkpoint
from rdlib.training.plan import Plan


@dataclass(frozen=True)
class Policy:
    """What a checkpoint holds for use: the agents and their normaliser."""

    algorithm: Algorithm
    normaliser: Normaliser
    env: EnvSpec
    seeds: list[int]
    datasets: list[str]
    references: Sequence[Sequence[float] | None]  # (min, max) return of each agent's score
    step: int


def policy_note(plan: Plan) -> dict[str, Any]:
    """What `load_policy` needs to know of a run, for its checkpoint."""
    return {
        "algo": plan.recipe.name,
        "configs": [dataclasses.asdict(a.config) for a in plan.agents],
        "plugins": [a.plugin and dataclasses.asdict(a.plugin) for a in plan.agents],
        "seeds": [a.seed for a in plan.agents],
        "datasets": [a.dataset.name for a in plan.agents],
        "env_id": plan.env.id,
        "max_episode_steps": plan.env.max_episode_steps,
        "env_kwargs": dict(plan.env.kwargs),
        "env_wrappers": list(plan.env.wrappers),
        "references": [plan.reference(a.dataset) for a in plan.agents],
        "dtype": plan.asked.dtype,
    }


def describe(note: dict[str, Any]) -> str:
    """A run in a few words, from its `policy_note`."""
    datasets, seeds = sorted(set(note["datasets"])), sorted(set(note["seeds"]))
    return f"{note['algo']} on {', '.join(datasets)}, seeds {seeds}, or other settings"


def load_policy(out: Path | str, device: torch.device | str = "cpu") -> Policy:
    """The agents of the run in folder `out`. Raises CheckpointError."""
    path = Path(out) / CHECKPOINT
    tensors, note = load_checkpoint(path, str(device))
    about, norm = note["policy"], {}
    environments.warn_of_version(note["provenance"]["versions"]["mujoco"], f"the run in {out}")
    for name in [name for name in tensors if name.startswith("norm/")]:
        norm[name.removeprefix("norm/")] = tensors.pop(name)
    recipe = algos.find(about["algo"])
    plugins = [p and recipe.plugin_config(p) for p in about["plugins"]]
    algorithm = algos.build(
        recipe,
        [recipe.config(c) for c in about["configs"]],
        plugins,
        Streams(about["seeds"], device),
        norm["obs_mean"].shape[-1],
        norm["act_half"].shape[-1],
        getattr(torch, about["dtype"]),
    )
    try:
        algorithm.load_tensors(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit this version of {recipe.name}: {error}") from error
    env = EnvSpec(
        about["env_id"],
        about["max_episode_steps"],
        about.get("env_kwargs", {}),
        tuple(about.get("env_wrappers", ())),
    )
    return Policy(
        algorithm,
        Normaliser.restore(norm),
        env,
        about["seeds"],
        about["datasets"],
        about.get("references") or [catalog.reference(env)] * len(about["seeds"]),  # older ones do not say
        note["step"],
    )
