"""Other implementations' speed, to stand beside ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Peer:
    """The quickest other implementation of an algorithm: updates/s as we measured it on two cores of an AMD
    EPYC with AVX-512 and no AMX, on Hopper's shapes, batch 256 (DT: 64 windows), by its own defaults and
    full update loop, no evaluation, compilation not counted."""

    rate: float
    code: str
    config: Mapping[str, Any] = field(default_factory=dict)  # sizes of its defaults that are not ours


PEERS = {
    "bc": Peer(1611.0, "unifloral"),
    "td3bc": Peer(350.0, "JAX-CORL"),
    "iql": Peer(437.0, "unifloral"),
    "cql": Peer(25.0, "JAX-CORL", {"depth": 2, "actor_depth": 2}),
    "edac": Peer(11.8, "CORL, N=10"),
    "sacn": Peer(48.6, "unifloral, N=10"),
    "dt": Peer(6.8, "CORL"),
    "diffusion_ql": Peer(27.4, "official"),
}
PEER_SIZE = "updates/s of the peer's size"  # in the rows of those with a `config`
