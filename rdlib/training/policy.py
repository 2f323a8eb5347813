"""The trained policy of a run, without its data: what evaluation and clips need."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rdlib import algos
from rdlib.data import catalog, environments
from rdlib.data.batches import Normaliser
from rdlib.data.env_spec import EnvSpec
from rdlib.engine.base import Algorithm
from rdlib.engine.rng import Streams
from rdlib.training.checkpoint import CHECKPOINT, About, CheckpointError, load_run
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


def about(plan: Plan) -> About:
    """What `load_policy` needs to know of a run, for its checkpoint."""
    return About(
        algo=plan.recipe.name,
        configs=[dataclasses.asdict(a.config) for a in plan.agents],
        plugins=[a.plugin and dataclasses.asdict(a.plugin) for a in plan.agents],
        seeds=[a.seed for a in plan.agents],
        datasets=[a.dataset.name for a in plan.agents],
        env_id=plan.env.id,
        max_episode_steps=plan.env.max_episode_steps,
        env_kwargs=dict(plan.env.kwargs),
        env_wrappers=[dict(w) for w in plan.env.wrappers],
        references=[plan.reference(a.dataset) for a in plan.agents],
        dtype=plan.asked.dtype,
    )


def load_policy(out: Path | str, device: torch.device | str = "cpu") -> Policy:
    """The agents of the run in folder `out`. Raises CheckpointError."""
    path = Path(out) / CHECKPOINT
    saved = load_run(path, str(device))
    who, progress = saved.progress.policy, saved.progress
    environments.warn_of_version(progress.provenance["versions"]["mujoco"], f"the run in {out}")
    recipe = algos.find(who.algo)
    algorithm = algos.build(
        recipe,
        [recipe.config(c) for c in who.configs],
        [p and recipe.plugin_config(p) for p in who.plugins],
        Streams(who.seeds, device),
        saved.normaliser["obs_mean"].shape[-1],
        saved.normaliser["act_half"].shape[-1],
        getattr(torch, who.dtype),
    )
    try:
        algorithm.load_tensors(saved.agents)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit this version of {recipe.name}: {error}") from error
    env = EnvSpec(who.env_id, who.max_episode_steps, who.env_kwargs, tuple(who.env_wrappers))
    return Policy(
        algorithm,
        Normaliser.restore(saved.normaliser),
        env,
        who.seeds,
        who.datasets,
        who.references or [catalog.reference(env)] * len(who.seeds),
        progress.step,
    )
