"""The parameters of a notebook: read from its names, converted from what papermill makes of them, checked.

papermill only warns of a parameter that a notebook does not have, and then runs the defaults. So a notebook
asks here, straight after its parameters: an unknown name or a wrong type is an error that names it.
"""

import ast
import dataclasses
import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from rdlib.engine.config import ConfigError, is_config_value, kind_of, near
from rdlib.training.request import TrainConfig, assignments, default_of

ALIASES = {"rd": "plugin"}
INJECTED = "# Parameters"  # the first line of papermill's own cell


def from_notebook(names: MutableMapping[str, Any]) -> TrainConfig:
    """The configuration that the training notebook's parameters ask for.

    `names`: the notebook's `globals()`. `rd` stands for the plug-in's fields. Besides TrainConfig's fields
    the notebook has a parameter of its own, `beside`, which is set to a bool here. Raises ConfigError.
    """
    defaults = {f.name: default_of(f) for f in dataclasses.fields(TrainConfig)}
    like = {**defaults, "rd": {}, "beside": True}
    given = _converted(given_names(names, like), like)
    if "rd" in given and "plugin" in given:
        raise ConfigError("rd and plugin are the same parameter; give one of them")
    names["beside"] = given.pop("beside", True)
    return TrainConfig(**{ALIASES.get(name, name): value for name, value in given.items()})


def check_parameters(names: MutableMapping[str, Any]) -> None:
    """Check a notebook's parameters against the defaults in its parameters cell, and set them to the types
    of these: `check_parameters(globals())`. Raises ConfigError."""
    like: dict[str, Any] = {}
    for source in _cells(names):
        if not source.startswith(INJECTED) and (found := literals(source)):
            like = found
    names.update(_converted(given_names(names, like), like))


def given_names(names: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What the notebook's parameters cell, and papermill's after it, set: name and value. In a notebook
    `In` holds the cells that ran; the parameters cell is the last that only sets literals and one of the
    `known` names. Without `In` all public names are meant. Raises ConfigError at one that is not known."""
    if "In" not in names:
        given = {name for name in names if not name.startswith("_")}
    else:
        given = set()
        for source in _cells(names):
            if source.startswith(INJECTED):
                given |= literals(source).keys()
            elif (found := literals(source).keys()) & known.keys():
                given = set(found)
    for name in sorted(given - known.keys()):
        raise ConfigError(f"parameter {name!r} is unknown; near: {near(name, known)}")
    return {name: names[name] for name in known if name in given}


def _cells(names: Mapping[str, Any]) -> Iterator[str]:
    """The cells that ran, but for the one that asks."""
    return (source.strip() for source in list(names.get("In", ()))[:-1])


def literals(source: str) -> dict[str, Any]:
    """Names and values of a cell that only sets names; empty for any other. What is not a literal
    (papermill writes float('nan')) counts as a number."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # magic
        return {}
    found = {}
    for line in body:
        if not isinstance(line, ast.Assign) or not isinstance(line.targets[0], ast.Name):
            return {}
        try:
            found[line.targets[0].id] = ast.literal_eval(line.value)
        except ValueError:
            found[line.targets[0].id] = 0.0
    return found


def _converted(given: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the types that the defaults `like` have; None is the default. Raises ConfigError."""
    found = {}
    for name, value in given.items():
        try:
            found[name] = like[name] if value is None else convert(value, like[name])
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    return found


def convert(value: Any, like: Any) -> Any:
    """`value`, as YAML or a command line gives it, as the type of `like`: 1e5 and "1e5" are whole numbers,
    "true" is True, "0,1", "[0, 1]" and "(0, 1)" are sequences, "a=1,b=2" and JSON objects are mappings.
    Raises ConfigError."""
    if isinstance(like, Mapping):
        value = assignments(value) if isinstance(value, str) else value
        if not isinstance(value, Mapping):
            raise ConfigError(f'{value!r} is {kind_of(value)}, expected {{"NAME": VALUE}} or "NAME=VALUE"')
        return value
    if isinstance(like, tuple | list):
        return type(like)(convert(v, like[0]) for v in _sequence(value, like[0]))
    if isinstance(value, str) and not isinstance(like, str):
        value = _from_text(value, like)
    if isinstance(value, bool) and like == "auto":  # a word, which YAML reads as more
        value = str(value).lower()
    if isinstance(value, float) and type(like) is int and value.is_integer():
        value = int(value)
    if not is_config_value(value, like):
        raise ConfigError(f"{value!r} is {kind_of(value)}, expected {kind_of(like)}")
    return value


def _from_text(text: str, like: Any) -> Any:
    """A bool or number in words; the words where they are none."""
    if isinstance(like, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _sequence(value: Any, element: Any) -> Sequence[Any]:
    """What `value` lists: "[0, 1]", "0,1" (of numbers), a list, one element by itself, or a tuple's text,
    as papermill hands tuples on (findings/papermill_tuple.sh)."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "(")):
        read = json.loads if value.lstrip().startswith("[") else ast.literal_eval
        try:
            value = read(value.strip())
        except (ValueError, SyntaxError) as error:
            raise ConfigError(f"{value!r} is no list: {error}") from None
    if isinstance(value, str) and not isinstance(element, Mapping):
        return value.split(",")
    return value if isinstance(value, list | tuple) else [value]
