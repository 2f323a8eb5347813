"""Whether updates can be compiled here (rdlib.engine.compiled), which names of torch's own that takes, and
from which update a run is compiled that leaves it to us."""

import importlib
import sysconfig
from pathlib import Path

import torch

from rdlib.engine.config import ConfigError

# Updates after which a run goes over to programs that another process made meanwhile, and the length from
# which it does. Numbers of updates, never seconds: the same command then gives the same numbers on a busy
# machine too. Both an update and its compilation take time in proportion to its operations, so that these
# numbers fit all algorithms.
FROM, LEAST = 4_000, 12_000
# What torch does not promise to keep.
PRIVATE = (
    ("torch.utils._python_dispatch", "TorchDispatchMode"),
    ("torch.utils._pytree", "tree_leaves"),
    ("torch.utils._pytree", "tree_map_only"),
    ("torch._inductor", "standalone_compile"),
    ("torch._inductor.cpp_builder", "get_cpp_compiler"),  # takes a second to import
)


def lack(device: torch.device) -> str:
    """Why updates cannot be compiled on `device`, after "compile"; empty where they can."""
    if device.type != "cpu":
        return f"is for a CPU; on {device} updates are captured as graphs"
    found = {}
    for module, name in PRIVATE:
        try:
            found[name] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            return f"needs {module}.{name}, which torch {torch.__version__} does not have"
    try:
        found["get_cpp_compiler"]()
    except RuntimeError:
        return (
            "needs a C++ compiler, and none is found: install g++ or clang++, or name one in the "
            "environment variable CXX"
        )
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return (
            "needs Python's headers, which this Python lacks; on Debian and Ubuntu: apt install python3-dev"
        )
    return ""


def check(device: torch.device) -> None:
    """Raises ConfigError where updates cannot be compiled."""
    if why := lack(device):
        raise ConfigError(f"compile = True {why}")
