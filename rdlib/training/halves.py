"""A batch of agents that is too large for its device, or larger than asked, as two halves trained one after
the other.

Agents never interact, so each one's result is what it would have been in one batch, to rounding. The
halves are runs of their own in `.group-1` and `.group-2` below the run's folder, where they resume, and
split again, by themselves. When both are finished their records move up and their checkpoints become the
run's.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from rdlib.training.checkpoint import CHECKPOINT, Saved, load_run, save_run
from rdlib.training.plan import Plan
from rdlib.training.policy import about
from rdlib.training.record import Record, fingerprint, load_records, save_record


def folders(plan: Plan) -> list[Path]:
    """Where the halves are: hidden, so that nobody's own run has such a name."""
    return [plan.out / name for name in (".group-1", ".group-2")]


def begun(plan: Plan) -> bool:
    """Whether the run in this folder has been split before."""
    return len(plan.agents) > 1 and any(os.path.isdir(folder) for folder in folders(plan))


def wanted(plan: Plan) -> bool:
    """Whether the agents are more than are to train together."""
    return 0 < plan.asked.together < len(plan.agents)


def halves(plan: Plan) -> list[Plan]:
    """The first agents and the others, each in its folder."""
    middle = (len(plan.agents) + 1) // 2
    parts = (plan.agents[:middle], plan.agents[middle:])
    return [replace(plan, agents=a, out=f) for a, f in zip(parts, folders(plan), strict=True)]


def join(plan: Plan) -> None:
    """Put the finished halves' records and checkpoints together in the run's folder. The checkpoint comes
    last: where it is, nothing else is missing. Raises CheckpointError, RecordError."""
    for record in load_records(*folders(plan)):
        save_record(record, plan.out)
    first, second = (load_run(folder / CHECKPOINT) for folder in folders(plan))
    one, two = first.progress, second.progress
    progress = replace(
        one,
        fingerprint=plan.fingerprint,
        policy=about(plan),
        step=max(one.step, two.step),
        seconds=one.seconds + two.seconds,
        weights={},
        alive=one.alive + two.alive,
        stopped_at=one.stopped_at + two.stopped_at,
        evaluations=one.evaluations + two.evaluations,
    )
    agents = {name: stacked([first.agents[name], second.agents[name]]) for name in first.agents}
    normaliser = {name: stacked([v, second.normaliser[name]]) for name, v in first.normaliser.items()}
    save_run(plan.out / CHECKPOINT, Saved(progress, agents, normaliser, {}))


def stacked(parts: list[Tensor]) -> Tensor:
    """Tensors (A,…) of the halves as one; what all agents share is the larger. Members that only the other
    half's ensembles have are 0."""
    if not parts[0].dim():
        return torch.stack(parts).amax(0)
    shape = torch.tensor([p.shape for p in parts]).amax(0).tolist()

    def fill(p: Tensor) -> Tensor:
        missing = [n - m for n, m in zip(shape[1:], p.shape[1:], strict=True)]
        return F.pad(p, [x for n in reversed(missing) for x in (0, n)])

    return torch.cat([fill(p) for p in parts])


def clean(plan: Plan) -> None:
    """Remove the halves' folders."""
    for folder in folders(plan):
        shutil.rmtree(folder, ignore_errors=True)


def records(plan: Plan) -> list[Record]:
    """The records of a joined run, in the order of its agents."""
    found = {record.config_hash: record for record in load_records(plan.out)}
    return [found[fingerprint(agent.identity(plan))] for agent in plan.agents]
