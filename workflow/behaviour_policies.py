"""How the bundled behaviour policies were trained: online SAC, from rdlib's own pieces.

    python workflow/behaviour_policies.py train --env_id Hopper-v5 --seed 1 --out runs/behaviour/hopper-s1
    python workflow/behaviour_policies.py select runs/behaviour/hopper-s1 runs/behaviour/hopper-s1 \\
        rdlib/data/bundled/policies/hopper.safetensors
    python workflow/behaviour_policies.py demonstrate runs/behaviour/pen-s1 \\
        rdlib/data/bundled/policies/pen.safetensors
    python workflow/behaviour_policies.py measure hopper pen

Writes `snapshots.safetensors` (the actor every `snapshot_every` environment steps, from the untrained one
on), `curve.json` (returns of sampled actions at each snapshot) and a checkpoint from which the same
command resumes. `select` and `demonstrate` choose from the snapshots what is bundled.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from safetensors.torch import load_file, save, save_file

import rdlib
from rdlib.algos import bc, sacn
from rdlib.data import catalog, environments
from rdlib.data.batches import EPSILON
from rdlib.data.bundled import POLICIES, rollout
from rdlib.data.bundled.rollout import actor_like
from rdlib.data.readers.episodes import Episode
from rdlib.engine import compiled, hardware
from rdlib.engine.base import Batch
from rdlib.engine.engine import Engine
from rdlib.engine.nets import GaussianActor
from rdlib.engine.rng import Streams
from rdlib.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint, write_atomically


@dataclass(frozen=True)
class OnlineRun:
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
    max_episode_steps: int = 0  # 0: the environment's own limit
    reward_scale: float = 1.0  # what the learner's rewards are multiplied by; returns are told raw
    recent: int = 0  # updates draw from so many transitions, the latest; 0: from all
    entropy: float = -1.0  # target entropy of the policy, per dimension of the action
    compile: bool = False  # updates as compiled programs (rdlib.engine.compiled)
    sac: sacn.Config = field(
        default_factory=lambda: sacn.Config(
            n_critics=2, target="min", depth=2, actor_width=128, actor_depth=2
        )
    )


class Replay:
    """Every transition so far, one row each: obs, act, rew, next_obs, mask. Of these `drawn` are drawn
    from, the latest, `recent` at most (0: all)."""

    def __init__(self, capacity: int, obs_dim: int, act_dim: int, recent: int = 0):
        self.recent = recent or capacity
        self.sizes = [obs_dim, act_dim, 1, obs_dim, 1]
        self.rows = torch.zeros(capacity, sum(self.sizes))
        self.filled, self.drawn = torch.zeros(2, 1, dtype=torch.int64)

    def add(self, *columns: np.ndarray) -> None:
        """Append n transitions, given as columns (n, …)."""
        rows = np.concatenate([c.reshape(len(c), -1) for c in columns], axis=1)
        start = int(self.filled)
        self.put(torch.from_numpy(rows), start)

    def put(self, rows: torch.Tensor, start: int = 0) -> None:
        """Write whole rows, the last that there are, from row number `start` on."""
        self.rows[start : start + len(rows)] = rows
        self.filled[:] = start + len(rows)
        self.drawn[:] = self.filled.clamp(max=self.recent)

    def gather(self, indices: torch.Tensor) -> Batch:
        """Indices (1,B) among those drawn from -> Batch of one agent."""
        rows = self.rows[indices + self.filled - self.drawn]
        obs, act, rew, next_obs, mask = rows.split(self.sizes, -1)
        return Batch(obs, act, rew[..., 0], next_obs, mask[..., 0])


def sampled_returns(
    actor: GaussianActor, env_id: str, seeds: Sequence[int], max_episode_steps: int | None = None
) -> np.ndarray:
    """Undiscounted returns of one episode per seed under sampled actions: (len(seeds),)."""
    env = environments.make(env_id, len(seeds), max_episode_steps)
    streams = Streams([0])
    obs, active, returns = env.reset(seeds), np.ones(env.n, dtype=bool), np.zeros(env.n)
    step = 0
    while active.any():
        noise = streams.normal("evaluate", step, 1, (env.n, env.act_dim))[0]
        with torch.no_grad():
            action = actor(torch.from_numpy(obs).float()[None], noise)[0][0].numpy()
        obs, rewards, terminated, truncated = env.step(action, active)
        returns += np.where(active, rewards, 0.0)
        active &= ~(terminated | truncated)
        step += 1
    env.close()
    return returns


def train_online(recipe: OnlineRun, out: Path) -> None:
    """Run (or resume) `recipe` and write its results into `out`.

    Raises ValueError where the steps taken together never meet `snapshot_every`.
    """
    if recipe.snapshot_every % recipe.copies:
        raise ValueError(
            f"snapshot_every is {recipe.snapshot_every}; it must be a multiple of copies, "
            f"{recipe.copies}: so many environments step together"
        )
    out.mkdir(parents=True, exist_ok=True)
    streams = Streams([recipe.seed])
    limit = recipe.max_episode_steps or None
    env = environments.make(recipe.env_id, recipe.copies, limit)
    agent = sacn.SACN([recipe.sac], streams, env.obs_dim, env.act_dim)
    agent.target_entropy = recipe.entropy * env.act_dim
    replay = Replay(recipe.steps + recipe.copies, env.obs_dim, env.act_dim, recipe.recent)
    capture = compiled.Programs() if recipe.compile else None
    engine = Engine(agent, streams, replay.drawn, replay.gather, capture)
    snapshots: dict[str, torch.Tensor] = {}
    curve: list[dict] = []
    stages = [{"from": 0, "recipe": dataclasses.asdict(recipe)}]
    done = updates = 0
    checkpoint = out / CHECKPOINT
    if checkpoint.exists():
        saved, past = load_checkpoint(checkpoint)
        replay.put(saved.pop("replay"))
        agent.load_tensors(saved)
        snapshots = load_file(out / "snapshots.safetensors")
        curve, done, updates = past["curve"], past["steps"], past["updates"]
        if done >= recipe.steps:
            return
        stages = past["stages"]
        if stages[-1]["recipe"] != dataclasses.asdict(recipe):  # it may go on in another way
            stages.append({"from": done, "recipe": dataclasses.asdict(recipe)})

    episode = 1_000_000 * recipe.seed + done
    obs = env.reset(range(episode, episode + env.n))
    episode += env.n
    started = time.time() - (curve[-1]["seconds"] if curve else 0.0)
    first = done  # where a resumed run stands has been measured and saved
    while True:
        over = done >= recipe.steps
        if (done % recipe.snapshot_every == 0 or over) and (not curve or curve[-1]["step"] < done):
            returns = sampled_returns(agent.actor, recipe.env_id, range(recipe.episodes), limit)
            for name, value in agent.actor.state_dict().items():
                snapshots[f"{done}/{name}"] = value.clone()
            row = {"step": done, "returns": returns.tolist(), "seconds": time.time() - started}
            curve.append(row)
            print(f"{done:8d}  return {returns.mean():7.1f} ± {returns.std():6.1f}", flush=True)
        if (done % (10 * recipe.snapshot_every) == 0 or over) and done > first:
            rows = replay.rows[: int(replay.filled)]
            record = {
                "stages": stages, "steps": done, "updates": updates,
                "rdlib": rdlib.__version__, "torch": torch.__version__,
                "mujoco": mujoco.__version__, "curve": curve,
            }  # fmt: skip
            # The checkpoint last: a run that is killed before goes on from the one before, and makes again
            # what the other two have more.
            write_atomically(out / "snapshots.safetensors", save(snapshots))
            write_atomically(out / "curve.json", json.dumps(record).encode())
            save_checkpoint(checkpoint, {**agent.tensors(), "replay": rows}, record)
        if over:
            break
        if done < recipe.random_steps:
            action = 2 * streams.uniform("explore", done, 1, (env.n, env.act_dim))[0, 0] - 1
        else:
            noise = streams.normal("explore", done, 1, (env.n, env.act_dim))[0]
            with torch.no_grad():
                action = agent.actor(torch.from_numpy(obs).float()[None], noise)[0][0]
        next_obs, rewards, terminated, truncated = env.step(action.numpy())
        paid = recipe.reward_scale * rewards
        replay.add(obs, action.numpy(), paid, next_obs, 1.0 - terminated)
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


def measured(actor: GaussianActor, env_id: str, max_episode_steps: int | None = None) -> dict[str, float]:
    """Return and score of a policy on 100 fresh episodes of sampled actions."""
    returns = sampled_returns(actor, env_id, range(10_000, 10_100), max_episode_steps)
    score = catalog.normalised_score(env_id, returns.mean()).item()
    return {"return": returns.mean(), "std": returns.std(), "score": score}


class Snapshots:
    """A finished or running training run, as `select` sees it."""

    def __init__(self, run: Path):
        self.run, self.past = run, json.loads((run / "curve.json").read_text())
        self.env_id: str = self.past["stages"][-1]["recipe"]["env_id"]
        self.saved = load_file(run / "snapshots.safetensors")
        # Mean return over a few episodes, as measured while training.
        self.means = {row["step"]: float(np.mean(row["returns"])) for row in self.past["curve"]}

    def weights(self, step: int) -> dict[str, torch.Tensor]:
        """The actor's parameters at an environment step."""
        prefix = f"{step}/"
        return {k.removeprefix(prefix): v for k, v in self.saved.items() if k.startswith(prefix)}

    def measure(self, step: int, max_episode_steps: int | None = None) -> dict[str, Any]:
        """Return and score of a snapshot on 100 fresh episodes of sampled actions."""
        actor = actor_like(self.weights(step))
        return {"step": step, **measured(actor, self.env_id, max_episode_steps)}

    def about(self) -> dict[str, Any]:
        """How the run went."""
        kept = ("stages", "steps", "updates", "rdlib", "torch", "mujoco")
        curve = [[step, round(mean, 1)] for step, mean in self.means.items()]
        seconds = self.past["curve"][-1]["seconds"]
        return {**{k: self.past[k] for k in kept}, "seconds": seconds, "curve": curve}


