"""Arrays out of an HDF5 file that nobody vouches for: what is plainly there is read, all else refused.

HDF5 lets a small file declare terabytes, and point at other files, pipes and devices. A dataset of
transitions does neither.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdlib.data.checks import DataError, one_line

NUMBERS = "fiub"  # kinds of NumPy types that are read


def has(group: Any, key: str) -> bool:
    """Whether the open group `group` has anything called `key`, be it a link that leads nowhere."""
    return group.id.links.exists(key.encode())


def read_array(group: Any, key: str, where: str, *, as_is: bool = False) -> NDArray[Any]:
    """Array `key` of an open file or group, in float32, or with `as_is` in the type it is kept in.

    Values are not looked at; flags want `as_is`, for rounding could make a fraction 0 or 1.
    Raises DataError naming `where` and `key`: missing, a link to elsewhere, a group, not numbers, declared
    but not written, not readable, larger than memory.
    """
    try:
        node = _node(group, key, where)
        if as_is or node.dtype.kind == "b":
            return node[()]
        return node.astype(np.float32)[()]  # converted in pieces: no second copy in float64
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{where}: {key!r} is larger than memory ({one_line(error)})") from error
    except Exception as error:  # OSError, RuntimeError, TypeError ... by kind of damage
        raise DataError(
            f"{where}: {key!r} is not readable ({type(error).__name__}: {one_line(error)})"
        ) from error


def own(group: Any, key: str, where: str) -> Any:
    """Object `key` of an open file or group, if it is kept there; else DataError."""
    import h5py

    if not has(group, key):
        there = ", ".join(map(repr, sorted(group)[:10])) or "nothing"
        raise DataError(f"{where}: {key!r} is missing; there is {there:.200}")
    if group.id.links.get_info(key.encode()).type != h5py.h5l.TYPE_HARD:
        raise DataError(
            f"{where}: {key!r} is a link to elsewhere; the data must be in this place of this file"
        )
    return group[key]


def _node(group: Any, key: str, where: str) -> Any:
    import h5py

    node = own(group, key, where)
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        kind = "a group" if isinstance(node, h5py.Group) else "empty or a type"
        raise DataError(
            f"{where}: {key!r} is {kind}, not an array; it must be one array with a row per step "
            "(dictionary observations, as goal-conditioned environments have, are not supported)"
        )
    if node.is_virtual or node.external:
        raise DataError(f"{where}: {key!r} keeps its values in other files; they must be in this one")
    if node.dtype.kind not in NUMBERS:  # before reading: strings and objects can be costly
        raise DataError(f"{where}: {key!r} holds {node.dtype!s:.80} values; it must hold numbers")
    if not _written(node):
        raise DataError(
            f"{where}: {key!r} declares shape {node.shape} but holds no data for some or all of it; "
            "the file was cut while written"
        )
    return node


def _written(node: Any) -> bool:
    """Whether all that `node` declares is in the file: what was never written reads as zeros."""
    if not node.size:
        return True
    if node.chunks is None:
        return node.id.get_storage_size() >= node.size * node.id.get_type().get_size()
    needed = math.prod(math.ceil(n / c) for n, c in zip(node.shape, node.chunks))
    return node.id.get_num_chunks() >= needed
