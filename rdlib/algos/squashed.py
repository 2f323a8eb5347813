"""What SAC-N-UNC, EDAC and CQL have in common and no reader compares: networks, optimisers, noise, `act`,
and the temperature, which all three learn alike."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.engine.base import Algorithm, Plugin
from rdlib.engine.nets import MLP, Critic, GaussianActor, Initialiser, frozen_copy
from rdlib.engine.optim import adam
from rdlib.engine.rng import Streams


@torch.no_grad()
def rescale(net: MLP, head: float, by_width: bool = False) -> None:
    """The official start of SAC-N and EDAC, made of `nn.Linear`'s: hidden biases 0.1, the head's numbers
    within ±`head`; `by_width`: hidden weights within ±1/sqrt(n_out) instead of ±1/sqrt(n_in)."""
    for layer in net.hidden.children():
        weight, bias = layer.parameters()
        bias.fill_(0.1)
        if by_width:
            weight.mul_((weight.shape[-2] / weight.shape[-1]) ** 0.5)
    for p in net.head.parameters():
        p.mul_(head * net.head.weight.shape[-2] ** 0.5)


class SquashedGaussian(Algorithm):
    """A Gaussian actor squashed by tanh, E critics and their targets, and a temperature α."""

    critic_scheme = "uniform"  # of the critics' layers, see `Initialiser`

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
        init = Initialiser(streams, "actor", dtype)
        self.actor = GaussianActor(init, *dims, c.actor_width, c.actor_depth)
        members = [c.n_critics for c in configs]

        def critic(purpose: str) -> Critic:
            init = Initialiser(streams, purpose, dtype, self.critic_scheme)
            return Critic(init, *dims, members, c.width, c.depth, c.layer_norm)

        self.critic = critic("critic")
        self.start(critic)
        self.log_alpha = nn.Parameter(torch.zeros(len(configs), 1, dtype=dtype, device=streams.device))
        self.keep_own(self.log_alpha)
        self.target_entropy, self.act_dim = -float(act_dim), act_dim
        self.optimizers |= {
            "actor": adam(self.actor.parameters(), c.actor_lr),
            "critic": adam(self.critic.parameters(), c.critic_lr),
            "alpha": adam([self.log_alpha], c.alpha_lr),
        }

    def start(self, critic: Callable[[str], Critic]) -> None:
        """Target critics, and what else is done at the start; `critic` draws critics for a purpose."""
        official = self.configs[0].init == "official"
        self.critic_target = frozen_copy(critic("critic_target") if official else self.critic)
        if official:
            rescale(self.actor.net, head=1e-3, by_width=True)
            rescale(self.critic.net, head=3e-3)
            rescale(self.critic_target.net, head=3e-3)

    def several(self) -> dict[str, int]:
        """Names of further normals, and how many for each state; 0: none."""
        return {}

    def noise(self, streams: Streams, step: int, count: int) -> dict[str, Tensor]:
        """Standard normals for the policy at s and at s', (count,A,B,U), and `several` (count,A,n,B,U)."""
        shape, dtype = (self.batch_size, self.act_dim), self.log_alpha.dtype
        sizes: dict[str, tuple[int, ...]] = {"policy": shape, "next_policy": shape}
        sizes |= {name: (n, *shape) for name, n in self.several().items() if n}
        own = {name: streams.normal(name, step, count, size, dtype) for name, size in sizes.items()}
        return {**own, **super().noise(streams, step, count)}

    def temperature_loss(self, log_prob: Tensor) -> Tensor:
        """-log α (log π(u|s) + H̄), mean over u (A,B): (A,)."""
        return -(self.log_alpha * (log_prob.detach() + self.target_entropy)).mean(-1)

    def propose(self, noise: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The policy as a plug-in sees it: one reparameterised sample for each of the first n states."""
        return lambda obs: self.actor(obs, noise["policy"][:, : obs.shape[1]])[0]

    def act(self, obs: Tensor) -> Tensor:
        """Mean action: (A,n,O) -> (A,n,U)."""
        return self.actor(obs)[0]