def select(
    middle_run: Path, expert_run: Path, medium: tuple[float, float], target: Path, replay: int = 30
) -> dict[str, Any]:
    """Choose from two runs' snapshots the policies to bundle and write them to `target`.

    From `middle_run` (which may be the same): random, its untrained actor; medium, the first snapshot
    whose normalised score lies in the band `medium`; replay, `replay` snapshots evenly spaced up to
    that. From `expert_run`: expert, the best of the five that scored best while training. All are
    measured anew on 100 episodes. Raises ValueError where no snapshot fits.
    """
    early, late = Snapshots(middle_run), Snapshots(expert_run)
    low, high = medium
    scores = {s: catalog.normalised_score(early.env_id, m) for s, m in early.means.items()}
    rough = [s for s, score in scores.items() if low - 5 < score < high + 5]
    middle = next((m for m in map(early.measure, rough) if low <= m["score"] <= high), None)
    if middle is None:
        raise ValueError(f"{middle_run}: no snapshot scores between {low} and {high}")
    best = sorted(late.means, key=lambda step: -late.means[step])[:5]
    expert = max(map(late.measure, best), key=lambda m: m["score"])
    chosen = {"random": early.measure(0), "medium": middle, "expert": expert}
    until = [s for s in sorted(early.means) if s <= middle["step"]]
    steps = [until[i] for i in np.linspace(0, len(until) - 1, min(replay, len(until))).astype(int)]
    tensors = {f"expert/{k}": v for k, v in late.weights(expert["step"]).items()}
    for name, step in [("random", 0), ("medium", middle["step"])]:
        tensors |= {f"{name}/{k}": v for k, v in early.weights(step).items()}
    tensors |= {f"replay/{i}/{k}": v for i, s in enumerate(steps) for k, v in early.weights(s).items()}
    runs = {"middle_run": early.about(), "expert_run": late.about()}
    about = {"env_id": early.env_id, **chosen, "replay": steps, **runs}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.clone() for k, v in tensors.items()}, target, {"about": json.dumps(about)})
    return chosen


