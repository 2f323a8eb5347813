"""Stacked layers and networks: every parameter has leading axes, (A,) for actors, (A,E) for critics.

One module holds the networks of all agents; agent i is slice i of every parameter, initialised from
its own stream as `torch.nn.Linear` would initialise it. Shapes: A agents, E ensemble members,
B batch, O observation, U action, H hidden (design: one vocabulary everywhere).
"""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rdlib.engine.rng import Streams

Activation = Callable[[Tensor], Tensor]
Net = TypeVar("Net", bound=nn.Module)


class Initialiser:
    """Hands each layer its own step of the agents' streams of one purpose, in order of creation.

    scheme: "uniform", as `nn.Linear` initialises itself; "orthogonal", orthogonal weights of gain √2
    and zero bias (as CORL's CQL); "gpt2", weights from N(0, 0.02²) and zero bias.
    """

    def __init__(
        self, streams: Streams, purpose: str, dtype: torch.dtype = torch.float32, scheme: str = "uniform"
    ):
        self.streams, self.purpose, self.dtype, self.step = streams, purpose, dtype, 0
        self.scheme = scheme

    def affine(self, members: tuple[int, ...], n_in: int, n_out: int) -> tuple[Tensor, Tensor]:
        """Weight (A, *members, n_in, n_out) and bias (A, *members, 1, n_out) of stacked layers."""
        if self.scheme == "orthogonal":
            weight = self.orthogonal((*members, n_in, n_out), 2**0.5)
            return weight, torch.zeros_like(weight[..., :1, :])
        if self.scheme == "gpt2":
            weight = 0.02 * self.normal((*members, n_in, n_out))
            return weight, torch.zeros_like(weight[..., :1, :])
        bound = n_in**-0.5
        weight = self.uniform((*members, n_in, n_out), bound)
        return weight, self.uniform((*members, 1, n_out), bound)

    def orthogonal(self, shape: Sequence[int], gain: float) -> Tensor:
        """Matrices with orthonormal rows or columns, whichever are fewer, times `gain`: (A, *shape)."""
        tall = shape[-2] >= shape[-1]
        z = self.streams.normal(self.purpose, self.step, 1, shape, torch.float64)[0]
        self.step += 1
        q, r = torch.linalg.qr(z if tall else z.mT)
        q = q * torch.linalg.diagonal(r).sign()[..., None, :]  # or QR's own choice of signs shows
        # Row-major like everything else: fused Adam pairs a matrix with moments of other strides wrongly.
        return (gain * (q if tall else q.mT)).to(self.dtype).contiguous()

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal: (A, *shape)."""
        z = self.streams.normal(self.purpose, self.step, 1, shape, torch.float64)[0]
        self.step += 1
        return z.to(self.dtype)

    def uniform(self, shape: Sequence[int], bound: float) -> Tensor:
        """Uniform in (-bound, bound): (A, *shape)."""
        u = self.streams.uniform(self.purpose, self.step, 1, shape, torch.float64)[0]
        self.step += 1
        return ((2 * u - 1) * bound).to(self.dtype)


class Linear(nn.Module):
    """Affine layers side by side: weight (*lead, n_in, n_out), bias (*lead, 1, n_out).

    Initialised like `nn.Linear`: weight and bias uniform in ±1/sqrt(n_in), the fan-in of ONE layer
    (not of the stack: a bug that shipped elsewhere).
    """

    def __init__(self, init: Initialiser, members: tuple[int, ...], n_in: int, n_out: int):
        super().__init__()
        weight, bias = init.affine(members, n_in, n_out)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """(*lead, B, n_in) -> (*lead, B, n_out)."""
        lead = self.weight.shape[:-2]
        y = torch.bmm(x.flatten(0, -3), self.weight.flatten(0, -3))
        # Not `baddbmm`, which copies the bias to every row first and reads it back.
        return y.add_(self.bias.flatten(0, -3)).unflatten(0, lead)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis with its own gain and shift for each stacked layer."""

    def __init__(self, init: Initialiser, members: tuple[int, ...], n: int):
        super().__init__()
        lead = (len(init.streams), *members)
        ones = torch.ones(*lead, 1, n, dtype=init.dtype, device=init.streams.device)
        self.weight, self.bias = nn.Parameter(ones), nn.Parameter(torch.zeros_like(ones))

    def forward(self, x: Tensor) -> Tensor:
        """(*lead, B, n) -> (*lead, B, n)."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class MLP(nn.Module):
    """`depth` hidden layers of `width` and a linear head; optionally Linear-LayerNorm-activation
    (as SEEM proposes for critics, Yue et al. 2023)."""

    def __init__(
        self,
        init: Initialiser,
        members: tuple[int, ...],
        n_in: int,
        n_out: int,
        width: int,
        depth: int,
        layer_norm: bool = False,
        activation: Activation = F.relu,
    ):
        super().__init__()
        sizes = [n_in] + [width] * depth
        self.hidden = nn.ModuleList(
            Linear(init, members, a, b) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.norms = nn.ModuleList(
            LayerNorm(init, members, width) if layer_norm else nn.Identity() for _ in range(depth)
        )
        self.head = Linear(init, members, sizes[-1], n_out)
        self.activation = activation

    def features(self, x: Tensor, keep: Sequence[Tensor] | None = None) -> Tensor:
        """Penultimate activations: (*lead, B, n_in) -> (*lead, B, H). `keep`: dropout, one factor
        (*lead, B, H) for each hidden layer, 0 or 1 / (1 - rate)."""
        for i, (layer, norm) in enumerate(zip(self.hidden, self.norms, strict=True)):
            x = self.activation(norm(layer(x)))
            if keep is not None:
                x = x * keep[i]
        return x.to(self.head.weight.dtype)  # whatever precision the products had

    def forward(self, x: Tensor, keep: Sequence[Tensor] | None = None) -> Tensor:
        """(*lead, B, n_in) -> (*lead, B, n_out)."""
        return self.output(self.features(x, keep))

    def output(self, features: Tensor) -> Tensor:
        """The head on features: (*lead, B, H) -> (*lead, B, n_out)."""
        return self.head(features).to(features.dtype)


def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x)) (Misra 2020) from one sigmoid: several times as quick as torch's own on a CPU,
    which computes an exponential, a logarithm and a hyperbolic tangent; equal to rounding."""
    if x.is_cuda:
        return F.mish(x)
    # tanh(log(1 + e^x)) = (1 - r²) / (1 + r²) with r = 1 / (1 + e^x)
    return x * (2 / (1 + torch.sigmoid(-x).square()) - 1)


