"""What every algorithm is made of, and how K updates run per call.

An `Algorithm` holds the networks and optimisers of A agents and offers one `update`. `Engine` feeds it:
minibatch indices and noise for K updates are drawn at once from the agents' streams, then the K
updates run without the host looking at a single number, on a GPU as replayed graphs (rdlib.graphs).
"""

import dataclasses
import math
import reprlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rdlib import matmul
from rdlib.graphs import Capture, Inputs, Loop
from rdlib.nets import Critic
from rdlib.rng import Streams

Metrics = dict[str, Tensor]
# Normalised observations (A,n,O) and the raw rewards (A,n) of the step before (0 at first) to actions
# (A,n,U).
Player = Callable[[Tensor, Tensor], Tensor]


class Batch(NamedTuple):
    """One minibatch per agent, states normalised and actions in [-1, 1]."""

    obs: Tensor  # (A,B,O)
    act: Tensor  # (A,B,U)
    rew: Tensor  # (A,B)
    next_obs: Tensor  # (A,B,O)
    mask: Tensor  # (A,B): 0 where the episode terminated, else 1


class ConfigError(ValueError):
    """A configuration value that cannot be used; the message names the field."""


def check_least(config: Any, least: float, *fields: str) -> None:
    """Raise ConfigError unless each field is at least so much."""
    for field in fields:
        if not getattr(config, field) >= least:
            raise ConfigError(f"{field} = {getattr(config, field)}, expected at least {least}")


def check_choice(config: Any, field: str, choices: Sequence[str]) -> None:
    """Raise ConfigError unless the field's value is one of `choices`."""
    if getattr(config, field) not in choices:
        raise ConfigError(
            f"{field} = {getattr(config, field)!r}, expected one of {', '.join(choices)}"
        )


REWARDS = ("raw", "return_range", "standardised")  # see rdlib.data.transitions.reward_units


def shared(configs: Sequence[Any], field: str) -> Any:
    """The value of a structural field, which all agents of a batch must have in common."""
    values = {getattr(c, field) for c in configs}
    if len(values) > 1:
        raise ConfigError(
            f"{field}: agents trained together must agree on it, but it is {sorted(values)}; "
            "train them in separate batches"
        )
    return values.pop()


def per_agent(configs: Sequence[Any], field: str, init_like: Tensor) -> Tensor:
    """The values of a numeric field as a tensor (A,1), which broadcasts against (A,B)."""
    return init_like.new_tensor([float(getattr(c, field)) for c in configs])[:, None]


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
    """What torch's fused Adam and AdamW share, without what their `step` does around the one kernel (hooks,
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
            kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
            parameters, (beta1, beta2) = group["params"], group["betas"]
            states = [self.state[p] for p in parameters]
            steps = [s["step"] for s in states]
            if self._one is None:  # of a number each count would make its own, in three times the time
                self._one = torch.ones_like(steps[0])
            torch._foreach_add_(steps, [self._one] * len(steps))
            kernel(
                parameters, [p.grad for p in parameters], [s["exp_avg"] for s in states],
                [s["exp_avg_sq"] for s in states], [], steps, lr=group["lr"], beta1=beta1,
                beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
                maximize=False, grad_scale=None, found_inf=None,
            )  # fmt: skip

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
    is a tensor."""
    return Adam(parameters, lr=lr, fused=True, **options)


