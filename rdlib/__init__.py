"""rdlib: batched offline reinforcement learning with Representation Distinction.

>>> import rdlib
>>> run = rdlib.train(rdlib.TrainConfig(algo="td3n_rd", dataset="hopper-medium", seeds=(0, 1)))
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Run", "TrainConfig", "__version__", "load_policy", "train"]
_HOMES = {
    "Run": "rdlib.train", "TrainConfig": "rdlib.plan", "load_policy": "rdlib.policy",
    "train": "rdlib.train",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: `import rdlib` must not wait for torch."""
    if home := _HOMES.get(name):
        return getattr(import_module(home), name)
    raise AttributeError(f"module 'rdlib' has no attribute {name!r}")