class Critic(nn.Module):
    """E critics Q_φ(s, a) for each of A agents.

    `members`: how many, for all agents or for each. Where agents differ, all get the most, and `active`
    (A,E) is 1 for an agent's own critics and 0 for the rest, which no loss trains and no value counts;
    else it is None.
    """

    active: Tensor | None

    def __init__(
        self,
        init: Initialiser,
        obs_dim: int,
        act_dim: int,
        members: int | Sequence[int],
        width: int,
        depth: int,
        layer_norm: bool = False,
        activation: Activation = F.relu,
    ):
        super().__init__()
        sizes = [members] if isinstance(members, int) else list(members)
        self.members = most = max(sizes)
        mask = None
        if min(sizes) < most:
            own = torch.tensor(sizes)[:, None]  # (A,1)
            mask = (torch.arange(most) < own).to(init.streams.device, init.dtype)
        self.register_buffer("active", mask, persistent=False)
        self.net = MLP(init, (most,), obs_dim + act_dim, 1, width, depth, layer_norm, activation)

    def features(self, obs: Tensor, act: Tensor) -> Tensor:
        """Penultimate features φ(s, a): (A,B,O), (A,B,U) or one for each member (A,E,B,U) -> (A,E,B,H)."""
        if act.dim() > obs.dim():
            obs = obs[:, None].expand(-1, self.members, -1, -1)
            return self.net.features(torch.cat([obs, act], -1))
        x = torch.cat([obs, act], -1)[:, None]  # (A,1,B,O+U)
        return self.net.features(x.expand(-1, self.members, -1, -1))

    def forward(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        """(A,B,O), (A,B,U) or (A,E,B,U) -> Q-values (A,E,B) and features (A,E,B,H)."""
        features = self.features(obs, act)
        return self.net.output(features)[..., 0], features

    def best(self, obs: Tensor, actions: Tensor) -> Tensor:
        """The highest that each member gives to any of n actions: (A,B,O), (A,n,B,U) -> (A,E,B)."""
        obs = obs[:, None].expand(-1, actions.shape[1], -1, -1)
        q = self(obs.flatten(1, 2), actions.flatten(1, 2))[0]  # (A,E,nB)
        return q.unflatten(-1, actions.shape[1:3]).amax(2)

    @property
    def own(self) -> Tensor | int:
        """How many critics an agent has: one number for all agents, or (A,1)."""
        return self.members if self.active is None else self.active.sum(1, keepdim=True)

    def total(self, x: Tensor) -> Tensor:
        """Sum over an agent's own critics: (A,E) -> (A,)."""
        return (x if self.active is None else x * self.active).sum(-1)

    def average(self, x: Tensor) -> Tensor:
        """Mean over an agent's own critics and all further axes: (A,E,…) -> (A,)."""
        if self.active is None:
            return x.flatten(1).mean(1)
        each = x.flatten(2).mean(2) if x.dim() > 2 else x  # (A,E)
        return (each * self.active).sum(1) / self.active.sum(1)

    def first(self, obs: Tensor, act: Tensor) -> Tensor:
        """Q-values of each agent's first critic, without computing the others': (A,B)."""
        own = {name: p[:, :1] for name, p in self.net.named_parameters()}  # views
        x = torch.cat([obs, act], -1)[:, None]  # (A,1,B,O+U)
        return torch.func.functional_call(self.net, own, x)[:, 0, :, 0]


def member_mean(q: Tensor, active: Tensor | None) -> Tensor:
    """Mean over the members that are active (see `Critic`): (A,E,B) -> (A,B)."""
    if active is None:
        return q.mean(1)
    return (q * active[..., None]).sum(1) / active.sum(1, keepdim=True)


def member_std(q: Tensor, active: Tensor | None) -> Tensor:
    """Deviation over the active members, the population's: (A,E,B) -> (A,B). Where it is 0, so is its
    gradient."""
    if active is None:
        return q.std(1, correction=0)
    variance = member_mean((q - member_mean(q, active)[:, None]).square(), active)
    return torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)