def adamw(parameters: Any, lr: float | Tensor, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW, fused likewise."""
    return AdamW(parameters, lr=lr, fused=True, weight_decay=weight_decay)


def descend(
    optimizer: torch.optim.Optimizer, loss: Tensor, max_norm: float | Tensor | None = None
) -> None:
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


class Plugin(nn.Module):
    """What may be added to the critic loss of any algorithm (see rdlib.rd)."""

    def __init__(self):
        super().__init__()
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.period = 1  # updates until the pattern of the plug-in's own delayed updates repeats

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Random numbers of updates `step` … `step+count-1`: tensors (count, A, …)."""
        return {}

    def penalty(
        self,
        critic: Critic,
        batch: Batch,
        features: Tensor,
        policy: Callable[[Tensor], Tensor],
        next_action: Tensor,
        noise: dict[str, Tensor],
        phase: int,
    ) -> tuple[Tensor, Metrics]:
        """Penalty of each critic (A,E) and metrics (A,).

        `features` (A,E,B,H) are those of (s,a) with their graph; `policy` maps the first n states
        (A,n,O) of the minibatch to π's actions (A,n,U); `next_action` (A,B,U) is the backup's.
        """
        raise NotImplementedError


class Algorithm(nn.Module):
    """Base of rdlib.algos: A agents of one algorithm.

    Subclasses build networks in `__init__`, register optimisers in `self.optimizers`, and implement
    `update`, `act` and where they need them `noise` and `player`. Everything is in normalised units
    (see `Batch`).
    """

    total_steps = 0  # gradient updates of the whole run, for schedules; set by rdlib.algos.build
    context = 0  # steps of one element of a minibatch; 0: single transitions (rdlib.data.sequences)
    own: tuple[str, ...] = ()  # fields that agents of one batch may differ in
    plays_on_device = False  # acting is too much for a CPU beside a GPU (see rdlib.watch)

    def __init__(self, configs: Sequence[Any], streams: Streams, plugin: "Plugin | None" = None):
        super().__init__()
        if len(configs) != len(streams):
            raise ConfigError(f"{len(configs)} configurations for {len(streams)} random streams")
        for field in dataclasses.fields(configs[0]):
            if field.name not in self.own:
                shared(configs, field.name)
        self.configs = tuple(configs)
        self.batch_size: int = configs[0].batch_size
        self.plugin = plugin
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.period = 1  # updates until the pattern of delayed updates repeats
        if plugin:
            self.optimizers |= plugin.optimizers
            self.period = plugin.period

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """The random numbers of updates `step` … `step+count-1`: tensors (count, A, …)."""
        return self.plugin.noise(streams, step, count) if self.plugin else {}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """One gradient update of every agent; `phase` is the update's number modulo `period`.
        Returns metrics (A,)."""
        raise NotImplementedError

    def act(self, obs: Tensor) -> Tensor:
        """The evaluated policy: (A,n,O) -> (A,n,U)."""
        raise NotImplementedError

    def player(self, copies: int) -> Player:
        """The evaluated policy over one round of episodes in `copies` environments per agent, which
        may remember what it saw. This one remembers nothing."""
        return lambda obs, reward: self.act(obs)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: parameters and optimiser moments."""
        found = {f"net/{k}": v for k, v in self.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for i, state in optimizer.state_dict()["state"].items():
                found |= {f"optim/{name}/{i}/{k}": v for k, v in state.items()}
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned. Raises KeyError or RuntimeError where names or shapes
        differ."""
        self.load_state_dict(
            {k.removeprefix("net/"): v for k, v in tensors.items() if k.startswith("net/")}
        )
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optim/{name}/"):
                    index, field = key.removeprefix(f"optim/{name}/").split("/")
                    state.setdefault(int(index), {})[field] = value
            # torch itself takes moments of any shape and number, and fails or goes wrong later.
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            if state and sorted(state) != list(range(len(parameters))):
                raise KeyError(f"optimiser {name!r}: moments of {len(state)} of {len(parameters)}")
            for i, moments in state.items():
                for field, value in moments.items():
                    if field != "step" and value.shape != parameters[i].shape:
                        raise RuntimeError(
                            f"optimiser {name!r}: {field} {i} has shape {tuple(value.shape)}, "
                            f"expected {tuple(parameters[i].shape)}"
                        )
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


ROWS, NUMBERS = 256, 2**25  # most updates, and most random numbers, that are drawn at once


class Engine:
    """Runs updates of `algorithm` on minibatches that `gather` makes of indices.

    `sizes` (A,) are the numbers of transitions each agent draws from; `gather` maps indices (A,B) to
    a `Batch`. With `capture` updates are replayed, with equal results (rdlib.graphs), or equal to rounding
    (rdlib.compiled); where graphs fail, a warning says so and they run one kernel after the other, as
    without.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        streams: Streams,
        sizes: Tensor,
        gather: Callable[[Tensor], Batch],
        capture: Capture | None = None,
    ):
        self.algorithm, self.streams, self.sizes, self.gather = algorithm, streams, sizes, gather
        self.capture = capture
        self._loop: Loop | None = None
        self._rows = 0  # updates whose numbers are drawn at once

    def run(self, step: int, count: int) -> Metrics:
        """Updates number `step` … `step+count-1`; returns each metric's mean over those updates that
        reported it, (A,). Nothing is read back to the host."""
        totals: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        if not self._rows:
            numbers = sum(values.numel() for values in self._draw(step, 1).values())
            self._rows = max(1, min(ROWS, NUMBERS // numbers))
        for first in range(step, step + count, self._rows):
            number = min(self._rows, step + count - first)
            sums, reports = self._updates(first, number, self._draw(first, number))
            for name, value in sums.items():
                totals[name] = totals[name] + value if name in totals else value
                counts[name] = counts.get(name, 0) + reports[name]
        return {name: total / counts[name] for name, total in totals.items()}

    def _draw(self, step: int, count: int) -> Inputs:
        """Everything random of so many updates: minibatch indices and the algorithm's noise."""
        size = self.algorithm.batch_size
        rows = self.streams.integers("batch", step, count, size, self.sizes)
        return {"batch": rows, **self.algorithm.noise(self.streams, step, count)}

    def _update(self, inputs: Inputs, phase: int) -> Metrics:
        noise = {name: value for name, value in inputs.items() if name != "batch"}
        with matmul.rounding(inputs["batch"].device):
            return self.algorithm.update(self.gather(inputs["batch"]), noise, phase)

    def _updates(self, step: int, count: int, draws: Inputs) -> tuple[Metrics, dict[str, int]]:
        """Sums over updates, and how many of them reported each."""
        if self.capture is not None:
            period = self.algorithm.period
            self._loop = self._loop or Loop(
                self._update, self.algorithm.tensors, period, self._rows, self.capture
            )
            try:
                self._loop.prepare(draws)
                return self._loop.run(step, count)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if self._loop.replays:  # captured: it is the device that fails
                    raise
                self.capture = self._loop = None
                warnings.warn(
                    f"{type(self.algorithm).__name__}: updates cannot be captured here ({error}); they "
                    "run one kernel after the other, more slowly, with equal results",
                    stacklevel=3,
                )
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for k in range(count):
            now = {name: values[k] for name, values in draws.items()}
            for name, value in self._update(now, (step + k) % self.algorithm.period).items():
                value = value.detach()
                sums[name] = sums[name] + value if name in sums else value
                counts[name] = counts.get(name, 0) + 1
        return sums, counts


# Fields that mean the same in every algorithm, and what they may be.
_RANGES = {
    "batch_size": (1, math.inf), "width": (1, math.inf), "actor_width": (1, math.inf),
    "depth": (0, math.inf), "actor_depth": (0, math.inf), "gamma": (0, 1), "tau": (0, 1),
    "actor_lr": (0, math.inf), "critic_lr": (0, math.inf), "alpha_lr": (0, math.inf),
}  # fmt: skip


def is_config_value(value: Any, like: Any) -> bool:
    """Whether `value` has the type of a field whose default is `like`; 1 is a float, True is not 1."""
    if isinstance(like, bool) or isinstance(value, bool):
        return type(value) is type(like)
    if isinstance(like, float):
        return isinstance(value, int | float)
    return isinstance(value, type(like))


def kind_of(value: Any) -> str:
    """The type of a value in words: "a float", "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def override(config: Any, overrides: dict[str, Any], where: str) -> Any:
    """`config` with fields replaced; unknown names and wrong types are errors that name the field."""
    import difflib

    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    for name, value in overrides.items():
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=3) or sorted(fields)
            raise ConfigError(f"{where}: no field {name!r}; near: {', '.join(near)}")
        if not is_config_value(value, fields[name]):
            raise ConfigError(
                f"{where}: field {name!r} = {value!r} is {kind_of(value)}, "
                f"expected {kind_of(fields[name])}"
            )
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        most = sys.float_info.max if isinstance(fields[name], float) else 2**31 - 1
        if isinstance(value, int | float) and not (low <= value <= high and abs(value) <= most):
            kind = "finite number" if isinstance(fields[name], float) else "whole number below 2^31"
            span = f" in [{low}, {high}]" if name in _RANGES else ""
            raise ConfigError(
                f"{where}: field {name!r} = {reprlib.repr(value)}, expected a {kind}{span}"
            )
        if isinstance(fields[name], float):
            overrides = {**overrides, name: float(value)}  # 1 and 1.0 are the same run
    try:
        return dataclasses.replace(config, **overrides)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
