"""What every algorithm is made of: a minibatch, a plug-in, and the networks and optimisers of A agents."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rdlib.engine.config import ConfigError
from rdlib.engine.nets import Critic
from rdlib.engine.rng import Streams

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


class Plugin(nn.Module):
    """What may be added to the critic loss of any algorithm (see rdlib.rd)."""

    def __init__(self):
        super().__init__()
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.every = 1  # updates per penalty
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
        loss: Tensor,
    ) -> tuple[Tensor, Metrics]:
        """Penalty of each critic (A,E) and metrics (A,).

        `features` (A,E,B,H) are those of (s,a) with their graph; `policy` maps the first n states
        (A,n,O) of the minibatch to π's actions (A,n,U); `next_action` (A,B,U) is the backup's; `loss` (A,E)
        is each critic's own, with its graph.
        """
        raise NotImplementedError


class Algorithm(nn.Module):
    """Base of rdlib.algos: A agents of one algorithm.

    Subclasses build networks in `__init__`, register optimisers in `self.optimizers`, and implement
    `update`, `act` and where they need them `noise` and `player`. Everything is in normalised units
    (see `Batch`).
    """

    critic: Critic  # where there is one
    total_steps = 0  # gradient updates of the whole run, for schedules; set by rdlib.algos.build
    scheduled = False  # whether an update depends on `total_steps`
    context = 0  # steps of one element of a minibatch; 0: single transitions (rdlib.data.batches)
    own: tuple[str, ...] = ()  # fields that agents of one batch may differ in
    plays_on_device = False  # acting is too much for a CPU beside a GPU (see rdlib.training.evaluation)

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

    def keep_own(self, like: Tensor) -> None:
        """Make every number of `own` that has a fraction a tensor (A,1) of that name, of `like`'s type."""
        for field in self.own:
            if isinstance(getattr(self.configs[0], field), float):
                setattr(self, field, per_agent(self.configs, field, like))

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """The random numbers of updates `step` … `step+count-1`: tensors (count, A, …)."""
        return self.plugin.noise(streams, step, count) if self.plugin else {}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """One gradient update of every agent; `phase` is the update's number modulo `period`.
        Returns metrics (A,)."""
        raise NotImplementedError

    def penalised(
        self,
        loss: Tensor,
        metrics: Metrics,
        batch: Batch,
        features: Tensor,
        policy: Callable[[Tensor], Tensor],
        next_action: Tensor,
        noise: dict[str, Tensor],
        phase: int,
    ) -> tuple[Tensor, Metrics]:
        """Each critic's loss (A,E) with the plug-in's penalty, and its metrics beside `metrics`; without a
        plug-in, or where it pauses, both as they are. For the rest see `Plugin.penalty`."""
        if not self.plugin or phase % self.plugin.every:
            return loss, metrics
        penalty, more = self.plugin.penalty(
            self.critic, batch, features, policy, next_action, noise, phase, loss
        )
        return loss + penalty, metrics | more

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
            # A copy: the optimiser would keep the tensors themselves, and share them with whoever gave
            # them.
            own = {i: {k: v.detach().clone() for k, v in moments.items()} for i, moments in state.items()}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": own})
