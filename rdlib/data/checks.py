"""What arrays of a dataset must be, whoever they come from; and the errors that name what is not so."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

TOLERANCE = 1e-3  # of half an action's range: how far beyond its limits rounding may put it


class DataError(ValueError):
    """A dataset that cannot be found, read or trusted: which, where, and what would be right."""


class NotFoundError(DataError):
    """A dataset that is neither here nor to be fetched: perhaps the name is wrong."""


def one_line(error: BaseException) -> str:
    """The message of `error`, which HDF5 and others break into lines, as one."""
    return " ".join(str(error).split())


def disk_error(doing: str, folder: Path, error: OSError) -> DataError:
    """The DataError for a disk that is full or may not be written to while `doing` something."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"disk full while {doing} in {folder}; free some space and run again, or point "
            "RDLIB_CACHE at another disk"
        )
    return DataError(
        f"cannot write to {folder} while {doing} ({error}); point RDLIB_CACHE at a folder you may write to"
    )


def as_float32(array: Any, where: str, key: str, ndim: int) -> Float32:
    """`array` as contiguous finite float32 of `ndim` dimensions; copied only where it must be.

    Raises DataError naming `where` (a file or dataset), `key` and the first bad row.
    """
    raw = _numbers(array, where, key, "numbers (float32 or what converts to it)")
    if key in ("act", "actions") and raw.ndim == 1 and len(raw) and (raw == np.round(raw)).all():
        raise DataError(
            f"{where}: {key!r} holds one whole number a row; discrete actions are not supported, only "
            "continuous ones, (N, dimension)"
        )
    if raw.ndim != ndim:
        want = "(N, dimension)" if ndim == 2 else "(N,)"
        raise DataError(f"{where}: {key!r} has shape {raw.shape}; it must be {want}")
    if raw.shape[0] == 0:
        raise DataError(f"{where}: {key!r} has no rows; a dataset needs at least one transition")
    if ndim == 2 and raw.shape[1] == 0:
        raise DataError(f"{where}: {key!r} has shape {raw.shape}; its rows must not be empty")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf and is named below
        out = np.ascontiguousarray(raw, dtype=np.float32)
    finite = np.isfinite(out)
    if not finite.all():
        good = finite.reshape(len(out), -1).all(axis=1)
        row = int(np.argmin(good))
        value = raw[row] if ndim == 1 else raw[row][~finite[row]][0]
        raise DataError(
            f"{where}: {key!r} row {row} holds {value}; every value must be finite in float32 "
            f"({int((~good).sum())} such rows in all)"
        )
    return out


def as_flags(array: Any, where: str, key: str) -> Bool:
    """`array` as (N,) booleans; numbers count when 0 or 1, anything else raises DataError."""
    raw = _numbers(array, where, key, "booleans or 0 and 1")
    if raw.ndim != 1:
        raise DataError(f"{where}: {key!r} has shape {raw.shape}; it must be (N,)")
    if raw.dtype.kind == "b":
        return np.ascontiguousarray(raw)
    good = (raw == 0) | (raw == 1)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(f"{where}: {key!r} row {row} holds {raw[row]}; it must be 0 or 1")
    return raw.astype(bool)


def _numbers(array: Any, where: str, key: str, want: str) -> NDArray[Any]:
    """`array` as NumPy has it, if it holds numbers."""
    try:
        raw = np.asarray(array)
    except Exception as error:  # rows of unequal length, a tensor on another device ...
        raise DataError(
            f"{where}: {key!r} is not an array ({one_line(error)}); it must hold {want}"
        ) from error
    if raw.dtype.kind not in "fiub":
        raise DataError(f"{where}: {key!r} holds {str(raw.dtype)[:80]} values; it must hold {want}")
    return raw


def check_actions(
    act: NDArray[Any], low: NDArray[Any], high: NDArray[Any], where: str, key: str = "act"
) -> None:
    """Raise DataError unless actions (N,U) keep to limits `low` and `high` (U,), infinite ones included.

    Rounding is allowed for: `TOLERANCE` of half the range. Names the first row, its value and the limits.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    half = (high - low) / 2
    slack = TOLERANCE * np.where(np.isfinite(half), half, 1.0)
    if (act.min(0) >= low - slack).all() and (act.max(0) <= high + slack).all():
        return
    beyond = (act < low - slack) | (act > high + slack)
    rows = beyond.any(axis=1)
    row = int(np.argmax(rows))
    column = int(np.argmax(beyond[row]))
    raise DataError(
        f"{where}: {key!r} row {row} holds {act[row, column]:.6g} in dimension {column}; the "
        f"environment's limits there are {low[column]:g} and {high[column]:g} ({int(rows.sum())} such rows "
        "in all); clip_actions sets them to the limits"
    )


def same_length(where: str, **arrays: Any) -> None:
    """Raise DataError unless all `arrays` have as many rows as the first."""
    (first, reference), *others = arrays.items()
    for key, array in others:
        if len(array) != len(reference):
            raise DataError(
                f"{where}: {key!r} has {len(array)} rows and {first!r} has {len(reference)}; "
                "they must have one row per step each"
            )
