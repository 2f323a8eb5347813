"""Sizes of run: `quick` is for two CPU cores and a few minutes, with smaller networks than the paper's;
`paper` is the published scale."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scale:
    """A size of run: gradient steps, transitions of a bundled dataset (0: the whole), evaluation."""

    steps: int
    size: int
    eval_every: int
    overrides: dict[str, Any]


_TWIN = {"width": 128, "actor_width": 128}
_NORMED = {**_TWIN, "normalize_states": True}  # raw states, as published, take far longer to start
_SHALLOW = {"width": 128, "depth": 2, "actor_width": 128, "actor_depth": 2}
# Four critics deviate less than ten, so more pessimism per deviation; targets that follow four times as
# quickly, for a hundredth of the updates.
_SMALL = {**_SHALLOW, "n_critics": 4, "beta": 4.0, "tau": 0.02, "normalize_states": True}
_CQL = {**_SHALLOW, "actor_lr": 3e-4, "alpha_lr": 3e-4}  # the paper's 3e-5 needs its 1e6 steps
_DENOISE = {  # in so few updates the regression has to come first
    "width": 128,
    "depth": 2,
    "actor_width": 128,
    "actor_depth": 2,
    "candidates": 10,
    "actor_lr": 1e-3,
    "critic_lr": 1e-3,
    "eta": 0.2,
}
_WINDOWS = {"context": 10, "width": 64, "depth": 2, "actor_lr": 1e-3, "warmup": 300}
_PAPER = Scale(steps=1_000_000, size=0, eval_every=5_000, overrides={})

# By algorithm and name of the scale.
SCALES: dict[str, dict[str, Scale]] = {
    "bc": {"quick": Scale(5_000, 100_000, 1_000, {"actor_width": 128}), "paper": _PAPER},
    "td3n": {"quick": Scale(12_000, 100_000, 1_200, _SMALL), "paper": _PAPER},
    "sacn": {"quick": Scale(12_000, 100_000, 1_200, _SMALL), "paper": _PAPER},
    "td3bc": {"quick": Scale(20_000, 100_000, 2_000, _TWIN), "paper": _PAPER},
    "iql": {"quick": Scale(20_000, 100_000, 2_000, _NORMED), "paper": _PAPER},
    "cql": {"quick": Scale(6_000, 100_000, 1_000, _CQL), "paper": _PAPER},
    "edac": {
        "quick": Scale(12_000, 100_000, 1_200, {**_SMALL, "target": "lcb", "eta": 5.0}),
        "paper": Scale(steps=3_000_000, size=0, eval_every=5_000, overrides={}),
    },
    "diffusion_ql": {
        "quick": Scale(10_000, 100_000, 2_000, _DENOISE),
        "paper": Scale(steps=2_000_000, size=0, eval_every=50_000, overrides={}),
    },
    "dt": {
        "quick": Scale(3_000, 100_000, 1_000, _WINDOWS),
        "paper": Scale(steps=100_000, size=0, eval_every=5_000, overrides={}),
    },
}
