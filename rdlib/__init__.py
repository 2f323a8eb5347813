"""rdlib: batched offline reinforcement learning with Representation Distinction.

>>> import rdlib
>>> run = rdlib.train(rdlib.TrainConfig(algo="td3n_rd", dataset="hopper-medium", seeds=(0, 1)))
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Run", "TrainConfig", "__version__", "load_policy", "train"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: `import rdlib` must not wait for torch."""
    if name == "TrainConfig":
        return import_module("rdlib.plan").TrainConfig
    if name in __all__:
        return getattr(import_module("rdlib.train"), name)
    raise AttributeError(f"module 'rdlib' has no attribute {name!r}")
