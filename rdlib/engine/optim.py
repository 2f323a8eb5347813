"""Optimisers and gradient steps of A agents at once: elementwise, so that agents never mix."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """No gradients into these modules' parameters (gradients still pass through to their inputs)."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)


class _Fused(torch.optim.Optimizer):
    """What torch's fused Adam and AdamW share, without what their `step` does around the one launch (hooks,
    profiling, sorting parameters by device and type): on a CPU a tenth of an update of two critics, and on
    a GPU what could not be captured. Same bits."""

    _one: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; torch's own where there are no moments yet or a gradient is missing."""
        for group in self.param_groups:
            if any(p.grad is None or not self.state[p] for p in group["params"]):
                super().step()
                return
        for group in self.param_groups:
            decoupled = group.get("decoupled_weight_decay", isinstance(self, torch.optim.AdamW))
            fused = torch._fused_adamw_ if decoupled else torch._fused_adam_
            parameters, (beta1, beta2) = group["params"], group["betas"]
            states = [self.state[p] for p in parameters]
            steps = [s["step"] for s in states]
            if self._one is None:  # of a number each count would make its own, in three times the time
                self._one = torch.ones_like(steps[0])
            torch._foreach_add_(steps, [self._one] * len(steps))
            fused(
                parameters,
                [p.grad for p in parameters],
                [s["exp_avg"] for s in states],
                [s["exp_avg_sq"] for s in states],
                [],
                steps,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                grad_scale=None,
                found_inf=None,
            )

    step.hooked = True  # type: ignore[attr-defined]  # or torch wraps it in its profiler's hook

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None


class Adam(_Fused, torch.optim.Adam):
    """`torch.optim.Adam(fused=True)`."""


class AdamW(_Fused, torch.optim.AdamW):
    """`torch.optim.AdamW(fused=True)`: weights decay apart from the gradient."""


def adam(parameters: Any, lr: float | Tensor, **options: Any) -> torch.optim.Optimizer:
    """Adam, fused: elementwise, so the agents stacked in one tensor never mix. A rate that `update` changes
    is a tensor. Gradients lie in memory as `backward()` lays them (findings/torch_fused_layout.sh)."""
    return Adam(parameters, lr=lr, fused=True, **options)


def adamw(parameters: Any, lr: float | Tensor, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW, fused likewise."""
    return AdamW(parameters, lr=lr, fused=True, weight_decay=weight_decay)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, max_norm: float | Tensor | None = None) -> None:
    """One optimiser step on the per-agent losses (A,), summed so that agents do not interact; each
    agent's gradient clipped to `max_norm`, one number or (A,), by itself."""
    optimizer.zero_grad(set_to_none=True)
    loss.sum().backward()
    if max_norm is not None:
        clip_gradients([p for g in optimizer.param_groups for p in g["params"]], max_norm)
    optimizer.step()


@torch.no_grad()
def clip_gradients(parameters: Sequence[Tensor], max_norm: float | Tensor) -> None:
    """Scale each agent's gradient (slice i of all parameters' gradients) to a norm of at most
    `max_norm`, as `torch.nn.utils.clip_grad_norm_` would for the agent alone."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.stack([g.square().flatten(1).sum(1) for g in gradients])  # (parameters, A)
    factor = (max_norm / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1.0)  # (A,)
    for g in gradients:
        g.mul_(factor.view(-1, *[1] * (g.dim() - 1)))
