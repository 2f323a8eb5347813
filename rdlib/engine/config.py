"""Values that a user gives, checked: types, ranges and near names. Imports no torch."""

import dataclasses
import difflib
import math
import reprlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

REWARDS = ("raw", "return_range", "standardised")  # see rdlib.data.batches.reward_units
PRECISIONS = ("auto", "float32", "tf32", "bf16")  # of matrix products (rdlib.engine.hardware)
# Fields that mean the same in every algorithm, and what they may be.
_RANGES = {
    "batch_size": (1, math.inf),
    "width": (1, math.inf),
    "actor_width": (1, math.inf),
    "depth": (0, math.inf),
    "actor_depth": (0, math.inf),
    "gamma": (0, 1),
    "tau": (0, 1),
    "actor_lr": (0, math.inf),
    "critic_lr": (0, math.inf),
    "alpha_lr": (0, math.inf),
}


class ConfigError(ValueError):
    """A configuration value that cannot be used; the message names the field."""


def near(name: Any, known: Iterable[str]) -> str:
    """The known names that look like `name`, or else most like it, with commas between: three at most."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=3)
    return ", ".join(close or difflib.get_close_matches(str(name), known, n=3, cutoff=0.0))


def later(default: Any) -> Any:
    """A field of a configuration that came after records were published: see `recorded`."""
    return dataclasses.field(default=default, metadata={"later": True})


def recorded(config: Any) -> dict[str, Any]:
    """The fields of a configuration by name, as records hold and hash them: a `later` one only where it
    differs from its default, so that the same run keeps its hash."""
    found = {f: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {
        f.name: value for f, value in found.items() if not f.metadata.get("later") or value != f.default
    }


def check_least(config: Any, least: float, *fields: str) -> None:
    """Raise ConfigError unless each field is at least so much."""
    for field in fields:
        if not getattr(config, field) >= least:
            raise ConfigError(f"{field} = {getattr(config, field)}, expected at least {least}")


def check_choice(config: Any, field: str, choices: Sequence[str]) -> None:
    """Raise ConfigError unless the field's value is one of `choices`."""
    if getattr(config, field) not in choices:
        raise ConfigError(f"{field} = {getattr(config, field)!r}, expected one of {', '.join(choices)}")


def is_config_value(value: Any, like: Any) -> bool:
    """Whether `value` has the type of a field whose default is `like`; 1 is a float, True is not 1."""
    if isinstance(like, bool) or isinstance(value, bool):
        return type(value) is type(like)
    if isinstance(like, float):
        return isinstance(value, int | float)
    return isinstance(value, type(like))


def kind_of(value: Any) -> str:
    """The type of a value in words: "a float", "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def override(config: Any, overrides: dict[str, Any], where: str) -> Any:
    """`config` with fields replaced; unknown names and wrong types are errors that name the field."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    for name, value in overrides.items():
        if name not in fields:
            raise ConfigError(f"{where}: no field {name!r}; near: {near(name, fields)}")
        if not is_config_value(value, fields[name]):
            raise ConfigError(
                f"{where}: field {name!r} = {value!r} is {kind_of(value)}, expected {kind_of(fields[name])}"
            )
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        most = sys.float_info.max if isinstance(fields[name], float) else 2**31 - 1
        if isinstance(value, int | float) and not (low <= value <= high and abs(value) <= most):
            kind = "finite number" if isinstance(fields[name], float) else "whole number below 2^31"
            span = f" in [{low}, {high}]" if name in _RANGES else ""
            raise ConfigError(f"{where}: field {name!r} = {reprlib.repr(value)}, expected a {kind}{span}")
        if isinstance(fields[name], float):
            overrides = {**overrides, name: float(value)}  # 1 and 1.0 are the same run
    try:
        return dataclasses.replace(config, **overrides)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
