"""What TD3+BC and TD3-N-UNC have in common and no reader compares: networks, optimisers, noise, `act`."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rdlib.engine.base import Algorithm, Plugin
from rdlib.engine.nets import Actor, Critic, Initialiser, frozen_copy
from rdlib.engine.optim import adam
from rdlib.engine.rng import Streams


class Deterministic(Algorithm):
    """A deterministic actor and E critics, target networks of both, and delayed updates of the actor."""

    def __init__(
        self,
        configs: Sequence[Any],
        streams: Streams,
        obs_dim: int,
        act_dim: int,
        plugin: Plugin | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(configs, streams, plugin)
        c, dims = configs[0], (obs_dim, act_dim)
        self.actor = Actor(Initialiser(streams, "actor", dtype), *dims, c.actor_width, c.actor_depth)
        members = [c.n_critics for c in configs]
        init = Initialiser(streams, "critic", dtype)
        self.critic = Critic(init, *dims, members, c.width, c.depth, c.layer_norm)
        self.actor_target, self.critic_target = frozen_copy(self.actor), frozen_copy(self.critic)
        self.keep_own(self.actor.net.head.bias)
        self.act_dim, self.dtype = act_dim, dtype
        self.optimizers |= {
            "actor": adam(self.actor.parameters(), c.actor_lr),
            "critic": adam(self.critic.parameters(), c.critic_lr),
        }
        self.period = math.lcm(self.period, c.policy_delay)

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Standard normals of target policy smoothing: (count,A,B,U)."""
        smoothing = streams.normal("smoothing", step, count, (self.batch_size, self.act_dim), self.dtype)
        return {"smoothing": smoothing, **super().noise(streams, step, count)}

    def act(self, obs: Tensor) -> Tensor:
        """π(s): (A,n,O) -> (A,n,U)."""
        return self.actor(obs)
