"""The diffusion model of Diffusion-QL (rdlib.algos.diffusion_ql): noise added to an action in T steps, and
a network that takes it away."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rdlib.engine.nets import MLP, Initialiser, mish

TIME_DIM = 16  # of the embedding of t


class Noising(NamedTuple):
    """The numbers of one step of the diffusion."""

    beta: float  # β_t, variance that the step adds
    kept: float  # ᾱ_t = Π (1 - β_i), share of the action's variance that is left
    c1: float  # of x_0 in the mean of q(x_{t-1} | x_t, x_0)
    c2: float  # of x_t there
    sigma: float  # its deviation, 0 at t = 1


def vp_schedule(steps: int, low: float = 0.1, high: float = 10.0) -> list[Noising]:
    """Steps t = 1 … T of β_t = 1 - exp(-low/T - (high - low)(2t - 1) / 2T²) and what follows from it (Ho
    et al. 2020, equations 6-7)."""
    schedule, kept = [], 1.0
    for t in range(1, steps + 1):
        alpha = math.exp(-low / steps - 0.5 * (high - low) * (2 * t - 1) / steps**2)
        before, kept, beta = kept, kept * alpha, 1 - alpha
        rest = (1 - before) / (1 - kept)
        c1 = math.sqrt(before) * beta / (1 - kept)
        schedule.append(Noising(beta, kept, c1, math.sqrt(alpha) * rest, math.sqrt(beta * rest)))
    return schedule


class Denoiser(nn.Module):
    """The noise ε_θ(x_t, t, s) that was added to an action, and actions sampled by taking it away."""

    def __init__(self, init: Initialiser, obs_dim: int, act_dim: int, width: int, depth: int, steps: int):
        super().__init__()
        self.time = MLP(init, (), TIME_DIM, TIME_DIM, 2 * TIME_DIM, 1, activation=mish)
        self.net = MLP(init, (), act_dim + TIME_DIM + obs_dim, act_dim, width, depth, activation=mish)
        self.schedule = vp_schedule(steps)
        half = TIME_DIM // 2
        frequency = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - 1))
        angle = torch.arange(steps)[:, None] * frequency  # (T,8); steps counted from 0, officially
        waves = torch.cat([angle.sin(), angle.cos()], -1).to(init.streams.device, init.dtype)
        self.waves = waves.expand(len(init.streams), -1, -1)  # (A,T,16)
        self.kept = waves.new_tensor([s.kept for s in self.schedule])  # (T,)

    def forward(self, x: Tensor, time: Tensor, obs: Tensor) -> Tensor:
        """x_t (A,B,U), embedded t (A,B,16), s (A,B,O) -> (A,B,U)."""
        return self.net(torch.cat([x, time, obs], -1))

    def sample(self, obs: Tensor, noise: Tensor) -> Tensor:
        """x_0 from x_T and z_T … z_2, `noise` (A,T,n,U): (A,n,O) -> (A,n,U)."""
        n, x, steps = obs.shape[1], noise[:, 0], len(self.schedule)
        start, times = x, self.time(self.waves)  # (A,n,U), (A,T,16)
        for i, s in reversed(list(enumerate(self.schedule))):
            eps = self(x, times[:, i : i + 1].expand(-1, n, -1), obs)
            start = (x / s.kept**0.5 - (1 / s.kept - 1) ** 0.5 * eps).clamp(-1, 1)
            if i > 0:
                x = s.c1 * start + s.c2 * x + s.sigma * noise[:, steps - i]
        return start  # at t = 1 c1 = 1 and c2 = σ = 0

    def loss(self, obs: Tensor, act: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of ε_θ at steps `step` (A,B) counted from 0 and noise (A,B,U): (A,)."""
        kept = self.kept[step][..., None]  # (A,B,1)
        x = kept.sqrt() * act + (1 - kept).sqrt() * noise
        # A product instead of an index: its backward adds in the same order every time, on a GPU too.
        chosen = step[..., None] == torch.arange(len(self.kept), device=step.device)
        time = chosen.to(x.dtype) @ self.time(self.waves)  # (A,B,T) (A,T,16) -> (A,B,16)
        return (self(x, time, obs) - noise).square().mean((-2, -1))
