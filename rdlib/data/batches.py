"""What a batch of agents learns from, resident on the device: transitions, or windows of them.

`Normaliser` is the one place that knows raw units: states are standardised, actions mapped to
[-1, 1], rewards scaled. It is stored with the policy and applied here and at evaluation, never by
the caller.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rdlib.data.checks import DataError, check_actions
from rdlib.data.dataset import Dataset, moments
from rdlib.engine.base import Batch
from rdlib.engine.config import ConfigError

EPSILON = 1e-3  # added to the deviation of states, as in TD3+BC
CHUNK = 10_000  # rows normalised at a time, on their way to the device


class Normaliser(nn.Module):
    """Raw units to the network's and back, for each of A agents.

    Buffers: obs_mean, obs_std (A,1,O); act_middle, act_half (A,1,U); rew_scale, rew_shift (A,1).
    """

    obs_mean: Tensor
    obs_std: Tensor
    act_middle: Tensor
    act_half: Tensor
    rew_scale: Tensor
    rew_shift: Tensor

    def __init__(
        self,
        datasets: Sequence[Dataset],
        limits: tuple[np.ndarray, np.ndarray],
        states: bool,
        rewards: Sequence[tuple[float, float]],
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        known = {id(d): moments(d.obs) if states else None for d in datasets}
        mean, std = [], []
        for d in datasets:
            found = known[id(d)]
            mean.append(np.zeros(d.obs_dim) if found is None else found[0])
            std.append(np.ones(d.obs_dim) if found is None else found[1] + EPSILON)
        low, high = limits
        act = np.stack([(high + low) / 2, (high - low) / 2]).astype(np.float64)
        act = np.repeat(act[:, None], len(datasets), axis=1)  # (2,A,U)
        for name, value in (
            ("obs_mean", np.stack(mean)[:, None]),
            ("obs_std", np.stack(std)[:, None]),
            ("act_middle", act[0][:, None]),
            ("act_half", act[1][:, None]),
            ("rew_scale", np.array([scale for scale, _ in rewards], dtype=np.float64)[:, None]),
            ("rew_shift", np.array([shift for _, shift in rewards], dtype=np.float64)[:, None]),
        ):
            self.register_buffer(name, torch.from_numpy(value).to(dtype))

    @classmethod
    def restore(cls, buffers: dict[str, Tensor]) -> "Normaliser":
        """The normaliser whose `state_dict` is `buffers`."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        for name, value in buffers.items():
            made.register_buffer(name, value)
        return made

    def observe(self, obs: Tensor) -> Tensor:
        """Raw observations (A,n,O) as the networks see them."""
        return (obs - self.obs_mean) / self.obs_std

    def to_env(self, act: Tensor) -> Tensor:
        """Network actions in [-1, 1] (A,n,U) in the environment's units."""
        return act * self.act_half + self.act_middle


def reward_units(dataset: Dataset, how: str) -> tuple[float, float]:
    """(scale, shift) that rewards are multiplied and then shifted by: "raw"; "return_range", 1000 over
    the range of episode returns (IQL); "standardised", zero mean and unit deviation (EDAC on pen)."""
    if how == "raw":
        return 1.0, 0.0
    if how == "return_range":
        returns = dataset.episode_returns()
        span = float(returns.max() - returns.min())
        if span <= 0:
            raise DataError(f"{dataset.name}: all episodes have one return, so rewards have no scale")
        return 1000.0 / span, 0.0
    if how == "standardised":
        rewards = dataset.rew.astype(np.float64)
        deviation = float(rewards.std()) + EPSILON
        return 1.0 / deviation, -float(rewards.mean()) / deviation
    raise ConfigError(f"rewards = {how!r}, expected raw, return_range or standardised")


class Transitions:
    """One row [obs, act, rew, next_obs, mask] per transition, in the networks' units but for raw rewards,
    one copy of each distinct dataset; agent i draws from the rows of its own dataset, with rewards in its
    own units.

    Attributes: sizes (A,) int64, the number of transitions each agent draws from.
    """

    def __init__(self, datasets: Sequence[Dataset], normaliser: Normaliser):
        first = datasets[0]
        distinct = list({id(d): d for d in datasets}.values())
        for d in distinct:
            if (d.obs_dim, d.act_dim) != (first.obs_dim, first.act_dim):
                raise DataError(
                    f"{d.name} has observations of {d.obs_dim} and actions of {d.act_dim}, "
                    f"{first.name} {first.obs_dim} and {first.act_dim}: agents trained together "
                    "need datasets of one environment"
                )
        like = normaliser.obs_mean
        self.widths = [first.obs_dim, first.act_dim, 1, first.obs_dim, 1]
        total = sum(len(d) for d in distinct)
        self.rows = like.new_empty(total, sum(self.widths))
        starts, at = {}, 0
        for d in distinct:
            starts[id(d)] = at
            agent = next(i for i, other in enumerate(datasets) if other is d)
            self._fill(self.rows[at : at + len(d)], d, normaliser, agent)
            at += len(d)
        self.sizes = torch.tensor([len(d) for d in datasets], device=like.device)
        offsets = [starts[id(d)] for d in datasets]
        self._offsets = torch.tensor(offsets, device=like.device)[:, None]  # (A,1)
        self._rew_scale, self._rew_shift = normaliser.rew_scale, normaliser.rew_shift  # (A,1)

    def _fill(self, rows: Tensor, d: Dataset, normaliser: Normaliser, agent: int) -> None:
        obs, act, rew, next_obs, mask = rows.split(self.widths, -1)
        mean, std = normaliser.obs_mean[agent], normaliser.obs_std[agent]
        middle, half = normaliser.act_middle[agent], normaliser.act_half[agent]
        low, high = ((middle + sign * half)[0].double().cpu().numpy() for sign in (-1, 1))
        check_actions(d.act, low, high, d.name)
        for start in range(0, len(d), CHUNK):  # in chunks: the device holds one copy, not two
            part = slice(start, start + CHUNK)

            def raw(array: np.ndarray, part: slice = part) -> Tensor:
                return torch.from_numpy(array[part]).to(rows)

            obs[part] = (raw(d.obs) - mean) / std
            act[part] = (raw(d.act) - middle) / half
            rew[part] = raw(d.rew)[:, None]
            next_obs[part] = (raw(d.next_obs) - mean) / std
            mask[part] = 1 - raw(d.terminal)[:, None]

    def gather(self, indices: Tensor) -> Batch:
        """Indices (A,B), each below its agent's size, as a Batch."""
        obs, act, rew, next_obs, mask = self.rows[indices + self._offsets].split(self.widths, -1)
        rew = rew[..., 0] * self._rew_scale + self._rew_shift  # agents of one dataset may differ in them
        return Batch(obs, act, rew, next_obs, mask[..., 0])


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
        at = torch.arange(self.context, device=first.device) - pad  # (A,B,K): negative in the padding
        valid = at >= 0
        rows = first + at.clamp(min=0)
        obs, act = self.rows[rows].split([*self.widths[:2], sum(self.widths[2:])], -1)[:2]
        return Windows(
            obs * valid[..., None],
            act * valid[..., None],
            self.to_go[rows] * valid,
            self.time[rows] * valid,
            valid,
        )


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
