"""From hyperparameters and datasets to agents that can be updated: the one place where they are put
together.

agents = assemble("td3n_rd", [config] * 2, [plugin] * 2, [data] * 2, seeds=[0, 1], limits=(low, high))
metrics = agents.engine.run(0, 1000)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rdlib import algos
from rdlib.data.batches import Normaliser, Transitions, resident, reward_units
from rdlib.data.dataset import Dataset
from rdlib.data.environments import BatchedEnv, check_fits
from rdlib.engine import cuda_graphs
from rdlib.engine.base import Algorithm, Plugin
from rdlib.engine.engine import Engine
from rdlib.engine.rng import Streams
from rdlib.training.plan import Plan


@dataclass(frozen=True)
class Agents:
    """A agents of one algorithm, ready to be updated by `engine`."""

    algorithm: Algorithm
    engine: Engine
    normaliser: Normaliser  # between raw units and the networks'
    transitions: Transitions  # what they learn from
    _build: Callable[[Streams], Algorithm]

    @property
    def streams(self) -> Streams:
        """Their random numbers."""
        return self.engine.streams

    def understudies(self) -> Algorithm:
        """The same agents on the CPU, at the start of training, for weights to be copied into."""
        return self._build(Streams(self.streams.seeds))


def assemble(
    recipe: algos.Recipe | type[Algorithm] | str,
    configs: Sequence[Any],
    plugins: Sequence[Any] | Plugin | Callable[[Streams], Plugin] | None,
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
    limits: tuple[np.ndarray, np.ndarray],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    steps: int = 0,
) -> Agents:
    """Agent i has configs[i], plugins[i], datasets[i] and seeds[i]; equal seeds give equal starts,
    minibatches and noise.

    recipe: an algorithm's name, what `algos.find` made of it, or a subclass of Algorithm that has no name.
    configs: (A) of the algorithm's Config. plugins: (A) of the plug-in's configuration or None each; or the
    Plugin itself; or what makes one of the agents' streams; None for no plug-in. limits: least and greatest
    action (U,), which become -1 and 1. steps: gradient updates of the whole run, which schedules need; 0
    where there is none. Raises ConfigError or DataError where these do not fit together.
    """
    recipe = algos.find(recipe) if isinstance(recipe, str) else recipe
    first, streams = datasets[0], Streams(seeds, device)
    units = [reward_units(d, getattr(c, "rewards", "raw")) for d, c in zip(datasets, configs, strict=True)]
    standardise = getattr(configs[0], "normalize_states", False)
    normaliser = Normaliser(datasets, limits, standardise, units, dtype).to(device)

    def build(streams: Streams) -> Algorithm:
        return algos.build(recipe, configs, plugins, streams, first.obs_dim, first.act_dim, dtype, steps)

    algorithm = build(streams)
    transitions, minibatch = resident(datasets, normaliser, algorithm.context)
    engine = Engine(algorithm, streams, transitions.sizes, minibatch)
    return Agents(algorithm, engine, normaliser, transitions, build)


def assemble_plan(plan: Plan, env: BatchedEnv) -> Agents:
    """The agents of a plan, on its device. Raises DataError where their data are not of `env`."""
    agents = plan.agents
    data = [a.dataset for a in agents]
    for d in data:
        check_fits(env, d, limits=not plan.asked.env)
    made = assemble(
        plan.recipe,
        [a.config for a in agents],
        [a.plugin for a in agents],
        data,
        [a.seed for a in agents],
        (env.act_low, env.act_high),
        plan.device,
        getattr(torch, plan.asked.dtype),
        plan.steps,
    )
    made.engine.capture = cuda_graphs.capture_for(plan.device)  # the trainer knows of compiled programs
    return made