def pessimistic(q: Tensor, how: str, beta: Tensor, active: Tensor | None = None) -> Tensor:
    """One value of an ensemble, (A,E,B) -> (A,B): "lcb", mean - β std over the active members (β (A,1)), or
    "min"."""
    if how == "min":
        return (q if active is None else q.masked_fill(active[..., None] == 0, torch.inf)).amin(1)
    return member_mean(q, active) - beta * member_std(q, active)


class Actor(nn.Module):
    """Deterministic policy π(s) = tanh(MLP(s)), actions in [-1, 1]."""

    def __init__(self, init: Initialiser, obs_dim: int, act_dim: int, width: int, depth: int):
        super().__init__()
        self.net = MLP(init, (), obs_dim, act_dim, width, depth)

    def forward(self, obs: Tensor, keep: Sequence[Tensor] | None = None) -> Tensor:
        """(A,B,O) -> (A,B,U); `keep` as in `MLP`."""
        return self.net(obs, keep).tanh()


class GaussianActor(nn.Module):
    """Tanh-squashed diagonal Gaussian policy with state-dependent deviation (SAC)."""

    LOG_STD = (-5.0, 2.0)

    def __init__(self, init: Initialiser, obs_dim: int, act_dim: int, width: int, depth: int):
        super().__init__()
        self.net = MLP(init, (), obs_dim, 2 * act_dim, width, depth)

    def forward(self, obs: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(A,B,O), standard normal noise (A,B,U) -> actions (A,B,U), log π(a|s) (A,B).

        Without noise: the mean action tanh(μ(s)).
        """
        return self.squash(*self.moments(obs), noise)

    def moments(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ before the tanh: (A,B,O) -> (A,B,U), (A,B,U)."""
        mean, log_std = self.net(obs).chunk(2, -1)
        return mean, log_std.clamp(*self.LOG_STD)

    @staticmethod
    def squash(mean: Tensor, log_std: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Actions and log densities from moments (A,B,U) and standard normal noise (A,B,U) or, for n
        samples of each state, (A,n,B,U)."""
        noise = torch.zeros_like(mean) if noise is None else noise
        if noise.dim() > mean.dim():
            mean, log_std = mean[:, None], log_std[:, None]
        u = mean + log_std.exp() * noise
        log_normal = -0.5 * noise**2 - log_std - 0.9189385332046727  # log sqrt(2π)
        # log(1 - tanh(u)²) in the form that does not underflow
        log_jacobian = 2 * (0.6931471805599453 - u - F.softplus(-2 * u))
        return u.tanh(), (log_normal - log_jacobian).sum(-1)


def frozen_copy(module: Net) -> Net:
    """A copy that takes no gradients: the target network of `module`."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def polyak(target: nn.Module, source: nn.Module, tau: float) -> None:
    """target <- (1 - τ) target + τ source, for every parameter."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)
