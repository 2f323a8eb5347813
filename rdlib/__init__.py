"""rdlib: batched offline reinforcement learning with Representation Distinction.

>>> from rdlib import TrainConfig, train
>>> run = train(TrainConfig(algo="td3n_rd", dataset="hopper-medium", seeds=(0, 1)))
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Run", "TrainConfig", "__version__", "load_policy", "load_records", "train"]
_HOMES = {
    "Run": "training.run",
    "TrainConfig": "training.request",
    "load_policy": "training.policy",
    "load_records": "training.record",
    "train": "training.trainer",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: `import rdlib` must not wait for torch."""
    if home := _HOMES.get(name):
        return getattr(import_module(f"rdlib.{home}"), name)
    raise AttributeError(f"module 'rdlib' has no attribute {name!r}")
