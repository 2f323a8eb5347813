"""Plug-ins for any critic loss: Representation Distinction (RD) and DR3.

RD (Ma et al., NeurIPS 2023) suppresses the neural tangent kernel of the critic between two actions at
ONE state, only the critic's parameters φ being minimised over:

    stage 1   min_φ |∇Q(s,a)ᵀ ∇Q(s,π(s))|            (s,a) in the data: policy-dataset inhibition
    stage 2   min_φ |∇Q(s,π(s))ᵀ ∇Q(s,π_ood(s))|     once π(s) resembles a: policy-OOD inhibition

The practical form takes penultimate features for gradients: for Q = wᵀφ + b the head's share of the
kernel is φᵀφ̄ + 1. What the paper leaves open is a field of `RDConfig`; the book's "Deviations and open
points" discusses each. DR3 (Kumar et al., ICLR 2022) has the same interface.

`rd_switch`, `rd_penalty` and `rd_ood_loss` are RD as functions of plain tensors, for code of your own: see
the book's "RD in your own code". The plug-in calls the same.

A limit, found here and not in the paper: RD pulls Q(s, π(s)) towards the head's bias, near 0. With
positive values this is pessimism; with negative values it is optimism. The weight that suits depends on
the scale of rewards (tests/algos/test_behaviour_of_learning.py).

A plug-in returns a penalty for each critic, (A,E); the algorithm adds it to that critic's loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.engine.base import Metrics, Plugin, per_agent, shared
from rdlib.engine.config import ConfigError, check_choice, check_least, later
from rdlib.engine.nets import Actor, Critic, Initialiser, member_mean, member_std
from rdlib.engine.optim import adam, descend, frozen
from rdlib.engine.rng import Streams
from rdlib.ntk import feature_kernel

UNITS = ("features", "width", "values", "share")  # of λ, see RDConfig


@dataclass(frozen=True)
class RDConfig:
    """The open choices of RD, with this project's documented defaults."""

    weight: float = 0.1  # λ, on each critic's loss
    stages: str = "both"  # "both", "first", "second"
    switch: str = "smooth"  # "smooth": w(s) below; "hard": all states at once, by mean distance
    sigma: float = 0.3  # σ of w(s) = exp(-|π(s)-a|² / (σ² dim A))
    threshold: float = 0.1  # hard switch: stage 2 where the mean of |π(s)-a|² / dim A is below
    kernel: str = "product"  # "product": φᵀφ̄, "cosine": norm-free
    magnitude: str = "abs"  # |K|; "plain": K, "square": K²
    stop_gradient: str = "none"  # features held constant: "none", "data" or "policy"
    ood: str = "learned"  # π_ood: "learned", or the controls "noise" (π + noise) and "uniform"
    objective: str = "mean"  # a learned π_ood maximises the ensemble's "mean" or its "std"
    margin: float = 0.25  # least |π_ood(s) - ·|² / dim A from both a and π(s)
    push: float = 10.0  # weight of falling short of the margin, in units of mean |Q|
    noise_std: float = 0.5  # of the control ood="noise"
    ood_lr: float = 3e-4
    ood_every: int = 2  # critic updates per update of π_ood
    states: int = 96  # states of the minibatch the penalty is estimated on (0: all)
    # What λ is measured in. "features": K as it is, which grows with width, depth, rewards and time.
    # "width": K / H. "values": K over the batch's mean |φ|², times its mean Q²: a squared TD error's units.
    # "share": λ is the norm of the penalty's gradient in the features, as a share of the critic's loss's.
    units: str = later("features")
    centred: bool = later(False)  # features minus their mean over the batch's (s,a), held constant
    every: int = later(1)  # critic updates per penalty, whose weight is as many times λ

    def __post_init__(self):
        check_choice(self, "stages", ("both", "first", "second"))
        check_choice(self, "switch", ("smooth", "hard"))
        check_choice(self, "kernel", ("product", "cosine"))
        check_choice(self, "magnitude", ("abs", "plain", "square"))
        check_choice(self, "stop_gradient", ("none", "data", "policy"))
        check_choice(self, "ood", ("learned", "noise", "uniform"))
        check_choice(self, "objective", ("mean", "std"))
        check_choice(self, "units", UNITS)
        check_least(self, 1, "every", "ood_every")
        check_least(self, 0, "weight", "threshold", "margin", "push", "noise_std", "ood_lr", "states")
        if not self.sigma > 0:
            raise ConfigError(f"sigma = {self.sigma}, expected > 0")
        if self.ood_every % self.every:
            raise ConfigError(f"ood_every = {self.ood_every}, expected a multiple of every = {self.every}")
        if self.units == "values" and (self.kernel, self.magnitude == "square") != ("product", False):
            raise ConfigError("units = 'values' are those of kernel = 'product', not squared")