def measure(environments: Sequence[str], target: Path, most: int = 100_000) -> dict[str, dict[str, Any]]:
    """Roll out the bundled datasets of `environments`, `most` transitions at most of each, and write what
    they hold into `target`, beside what it says of others (see `rdlib.data.bundled.statistics`)."""
    known = json.loads(target.read_text()) if target.exists() else {}
    for environment in environments:
        for quality in rollout.qualities(environment):
            size = min(rollout.default_size(environment, quality), most)
            found = [
                float(e.rewards.sum(dtype=np.float64)) for e in rollout.episodes(environment, quality, size)
            ]
            known[f"{environment}-{quality}"] = {
                "episodes": len(found), "transitions": size, "return": float(np.mean(found)),
                "std": float(np.std(found)), "mujoco": mujoco.__version__,
                "score": catalog.normalised_score(environment, np.mean(found)).item(),
            }  # fmt: skip
            known = dict(sorted(known.items()))
            target.write_text(json.dumps(known, indent=1) + "\n")
    return known


PEN_STEPS = 100  # of an episode, as D4RL runs the pen; the environment's own limit is 200


def demonstrate(run: Path, target: Path, band: tuple[float, float]) -> dict[str, Any]:
    """Choose the pen's demonstrator, the first of a run's snapshots whose score on episodes of PEN_STEPS
    lies in `band`; clone it from its DEMOS episodes; write both policies to `target`.

    Raises ValueError where no snapshot fits.
    """
    source = Snapshots(run)
    scores = {s: catalog.normalised_score(source.env_id, m) for s, m in source.means.items()}
    rough = [s for s, score in scores.items() if s and score >= band[0]]
    found = (source.measure(step, PEN_STEPS) for step in rough)
    chosen = next((m for m in found if band[0] <= m["score"] <= band[1]), None)
    if chosen is None:
        raise ValueError(f"{run}: no snapshot scores between {band[0]} and {band[1]}")
    weights = source.weights(chosen["step"])
    count, seed = rollout.DEMOS * PEN_STEPS, rollout.PART_SEEDS["demonstrator"]
    with hardware.plain_matmul():
        demos = list(
            rollout.roll_out(actor_like(weights).double(), source.env_id, count, seed, None, PEN_STEPS)
        )
    copy = clone(demos)
    about = {
        "env_id": source.env_id, "max_episode_steps": PEN_STEPS, "demonstrator": chosen,
        "clone": measured(actor_like(copy), source.env_id, PEN_STEPS), "run": source.about(),
    }  # fmt: skip
    policies = {"demonstrator": weights, "clone": copy}
    tensors = {f"{name}/{k}": v for name, state in policies.items() for k, v in state.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.clone() for k, v in tensors.items()}, target, {"about": json.dumps(about)})
    return {name: about[name] for name in policies}


