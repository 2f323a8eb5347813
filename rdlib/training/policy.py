"""The trained policy of a run, without its data: what evaluation and clips need."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from rdlib import algos
from rdlib.data import catalog, environments
from rdlib.data.batches import Normaliser
from rdlib.data.env_spec import EnvSpec
from rdlib.engine.base import Algorithm
from rdlib.engine.config import ConfigError
from rdlib.engine.rng import Streams
from rdlib.training.checkpoint import CHECKPOINT, About, CheckpointError, load_run
from rdlib.training.plan import Plan


@dataclass(frozen=True)
class Policy:
    """What a checkpoint holds for use: the agents and their normaliser; lists have an entry for each."""

    algorithm: Algorithm
    normaliser: Normaliser
    env: EnvSpec
    seeds: list[int]
    datasets: list[str]
    references: Sequence[Sequence[float] | None]  # (min, max) return of its score
    alive: list[bool]  # False where it diverged, after `stopped_at` updates
    stopped_at: list[int]
    step: int

    def act(self, obs: ArrayLike, agent: int = 0) -> np.ndarray:
        """What agent number `agent` does, both in the environment's units: observations (O,) or (n,O) to
        actions (U,) or (n,U) float32 within their limits. A decision transformer acts as in the first step
        of an episode. Raises ConfigError where there is no such agent, it diverged, or `obs` has another
        shape."""
        if not 0 <= agent < len(self.seeds):
            raise ConfigError(f"agent = {agent}, expected one of the {len(self.seeds)} from 0 on")
        if not self.alive[agent]:
            when = self.stopped_at[agent]
            raise ConfigError(f"agent = {agent} diverged at update {when}: it has no policy")
        mean, norm = self.normaliser.obs_mean, self.normaliser
        raw = torch.as_tensor(np.asarray(obs, dtype=np.float64)).to(mean)
        if raw.dim() not in (1, 2) or raw.shape[-1] != mean.shape[-1]:
            raise ConfigError(f"obs has shape {tuple(raw.shape)}, expected ({mean.shape[-1]},) or (n, …)")
        every = raw.reshape(1, -1, mean.shape[-1]).expand(len(self.seeds), -1, -1)  # (A,n,O)
        with torch.no_grad():
            chosen = norm.to_env(self.algorithm.act(norm.observe(every)))[agent]  # (n,U)
        low, high = (norm.act_middle[agent] + sign * norm.act_half[agent] for sign in (-1, 1))
        return chosen.clamp(low, high).reshape(*raw.shape[:-1], -1).float().cpu().numpy()


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
    path = Path(out).expanduser() / CHECKPOINT
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
        progress.alive,
        progress.stopped_at,
        progress.step,
    )
