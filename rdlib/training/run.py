"""A run that is over: its records, and what is printed of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdlib.data import adroit
from rdlib.data.batches import Normaliser
from rdlib.data.env_spec import EnvSpec
from rdlib.engine.base import Algorithm
from rdlib.training.checkpoint import Progress
from rdlib.training.plan import Plan
from rdlib.training.record import Record, fingerprint, load_record, save_record


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: what was asked and planned, the records, and the trained agents (on the CPU where
    they had to be trained in groups)."""

    plan: Plan
    records: list[Record]
    algorithm: Algorithm
    normaliser: Normaliser

    def __repr__(self) -> str:
        """Five lines: what ran, on what, how it ended."""
        datasets = ", ".join(dict.fromkeys(r.dataset for r in self.records))
        seeds = sorted({r.seed for r in self.records})
        unit = "return" if self.records[0].reference is None else "score"
        last = np.array([r.last_score() for r in self.records if r.status == "finished"])
        best = np.array([r.best_score() for r in self.records])
        found = f"{last.mean():.1f} ± {last.std():.1f}" if len(last) else "none: all diverged"
        return (
            f"{self.records[0].algo} on {datasets}: {len(self.records)} agents, seeds {seeds}\n"
            f"{self.plan.steps:,} updates at {self.plan.scale} scale, evaluated in {self.plan.env_id}\n"
            f"last {unit} {found} ({self.records[0].averaged()}), best {best.mean():.1f}\n"
            f"{len(last)} finished, {len(self.records) - len(last)} diverged, "
            f"{self.records[0].seconds:.0f} s on {self.records[0].device}\n"
            f"records and checkpoint in {self.plan.out}"
        )


def finish(plan: Plan, progress: Progress, env: EnvSpec) -> list[Record]:
    """The records of a run that is over, evaluated in `env`, written where they are not yet, in place of a
    shorter run's."""
    found = []
    for record in _records(plan, progress, env):
        path = plan.out / record.file_name
        if not path.exists():
            save_record(record, plan.out)
            _remove_shorter(record, plan.out)
        found.append(load_record(path))
    return found


def _records(plan: Plan, progress: Progress, env: EnvSpec) -> Iterator[Record]:
    for i, agent in enumerate(plan.agents):
        identity = agent.identity(plan)
        yield Record(
            algo=plan.recipe.name,
            dataset=agent.dataset.name,
            dataset_source=agent.dataset.source,
            dataset_digest=agent.dataset.digest,
            dataset_size=len(agent.dataset),
            env_id=env.id,
            max_episode_steps=env.max_episode_steps,
            env_kwargs=dict(env.kwargs),
            env_wrappers=[dict(w) for w in env.wrappers],
            env_rewards="".join(adroit.correction(env.id, env.kwargs)) or None,
            seed=agent.seed,
            scale=plan.scale,
            steps=plan.steps,
            config=identity["config"],
            plugin=identity["plugin"],
            config_hash=fingerprint(identity),
            status="finished" if progress.alive[i] else "diverged",
            stopped_at=progress.stopped_at[i],
            last_k=plan.asked.last_k,
            reference=plan.reference(agent.dataset),
            evaluations=progress.evaluations[i],
            dtype=plan.asked.dtype,
            device=_device(progress),
            matmul=progress.matmul,
            started=progress.started,
            seconds=round(progress.seconds, 2),
            agents=len(plan.agents),
            earlier=progress.earlier,
            **progress.provenance,
        )


def _device(progress: Progress) -> str:
    """The device, and whether and from which update the run was compiled."""
    first = progress.compiled_from
    if not progress.compiled or (first and progress.step <= first):
        return progress.device
    return f"{progress.device}, compiled" + (f" from update {first:,}" if first else "")


def _remove_shorter(record: Record, folder: Path) -> None:
    """Delete the records of the same agent after fewer updates, from which this one went on."""
    same = ("algo", "dataset_digest", "seed", "config", "plugin", "env_id")
    for path in folder.glob("record-*.json"):
        other = load_record(path)
        if other.steps < record.steps and all(getattr(other, k) == getattr(record, k) for k in same):
            path.unlink()
