"""Windows of consecutive transitions, for algorithms that look at more than one.

The rows are those of `Transitions`; beside them each row knows its timestep, its return-to-go and how
much of its episode is left.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rdlib.data.dataset import Dataset
from rdlib.data.transitions import Normaliser, Transitions
from rdlib.engine import ConfigError


class Windows(NamedTuple):
    """One minibatch per agent of K consecutive steps each, padded on the left: where `valid` is False
    the step does not exist and everything else is 0."""

    obs: Tensor  # (A,B,K,O) normalised
    act: Tensor  # (A,B,K,U) in [-1, 1]
    to_go: Tensor  # (A,B,K) raw rewards from this step to the end of its episode, summed
    time: Tensor  # (A,B,K) int64: steps since the episode began
    valid: Tensor  # (A,B,K) bool


class Sequences(Transitions):
    """`Transitions` that can also be drawn as windows of `context` steps.

    Attributes, one entry per row: time, left int64 (rows to the end of the episode, this one included),
    to_go in the rows' dtype. Dataset's episodes are the kept transitions only: D4RL's rule drops the last
    step of a timed-out episode, and its reward is missing from the returns-to-go here.
    """

    def __init__(self, datasets: Sequence[Dataset], normaliser: Normaliser, context: int):
        if context < 1:
            raise ConfigError(f"context = {context}: expected at least 1")
        super().__init__(datasets, normaliser)
        self.context = context
        parts = [_positions(d) for d in {id(d): d for d in datasets}.values()]
        time, left, to_go = (torch.from_numpy(np.concatenate(p)) for p in zip(*parts, strict=True))
        device = self.rows.device
        self.time, self.left, self.to_go = time.to(device), left.to(device), to_go.to(self.rows)

    def windows(self, indices: Tensor) -> Windows:
        """The windows that begin at indices (A,B), each below its agent's size, and end after `context`
        steps or with the episode. Uniform indices draw an episode in proportion to its length and then a
        uniform start in it, as the official code of DT does."""
        first = (indices + self._offsets)[..., None]  # (A,B,1)
        pad = (self.context - self.left[first]).clamp(min=0)  # (A,B,1)
        at = (
            torch.arange(self.context, device=first.device) - pad
        )  # (A,B,K): negative in the padding
        valid = at >= 0
        rows = first + at.clamp(min=0)
        obs, act = self.rows[rows].split([*self.widths[:2], sum(self.widths[2:])], -1)[:2]
        return Windows(
            obs * valid[..., None], act * valid[..., None], self.to_go[rows] * valid,
            self.time[rows] * valid, valid,
        )  # fmt: skip


def _positions(d: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Timestep, rows left and return-to-go of every transition, (N,) each."""
    lengths = d.episode_lengths()
    ends = np.cumsum(lengths)
    time = np.arange(len(d)) - np.repeat(ends - lengths, lengths)
    left = np.repeat(lengths, lengths) - time
    total = np.cumsum(d.rew, dtype=np.float64)
    return time, left, np.repeat(total[ends - 1], lengths) - total + d.rew


def resident(
    datasets: Sequence[Dataset], normaliser: Normaliser, context: int
) -> tuple[Transitions, Callable[[Tensor], Any]]:
    """The store for an algorithm of this `context` (`Algorithm.context`), and what makes its minibatches
    of indices: single transitions where it is 0, else windows."""
    if context:
        sequences = Sequences(datasets, normaliser, context)
        return sequences, sequences.windows
    transitions = Transitions(datasets, normaliser)
    return transitions, transitions.gather