def clone(demos: Sequence[Episode], updates: int = 20_000) -> dict[str, torch.Tensor]:
    """Behaviour cloning of episodes (actions in [-1, 1]), as the state of a `GaussianActor`.

    Its mean is rdlib's BC with the normalisation of states folded into the first layer; its deviation, one
    per action dimension, what BC's actions miss of the episodes'.
    """
    episodes = [e.observations[:-1] for e in demos], [e.actions for e in demos]
    obs, act = (torch.from_numpy(np.concatenate(part))[None] for part in episodes)  # (1,N,·)
    mean, std = obs.mean(1, keepdim=True), obs.std(1, keepdim=True) + EPSILON
    rows = (obs - mean) / std
    blank = torch.zeros(1, obs.shape[1])  # rewards and masks, of which BC takes no notice
    streams = Streams([0])
    agent = bc.BC([bc.Config()], streams, obs.shape[-1], act.shape[-1])
    engine = Engine(
        agent, streams, torch.tensor([obs.shape[1]]),
        lambda i: Batch(rows[:, i[0]], act[:, i[0]], blank[:, i[0]], rows[:, i[0]], blank[:, i[0]]),
    )  # fmt: skip
    for begun in range(0, updates, 100):
        engine.run(begun, min(100, updates - begun))
    with torch.no_grad():
        missed = (agent.act(rows) - act).square().mean(1, keepdim=True).sqrt()  # (1,1,U)
        state = {name: value.clone() for name, value in agent.actor.state_dict().items()}
        first, head = state["net.hidden.0.weight"], state["net.head.weight"]
        state["net.hidden.0.bias"] -= (mean / std) @ first
        state["net.hidden.0.weight"] = first / std.mT
        state["net.head.weight"] = torch.cat([head, torch.zeros_like(head)], -1)
        state["net.head.bias"] = torch.cat([state["net.head.bias"], missed.log()], -1)
    return state


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    run = commands.add_parser("train", help="train online, or resume")
    run.add_argument("--env_id", default=OnlineRun.env_id)
    run.add_argument("--seed", type=int, default=OnlineRun.seed)
    run.add_argument("--steps", type=int, default=OnlineRun.steps)
    run.add_argument("--snapshot_every", type=int, default=OnlineRun.snapshot_every)
    run.add_argument("--max_episode_steps", type=int, default=OnlineRun.max_episode_steps)
    run.add_argument("--reward_scale", type=float, default=OnlineRun.reward_scale)
    run.add_argument("--updates_per_step", type=float, default=OnlineRun.updates_per_step)
    run.add_argument("--recent", type=int, default=OnlineRun.recent)
    run.add_argument("--copies", type=int, default=OnlineRun.copies)
    run.add_argument("--random_steps", type=int, default=OnlineRun.random_steps)
    run.add_argument("--compile", action="store_true", help="updates as compiled programs")
    run.add_argument("--entropy", type=float, default=OnlineRun.entropy)
    run.add_argument("--gamma", type=float, default=sacn.Config.gamma)
    run.add_argument("--actor_lr", type=float, default=sacn.Config.actor_lr)
    run.add_argument("--critic_lr", type=float, default=sacn.Config.critic_lr)
    run.add_argument("--layer_norm", action="store_true", help="layer norm in the critics")
    run.add_argument("--batch_size", type=int, default=256)
    run.add_argument("--out", type=Path, required=True)
    pick = commands.add_parser("select", help="write the policies to bundle")
    pick.add_argument("middle_run", type=Path, help="the --out of a training run, for medium")
    pick.add_argument("expert_run", type=Path, help="the same or another one, for expert")
    pick.add_argument("target", type=Path, help="rdlib/data/bundled/policies/ENVIRONMENT.safetensors")
    pick.add_argument("--medium", type=float, nargs=2, default=(40, 45), help="band of scores")
    teach = commands.add_parser("demonstrate", help="write the pen's policies to bundle")
    teach.add_argument("run", type=Path, help="the --out of a training run")
    teach.add_argument("target", type=Path, help="rdlib/data/bundled/policies/pen.safetensors")
    teach.add_argument("--band", type=float, nargs=2, default=(40, 60), help="band of scores")
    whole = commands.add_parser("measure", help="roll out datasets and note what they hold")
    whole.add_argument("environments", nargs="+", help="hopper, …")
    whole.add_argument("--most", type=int, default=100_000, help="transitions of each")
    whole.add_argument("--target", type=Path, default=POLICIES / "measured.json")
    a = parser.parse_args()
    if a.command == "train":
        given = vars(a)
        sac = {f.name: given[f.name] for f in dataclasses.fields(sacn.Config) if f.name in given}
        own = {f.name: given[f.name] for f in dataclasses.fields(OnlineRun) if f.name in given}
        hardware.choose_matmul(torch.device("cpu"))
        train_online(OnlineRun(**own, sac=dataclasses.replace(OnlineRun().sac, **sac)), a.out)
        return
    if a.command == "measure":
        chosen = measure(a.environments, a.target, a.most)
    elif a.command == "select":
        chosen = select(a.middle_run, a.expert_run, tuple(a.medium), a.target)
    else:
        chosen = demonstrate(a.run, a.target, tuple(a.band))
    for name, found in chosen.items():
        print(f"{name:26s} {found}")


if __name__ == "__main__":
    main()
