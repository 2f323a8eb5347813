"""One agent's batch and networks of rdlib's, for a reference, and targets unlike the networks."""

import numpy as np
import torch

from reference import arrays

STILL = {"actor_lr": 0.0, "critic_lr": 0.0, "tau": 0.0}  # metrics are those of the first weights


def host(batch, agent: int) -> list[np.ndarray]:
    return [x[agent].numpy() for x in batch]


def nets(module, agent: int) -> list:
    return [arrays.layers(module, agent, e) for e in range(module.members)]


def spread(algorithm) -> None:
    """Targets unlike the networks, and a temperature unlike 1, so that taking one for the other shows."""
    generator = torch.Generator().manual_seed(3)
    for name, p in algorithm.named_parameters():
        if "target" in name or name == "log_alpha":
            p.data += 0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
