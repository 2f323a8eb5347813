"""How the bundled behaviour policies were trained: online SAC, from rdlib's own pieces.

    python -m rdlib.online --env_id Hopper-v5 --seed 1 --out runs/behaviour/hopper-s1

Writes `snapshots.safetensors` (the actor every `snapshot_every` environment steps, from the untrained one
on), `curve.json` (returns of sampled actions at each snapshot) and a checkpoint from which the same
command resumes. `rdlib.data.behaviour` selects from the snapshots what is bundled.
"""

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import rdlib
from rdlib import simulate
from rdlib.algos import sacn
from rdlib.engine import Batch, Engine
from rdlib.rng import Streams


@dataclass(frozen=True)
class Recipe:
    """One online training run. Half an update per environment step: the data a learner sees grows
    with it, and simulation is cheap."""

    env_id: str = "Hopper-v5"
    seed: int = 1
    steps: int = 2_000_000  # environment steps
    copies: int = 16  # environments stepped together
    updates_per_step: float = 0.5
    random_steps: int = 10_000  # uniform actions before learning begins
    snapshot_every: int = 10_000  # environment steps
    episodes: int = 10  # of sampled actions, at each snapshot
    sac: sacn.Config = field(
        default_factory=lambda: sacn.Config(
            n_critics=2, target="min", depth=2, actor_width=128, actor_depth=2
        )
    )


class Replay:
    """Every transition so far, one row each: obs, act, rew, next_obs, mask."""

    def __init__(self, capacity: int, obs_dim: int, act_dim: int):
        self.sizes = [obs_dim, act_dim, 1, obs_dim, 1]
        self.rows = torch.zeros(capacity, sum(self.sizes))
        self.filled = torch.zeros(1, dtype=torch.int64)

    def add(self, *columns: np.ndarray) -> None:
        """Append n transitions, given as columns (n, …)."""
        rows = np.concatenate([c.reshape(len(c), -1) for c in columns], axis=1)
        start = int(self.filled)
        self.rows[start : start + len(rows)] = torch.from_numpy(rows)
        self.filled += len(rows)

    def gather(self, indices: torch.Tensor) -> Batch:
        """Indices (1,B) -> Batch of one agent."""
        obs, act, rew, next_obs, mask = self.rows[indices].split(self.sizes, -1)
        return Batch(obs, act, rew[..., 0], next_obs, mask[..., 0])


def sampled_returns(
    agent: sacn.SACN, env_id: str, seeds: list[int], streams: Streams
) -> np.ndarray:
    """Undiscounted returns of one episode per seed under sampled actions: (len(seeds),)."""
    env = simulate.make(env_id, len(seeds))
    obs, active, returns = env.reset(seeds), np.ones(env.n, dtype=bool), np.zeros(env.n)
    step = 0
    while active.any():
        noise = streams.normal("evaluate", step, 1, (env.n, env.act_dim))[0]
        with torch.no_grad():
            action = agent.sample(torch.from_numpy(obs).float()[None], noise)[0].numpy()
        obs, rewards, terminated, truncated = env.step(action, active)
        returns += np.where(active, rewards, 0.0)
        active &= ~(terminated | truncated)
        step += 1
    env.close()
    return returns


def train_online(recipe: Recipe, out: Path) -> None:
    """Run (or resume) `recipe` and write its results into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    streams = Streams([recipe.seed])
    env = simulate.make(recipe.env_id, recipe.copies)
    agent = sacn.SACN([recipe.sac], streams, env.obs_dim, env.act_dim)
    replay = Replay(recipe.steps + recipe.copies, env.obs_dim, env.act_dim)
    engine = Engine(agent, streams, replay.filled, replay.gather)
    snapshots: dict[str, torch.Tensor] = {}
    curve: list[dict] = []
    done = updates = 0
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists():
        saved = load_file(checkpoint)
        rows = saved.pop("replay")
        replay.rows[: len(rows)], replay.filled[:] = rows, len(rows)
        # An empty optimiser has no state to receive: one update on the data makes it.
        engine.run(0, 1)
        agent.load_tensors(saved)
        snapshots = load_file(out / "snapshots.safetensors")
        past = json.loads((out / "curve.json").read_text())
        curve, done, updates = past["curve"], past["steps"], past["updates"]

    episode = 1_000_000 * recipe.seed + done
    obs = env.reset(range(episode, episode + env.n))
    episode += env.n
    started = time.time()
    while True:
        if done % recipe.snapshot_every == 0:
            returns = sampled_returns(agent, recipe.env_id, list(range(recipe.episodes)), streams)
            for name, value in agent.actor.state_dict().items():
                snapshots[f"{done}/{name}"] = value.clone()
            row = {"step": done, "returns": returns.tolist(), "seconds": time.time() - started}
            curve.append(row)
            print(f"{done:8d}  return {returns.mean():7.1f} ± {returns.std():6.1f}", flush=True)
        if done % (10 * recipe.snapshot_every) == 0 and done:
            rows = replay.rows[: int(replay.filled)]
            _replace(checkpoint, {**agent.tensors(), "replay": rows})
            _replace(out / "snapshots.safetensors", snapshots)
            record = {
                "recipe": dataclasses.asdict(recipe), "steps": done, "updates": updates,
                "rdlib": rdlib.__version__, "torch": torch.__version__,
                "mujoco": simulate.mujoco.__version__, "curve": curve,
            }  # fmt: skip
            (out / "curve.json").write_text(json.dumps(record))
        if done >= recipe.steps:
            break
        if done < recipe.random_steps:
            action = 2 * streams.uniform("explore", done, 1, (env.n, env.act_dim))[0, 0] - 1
        else:
            noise = streams.normal("explore", done, 1, (env.n, env.act_dim))[0]
            with torch.no_grad():
                action = agent.sample(torch.from_numpy(obs).float()[None], noise)[0]
        next_obs, rewards, terminated, truncated = env.step(action.numpy())
        replay.add(obs, action.numpy(), rewards, next_obs, 1.0 - terminated)
        obs = next_obs
        for i in np.flatnonzero(terminated | truncated):
            obs = env.reset([episode], [int(i)])
            episode += 1
        done += env.n
        if done >= recipe.random_steps:
            due = int((done - recipe.random_steps) * recipe.updates_per_step) - updates
            if due > 0:
                engine.run(updates, due)
                updates += due


def _replace(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    part = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in tensors.items()}, part)
    part.replace(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--env_id", default=Recipe.env_id)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--layer_norm", action="store_true", help="layer norm in the critics")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    sac = dataclasses.replace(Recipe().sac, layer_norm=a.layer_norm, batch_size=a.batch_size)
    train_online(Recipe(env_id=a.env_id, seed=a.seed, steps=a.steps, sac=sac), a.out)
