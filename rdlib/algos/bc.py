"""BC: behaviour cloning, the regression of actions on states.

    min_π  E_{(s,a) in D} |π(s) - a|² / dim A

Settings as in CORL (github.com/corl-team/CORL, algorithms/offline/any_percent_bc.py, of all the data) and
TD3+BC's comparison: 2x256 ReLU, tanh, Adam 3e-4, batch 256, 1e6 steps, states normalised.

Deviations
1. All rows are used; CORL drops those behind the last terminal state or thousandth step of a trajectory.
2. Products are TF32 on a GPU that has it (all algorithms; `precision="float32"` takes the peers').
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdlib.engine.base import Algorithm, Batch, Metrics, Plugin
from rdlib.engine.nets import Actor, Initialiser
from rdlib.engine.optim import adam, descend
from rdlib.engine.rng import Streams


@dataclass(frozen=True)
class Config:
    """Hyperparameters of BC."""

    actor_lr: float = 3e-4
    batch_size: int = 256
    actor_width: int = 256
    actor_depth: int = 2
    normalize_states: bool = True


class BC(Algorithm):
    """A agents of BC."""

    def __init__(
        self,
        configs: Sequence[Config],
        streams: Streams,
        obs_dim: int,
        act_dim: int,
        plugin: Plugin | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(configs, streams, plugin)
        c = configs[0]
        self.actor = Actor(
            Initialiser(streams, "actor", dtype), obs_dim, act_dim, c.actor_width, c.actor_depth
        )
        self.optimizers |= {"actor": adam(self.actor.parameters(), c.actor_lr)}

    def update(self, batch: Batch, noise: dict[str, Tensor], phase: int) -> Metrics:
        """One step of regression."""
        actor_loss = self.actor_loss(batch)
        descend(self.optimizers["actor"], actor_loss)
        return {"actor_loss": actor_loss}

    def actor_loss(self, batch: Batch) -> Tensor:
        """|π(s) - a|² / dim A: (A,)."""
        return (self.actor(batch.obs) - batch.act).square().mean((-2, -1))

    def act(self, obs: Tensor) -> Tensor:
        """π(s): (A,n,O) -> (A,n,U)."""
        return self.actor(obs)