@dataclass(frozen=True)
class DR3Config:
    """DR3's one coefficient."""

    weight: float = 1e-3  # c0

    def __post_init__(self):
        check_least(self, 0, "weight")


def distance(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|² / dim A: (…,B,U), (…,B,U) -> (…,B)."""
    return (a - b).square().mean(-1)


def rd_switch(distance: Tensor, sigma: float | Tensor = 0.3) -> Tensor:
    """Weight w of stage 2, exp(-d / σ²), from distances d = |π(s) - a|² / dim A: (…,B) -> (…,B)."""
    return torch.exp(-distance / sigma**2)


def rd_penalty(
    data: Tensor | None,
    policy: Tensor,
    ood: Tensor | None,
    w: Tensor,
    kernel: str = "product",
    magnitude: str = "abs",
) -> tuple[Tensor, dict[str, Tensor]]:
    """(1-w) |K(a, π)| + w |K(π, π_ood)|, mean over the states, for critics of any kind.

    Takes features (…,B,H) of the data's, the policy's and the OOD policy's action at the same states: (B,H)
    of one critic, (E,B,H) of an ensemble. `w` is (B,), or broadcasts with (…,B). Without `data` only the
    second term is taken, without `ood` only the first. Returns the penalty (…) and the kernels that it is
    made of, `data_policy` and `policy_ood`, (…,B) each.
    """
    kernels, terms = {}, []
    for name, first, second, share in (
        ("policy_ood", policy, ood, w),
        ("data_policy", data, policy, 1 - w),
    ):
        if first is not None and second is not None:
            k = feature_kernel(first, second, kernel)  # (…,B)
            k = k.abs() if magnitude == "abs" else k.square() if magnitude == "square" else k
            kernels[name] = k
            terms.append(share * k)
    return torch.stack(terms).sum(0).mean(-1), kernels


def rd_ood_loss(
    value: Tensor,
    ood_action: Tensor,
    act: Tensor,
    policy_action: Tensor,
    margin: float | Tensor = 0.25,
    push: float | Tensor = 10.0,
) -> tuple[Tensor, Tensor]:
    """What π_ood minimises: minus the value (…,B) of its actions (…,B,U), in units of the mean size, and
    `push` times how far they fall short of `margin` from the data's and from the policy's. Returns the loss
    (…) and the shortfall (…,B)."""
    scale = value.detach().abs().mean(-1, keepdim=True).clamp(min=1e-6)
    short = (margin - distance(ood_action, act)).relu()
    short = short + (margin - distance(ood_action, policy_action)).relu()
    return (push * short - value / scale).mean(-1), short


@torch.no_grad()
def unit(units: str, critic: Critic, features: Tensor) -> Tensor | float:
    """What a product of features (A,E,B,H) is multiplied by: (A,E), or one number for all."""
    if units == "values":
        q = critic.net.output(features)[..., 0]  # (A,E,B)
        return q.square().mean(-1) / features.square().sum(-1).mean(-1).clamp(min=1e-12)
    return 1 / features.shape[-1] if units == "width" else 1.0  # a new tensor would be copied to the device


def gradient_norm(value: Tensor, at: list[Tensor]) -> Tensor:
    """|∂ value / ∂ at| of each critic, held constant: value (A,E), tensors (A,E,B,H) -> (A,E)."""
    found = torch.autograd.grad(value.sum(), at, retain_graph=True)
    return torch.stack([g.square().sum((-2, -1)) for g in found]).sum(0).sqrt()


class RD(Plugin):
    """Representation Distinction for A agents."""

    def __init__(
        self,
        configs: Sequence[RDConfig],
        streams: Streams,
        obs_dim: int,
        act_dim: int,
        actor_width: int,
        actor_depth: int,
        batch_size: int,
        dtype: torch.dtype,
    ):
        super().__init__()
        for field in RDConfig.__dataclass_fields__:
            if field not in ("weight", "sigma", "threshold", "margin", "push"):
                shared(configs, field)
        self.config = c = configs[0]
        self.act_dim, self.n = act_dim, min(c.states or batch_size, batch_size)
        like = torch.empty((), dtype=dtype, device=streams.device)
        self.weight, self.sigma, self.threshold, self.margin, self.push = (
            per_agent(configs, field, like) for field in ("weight", "sigma", "threshold", "margin", "push")
        )
        self.weight, self.every, self.period = c.every * self.weight, c.every, c.ood_every
        self.actor: Actor | None = None
        if c.stages != "first" and c.ood == "learned":
            init = Initialiser(streams, "ood_actor", dtype)
            self.actor = Actor(init, obs_dim, act_dim, actor_width, actor_depth)
            self.optimizers = {"ood": adam(self.actor.parameters(), c.ood_lr)}

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Only the control π_ood draw: (count,A,n,U)."""
        shape, dtype = (self.n, self.act_dim), self.weight.dtype
        if self.config.ood == "noise":
            return {"rd_ood": streams.normal("rd_ood", step, count, shape, dtype)}
        if self.config.ood == "uniform":
            return {"rd_ood": 2 * streams.uniform("rd_ood", step, count, shape, dtype) - 1}
        return {}

    def switch(self, d: Tensor) -> Tensor:
        """Weight w of stage 2 from the distance d = |π(s)-a|²/dim A: (A,n) -> (A,n) or (A,1)."""
        if self.config.stages != "both":
            return torch.full_like(d, float(self.config.stages == "second"))
        if self.config.switch == "hard":
            return (d.mean(-1, keepdim=True) < self.threshold).to(d.dtype)
        return rd_switch(d, self.sigma)

    def ood_action(self, obs: Tensor, policy_action: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """π_ood(s), detached: (A,n,U)."""
        if self.actor is not None:
            with torch.no_grad():
                return self.actor(obs)
        if self.config.ood == "noise":
            return (policy_action + self.config.noise_std * noise["rd_ood"]).clamp(-1, 1)
        return noise["rd_ood"]

    def penalty(self, critic, batch, features, policy, next_action, noise, phase, loss):
        """λ [(1-w) K(a, π) + w K(π, π_ood)], mean over states, in the units asked for: (A,E)."""
        c, n = self.config, self.n
        obs, act, f_data = batch.obs[:, :n], batch.act[:, :n], features[:, :, :n]
        with torch.no_grad():
            policy_action = policy(obs)  # (A,n,U)
            d = distance(policy_action, act)
            w = self.switch(d)[:, None]  # (A,1,n)
        if c.stages == "first":
            f_policy, f_ood = critic.features(obs, policy_action), None  # (A,E,n,H)
        else:
            ood_action = self.ood_action(obs, policy_action, noise)
            both = critic.features(torch.cat([obs, obs], 1), torch.cat([policy_action, ood_action], 1))
            f_policy, f_ood = both.chunk(2, 2)  # one pass through the critics for both actions
        if c.centred:
            middle = features.detach().mean(2, keepdim=True)  # (A,E,1,H)
            f_data, f_policy = f_data - middle, f_policy - middle
            f_ood = None if f_ood is None else f_ood - middle
        if c.stop_gradient == "data":
            f_data = f_data.detach()
        if c.stop_gradient == "policy":
            f_policy = f_policy.detach()
        data = None if c.stages == "second" else f_data
        penalty, kernels = rd_penalty(data, f_policy, f_ood, w, c.kernel, c.magnitude)
        scale: Tensor | float
        if c.units == "share":
            sides = [f for f in (data, f_policy, f_ood) if f is not None and f.requires_grad]
            scale = gradient_norm(loss, [features]) / gradient_norm(penalty, sides).clamp(min=1e-12)
        else:
            scale = unit(c.units, critic, features)
        metrics = {"rd_switch": w.mean((1, 2)), "policy_data_distance": d.mean(-1)}
        metrics |= {f"rd_kernel_{name}": critic.average(k.detach()) for name, k in kernels.items()}
        if self.actor is not None and phase % c.ood_every == 0:
            metrics |= self.update_ood(critic, obs, act, policy_action)
        return self.weight * scale * penalty, metrics

    def update_ood(self, critic: Critic, obs: Tensor, act: Tensor, policy_action: Tensor) -> Metrics:
        """One step of π_ood: high value (or high disagreement), at least a margin from a and π(s)."""
        assert self.actor is not None
        ood_action = self.actor(obs)
        with frozen(critic):
            q = critic(obs, ood_action)[0]  # (A,E,n)
            over_members = member_mean if self.config.objective == "mean" else member_std
            goal = over_members(q, critic.active)  # (A,n)
            loss, short = rd_ood_loss(goal, ood_action, act, policy_action, self.margin, self.push)
            descend(self.optimizers["ood"], loss)
        return {"ood_loss": loss, "ood_margin_shortfall": short.mean(-1)}


class DR3(Plugin):
    """DR3: c0 φ(s,a)ᵀφ(s',a'), the two ends of one backup, gradients into both."""

    def __init__(self, configs: Sequence[DR3Config], like: Tensor):
        super().__init__()
        self.weight = per_agent(configs, "weight", like)

    def penalty(self, critic, batch, features, policy, next_action, noise, phase, loss):
        """c0 φ(s,a)ᵀφ(s',a') where the episode goes on, mean over the minibatch: (A,E)."""
        following = critic.features(batch.next_obs, next_action)
        k = (features * following).sum(-1) * batch.mask[:, None]  # (A,E,B)
        return self.weight * k.mean(-1), {"dr3_kernel": critic.average(k.detach())}
