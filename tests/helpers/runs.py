"""Runs that are compared, stopped or killed where a test wants it."""

from collections.abc import Callable
from pathlib import Path

import torch

from helpers.synthetic import snapshot
from rdlib.training.record import Record
from rdlib.training.run import Run
from rdlib.training.trainer import Observer

PASSING = ("seconds", "started", "commit")  # of no consequence for what was learned


class Killed(Exception):
    """In place of a signal that leaves no time to save."""


def die() -> None:
    raise Killed


def at(event: str, number: int, act: Callable[[], None]) -> Observer:
    """An observer that calls `act` at event number `number` of this kind, counted from 0."""
    seen = iter(range(10**6))

    def observe(what, trainer):
        if what == event and next(seen) == number:
            act()

    return observe


def never(*events: str) -> Observer:
    """An observer for a run in which none of these happens."""

    def observe(what, trainer):
        assert what not in events, f"{what} at update {trainer.progress.step}"

    return observe


def contents(folder: Path) -> dict[str, bytes]:
    """What a run's folder holds, by file."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


def lasting(record: Record) -> dict:
    """What two equal runs have in common."""
    return {k: v for k, v in vars(record).items() if k not in PASSING}


def assert_same_weights(ours: Run, theirs: Run) -> None:
    """Bit for bit the same weights and moments."""
    first, second = snapshot(ours.algorithm), snapshot(theirs.algorithm)
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def assert_same_run(ours: Run, theirs: Run) -> None:
    """The same weights, returns and records."""
    assert_same_weights(ours, theirs)
    assert [lasting(r) for r in ours.records] == [lasting(r) for r in theirs.records]
